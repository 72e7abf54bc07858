"""Register and bit tables to values, and back. Pure: bytes in, values out.

A `Layout` is compiled once per block: numbers come out of the reply's raw bytes by one
`struct.unpack` per byte order, bits by a mask on a byte, text by a slice. With the bytes of
each register swapped, BADC is ABCD and CDAB is DCBA, that is big and little endian: four
orders from two formats.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from sources.modbus.config import Encoding, ModbusAddress, Table, WordOrder
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import INTEGER_LIMITS, Tag, Value

_LETTERS: Final = {
    Encoding.int16: "h",
    Encoding.uint16: "H",
    Encoding.int32: "i",
    Encoding.uint32: "I",
    Encoding.float32: "f",
    Encoding.int64: "q",
    Encoding.uint64: "Q",
    Encoding.float64: "d",
}

ModbusTag: TypeAlias = Tag[ModbusAddress]
_Unpack: TypeAlias = Callable[[bytes], tuple[Any, ...]]


class Unencodable(ValueError):
    """A value that a tag's encoding cannot carry; ``quality`` says why."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


def swap_bytes(data: bytes) -> bytes:
    """The two bytes of each register exchanged."""
    swapped = bytearray(len(data))
    swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
    return bytes(swapped)


def reply_size(table: Table, count: int) -> int:
    """How many bytes a reply carries for so many registers or bits."""
    return (count + 7) // 8 if table.is_bits else 2 * count


class Layout:
    """How to decode one block: ``count`` registers or bits of ``table`` from ``start``.

    ``tags`` holds the tags given, in the order in which `decode` yields their values; it is
    made once, so every batch of the block can carry the same tuple.
    """

    __slots__ = ("_bits", "_formats", "_texts", "size", "tags")

    def __init__(self, table: Table, start: int, count: int, tags: Iterable[ModbusTag]) -> None:
        self.size = reply_size(table, count)
        numbers: list[ModbusTag] = []
        bits: list[ModbusTag] = []
        texts: list[ModbusTag] = []
        for tag in sorted(tags, key=lambda tag: (tag.address.start, tag.address.count)):
            kind = tag.address.encoding
            (bits if kind is Encoding.bool else texts if kind is Encoding.string else numbers).append(tag)
        self._formats: list[tuple[_Unpack, bool]] = []
        ordered = _compile(numbers, start, self.size, self._formats)
        self._bits = [_bit_place(tag.address, start) for tag in bits]
        self._texts = [
            (
                slice(first := 2 * (tag.address.start - start), first + 2 * tag.address.count),
                tag.address.length,
                tag.address.order.swaps_bytes,
            )
            for tag in texts
        ]
        self.tags: tuple[ModbusTag, ...] = (*ordered, *bits, *texts)

    def decode(self, data: bytes) -> tuple[Sequence[Value], Quality | list[Quality]]:
        """Values in the order of ``tags`` from exactly ``size`` bytes, and one quality or one each.

        A text that is not UTF-8 is None with BadDecodingError; a number of whatever bits,
        NaN and infinity too, is a value.
        """
        formats, bits = self._formats, self._bits
        if len(formats) == 1 and not formats[0][1] and not bits and not self._texts:
            return formats[0][0](data), GOOD
        values: list[Value] = []
        swapped = b""
        for unpack, swap in formats:
            if swap:
                swapped = swapped or swap_bytes(data)
            values += unpack(swapped if swap else data)
        if bits:
            values += [data[byte] & mask != 0 for byte, mask in bits]
        if not self._texts:
            return values, GOOD
        qualities: list[Quality] = [GOOD] * len(values)
        for place, length, swap in self._texts:
            raw = data[place]
            text = _text((swap_bytes(raw) if swap else raw)[:length])
            values.append(text)
            qualities.append(GOOD if text is not None else BAD_DECODING_ERROR)
        return values, qualities


def _endian(order: WordOrder) -> str:
    """The byte order of the format that serves this word order ..."""
    return "<" if order.swaps_words else ">"


def _is_swapped(order: WordOrder) -> bool:
    """... and whether the bytes within each register are to be exchanged before it does."""
    return order.swaps_words is not order.swaps_bytes


