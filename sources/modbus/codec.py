"""Modbus requests and replies: what is asked, and whether the answer answers it.

A PDU is the function code and what follows it. Replies are taken raw and checked against
their request: function, length, and the place a write echoes. No I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from sources.modbus.tables import Table
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_INVALID_STATE,
    BAD_NO_COMMUNICATION,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_UNEXPECTED_ERROR,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
)

WRITE_COIL: Final = 5
WRITE_REGISTER: Final = 6
WRITE_COILS: Final = 15
WRITE_REGISTERS: Final = 16
MASK_WRITE_REGISTER: Final = 22
READ_QUEUE: Final = Table.fifo.value
MAX_QUEUE: Final = 31
"""Registers that FC 24 brings at most."""
WRITE_AND_READ_REGISTERS: Final = 23

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
TARGET_SILENT: Final = 11
UNREACHED: Final = frozenset({10, TARGET_SILENT})
"""What a gateway answers for a unit that it does not reach."""

_EXCEPTIONS: Final[dict[int, tuple[str, Quality, Quality]]] = {
    # code: name, quality of a read, quality of a write
    1: ("illegal function", BAD_NOT_SUPPORTED, BAD_NOT_SUPPORTED),
    2: ("illegal data address", BAD_CONFIGURATION_ERROR, BAD_OUT_OF_RANGE),
    3: ("illegal data value", BAD_CONFIGURATION_ERROR, BAD_OUT_OF_RANGE),
    4: ("device failure", BAD_DEVICE_FAILURE, BAD_DEVICE_FAILURE),
    5: ("acknowledge", BAD_UNEXPECTED_ERROR, GOOD_COMPLETES_ASYNCHRONOUSLY),
    6: ("device busy", BAD_RESOURCE_UNAVAILABLE, BAD_RESOURCE_UNAVAILABLE),
    7: ("negative acknowledge", BAD_INVALID_STATE, BAD_INVALID_STATE),
    8: ("memory parity error", BAD_DEVICE_FAILURE, BAD_DEVICE_FAILURE),
    10: ("gateway path unavailable", BAD_NO_COMMUNICATION, BAD_NO_COMMUNICATION),
    11: ("gateway target failed to respond", BAD_TIMEOUT, BAD_TIMEOUT),
}


class DeviceException(Exception):
    """The device answered with a Modbus exception: it did not do what was asked.

    But for `TARGET_SILENT`: a gateway passed the request on, and had no answer to pass back.
    """

    def __init__(self, code: int) -> None:
        name, self.read_quality, self.write_quality = _EXCEPTIONS.get(
            code, ("unknown", BAD_UNEXPECTED_ERROR, BAD_UNEXPECTED_ERROR)
        )
        super().__init__(f"exception {code} ({name})")
        self.code = code


class MalformedReply(Exception):
    """A reply that does not answer its request: too short, too long, or to another question."""


class Request:
    """A request, its bytes made once however often it is sent."""

    __slots__ = ("function", "pdu", "unit")

    def __init__(self, unit: int, function: int, body: bytes) -> None:
        self.unit = unit
        self.function = function
        self.pdu = bytes((function,)) + body


def read(unit: int, table: Table, start: int, count: int) -> Request:
    """FC 1 to 4; of a queue FC 24, whose reply says how many registers it brings."""
    if table.is_queue:
        return Request(unit, READ_QUEUE, struct.pack(">H", start))
    return Request(unit, table.value, struct.pack(">HH", start, count))


def write_coil(unit: int, address: int, value: bool) -> Request:
    """FC 5."""
    return Request(unit, WRITE_COIL, struct.pack(">HH", address, 0xFF00 if value else 0))


def write_coils(unit: int, address: int, values: Sequence[bool]) -> Request:
    """FC 15: several coils at once, or one where a device has no FC 5."""
    count = len(values)
    size = (count + 7) // 8
    bits = sum(1 << index for index, value in enumerate(values) if value)
    body = struct.pack(">HHB", address, count, size) + bits.to_bytes(size, "little")
    return Request(unit, WRITE_COILS, body)


def write_register(unit: int, address: int, data: bytes) -> Request:
    """FC 6; two bytes."""
    return Request(unit, WRITE_REGISTER, struct.pack(">H", address) + data)


def write_registers(unit: int, address: int, data: bytes) -> Request:
    """FC 16; all registers at once, so a value is never half written."""
    return Request(unit, WRITE_REGISTERS, struct.pack(">HHB", address, len(data) // 2, len(data)) + data)


def write_and_read(unit: int, address: int, data: bytes) -> Request:
    """FC 23: as FC 16, and the same registers read back in the same request."""
    count = len(data) // 2
    body = struct.pack(">HHHHB", address, count, address, count, len(data)) + data
    return Request(unit, WRITE_AND_READ_REGISTERS, body)


def mask_write(unit: int, address: int, mask: int, value: bool) -> Request:
    """FC 22: set or clear the bits of the mask, within the device, in one step."""
    return Request(
        unit, MASK_WRITE_REGISTER, struct.pack(">HHH", address, 0xFFFF & ~mask, mask if value else 0)
    )


def reply_length(request: Request) -> int | None:
    """The bytes of the PDU that answers a read in the whole; None for other functions."""
    if request.function > Table.input.value:
        return None
    count = int.from_bytes(request.pdu[3:5], "big")
    return 2 + ((count + 7) // 8 if request.function <= Table.discrete.value else 2 * count)


def likely_length(request: Request) -> int:
    """The bytes of the PDU that answers a request, at most, to reckon how long it takes on a line."""
    if request.function == READ_QUEUE:
        return 5 + 2 * MAX_QUEUE
    return reply_length(request) or 8


def check(request: Request, reply: bytes) -> bytes:
    """The bytes behind the function code of a reply's PDU. Raises DeviceException or MalformedReply."""
    if reply[0] == request.function:
        return reply[1:]
    if reply[0] == request.function | 0x80 and len(reply) > 1:
        raise DeviceException(reply[1])
    raise MalformedReply(f"the reply is of function {reply[0]}, not {request.function}")


