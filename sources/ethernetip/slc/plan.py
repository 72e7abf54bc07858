"""Which elements to read together, where their values stand, and values to bytes. Pure."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sources.bits import bits
from sources.ethernetip.config import Encoding
from sources.ethernetip.slc.config import FORMATS, MOST, RUNS, SIZES, SlcAddress
from sources.insight import PlannedBlock
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import INTEGER_LIMITS, ScanClass, Tag, Value

SlcTag: TypeAlias = Tag[SlcAddress]

_GAP: Final = 8
"""Bytes that nobody wants and that are read along to spare a request."""
_TEXT_ROOM: Final = 82
_WHOLE: Final = b"\xff\xff"


class Unwritable(ValueError):
    """A value that a tag cannot carry; ``quality`` says why."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One request: ``size`` bytes from an element on, and the tags in them with their offsets."""

    scan: ScanClass
    request: str
    size: int
    tags: tuple[SlcTag, ...]
    offsets: tuple[int, ...]

    @property
    def label(self) -> str:
        """What it reads, for people: ``N7:0 to 39``, ``F8:1``, ``T4:2``."""
        first = self.tags[0].address
        last = max(tag.address.end for tag in self.tags) - 1
        if first.file in {"T", "C"}:
            return f"{first.file}{first.number}:{first.element}"
        start = self.request.partition("{")[0]
        return start if first.file not in RUNS or last == first.element else f"{start} to {last}"

    def decode(self, data: bytes) -> tuple[list[Value], Quality | list[Quality]]:
        """Values in the order of ``tags``; one quality for all, or one each. ``data`` has ``size`` bytes."""
        values = [_value(tag.address, data, at) for tag, at in zip(self.tags, self.offsets, strict=True)]
        if None not in values:
            return values, GOOD
        return values, [BAD_DECODING_ERROR if value is None else GOOD for value in values]


def plan(tags: Iterable[SlcTag], alone: Collection[str] = ()) -> list[Block]:
    """Blocks that bring every tag once, by scan class. ``alone`` names tags that share no request."""
    groups: dict[tuple[ScanClass, str, int, str], list[SlcTag]] = defaultdict(list)
    for tag in tags:
        address = tag.address
        apart = tag.name if tag.name in alone else ""
        # What is no run is one element a request, whoever wants something of it.
        key = address.request if address.file not in RUNS else ""
        groups[tag.scan, address.file + key, address.number, apart].append(tag)
    blocks: list[Block] = []
    for members in groups.values():
        blocks += _runs(sorted(members, key=lambda tag: tag.address.element))
    return blocks


def in_order(blocks: Iterable[Block]) -> list[Block]:
    """Class by class, the fastest first, in the order of their addresses."""
    return sorted(
        blocks, key=lambda block: (block.scan.period, block.scan.name, *_place(block.tags[0].address))
    )


def explain(blocks: Iterable[Block]) -> list[PlannedBlock]:
    """The plan in words: each request, and why it ends where it ends."""
    ordered = in_order(blocks)
    return [
        PlannedBlock(block.label, block.scan.name, f"{block.size} bytes", len(block.tags), _end(block, after))
        for block, after in zip(ordered, [*ordered[1:], None], strict=False)  # there may be none
    ]


def _place(address: SlcAddress) -> tuple[str, int, int]:
    return address.file, address.number, address.element


def _end(block: Block, after: Block | None) -> str:
    """Why nothing more is read together with it."""
    first, end = block.tags[0].address, max(tag.address.end for tag in block.tags)
    if first.file not in RUNS:
        return "one element a request"
    following = after.tags[0].address if after is not None and after.scan == block.scan else None
    if following is None or (following.file, following.number) != (first.file, first.number):
        return "last of its file and class"
    gap = following.element - end
    if gap * SIZES[first.file] > _GAP:
        return f"gap of {gap} elements"
    return f"{MOST} bytes, what every controller takes"


def _runs(members: list[SlcTag]) -> list[Block]:
    size = SIZES[members[0].address.file]
    blocks: list[Block] = []
    run: list[SlcTag] = []
    end = 0
    for tag in members:
        if run:
            reach = (max(end, tag.address.end) - run[0].address.element) * size
            gap = (tag.address.element - end) * size
            if reach > MOST or gap > _GAP:
                blocks.append(_block(run, size))
                run, end = [], 0
        run.append(tag)
        end = max(end, tag.address.end)
    return [*blocks, _block(run, size)]


