"""Bytes of a controller's memory to values, and back. Pure. All numbers are little endian.

A `Layout` is compiled once per read: numbers come out of the reply by one `struct.unpack`,
bits by a mask on a byte, text by a slice, an array by one more `struct.unpack`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sources.bits import bits
from sources.ethernetip.codec import STRUCTURE
from sources.ethernetip.config import Encoding, LogixAddress
from sources.ethernetip.symbols import BOOL, Atomic, Structure
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import INTEGER_LIMITS, Tag, Value

LogixTag: TypeAlias = Tag[LogixAddress]

TEXT_HEAD: Final = 4
"""Bytes of a string before its characters: how many of them count."""
TEXT_ENCODING: Final = "latin-1"
"""A Logix STRING is bytes with no encoding of its own; this one takes each and loses none."""

_LENGTH: Final = struct.Struct("<i")
_TYPE: Final = struct.Struct("<H")


class Leaf(NamedTuple):
    """Where one value stands in the bytes of a read.

    With ``bit`` it is that bit of the value of ``type`` at ``offset``, or, for a BOOL,
    counted from the lowest bit of the byte there. A BOOL without one is a whole byte. With
    ``elements`` it is an array of so many values, or of so many bits from that one on.
    """

    offset: int
    type: Atomic | Structure
    bit: int | None = None
    elements: int | None = None

    @property
    def end(self) -> int:
        """The first byte behind it; behind the first of an array."""
        return self.offset + self.type.size


class Unencodable(ValueError):
    """A value that a tag's type cannot carry; ``quality`` says why."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


class Layout:
    """How to decode ``size`` bytes.

    ``tags`` holds the tags given, in the order in which `decode` yields their values.
    """

    def __init__(self, size: int, fields: Sequence[tuple[LogixTag, Leaf]]) -> None:
        self.size = size
        self.fields = tuple(fields)
        single: list[tuple[LogixTag, Leaf]] = []
        texts: list[tuple[LogixTag, Leaf]] = []
        numbers: list[tuple[LogixTag, Leaf]] = []
        arrays: list[tuple[LogixTag, Leaf]] = []
        for field in fields:
            leaf = field[1]
            if leaf.elements is not None and isinstance(leaf.type, Atomic):
                arrays.append(field)
                continue
            kind = texts if isinstance(leaf.type, Structure) else numbers
            (single if leaf.bit is not None or leaf.type is BOOL else kind).append(field)
        numbers.sort(key=lambda field: field[1].offset)
        self._formats: list[Callable[[bytes], tuple[Any, ...]]] = []
        ordered = self._compile(numbers)
        self._bits = [_mask(leaf) for _, leaf in single]
        self._arrays = [_array(leaf) for _, leaf in arrays]
        self._texts = [leaf for _, leaf in texts]
        self.tags: tuple[LogixTag, ...] = tuple(tag for tag, _ in (*ordered, *single, *arrays, *texts))

    def _compile(self, rest: list[tuple[LogixTag, Leaf]]) -> list[tuple[LogixTag, Leaf]]:
        """Make formats that cover all numbers; return them in the order the formats yield them.

        Tags that share a value cannot stand in one format and get one more.
        """
        ordered: list[tuple[LogixTag, Leaf]] = []
        while rest:
            left: list[tuple[LogixTag, Leaf]] = []
            parts, at = ["<"], 0
            for field in rest:
                leaf = field[1]
                if leaf.offset < at or not isinstance(leaf.type, Atomic):
                    left.append(field)
                    continue
                parts.append(f"{leaf.offset - at}x{leaf.type.format}")
                at = leaf.end
                ordered.append(field)
            parts.append(f"{self.size - at}x")
            self._formats.append(struct.Struct("".join(parts)).unpack)
            rest = left
        return ordered

    def decode(self, data: bytes) -> tuple[list[Value], Quality | list[Quality]]:
        """Values in the order of ``tags``; one quality for all, or one each. ``data`` has ``size`` bytes."""
        values: list[Value] = []
        for unpack in self._formats:
            values += unpack(data)
        if self._bits:
            values += [data[byte] & mask != 0 for byte, mask in self._bits]
        if self._arrays:
            values += [read(data) for read in self._arrays]
        if not self._texts:
            return values, GOOD
        qualities: list[Quality] = [GOOD] * len(values)
        for leaf in self._texts:
            text = _texts(data, leaf)
            values.append(text)
            qualities.append(BAD_DECODING_ERROR if text is None else GOOD)
        return values, qualities


