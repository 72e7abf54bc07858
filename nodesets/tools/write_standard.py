"""Writes ``nodesets/standard.json.xz`` from asyncua's copy of namespace 0 and ``standard.txt``.

``python -m nodesets.tools.write_standard``; a tool of development, nothing that runs needs it.
The file holds what `nodesets.standard` reads: columns of all nodes by rising number,
without their descriptions. Values and attributes are binary Variants (OPC 10000-6 §5.2.2.16)
in base64; a set of attributes that many nodes have stands once.
"""

from __future__ import annotations

import base64
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from asyncua import ua
from asyncua.server.address_space import AddressSpace, NodeManagementService
from asyncua.server.standard_address_space.standard_address_space import fill_address_space
from asyncua.ua import ua_binary
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIdNames, ObjectIds

from nodesets.tools.standard_definitions import Definitions, Type
from nodesets.tools.standard_facts import read_facts

_PATH: Final = Path(__file__).parents[1] / "standard.json.xz"
_A: Final = AttributeIds
_T: Final = ua.VariantType
_VARIABLE, _REFERENCE_TYPE, _VARIABLE_TYPE, _DATA_TYPE = 2, 32, 16, 64
_PLAIN: Final = {
    _A.WriteMask: _T.UInt32,
    _A.IsAbstract: _T.Boolean,
    _A.Symmetric: _T.Boolean,
    _A.InverseName: _T.LocalizedText,
    _A.EventNotifier: _T.Byte,
    _A.DataType: _T.NodeId,
    _A.ValueRank: _T.Int32,
    _A.AccessLevel: _T.Byte,
    _A.MinimumSamplingInterval: _T.Double,
    _A.Historizing: _T.Boolean,
    _A.Executable: _T.Boolean,
}
_HAS_SUBTYPE, _HAS_ENCODING = 45, 38
_STRUCTURE, _ENUMERATION = 22, 29
_BASE_DATA_TYPE = 24
_EMPTY_STRINGS: Final = frozenset({15964})
"""Properties whose value is an empty string, which asyncua drops: StaticStringNodeIdPattern."""


class Standard:
    """asyncua's address space, asked by number."""

    def __init__(self) -> None:
        self._space = AddressSpace()
        fill_address_space(NodeManagementService(self._space))  # type: ignore[no-untyped-call]
        self._facts = read_facts()
        known = list(self._space.keys())
        self._nodes = {int(cast("int", node.Identifier)): self._space[node] for node in known}
        self.numbers = sorted(self._nodes)
        self.references = sorted(set(self._references()))
        self._above = {target: source for source, kind, target in self.references if kind == _HAS_SUBTYPE}
        self._definitions = Definitions(self._facts)

    def content(self, number: int, attribute: int) -> Any:
        """An attribute's plain value, None where the node has none."""
        held = self._nodes[number].attributes.get(cast("Any", attribute))
        found = held.value if held is not None else None
        return found.Value.Value if found is not None and found.Value is not None else None

    def node_class(self, number: int) -> int:
        """Its NodeClass."""
        return int(self.content(number, _A.NodeClass))

    def _references(self) -> Iterator[tuple[int, int, int]]:
        for number, node in self._nodes.items():
            for one in node.references:
                kind, target = int(one.ReferenceTypeId.Identifier), int(one.NodeId.Identifier)
                yield (number, kind, target) if one.IsForward else (target, kind, number)

    def attributes(self, number: int) -> dict[int, bytes]:
        """Every attribute but NodeId, NodeClass, the names, Description, Value and DataTypeDefinition."""
        found: dict[int, bytes] = {}
        for attribute, kind in _PLAIN.items():
            content = self._mended(number, attribute, self.content(number, attribute))
            if content is not None:
                found[int(attribute)] = _encoded(ua.Variant(content, kind))
        rank = self.content(number, _A.ValueRank)
        if rank is not None and rank > 0:
            dimensions = list(self.content(number, _A.ArrayDimensions) or [0] * rank)
            found[int(_A.ArrayDimensions)] = _encoded(ua.Variant(dimensions, _T.UInt32))
        return found

    def _mended(self, number: int, attribute: int, content: Any) -> Any:
        kinds = {_REFERENCE_TYPE, _VARIABLE_TYPE}
        if attribute == _A.IsAbstract and self.node_class(number) in kinds:
            return number in self._facts.abstract
        if attribute == _A.Symmetric and content is not None:
            return number in self._facts.symmetric
        if attribute == _A.DataType and number in self._facts.any:
            return cast("Any", ua.NodeId)(_BASE_DATA_TYPE)
        if attribute == _A.DataType and content is not None:
            return cast("Any", ua.NodeId)(content.Identifier)  # in the shortest encoding
        if attribute == _A.InverseName and content is not None and content.Text is None:
            return None
        return content

    def value(self, number: int) -> bytes | None:
        """The value, None where there is none."""
        if number in _EMPTY_STRINGS:
            return _encoded(ua.Variant("", _T.String))
        held = self._nodes[number].attributes.get(cast("Any", _A.Value))
        if held is None or held.value is None or self.content(number, _A.Value) is None:
            return None
        return _encoded(cast("ua.Variant", held.value.Value))

    def definition(self, number: int) -> bytes | None:
        """The DataTypeDefinition of a data type that has one."""
        if self.node_class(number) != _DATA_TYPE:
            return None
        above = list(self._supertypes(number))
        if number in {_STRUCTURE, _ENUMERATION} or not above:
            return None
        name = str(self.content(number, _A.BrowseName).Name)
        found = self._definitions.of(
            Type(
                number,
                name,
                above[0],
                self._encoding(number),
                is_structure=_STRUCTURE in above,
                is_option_set=_ENUMERATION not in above,
            )
        )
        return _encoded(ua.Variant(found, _T.ExtensionObject)) if found is not None else None

    def _supertypes(self, number: int) -> Iterator[int]:
        above = self._above.get(number)
        while above is not None:
            yield above
            above = self._above.get(above)

    def _encoding(self, number: int) -> int:
        """The Default Binary encoding of a structure, 0 where it has none."""
        for source, kind, target in self.references:
            wanted = source == number and kind == _HAS_ENCODING
            if wanted and self.content(target, _A.BrowseName).Name == "Default Binary":
                return target
        return 0

    def permissions(self, number: int) -> tuple[int, dict[int, int]] | None:
        """AccessRestrictions and permissions by the role's number, of a node that has its own."""
        name = ObjectIdNames.get(number, "")
        found = self._facts.permissions(name, self.node_class(number)) if name else None
        if found is None:
            return None
        roles = {getattr(ObjectIds, f"WellKnownRole_{role}"): given for role, given in found.roles.items()}
        return found.restrictions, {int(role): given for role, given in sorted(roles.items())}


