"""The data types of imported variables, as far as those who publish values need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from asyncua import ua

from nodesets.uri import escape_uri
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.types import AttributeIds
from server.opcua.wire import nodeid, structs
from server.opcua.wire.nodeid import NULL, Key
from server.opcua.wire.reader import DecodingError, Reader
from server.plant.mirrored import DataType, DataTypes, Form, StructureField
from sources.opcua.mapping import standard_number

_LAST_BUILT_IN: Final = 25
_STRING: Final = 3
"""Of the forms of a NodeId."""
_VARIANT, _STRUCTURE, _INT32, _ENUMERATION = 24, 22, 6, 29
_NUMBERS: Final = frozenset({26, 27, 28})
"""Abstract: each value says which it is."""
_MOST: Final = 10_000
"""Data types of one import; values of others are not understood."""

_FORMS: Final = {
    ua.StructureType.Structure: Form.Structure,
    ua.StructureType.StructureWithOptionalFields: Form.Optional,
    ua.StructureType.Union: Form.Union,
}


class TypeBook:
    """Looks data types up in the address space, each once."""

    def __init__(self, space: Space, name_of: Callable[[int], str]) -> None:
        """``name_of`` gives the URI of a namespace by its index."""
        self._space = space
        self._name_of = name_of
        self._built_in: dict[Key, int] = {}
        self._made: dict[Key, DataType | None] = {}
        self._types = DataTypes()
        self._known = 0

    def text(self, key: Key) -> str:
        """A NodeId with its namespace's URI: ``i=11``, ``nsu=urn:maker:filler;s=State``."""
        return node_text(key, self._name_of)

    def built_in(self, key: Key) -> int:
        """The built-in type that values of a data type have, 24 where each says so itself; 0 for none."""
        found = self._built_in.get(key)
        if found is None:
            found = self._built_in[key] = self._look_up(key)
        return found

    def _look_up(self, key: Key) -> int:
        node = self._space.find(key)
        for one in (key, *(each.key for each in self._space.supertypes(node))) if node else (key,):
            number = standard_number(one)
            if number is not None:
                if number in _NUMBERS:
                    return _VARIANT
                if number == _ENUMERATION:
                    return _INT32
                if 0 < number <= _LAST_BUILT_IN:
                    return number
        return 0

    def need(self, key: Key) -> None:
        """Have a data type among those of `types`, with all that it needs itself."""
        waiting = [key]
        while waiting:
            one = waiting.pop()
            if one in self._made or len(self._made) >= _MOST:
                continue
            number = standard_number(one)
            if number is not None and number <= _ENUMERATION:
                continue
            node = self._space.find(one)
            self._made[one] = None if node is None else self._make(node, waiting)

    def _make(self, node: Node, waiting: list[Key]) -> DataType | None:
        built_in = self.built_in(node.key)
        if not built_in:
            return None
        above = next(self._space.supertypes(node), None)
        common: dict[str, Any] = {
            "id": self.text(node.key),
            "name": self._qualified(node.browse_name),
            "built_in": built_in,
            "base": self.text(above.key) if above is not None else f"i={built_in}",
        }
        definition = decoded(node.attributes.get(AttributeIds.DataTypeDefinition))
        if isinstance(definition, ua.EnumDefinition) and built_in == _INT32:
            members = {int(one.Value): clean(one.Name) for one in definition.Fields or []}
            return DataType(form=Form.Enumeration, members=members, **common)
        if isinstance(definition, ua.StructureDefinition) and built_in == _STRUCTURE:
            form = _FORMS.get(definition.StructureType)
            encoding = nodeid.key_of(definition.DefaultEncodingId)
            if form is None or encoding == NULL:
                return None
            fields = []
            for one in definition.Fields or []:
                its = nodeid.key_of(one.DataType)
                waiting.append(its)
                optional = bool(one.IsOptional) and form is Form.Optional
                rank = int(one.ValueRank)
                fields.append(
                    StructureField(
                        clean(one.Name), self.text(its), self.built_in(its), rank, optional=optional
                    )
                )
            return DataType(form=form, encoding=self.text(encoding), fields=tuple(fields), **common)
        if built_in in {_STRUCTURE, _VARIANT}:
            return None
        return DataType(form=Form.Simple, **common)

    def _qualified(self, name: bytes) -> str:
        index, text = name_of(name)
        return text if index == 0 else f"nsu={escape_uri(clean(self._name_of(index)))};{text}"

    @property
    def types(self) -> DataTypes:
        """What was needed and is there."""
        if self._known != len(self._made):
            self._known = len(self._made)
            made = [one for one in self._made.values() if one is not None]
            self._types = DataTypes(
                {one.id: one for one in made}, {one.encoding: one for one in made if one.encoding}
            )
        return self._types


def types_of(types: DataTypes, wanted: Mapping[str, None]) -> DataTypes:
    """Those among them that data types need, with all that these need themselves."""
    found: dict[str, DataType] = {}
    waiting = list(wanted)
    while waiting:
        one = types.by_id.get(waiting.pop())
        if one is not None and one.id not in found:
            found[one.id] = one
            waiting += [its.data_type for its in one.fields]
    return DataTypes(found, {one.encoding: one for one in found.values() if one.encoding})


def clean(text: str | None) -> str:
    """Text that every encoder takes: a device may send what is half a character."""
    return (text or "").encode("utf-8", "replace").decode("utf-8")


def name_of(encoded: bytes) -> tuple[int, str]:
    """Namespace index and text of an encoded QualifiedName; no text where it cannot be read."""
    try:
        index, text = Reader(encoded).qualified_name()
    except DecodingError:
        return 0, ""
    return index, clean(text)


def node_text(key: Key, uri_of: Callable[[int], str]) -> str:
    """A NodeId as text that holds everywhere (OPC 10000-6 §5.1.12)."""
    if key[0] == _STRING:  # a device may send what is no text at all
        index, text = int.from_bytes(key[1:3], "little"), f"s={key[7:].decode('utf-8', 'replace')}"
    else:
        index, text = nodeid.split(key)[0], nodeid.text(key).rpartition(";")[2]
    return text if index == 0 else f"nsu={escape_uri(clean(uri_of(index)))};{text}"


def decoded(variant: bytes | None) -> Any:
    """What an encoded Variant holds; None where it is none, or nothing that can be understood."""
    if not variant:
        return None
    try:
        return structs.decode_variant(variant).Value
    except DecodingError:
        return None
