"""EtherNet/IP encapsulation: frames and common packet format, without I/O (CIP volume 2, chapter 2)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<HHII8sI")
"""Command, length of the data, session handle, status, sender context, options."""

MAX_DATA: Final = 16_384
"""The most a frame may carry here: four times the largest connection, with room for its wrapping."""

PROTOCOL_VERSION: Final = 1

ADDRESS_NULL: Final = 0x0000
ADDRESS_CONNECTED: Final = 0x00A1
DATA_CONNECTED: Final = 0x00B1
DATA_UNCONNECTED: Final = 0x00B2


class Command(enum.IntEnum):
    """The commands answered here."""

    NOP = 0x0000
    LIST_SERVICES = 0x0004
    LIST_IDENTITY = 0x0063
    LIST_INTERFACES = 0x0064
    REGISTER_SESSION = 0x0065
    UNREGISTER_SESSION = 0x0066
    SEND_RR_DATA = 0x006F
    SEND_UNIT_DATA = 0x0070


class Status(enum.IntEnum):
    """Encapsulation status of a reply."""

    SUCCESS = 0x0000
    INVALID_COMMAND = 0x0001
    NO_MEMORY = 0x0002
    INCORRECT_DATA = 0x0003
    INVALID_SESSION = 0x0064
    INVALID_LENGTH = 0x0065
    UNSUPPORTED_VERSION = 0x0069


class EncapsulationError(Exception):
    """A frame's data makes no sense; ``status`` is what the reply says."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class Header(NamedTuple):
    """The 24 bytes before every frame's data."""

    command: int
    length: int
    session: int
    status: int
    context: bytes
    options: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame."""

    command: int
    session: int
    context: bytes
    options: int
    data: bytes

    def reply(self, data: bytes = b"", status: Status = Status.SUCCESS, session: int | None = None) -> bytes:
        """The bytes of a reply to this frame: its command and sender context come back."""
        handle = self.session if session is None else session
        return HEADER.pack(self.command, len(data), handle, status, self.context, 0) + data


class Item(NamedTuple):
    """One item of the common packet format."""

    type: int
    data: bytes


def parse_header(raw: bytes) -> Header:
    """The header of a frame; ``raw`` has at least its 24 bytes."""
    return Header._make(HEADER.unpack_from(raw))


def parse_packet(data: bytes) -> list[Item]:
    """The items after interface handle and timeout. Raises EncapsulationError.

    Data after the last item is ignored, as its length says nothing about the items.
    """
    if len(data) < 8:
        raise EncapsulationError(Status.INVALID_LENGTH)
    interface, _timeout, count = struct.unpack_from("<IHH", data)
    if interface != 0:
        raise EncapsulationError(Status.INCORRECT_DATA)
    items: list[Item] = []
    position = 8
    for _ in range(count):
        if position + 4 > len(data):
            raise EncapsulationError(Status.INVALID_LENGTH)
        kind, length = struct.unpack_from("<HH", data, position)
        position += 4
        if position + length > len(data):
            raise EncapsulationError(Status.INVALID_LENGTH)
        items.append(Item(kind, data[position : position + length]))
        position += length
    return items


def build_packet(address: Item, data: Item) -> bytes:
    """Interface handle, timeout and two items."""
    return b"".join(
        (
            struct.pack("<IHH", 0, 0, 2),
            *(
                part
                for item in (address, data)
                for part in (struct.pack("<HH", item.type, len(item.data)), item.data)
            ),
        )
    )