def _compile(
    numbers: list[ModbusTag], start: int, size: int, formats: list[tuple[_Unpack, bool]]
) -> list[ModbusTag]:
    """Append formats that cover all numbers; return the tags in the order the formats yield them.

    Tags that overlap, as a register read both whole and as half of a wider value, cannot
    stand in one format and get one more.
    """
    ordered: list[ModbusTag] = []
    rest = numbers
    while rest:
        order, at = rest[0].address.order, 0
        left: list[ModbusTag] = []
        parts = [_endian(order)]
        for tag in rest:
            address = tag.address
            place = 2 * (address.start - start)
            if address.order is not order or place < at:
                left.append(tag)
                continue
            parts.append(f"{place - at}x{_LETTERS[address.encoding]}")
            at = place + 2 * address.count
            ordered.append(tag)
        parts.append(f"{size - at}x")
        formats.append((struct.Struct("".join(parts)).unpack, _is_swapped(order)))
        rest = left
    return ordered


def _bit_place(address: ModbusAddress, start: int) -> tuple[int, int]:
    """The byte of the reply and the mask in it."""
    offset = address.start - start
    if address.bit is None:
        return offset // 8, 1 << offset % 8
    low_byte_last = 1 - address.bit // 8
    return 2 * offset + (low_byte_last ^ address.order.swaps_bytes), 1 << address.bit % 8


def _text(raw: bytes) -> str | None:
    """Text up to the first NUL; padding blanks stay, they may be meant."""
    try:
        return raw.partition(b"\0")[0].decode("utf-8")
    except UnicodeDecodeError:
        return None


def register_mask(address: ModbusAddress) -> int:
    """The one bit of the register, as the wire has the register, that ``address.bit`` means."""
    bit = address.bit or 0
    return 1 << (bit ^ 8 if address.order.swaps_bytes else bit)


def encode(tag: ModbusTag, value: Value) -> bytes:
    """The bytes to write, as many registers as the tag has. Raises Unencodable.

    Not for bits: `to_bool` says what to write there. Text is UTF-8, filled up with NULs.
    """
    address = tag.address
    order = address.order
    if address.encoding is Encoding.string:
        raw = _encode_text(tag, value)
        return swap_bytes(raw) if order.swaps_bytes else raw
    raw = _encode_number(tag, value)
    return swap_bytes(raw) if _is_swapped(order) else raw


def to_bool(tag: ModbusTag, value: Value) -> bool:
    """What to write to a coil or a bit. Raises Unencodable for anything but a bool."""
    if isinstance(value, bool):
        return value
    raise Unencodable(f"{tag.name}: {value!r} is not a Boolean", BAD_TYPE_MISMATCH)


def _encode_number(tag: ModbusTag, value: Value) -> bytes:
    letter = _LETTERS[tag.address.encoding]
    limits = INTEGER_LIMITS.get(tag.type)
    if isinstance(value, bool) or not isinstance(value, int | float if limits is None else int):
        raise Unencodable(f"{tag.name}: {value!r} is not of type {tag.type.name}", BAD_TYPE_MISMATCH)
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise Unencodable(
            f"{tag.name}: {value} is outside {tag.type.name} ({limits[0]}…{limits[1]})", BAD_OUT_OF_RANGE
        )
    try:
        return struct.pack(_endian(tag.address.order) + letter, float(value) if limits is None else value)
    except OverflowError:
        raise Unencodable(f"{tag.name}: {value} is too large for {tag.type.name}", BAD_OUT_OF_RANGE) from None


def _encode_text(tag: ModbusTag, value: Value) -> bytes:
    if not isinstance(value, str):
        raise Unencodable(f"{tag.name}: {value!r} is not a String", BAD_TYPE_MISMATCH)
    try:
        raw = value.encode("utf-8")
    except UnicodeEncodeError:
        raise Unencodable(f"{tag.name}: {value!r} has no UTF-8", BAD_OUT_OF_RANGE) from None
    if b"\0" in raw:
        raise Unencodable(f"{tag.name}: a NUL inside {value!r} would end the text there", BAD_OUT_OF_RANGE)
    if len(raw) > tag.address.length:
        raise Unencodable(
            f"{tag.name}: {value!r} takes {len(raw)} bytes, the device has {tag.address.length}",
            BAD_OUT_OF_RANGE,
        )
    return raw.ljust(2 * tag.address.count, b"\0")
