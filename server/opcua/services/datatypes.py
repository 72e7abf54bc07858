"""Whether a value fits the data type and rank of a Variable or an Argument (OPC 10000-3 §5.6.2)."""

from __future__ import annotations

import struct
from typing import Any, Final, cast

from asyncua import ua

from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.types import AttributeIds, ObjectIds
from server.opcua.wire.nodeid import Key, key_of, numeric, split

BASE_DATA_TYPE: Final = numeric(24)
_STRUCTURE: Final = 22
_INT32: Final = 6
_BYTE, _BYTE_STRING = 3, 15
_HAS_SUBTYPE: Final = numeric(45)
_HAS_ENCODING: Final = numeric(38)
_ENUMERATION: Final = 29
_LAST_BUILT_IN: Final = 25

_SIGNED: Final = frozenset({2, 4, 6, 8})
_UNSIGNED: Final = frozenset({3, 5, 7, 9})
_ABSTRACT: Final = {
    24: frozenset(range(1, _LAST_BUILT_IN + 1)),
    26: _SIGNED | _UNSIGNED | {10, 11},
    27: _SIGNED,
    28: _UNSIGNED,
}
"""The built-in types that values of the abstract data types above them have."""

_DATA_TYPE: Final = int(AttributeIds.DataType)
_VALUE_RANK: Final = int(AttributeIds.ValueRank)
_DIMENSIONS: Final = int(AttributeIds.ArrayDimensions)

SCALAR: Final = -1
_ANY, _SCALAR_OR_ONE, _ONE_OR_MORE = -2, -3, 0


class DataTypes:
    """Knows the data types of a space."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._built_in: dict[Key, frozenset[int]] = {}
        self._generation = -1

    def built_in(self, data_type: Key) -> frozenset[int]:
        """The built-in types a value of that data type may have on the wire; none for an unknown one."""
        if self._generation != self._space.generation:
            self._generation = self._space.generation
            self._built_in.clear()
        found = self._built_in.get(data_type)
        if found is None:
            found = self._built_in[data_type] = self._find(data_type)
        return found

    def accepts(self, data_type: Key, value: ua.Variant) -> bool:
        """Whether the content of a Variant is of that data type; its rank is not looked at."""
        kind = int(value.VariantType.value)
        if kind not in self.built_in(data_type):
            return False
        if kind != _STRUCTURE or data_type in {BASE_DATA_TYPE, numeric(_STRUCTURE)}:
            return True
        wanted = self._space.find(data_type)
        return wanted is not None and all(
            item is None or self._is_a(item, wanted) for item in _flat(value.Value)
        )

    def fits(self, node: Node, value: ua.Variant) -> bool:
        """Whether a Variable can hold that value: data type, ValueRank and ArrayDimensions."""
        return self.fits_element(node, value) and rank_fits(
            value_rank(node), _dimensions(node), value.Value, is_array=bool(value.is_array)
        )

    def expected(self, node: Node, value: ua.Variant) -> ua.Variant:
        """A ByteString as the array of Byte that a Variable is, for they are one (OPC 10000-4 §5.11.4.2)."""
        encoded = node.attributes.get(_DATA_TYPE)
        if int(value.VariantType.value) != _BYTE_STRING or value.is_array or encoded is None:
            return value
        if value_rank(node) != 1 or self.built_in(encoded[1:]) != {_BYTE}:
            return value
        made: Any = ua.Variant
        return cast("ua.Variant", made(list(value.Value), ua.VariantType.Byte, None, True))

    def fits_element(self, node: Node, value: ua.Variant) -> bool:
        """Whether a part of the Variable's value can be of that value's type."""
        encoded = node.attributes.get(_DATA_TYPE)
        return encoded is not None and self.accepts(encoded[1:], value)

    def _find(self, data_type: Key) -> frozenset[int]:
        seen = set()
        current = self._space.find(data_type)
        while current is not None and current not in seen:
            seen.add(current)
            namespace, number = split(current.key)
            if namespace == 0 and isinstance(number, int):
                if number in _ABSTRACT:
                    return _ABSTRACT[number]
                if number == _ENUMERATION:
                    return frozenset({_INT32})
                if number <= _LAST_BUILT_IN:
                    return frozenset({number})
            current = _supertype(current)
        return frozenset()

    def _is_a(self, item: Any, wanted: Node) -> bool:
        node = self._data_type_of(item)
        return node is not None and (node is wanted or wanted in self._space.supertypes(node))

    def _data_type_of(self, item: Any) -> Node | None:
        if isinstance(item, ua.ExtensionObject):
            encoding = self._space.find(key_of(item.TypeId))
            return None if encoding is None else _target(encoding, _HAS_ENCODING)
        number = getattr(ObjectIds, type(item).__name__, None)
        return None if number is None else self._space.find(numeric(number))


def rank_fits(value_rank: int, dimensions: tuple[int, ...], value: Any, *, is_array: bool) -> bool:
    """Whether a value has as many dimensions as a ValueRank asks, none longer than ``dimensions`` allows.

    A dimension of 0 may have any length (OPC 10000-3 §5.6.2).
    """
    sizes = _sizes(value) if is_array else ()
    rank = len(sizes)
    if value_rank == _ANY:
        fits = True
    elif value_rank == _SCALAR_OR_ONE:
        fits = rank <= 1
    elif value_rank == SCALAR:
        fits = rank == 0
    elif value_rank == _ONE_OR_MORE:
        fits = rank >= 1
    else:
        fits = rank == value_rank
    return fits and all(not most or size <= most for size, most in zip(sizes, dimensions, strict=False))


def _sizes(value: Any) -> tuple[int, ...]:
    found = []
    while isinstance(value, list):
        found.append(len(value))
        value = value[0] if value else None
    return tuple(found) or (0,)


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [inner for item in value for inner in _flat(item)]


def value_rank(node: Node) -> int:
    """The ValueRank of a Variable."""
    encoded = node.attributes.get(_VALUE_RANK)
    return SCALAR if encoded is None else int(struct.unpack_from("<i", encoded, 1)[0])


def _dimensions(node: Node) -> tuple[int, ...]:
    encoded = node.attributes.get(_DIMENSIONS)
    if encoded is None or len(encoded) < 5:
        return ()
    (length,) = struct.unpack_from("<i", encoded, 1)
    return struct.unpack_from(f"<{max(length, 0)}I", encoded, 5)


def _supertype(node: Node) -> Node | None:
    return _target(node, _HAS_SUBTYPE)


def _target(node: Node, kind: Key) -> Node | None:
    """Whom the first inverse reference of that type leads to."""
    for reference in node.references():
        if not reference.forward and reference.type.key == kind:
            return reference.target
    return None
