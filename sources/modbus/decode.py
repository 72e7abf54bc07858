"""Register and bit tables to values, and back. Pure: bytes in, values out.

A `Layout` is compiled once per block: numbers come out of the reply's raw bytes by one
`struct.unpack` per byte order, bits by a mask on a byte, the rest by a slice and its format, which
for an array gives a tuple.
With the bytes of each register swapped, BADC is ABCD and CDAB is DCBA, that is big and little endian: four
orders from two formats.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from sources.bits import bits
from sources.modbus.codec import MAX_QUEUE
from sources.modbus.config import ModbusAddress
from sources.modbus.encodings import LETTERS, Encoding, WordOrder
from sources.modbus.formats import Unencodable, format_of
from sources.modbus.tables import Table
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import INTEGER_LIMITS, Scalar, Tag, Value

ModbusTag: TypeAlias = Tag[ModbusAddress]
_Unpack: TypeAlias = Callable[[bytes], tuple[Any, ...]]


def swap_bytes(data: bytes) -> bytes:
    """The two bytes of each register exchanged."""
    swapped = bytearray(len(data))
    swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
    return bytes(swapped)


def _reverse(data: bytes) -> bytes:
    """Every byte in the opposite order: registers and the bytes within."""
    return data[::-1]


def _swap_words(data: bytes) -> bytes:
    """The registers in the opposite order, the bytes of each as they are."""
    return swap_bytes(data[::-1])


def reply_size(table: Table, count: int) -> int:
    """How many bytes a reply carries for so many registers or bits; of a queue, at most."""
    if table.is_queue:
        return 2 * MAX_QUEUE
    return (count + 7) // 8 if table.is_bits else 2 * count


class Layout:
    """How to decode one block: ``count`` registers or bits of ``table`` from ``start``.

    ``tags`` holds the tags given, in the order in which `decode` yields their values; it is
    made once, so every batch of the block can carry the same tuple.
    """

    __slots__ = ("_bits", "_formats", "_others", "size", "tags")

    def __init__(self, table: Table, start: int, count: int, tags: Iterable[ModbusTag]) -> None:
        self.size = reply_size(table, count)
        numbers: list[ModbusTag] = []
        single: list[ModbusTag] = []
        others: list[ModbusTag] = []
        for tag in sorted(tags, key=lambda tag: (tag.address.start, tag.address.count)):
            kind = tag.address.encoding
            if tag.address.elements is not None:
                others.append(tag)
                continue
            (single if kind is Encoding.bool else numbers if kind.is_plain else others).append(tag)
        self._formats: list[tuple[_Unpack, bool]] = []
        ordered = _compile(numbers, start, self.size, self._formats)
        self._bits = [_bit_place(tag.address, start) for tag in single]
        self._others = [_other(tag.address, start) for tag in others]
        self.tags: tuple[ModbusTag, ...] = (*ordered, *single, *others)

    def decode(self, data: bytes) -> tuple[Sequence[Value], Quality | list[Quality]]:
        """Values in the order of ``tags`` from exactly ``size`` bytes, and one quality or one each.

        A text that is not UTF-8, or a date that is none, is None with BadDecodingError, and so is
        an array with such an element; a number of whatever bits, NaN and infinity too, is a value.
        """
        formats, places = self._formats, self._bits
        if len(formats) == 1 and not formats[0][1] and not places and not self._others:
            return formats[0][0](data), GOOD
        values: list[Value] = []
        swapped = b""
        for unpack, swap in formats:
            if swap:
                swapped = swapped or swap_bytes(data)
            values += unpack(swapped if swap else data)
        if places:
            values += [data[byte] & mask != 0 for byte, mask in places]
        if not self._others:
            return values, GOOD
        others = [decode(data[place]) for place, decode in self._others]
        if None not in others:
            return [*values, *others], GOOD  # one quality, by which receivers compare blocks as a whole
        qualities = [GOOD if value is not None else BAD_DECODING_ERROR for value in others]
        return [*values, *others], [GOOD] * len(values) + qualities


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
            parts.append(f"{place - at}x{LETTERS[address.encoding]}")
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


def _other(address: ModbusAddress, start: int) -> tuple[slice, Callable[[bytes], Value]]:
    """The bytes of the reply that hold what is no plain scalar, and their reading."""
    if address.table.is_queue:
        return slice(None), _queue(address)
    offset = address.start - start
    if address.table.is_bits:
        count = address.elements or 1
        return slice(offset // 8, (offset + count + 7) // 8), _bits(offset % 8, count, swap=False)
    place = slice(2 * offset, 2 * (offset + address.count))
    if address.bit is not None:
        swap = not address.order.swaps_bytes
        return place, _bits(address.bit, address.elements or 1, swap=swap)
    if address.elements is None:
        return place, _one(address)
    if address.encoding.is_plain:
        return place, _numbers(address, address.elements)
    return place, _several(_one(address), 2 * address.each)


def _one(address: ModbusAddress) -> Callable[[bytes], Value]:
    """A value that is no plain number: its bytes arranged, and read by its format."""
    arrange, decode = arrangement(address), format_of(address.encoding, address.length, address.zone).decode
    return lambda raw: decode(arrange(raw))


def _numbers(address: ModbusAddress, count: int) -> Callable[[bytes], Value]:
    unpack = struct.Struct(f"{_endian(address.order)}{count}{LETTERS[address.encoding]}").unpack
    return (lambda raw: unpack(swap_bytes(raw))) if _is_swapped(address.order) else unpack


def _queue(address: ModbusAddress) -> Callable[[bytes], Value]:
    """As many values as the registers of a queue hold; none where one is cut."""
    size = 2 * address.each
    other = None if address.encoding.is_plain else _several(_one(address), size)

    def decode(raw: bytes) -> Value:
        if len(raw) % size:
            return None
        return other(raw) if other is not None else _numbers(address, len(raw) // size)(raw)

    return decode


def _bits(first: int, count: int, *, swap: bool) -> Callable[[bytes], Value]:
    """So many bits, from that one on, of bytes in the order of their bits once they are swapped."""
    return lambda raw: bits(swap_bytes(raw) if swap else raw, first, count)


def _several(one: Callable[[bytes], Value], size: int) -> Callable[[bytes], Value]:
    """An array of what takes so many bytes each; none where an element is none."""

    def decode(raw: bytes) -> Value:
        values = [one(raw[at : at + size]) for at in range(0, len(raw), size)]
        return None if None in values else tuple(values)  # type: ignore[arg-type]  # none is None

    return decode


def arrangement(address: ModbusAddress) -> Callable[[bytes], bytes]:
    """From the order on the wire to that of a format; its own inverse."""
    order = address.order
    if address.encoding.is_one_number and order.swaps_words:
        return _reverse if order.swaps_bytes else _swap_words
    return swap_bytes if order.swaps_bytes else bytes


def register_mask(address: ModbusAddress) -> int:
    """The one bit of the register, as the wire has the register, that ``address.bit`` means."""
    bit = address.bit or 0
    return 1 << (bit ^ 8 if address.order.swaps_bytes else bit)


def encode(tag: ModbusTag, value: Value) -> bytes:
    """The bytes to write, as many registers as the tag has. Raises Unencodable.

    Not for bits: `to_bool` says what to write there. Text is UTF-8, filled up with NULs.
    """
    address = tag.address
    if address.elements is not None:
        return b"".join([_encode_one(tag, element) for element in elements_of(tag, value)])
    return _encode_one(tag, value)


def elements_of(tag: ModbusTag, value: Value) -> tuple[Scalar, ...]:
    """The elements to write to an array. Raises Unencodable for anything but as many as it has."""
    if not isinstance(value, tuple) or len(value) != tag.address.elements:
        wanted = f"an array of {tag.address.elements} elements"
        raise Unencodable(f"{tag.name}: {value!r} is not {wanted}", BAD_TYPE_MISMATCH)
    return value


def _encode_one(tag: ModbusTag, value: Value) -> bytes:
    address = tag.address
    if address.encoding.is_plain:
        raw = _encode_number(tag, value)
        return swap_bytes(raw) if _is_swapped(address.order) else raw
    try:
        raw = format_of(address.encoding, address.length, address.zone).encode(value)
    except Unencodable as error:
        raise Unencodable(f"{tag.name}: {error}", error.quality) from None
    return arrangement(address)(raw)


def to_bool(tag: ModbusTag, value: Value) -> bool:
    """What to write to a coil or a bit. Raises Unencodable for anything but a bool."""
    if isinstance(value, bool):
        return value
    raise Unencodable(f"{tag.name}: {value!r} is not a Boolean", BAD_TYPE_MISMATCH)


def _encode_number(tag: ModbusTag, value: Value) -> bytes:
    letter = LETTERS[tag.address.encoding]
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