def _mask(leaf: Leaf) -> tuple[int, int]:
    """The byte of the data and the mask in it."""
    if leaf.bit is None:
        return leaf.offset, 0xFF
    return leaf.offset + leaf.bit // 8, 1 << leaf.bit % 8


def _array(leaf: Leaf) -> Callable[[bytes], Value]:
    """Takes an array of numbers or of BOOLs out of the data."""
    count, at = leaf.elements or 0, leaf.offset
    if leaf.bit is not None:
        first = leaf.bit
        return lambda data: bits(data[at : at + (first + count + 31) // 32 * 4], first, count)
    if leaf.type is BOOL:
        return lambda data: tuple(byte != 0 for byte in data[at : at + count])
    form = struct.Struct(f"<{count}{leaf.type.format if isinstance(leaf.type, Atomic) else ''}")
    return lambda data: form.unpack_from(data, at)


def _texts(data: bytes, leaf: Leaf) -> Value:
    """A text, or an array of them; None where one of them is none."""
    if leaf.elements is None:
        return _text(data[leaf.offset : leaf.end], leaf.type)
    size = leaf.type.size
    found: list[str] = []
    for at in range(leaf.offset, leaf.offset + leaf.elements * size, size):
        text = _text(data[at : at + size], leaf.type)
        if text is None:
            return None
        found.append(text)
    return tuple(found)


def _text(raw: bytes, kind: Atomic | Structure) -> str | None:
    """The characters that count, or None where the length cannot be."""
    (length,) = _LENGTH.unpack_from(raw)
    capacity = kind.capacity if isinstance(kind, Structure) else None
    if capacity is None or not 0 <= length <= capacity:
        return None
    return raw[TEXT_HEAD : TEXT_HEAD + length].decode(TEXT_ENCODING)


def type_code(kind: Atomic | Structure) -> bytes:
    """How a request or reply names the type."""
    if isinstance(kind, Structure):
        return STRUCTURE + _TYPE.pack(kind.handle)
    return _TYPE.pack(kind.code)


def split_type(data: bytes) -> tuple[bytes, bytes]:
    """The type code that a read's data begins with, and what follows. Raises ValueError for less."""
    length = 4 if data[:2] == STRUCTURE else 2
    if len(data) < length:
        raise ValueError("a value without its type")
    return data[:length], data[length:]


def encode(tag: LogixTag, kind: Atomic | Structure, value: Value) -> bytes:
    """The bytes of one value of that type. Raises Unencodable.

    Not for bits: `to_bool` says what to write there. Of an array, the bytes of all its elements.
    """
    if isinstance(value, tuple):
        return b"".join([encode(tag, kind, element) for element in value])
    if isinstance(kind, Structure):
        return _encode_text(tag, kind, value)
    if kind is BOOL:
        return b"\x01" if to_bool(tag, value) else b"\0"
    limits = INTEGER_LIMITS.get(tag.type)
    if isinstance(value, bool) or not isinstance(value, int if limits is not None else int | float):
        raise Unencodable(f"{tag.name}: {value!r} is not of type {tag.type.name}", BAD_TYPE_MISMATCH)
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise Unencodable(
            f"{tag.name}: {value} is outside {tag.type.name} ({limits[0]}…{limits[1]})", BAD_OUT_OF_RANGE
        )
    try:
        return struct.pack("<" + kind.format, value)
    except (OverflowError, struct.error):
        raise Unencodable(f"{tag.name}: {value} is too large for a {kind.name}", BAD_OUT_OF_RANGE) from None


def to_bool(tag: LogixTag, value: Value) -> bool:
    """What to write to a BOOL or a bit. Raises Unencodable for anything but a bool."""
    if isinstance(value, bool):
        return value
    raise Unencodable(f"{tag.name}: {value!r} is not a Boolean", BAD_TYPE_MISMATCH)


def _encode_text(tag: LogixTag, kind: Structure, value: Value) -> bytes:
    if not isinstance(value, str) or tag.address.encoding is not Encoding.string:
        raise Unencodable(f"{tag.name}: {value!r} is not a String", BAD_TYPE_MISMATCH)
    try:
        raw = value.encode(TEXT_ENCODING)
    except UnicodeEncodeError:
        raise Unencodable(
            f"{tag.name}: {value!r} has characters that a Logix STRING has no byte for", BAD_OUT_OF_RANGE
        ) from None
    capacity = kind.capacity or 0
    if len(raw) > capacity:
        raise Unencodable(
            f"{tag.name}: {value!r} has {len(raw)} characters, a {kind.name} takes {capacity}",
            BAD_OUT_OF_RANGE,
        )
    return (_LENGTH.pack(len(raw)) + raw).ljust(kind.size, b"\0")