def check_read(request: Request, reply: bytes, size: int) -> bytes:
    """The ``size`` bytes of a table, or as many as a queue holds.

    Raises DeviceException or MalformedReply.
    """
    if len(reply) == size + 2 and reply[0] == request.function and reply[1] == size:
        return reply[2:]
    body = check(request, reply)
    if request.function == READ_QUEUE:
        return _queue(body)
    raise MalformedReply(f"the reply brings {max(len(body) - 1, 0)} bytes where {size} were asked for")


def _queue(body: bytes) -> bytes:
    """The registers of a queue. Raises MalformedReply where the two counts of its reply are not right."""
    if len(body) < 4:
        raise MalformedReply(f"the reply to a read of a queue is {len(body)} bytes long")
    size, count = struct.unpack_from(">HH", body)
    if size != len(body) - 2 or size != 2 + 2 * count or count > MAX_QUEUE:
        raise MalformedReply(f"the reply brings {len(body) - 4} bytes of a queue of {count} registers")
    return body[4:]


def check_write(request: Request, reply: bytes) -> None:
    """Whether a write was taken. Raises DeviceException or MalformedReply.

    The echoed address (and quantity, of FC 15 and 16) must be ours. A value need not: a
    device that limits what it is told may echo what it took, and reading back will tell.
    """
    body = check(request, reply)
    if request.function == WRITE_AND_READ_REGISTERS:
        if len(body) != 1 + request.pdu[9] or body[0] != request.pdu[9]:
            raise MalformedReply(f"the reply to a write with reading back is {len(body)} bytes long")
        return
    if len(body) != (6 if request.function == MASK_WRITE_REGISTER else 4):
        raise MalformedReply(f"the reply to a write is {len(body)} bytes long")
    echoed = 4 if request.function in {WRITE_COILS, WRITE_REGISTERS} else 2
    if body[:echoed] != request.pdu[1 : 1 + echoed]:
        raise MalformedReply("the reply to a write names another place")
