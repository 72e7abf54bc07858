"""What stands before the nodes of a NodeSet2 file: NamespaceUris, Models, Aliases (OPC 10000-6 §F.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nodesets.attributes import access_restrictions, role_permissions
from nodesets.errors import BadTextError
from nodesets.records import Model, RequiredModel
from nodesets.text import XML_SPACE, Names
from nodesets.tree import Element

_IGNORED: Final = frozenset({"ServerUris", "Extensions"})
_KNOWN: Final = frozenset({"NamespaceUris", "Models", "Aliases"})


class Header:
    """Collects the header's elements; what they mean waits for the last of them.

    The roles of a Model may be written as Aliases, which the schema puts after the Models.
    """

    def __init__(self) -> None:
        self._uris: list[str] = []
        self._models: list[Element] = []
        self._aliases: list[Element] = []
        self._names: Names | None = None

    def take(self, element: Element, *, before_nodes: bool) -> None:
        """Take one element that is no node."""
        if element.name in _IGNORED:
            return
        if element.name not in _KNOWN:
            raise BadTextError(
                f"<{element.name}> has no place in a UANodeSet; remove it or correct its name", element.line
            )
        if not before_nodes:
            raise BadTextError(
                f"<{element.name}> stands after a node; move it before the first one", element.line
            )
        match element.name:
            case "NamespaceUris":
                self._uris += [child.text.strip(XML_SPACE) for child in element.children]
            case "Models":
                self._models += element.children
            case _:
                self._aliases += element.children

    def names(self) -> Names:
        """How the file writes NodeIds and names."""
        if self._names is None:
            self._names = Names(self._uris)
            for alias in self._aliases:
                try:
                    self._names.add_alias(alias.attributes.get("Alias", "").strip(XML_SPACE), alias.text)
                except BadTextError as error:
                    raise error.at(alias.line) from None
        return self._names

    def models(self) -> Iterator[Model]:
        """The file's models in order."""
        names = self.names()
        for element in self._models:
            try:
                yield Model(
                    *_model(element),
                    tuple(RequiredModel(*_model(c)) for c in element.children if c.name == "RequiredModel"),
                    role_permissions(element, names),
                    access_restrictions(element),
                )
            except BadTextError as error:
                raise error.at(element.line) from None


def _model(element: Element) -> tuple[str, str, str]:
    attributes = element.attributes
    uri = attributes.get("ModelUri", "").strip(XML_SPACE)
    if not uri:
        raise BadTextError(f"<{element.name}> has no ModelUri; add it", element.line)
    return uri, attributes.get("Version", ""), attributes.get("PublicationDate", "")
