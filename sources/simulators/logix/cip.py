"""The common industrial protocol: services, classes, statuses, requests and replies (CIP volume 1)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sources.simulators.logix.epath import PathError, PathSizeError, Segment, parse_path

REPLY: Final = 0x80
"""Set in the service code of every reply."""


class Service(enum.IntEnum):
    """Services by code. Some codes mean different things to different classes."""

    GET_ATTRIBUTES_ALL = 0x01
    GET_ATTRIBUTE_LIST = 0x03
    SET_ATTRIBUTE_LIST = 0x04
    MULTIPLE_SERVICE_PACKET = 0x0A
    GET_ATTRIBUTE_SINGLE = 0x0E
    READ_TAG = 0x4C
    WRITE_TAG = 0x4D
    READ_MODIFY_WRITE_TAG = 0x4E
    READ_TAG_FRAGMENTED = 0x52
    WRITE_TAG_FRAGMENTED = 0x53
    GET_INSTANCE_ATTRIBUTE_LIST = 0x55
    # the template object
    READ_TEMPLATE = 0x4C
    # the connection manager
    FORWARD_CLOSE = 0x4E
    UNCONNECTED_SEND = 0x52
    FORWARD_OPEN = 0x54
    LARGE_FORWARD_OPEN = 0x5B


class ClassId(enum.IntEnum):
    """The object classes of this controller."""

    IDENTITY = 0x01
    MESSAGE_ROUTER = 0x02
    CONNECTION_MANAGER = 0x06
    PROGRAM_NAME = 0x64
    SYMBOL = 0x6B
    TEMPLATE = 0x6C
    WALL_CLOCK = 0x8B
    CHANGES = 0xAC


class Status(enum.IntEnum):
    """General status of a reply."""

    SUCCESS = 0x00
    CONNECTION_FAILURE = 0x01
    RESOURCE_UNAVAILABLE = 0x02
    INVALID_PARAMETER = 0x03
    PATH_SEGMENT_ERROR = 0x04
    PATH_DESTINATION_UNKNOWN = 0x05
    PARTIAL_TRANSFER = 0x06
    SERVICE_NOT_SUPPORTED = 0x08
    INVALID_ATTRIBUTE_VALUE = 0x09
    ATTRIBUTE_LIST_ERROR = 0x0A
    OBJECT_STATE_CONFLICT = 0x0C
    ATTRIBUTE_NOT_SETTABLE = 0x0E
    PRIVILEGE_VIOLATION = 0x0F
    DEVICE_STATE_CONFLICT = 0x10
    REPLY_DATA_TOO_LARGE = 0x11
    NOT_ENOUGH_DATA = 0x13
    ATTRIBUTE_NOT_SUPPORTED = 0x14
    TOO_MUCH_DATA = 0x15
    OBJECT_DOES_NOT_EXIST = 0x16
    ATTRIBUTE_LIST_SHORTAGE = 0x1C
    EMBEDDED_SERVICE_ERROR = 0x1E
    PATH_SIZE_INVALID = 0x26
    GENERAL_ERROR = 0xFF


class Extended(enum.IntEnum):
    """Extended statuses: of the connection manager, and of Logix tags (with GENERAL_ERROR)."""

    NONE = 0x0000
    DUPLICATE_FORWARD_OPEN = 0x0100
    TRANSPORT_NOT_SUPPORTED = 0x0103
    CONNECTION_NOT_FOUND = 0x0107
    INVALID_CONNECTION_SIZE = 0x0109
    OUT_OF_CONNECTIONS = 0x0113
    PORT_NOT_AVAILABLE = 0x0311
    LINK_ADDRESS_NOT_VALID = 0x0312
    INVALID_SEGMENT = 0x0315
    KEYSWITCH = 0x2101
    OFFSET_BEYOND_END = 0x2104
    BEYOND_END = 0x2105
    TYPE_MISMATCH = 0x2107


class CipError(Exception):
    """A request is refused; carries what its reply says."""

    def __init__(self, status: int, *extended: int, data: bytes = b"") -> None:
        super().__init__(f"status 0x{status:02X}" + "".join(f", extended 0x{word:04X}" for word in extended))
        self.status = status
        self.extended = extended
        self.data = data


@dataclass(frozen=True, slots=True)
class Request:
    """One message router request."""

    service: int
    path: tuple[Segment, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answers: its data, and a status that is not an error (success or partial transfer)."""

    data: bytes = b""
    status: int = Status.SUCCESS


HEADER_SIZE: Final = 4
"""Bytes of a reply before its data where nothing is extended."""


def parse_request(message: bytes) -> Request:
    """Service, path and data. Raises CipError."""
    if len(message) < 2:
        raise CipError(Status.NOT_ENOUGH_DATA)
    service, end = message[0], 2 + message[1] * 2
    if end > len(message):
        raise CipError(Status.PATH_SIZE_INVALID)
    try:
        return Request(service, parse_path(message[2:end]), message[end:])
    except PathSizeError:
        raise CipError(Status.PATH_SIZE_INVALID) from None
    except PathError:
        raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE) from None


def build_reply(service: int, data: bytes = b"", status: int = 0, extended: Sequence[int] = ()) -> bytes:
    """The bytes of a reply: service, reserved, status, size of the extended status in words, and so on."""
    head = struct.pack(f"<BBBB{len(extended)}H", service | REPLY, 0, status, len(extended), *extended)
    return head + data


def build_error(service: int, error: CipError) -> bytes:
    """The bytes of a reply that refuses."""
    return build_reply(service, error.data, error.status, error.extended)


def unpack(form: struct.Struct, data: bytes, offset: int = 0) -> tuple[int, ...]:
    """The fields at the head of a request's data. Raises CipError where they are not all there."""
    if len(data) < offset + form.size:
        raise CipError(Status.NOT_ENOUGH_DATA)
    return form.unpack_from(data, offset)
