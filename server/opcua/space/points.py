"""The points of the plant as heads (see `value`): encoded once a change, by whoever reads first."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from server.opcua.space.value import HAS_SERVER, HAS_SOURCE, HAS_STATUS, HAS_VALUE, head
from server.opcua.wire.writer import string, ticks, variant_array
from server.plant.values import ARRAY, Point, ScanBlock
from sources.quality import is_bad
from sources.tag import Value, ValueType

_GOOD: Final = HAS_VALUE | HAS_SOURCE | HAS_SERVER
_SOURCE_AND_SERVER: Final = HAS_SOURCE | HAS_SERVER

_FORMATS: Final = {
    ValueType.Boolean: "?",
    ValueType.SByte: "b",
    ValueType.Byte: "B",
    ValueType.Int16: "h",
    ValueType.UInt16: "H",
    ValueType.Int32: "i",
    ValueType.UInt32: "I",
    ValueType.Int64: "q",
    ValueType.UInt64: "Q",
    ValueType.Double: "d",
    ValueType.DateTime: "q",
}
_WHOLE: Final[Mapping[int, Callable[..., bytes]]] = {
    kind.value: struct.Struct(f"<BB{form}q").pack
    for kind, form in (_FORMATS | {ValueType.Float: "f"}).items()
}
"""Mask, type, value and source time of what is Good and of one size. Of a Float too large: OverflowError."""
_VARIANT: Final[Mapping[ValueType, Callable[..., bytes]]] = {
    kind: struct.Struct(f"<B{form}").pack for kind, form in _FORMATS.items()
}
_FLOAT: Final = struct.Struct("<Bf")


def encode_head(point: Point) -> bytes:
    """The head of a point now, kept there until the point changes.

    A Bad status has no value (OPC 10000-4 §7.11.1).
    """
    kind = point.kind
    value = point.value
    if point.status == 0 and value is not None and (whole := _WHOLE.get(kind)) is not None:
        try:
            made = point.head = whole(_GOOD, kind, value, point.source_time)
        except OverflowError:
            pass
        else:
            return made
    variant = b"" if is_bad(point.status) or value is None else encode_value(ValueType(kind & ~ARRAY), value)
    made = point.head = head(variant, point.status, point.source_time)
    return made


def encode_value(kind: ValueType, value: Value) -> bytes:
    """A Variant of a value. What is too large for a Float is infinite there (IEEE 754)."""
    if isinstance(value, tuple):
        return _encode_array(kind, value)
    plain = _VARIANT.get(kind)
    if plain is not None:
        return plain(kind.value, value)
    if kind is ValueType.Float and isinstance(value, int | float):
        try:
            return _FLOAT.pack(kind.value, value)
        except OverflowError:
            return _FLOAT.pack(kind.value, math.copysign(math.inf, value))
    return bytes((kind.value,)) + string(str(value))


@lru_cache(maxsize=256)
def _array(kind: ValueType, length: int) -> Callable[..., bytes]:
    """Packs the type, the length and the elements of an array of one size each."""
    form = (_FORMATS | {ValueType.Float: "f"})[kind]
    return struct.Struct(f"<Bi{length}{form}").pack


def _encode_array(kind: ValueType, values: tuple[Any, ...]) -> bytes:
    """A one-dimensional Variant."""
    if kind is ValueType.String:
        return variant_array(kind.value, [string(str(value)) for value in values])
    try:
        return _array(kind, len(values))(kind.value | ARRAY, len(values), *values)
    except OverflowError:  # of a Float
        return variant_array(kind.value, [encode_value(kind, value)[1:] for value in values])


def stamp(block: ScanBlock) -> bytes:
    """The ServerTimestamp of a block's points: when the device was last heard (OPC 10000-4 §7.11.4)."""
    made = block.stamp
    if made is None:
        made = block.stamp = ticks(block.time)
    return made


def without_source(whole: bytes) -> bytes:
    """A head without its SourceTimestamp, the last of what it holds."""
    mask = whole[0]
    return bytes((mask & ~HAS_SOURCE,)) + (whole[1:-8] if mask & HAS_SOURCE else whole[1:])


def without_server(whole: bytes) -> bytes:
    """A DataValue of a head that says no ServerTimestamp."""
    return bytes((whole[0] & ~HAS_SERVER,)) + whole[1:]


def without_times(whole: bytes) -> bytes:
    """A DataValue of a head that says no time at all."""
    mask = whole[0]
    return bytes((mask & ~_SOURCE_AND_SERVER,)) + (whole[1:-8] if mask & HAS_SOURCE else whole[1:])


def parts(whole: bytes) -> tuple[bytes, int, bytes]:
    """Variant (empty for none), StatusCode and SourceTimestamp (empty for none) of a head."""
    mask = whole[0]
    end = len(whole) - 8 if mask & HAS_SOURCE else len(whole)
    code = 0
    source = whole[end:]
    if mask & HAS_STATUS:
        end -= 4
        code = int.from_bytes(whole[end : end + 4], "little")
    return whole[1:end], code, source
