"""CIP services on tags, as bytes: requests built, replies taken apart. No I/O.

What is built here is what a class 3 connection carries behind its sequence count
(CIP Vol. 1 §2-4; the tag services are those of Rockwell's 1756-PM020). All numbers are
little endian.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from sources.ethernetip.config import Segment

READ_TAG: Final = 0x4C
READ_TAG_FRAGMENTED: Final = 0x52
WRITE_TAG: Final = 0x4D
WRITE_TAG_FRAGMENTED: Final = 0x53
READ_MODIFY_WRITE: Final = 0x4E
MULTIPLE_SERVICE: Final = 0x0A
REPLY: Final = 0x80

STRUCTURE: Final = b"\xa0\x02"
"""The type that says a structure handle follows."""

_MESSAGE_ROUTER: Final = b"\x02\x20\x02\x24\x01"
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")

REPLY_HEAD: Final = 4
"""Bytes of a reply without its data: service, reserved, status, size of the additional status."""
MULTI_HEAD: Final = 8
"""Bytes of a multiple service request around its services: service, path, count."""
MULTI_REPLY_HEAD: Final = REPLY_HEAD + 2
MULTI_EACH: Final = 2
"""Bytes that each service costs besides itself: its offset."""


class FramingError(ValueError):
    """Bytes that are no reply to what was asked; the text says how."""


class Reply(NamedTuple):
    """A service's answer: ``status`` 0 is success; ``extended`` is the first additional word, or 0."""

    service: int
    status: int
    extended: int
    data: bytes


def symbolic_path(segments: Sequence[Segment]) -> bytes:
    """The path to a tag by its names, with its length in words before it.

    Names, never instance ids: those are renumbered by a program download, and a stale one
    reads or writes another tag.
    """
    parts: list[bytes] = []
    for segment in segments:
        name = segment.name.encode("ascii")
        parts.append(bytes((0x91, len(name))) + name + b"\0" * (len(name) % 2))
        parts.extend(_element(index) for index in segment.indexes)
    path = b"".join(parts)
    if len(path) > 2 * 255:
        raise FramingError(f"the path to {'.'.join(map(str, segments))} is too long for a request")
    return bytes((len(path) // 2,)) + path


def _element(index: int) -> bytes:
    if index < 0x100:
        return bytes((0x28, index))
    if index < 0x10000:
        return b"\x29\0" + _U16.pack(index)
    return b"\x2a\0" + _U32.pack(index)


def read(path: bytes, elements: int) -> bytes:
    """Read so many elements from where the path points."""
    return bytes((READ_TAG,)) + path + _U16.pack(elements)


def read_fragment(path: bytes, elements: int, offset: int) -> bytes:
    """Read the same elements, but only what follows the first ``offset`` bytes and fits the packet."""
    return bytes((READ_TAG_FRAGMENTED,)) + path + _U16.pack(elements) + _U32.pack(offset)


def write(path: bytes, type_code: bytes, data: bytes, elements: int = 1) -> bytes:
    """Write so many elements. ``type_code`` is as in a reply: two bytes, or `STRUCTURE` and the handle."""
    return bytes((WRITE_TAG,)) + path + type_code + _U16.pack(elements) + data


def write_fragment(path: bytes, type_code: bytes, offset: int, data: bytes, elements: int = 1) -> bytes:
    """Write a part of these elements, ``offset`` bytes in."""
    head = bytes((WRITE_TAG_FRAGMENTED,)) + path + type_code
    return head + _U16.pack(elements) + _U32.pack(offset) + data


def write_bit(path: bytes, size: int, bit: int, *, to: bool) -> bytes:
    """Set or clear one bit of an integer of ``size`` bytes; the controller leaves the others alone."""
    return write_bits(path, size, 1 << bit, 1 << bit if to else 0)


def write_bits(path: bytes, size: int, mask: int, value: int) -> bytes:
    """Give the bits of a mask that value; the controller leaves the others alone.

    It computes ``(value | or_mask) & and_mask``; both masks have the integer's size.
    """
    every = (1 << 8 * size) - 1
    or_mask, and_mask = value & mask, every & ~(mask & ~value)
    masks = or_mask.to_bytes(size, "little") + and_mask.to_bytes(size, "little")
    return bytes((READ_MODIFY_WRITE,)) + path + _U16.pack(size) + masks


def multiple(services: Sequence[bytes]) -> bytes:
    """Several services in one packet; the controller carries them out in order."""
    offset = 2 + 2 * len(services)
    offsets = []
    for service in services:
        offsets.append(_U16.pack(offset))
        offset += len(service)
    head = bytes((MULTIPLE_SERVICE,)) + _MESSAGE_ROUTER + _U16.pack(len(services))
    return head + b"".join(offsets) + b"".join(services)


def parse_reply(raw: bytes, service: int) -> Reply:
    """Take one reply apart. Raises FramingError, also where it answers another service."""
    if len(raw) < REPLY_HEAD:
        raise FramingError(f"a reply of {len(raw)} bytes")
    if raw[0] != service | REPLY:
        raise FramingError(f"the reply to service {service:#04x} says {raw[0]:#04x}")
    status, words = raw[2], raw[3]
    start = REPLY_HEAD + 2 * words
    if len(raw) < start:
        raise FramingError("a reply that ends within its status")
    extended = _U16.unpack_from(raw, REPLY_HEAD)[0] if words else 0
    return Reply(raw[0], status, extended, raw[start:])


def parse_multiple(data: bytes, services: Sequence[int]) -> list[Reply]:
    """The replies within one of a multiple service request, in order. Raises FramingError.

    All must be there: whatever is missing would leave the outcome of a write unknown.
    """
    if len(data) < 2:
        raise FramingError("a multiple service reply without its count")
    (count,) = _U16.unpack_from(data)
    if count != len(services):
        raise FramingError(f"{count} replies to {len(services)} services")
    head = 2 + 2 * count
    if len(data) < head:
        raise FramingError("a multiple service reply that ends within its offsets")
    offsets = [*struct.unpack_from(f"<{count}H", data, 2), len(data)]
    if offsets[0] != head or any(a > b for a, b in itertools.pairwise(offsets)):
        raise FramingError("a multiple service reply whose offsets do not rise")
    return [
        parse_reply(data[start:end], service)
        for start, end, service in zip(offsets, offsets[1:], services, strict=False)
    ]
