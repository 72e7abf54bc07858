"""Names with namespace URIs turned into names with namespace indexes, and back."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import ua

from nodesets.records import UA, LocalizedText, NodeId, QualifiedName
from server.opcua.types import node_id


class UnknownNamespace(Exception):
    """A name whose namespace is not in the NamespaceArray."""


class Namespaces:
    """The NamespaceArray (OPC 10000-5 §6.3.1): namespace 0, the server's own, then the others in order."""

    def __init__(self, application_uri: str, others: Sequence[str]) -> None:
        self.uris: tuple[str, ...] = tuple(dict.fromkeys((UA, application_uri, *others)))
        self._indexes = {uri: index for index, uri in enumerate(self.uris)}

    def index(self, uri: str) -> int:
        """Raises UnknownNamespace."""
        found = self._indexes.get(uri)
        if found is None:
            raise UnknownNamespace(f"the namespace {uri} is not among those of this server")
        return found

    def __contains__(self, uri: str) -> bool:
        """Whether the namespace is there."""
        return uri in self._indexes

    def add(self, uri: str) -> int:
        """Put a namespace behind those that are there; its index, also where it was there already."""
        if uri not in self._indexes:
            self._indexes[uri] = len(self.uris)
            self.uris = (*self.uris, uri)
        return self._indexes[uri]

    def node_id(self, name: NodeId) -> ua.NodeId:
        """Raises UnknownNamespace."""
        return node_id(name.identifier, self.index(name.namespace))

    def qualified_name(self, name: QualifiedName) -> ua.QualifiedName:
        """Raises UnknownNamespace."""
        return ua.QualifiedName(name.name, self.index(name.namespace))


def localized(texts: Sequence[LocalizedText]) -> ua.LocalizedText:
    """The first of the texts: this server knows one locale."""
    if not texts:
        return ua.LocalizedText()
    return localized_text(texts[0])


def localized_text(text: LocalizedText) -> ua.LocalizedText:
    """A text with its locale, null where it has none."""
    return ua.LocalizedText(text.text, text.locale or None)