def _encoded(variant: ua.Variant) -> bytes:
    return ua_binary.variant_to_binary(variant)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _deltas(numbers: list[int]) -> list[int]:
    return [after - before for before, after in zip([0, *numbers], numbers, strict=False)]


def table() -> dict[str, Any]:
    """What the file holds; see `nodesets.standard` for its reading."""
    space = Standard()
    numbers = space.numbers
    index = {number: position for position, number in enumerate(numbers)}
    sets: dict[str, int] = {}
    roles: dict[str, int] = {}
    permissions: list[list[int]] = []
    columns: dict[str, dict[int, str]] = {"display_names": {}, "values": {}, "definitions": {}}
    attributes = []
    for position, number in enumerate(numbers):
        name, shown = (space.content(number, which) for which in (_A.BrowseName, _A.DisplayName))
        if shown.Text != name.Name:
            columns["display_names"][position] = shown.Text
        for column, data in (("values", space.value(number)), ("definitions", space.definition(number))):
            if data is not None:
                columns[column][position] = _text(data)
        held = json.dumps({attribute: _text(data) for attribute, data in space.attributes(number).items()})
        attributes.append(sets.setdefault(held, len(sets)))
        own = space.permissions(number)
        if own is not None:
            permissions.append([position, own[0], roles.setdefault(json.dumps(own[1]), len(roles))])
    sources, kinds, targets = zip(*space.references, strict=True)
    return {
        "version": space.content(15959, _A.Value),
        "published": space.content(15960, _A.Value).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "numbers": _deltas(numbers),
        "node_classes": [space.node_class(number) for number in numbers],
        "browse_names": [space.content(number, _A.BrowseName).Name for number in numbers],
        "attributes": attributes,
        "attribute_sets": [json.loads(held) for held in sets],
        **{name: [list(column), list(column.values())] for name, column in columns.items()},
        "permissions": permissions,
        "role_sets": [json.loads(held) for held in roles],
        "references": [
            _deltas([index[number] for number in sources]),
            [index[number] for number in kinds],
            [index[number] for number in targets],
        ],
    }


def to_bytes(content: dict[str, Any]) -> bytes:
    """The file: the same bytes for the same content, whenever and wherever it is written."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME)


if __name__ == "__main__":
    _PATH.write_bytes(to_bytes(table()))