def _block(run: list[SlcTag], size: int) -> Block:
    first = run[0].address
    count = max(tag.address.end for tag in run) - first.element
    request = f"{first.request}{{{count}}}" if first.file in RUNS else first.request
    offsets = tuple(
        (tag.address.element - first.element) * size
        + (2 * tag.address.word if first.file in {"T", "C"} else 0)
        for tag in run
    )
    return Block(run[0].scan, request, count * size, tuple(run), offsets)


def _value(address: SlcAddress, data: bytes, at: int) -> Value:
    if address.elements is not None:
        return _array(address, address.elements, data, at)
    if address.bit is not None:
        return bool(data[at + address.bit // 8] >> address.bit % 8 & 1)
    if address.encoding is Encoding.string:
        return _text(data[at : at + SIZES["ST"]])
    value: int | float = struct.unpack_from(FORMATS[address.encoding], data, at)[0]
    return value


def _array(address: SlcAddress, count: int, data: bytes, at: int) -> Value:
    if address.bit is not None:
        return bits(data[at : at + (address.end - address.element) * SIZES[address.file]], address.bit, count)
    return struct.unpack_from(f"<{count}{FORMATS[address.encoding][-1]}", data, at)


def _text(raw: bytes) -> str | None:
    """The characters that count, two to a word, the first in its upper half; None for too many."""
    length = int.from_bytes(raw[:2], "little")
    if length > _TEXT_ROOM:
        return None
    return _swapped(raw[2:])[:length].decode("latin-1")


def _swapped(raw: bytes) -> bytes:
    out = bytearray(raw)
    out[0::2], out[1::2] = raw[1::2], raw[0::2]
    return bytes(out)


def encode(tag: SlcTag, value: Value) -> tuple[str, bytes]:
    """Where to write a value, and the mask and bytes of it. Raises Unwritable."""
    address = tag.address
    if address.elements is not None:
        if not isinstance(value, tuple) or len(value) != address.elements:
            wanted = f"an array of {address.elements} elements"
            raise Unwritable(f"{tag.name}: {value!r} is not {wanted}", BAD_TYPE_MISMATCH)
        request = f"{address.request}{{{address.elements}}}"
        return request, _WHOLE + b"".join([_encode_number(tag, element) for element in value])
    if address.bit is not None:
        if not isinstance(value, bool):
            raise Unwritable(f"{tag.name}: {value!r} is not a Boolean", BAD_TYPE_MISMATCH)
        mask = struct.pack("<H", 1 << address.bit)
        return address.request, mask + (mask if value else b"\0\0")
    if address.encoding is Encoding.string:
        return address.request, _WHOLE + _encode_text(tag, value)
    return address.request, _WHOLE + _encode_number(tag, value)


def _encode_number(tag: SlcTag, value: Value) -> bytes:
    limits = INTEGER_LIMITS.get(tag.type)
    if isinstance(value, bool) or not isinstance(value, int if limits is not None else int | float):
        raise Unwritable(f"{tag.name}: {value!r} is not of type {tag.type.name}", BAD_TYPE_MISMATCH)
    try:
        return struct.pack(FORMATS[tag.address.encoding], value)
    except (struct.error, OverflowError):
        raise Unwritable(
            f"{tag.name}: {value} is too large for a {tag.address.encoding.value}", BAD_OUT_OF_RANGE
        ) from None


def _encode_text(tag: SlcTag, value: Value) -> bytes:
    if not isinstance(value, str):
        raise Unwritable(f"{tag.name}: {value!r} is not a String", BAD_TYPE_MISMATCH)
    try:
        raw = value.encode("latin-1")
    except UnicodeEncodeError:
        raise Unwritable(
            f"{tag.name}: {value!r} has characters that an SLC has no byte for", BAD_OUT_OF_RANGE
        ) from None
    if len(raw) > _TEXT_ROOM:
        raise Unwritable(f"{tag.name}: a text has at most {_TEXT_ROOM} characters", BAD_OUT_OF_RANGE)
    return len(raw).to_bytes(2, "little") + _swapped(raw.ljust(_TEXT_ROOM, b"\0"))
