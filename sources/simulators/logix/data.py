"""Reading and writing tags: the Logix data services (Rockwell publication 1756-PM020)."""

from __future__ import annotations

import struct
from typing import Final

from sources.simulators.logix.cip import CipError, Extended, Reply, Request, Service, Status, unpack
from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.tags import Access, Place
from sources.simulators.logix.types import BOOL, Atomic

_COUNT: Final = struct.Struct("<H")
_OFFSET: Final = struct.Struct("<I")
_STRUCTURE: Final = b"\xa0\x02"
"""Type 02A0: a structure, its handle follows."""
_MASK_SIZES: Final = frozenset({1, 2, 4, 8, 12})

TAG_SERVICES: Final = frozenset(
    {
        Service.READ_TAG,
        Service.READ_TAG_FRAGMENTED,
        Service.WRITE_TAG,
        Service.WRITE_TAG_FRAGMENTED,
        Service.READ_MODIFY_WRITE_TAG,
    }
)
WRITES: Final = TAG_SERVICES - {Service.READ_TAG, Service.READ_TAG_FRAGMENTED}


def serve_tag(request: Request, place: Place, room: int, faults: LogixFaults) -> Reply:
    """Answer a tag service at a place; ``room`` is how much reply data fits. Raises CipError."""
    if request.service not in TAG_SERVICES:
        raise CipError(Status.SERVICE_NOT_SUPPORTED)
    _check_access(place, faults, writes=request.service in WRITES)
    match request.service:
        case Service.READ_TAG | Service.READ_TAG_FRAGMENTED:
            fragmented = request.service == Service.READ_TAG_FRAGMENTED
            return _read(place, request.data, room, faults, fragmented=fragmented)
        case Service.WRITE_TAG | Service.WRITE_TAG_FRAGMENTED:
            fragmented = request.service == Service.WRITE_TAG_FRAGMENTED
            return _write(place, request.data, faults, fragmented=fragmented)
        case _:
            return _read_modify_write(place, request.data, faults)


def _check_access(place: Place, faults: LogixFaults, *, writes: bool) -> None:
    tag = place.tag
    if tag.failure is not None:
        raise CipError(*tag.failure)
    if tag.access is Access.NONE or (writes and tag.access is Access.READ_ONLY):
        raise CipError(Status.PRIVILEGE_VIOLATION)
    if writes and tag.constant:
        raise CipError(Status.ATTRIBUTE_NOT_SETTABLE)
    if writes and faults.mode.refuses_writes:
        raise CipError(Status.DEVICE_STATE_CONFLICT, Extended.KEYSWITCH)


def _type_header(place: Place) -> bytes:
    if isinstance(place.type, Atomic):
        return _COUNT.pack(place.type.code)
    return _STRUCTURE + _COUNT.pack(place.type.handle)


def _read(place: Place, data: bytes, room: int, faults: LogixFaults, *, fragmented: bool) -> Reply:
    (count,) = unpack(_COUNT, data)
    offset, end = 0, _COUNT.size
    if fragmented:
        (offset,) = unpack(_OFFSET, data, end)
        end += _OFFSET.size
    faults.check_end(data, end)
    _within(place, count)
    head = _type_header(place)
    value = _value(place, count)
    if offset >= len(value):
        raise CipError(Status.GENERAL_ERROR, Extended.OFFSET_BEYOND_END)
    space = room - len(head)
    rest = value[offset:]
    if len(rest) <= space:
        return Reply(head + rest)
    # A structure may be cut anywhere on a word, an atomic value never.
    grain = place.type.size if isinstance(place.type, Atomic) else 4
    fits = space - (offset + space) % grain
    if fits < 1:
        raise CipError(Status.REPLY_DATA_TOO_LARGE)
    return Reply(head + rest[:fits], Status.PARTIAL_TRANSFER)


def _value(place: Place, count: int) -> bytes:
    memory = place.tag.data
    if place.bit is not None:
        return bytes((memory[place.offset] >> place.bit & 1,))
    if place.type is BOOL:
        return bytes(1 if byte else 0 for byte in memory[place.span(count)])
    return bytes(memory[place.span(count)])


def _write(place: Place, data: bytes, faults: LogixFaults, *, fragmented: bool) -> Reply:
    head = _type_header(place)
    if len(data) < len(head):
        raise CipError(Status.NOT_ENOUGH_DATA)
    if data[: len(head)] != head:
        raise CipError(Status.GENERAL_ERROR, Extended.TYPE_MISMATCH)
    (count,) = unpack(_COUNT, data, len(head))
    start = len(head) + _COUNT.size
    _within(place, count)
    size = count * place.type.size
    if not fragmented:
        if len(data) - start < size:
            raise CipError(Status.NOT_ENOUGH_DATA)
        faults.check_end(data, start + size)
        _put(place, 0, data[start : start + size])
        return Reply()
    (offset,) = unpack(_OFFSET, data, start)
    part = data[start + _OFFSET.size :]
    if offset >= size:
        raise CipError(Status.GENERAL_ERROR, Extended.OFFSET_BEYOND_END)
    if offset + len(part) > size:
        raise CipError(Status.GENERAL_ERROR, Extended.BEYOND_END)
    if not part:
        raise CipError(Status.NOT_ENOUGH_DATA)
    _put(place, offset, part)
    return Reply()


def _put(place: Place, offset: int, value: bytes) -> None:
    memory = place.tag.data
    if place.bit is not None:
        memory[place.offset] &= ~(1 << place.bit)
        memory[place.offset] |= (1 if value[0] else 0) << place.bit
        return
    start = place.offset + offset
    memory[start : start + len(value)] = value


def _read_modify_write(place: Place, data: bytes, faults: LogixFaults) -> Reply:
    (size,) = unpack(_COUNT, data)
    if not isinstance(place.type, Atomic) or not place.type.is_integer:
        raise CipError(Status.GENERAL_ERROR, Extended.TYPE_MISMATCH)
    if size not in _MASK_SIZES or size > place.type.size:
        raise CipError(Status.INVALID_PARAMETER)
    end = _COUNT.size + 2 * size
    if len(data) < end:
        raise CipError(Status.NOT_ENOUGH_DATA)
    faults.check_end(data, end)
    or_mask, and_mask = data[2 : 2 + size], data[2 + size : end]
    memory = place.tag.data
    for index in range(size):
        byte = memory[place.offset + index]
        memory[place.offset + index] = (byte | or_mask[index]) & and_mask[index]
    return Reply()


def _within(place: Place, count: int) -> None:
    if not 1 <= count <= place.available:
        raise CipError(Status.GENERAL_ERROR, Extended.BEYOND_END)
