"""Encapsulated frames, as EtherNet/IP carries them over TCP: whether a reply answers its request.

pycomm3 checks none of it: after one late reply it hands out each value under the next
tag's name. Layouts are those of CIP Vol. 2 §2-3 (encapsulation header) and §2-6 (common
packet format).
"""

from __future__ import annotations

import struct
from typing import Final

from sources.ethernetip.codec import REPLY, FramingError
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, Quality

HEADER: Final = 24
LIST_IDENTITY: Final = 0x63
REGISTER_SESSION: Final = 0x65
UNREGISTER_SESSION: Final = 0x66
SEND_RR_DATA: Final = 0x6F
SEND_UNIT_DATA: Final = 0x70

COMMANDS: Final = frozenset(
    {0x00, 0x04, LIST_IDENTITY, 0x64, REGISTER_SESSION, UNREGISTER_SESSION, SEND_RR_DATA, SEND_UNIT_DATA}
)
"""All there are over TCP."""

INVALID_SESSION: Final = 0x64
INVALID_LENGTH: Final = 0x65

_FORWARD_OPENS: Final = frozenset({0x54, 0x5B})
_UNCONNECTED_SEND: Final = 0x52
_HEADER: Final = struct.Struct("<HHII8sI")
_ITEMS: Final = struct.Struct("<IHH")
_CONNECTED: Final = struct.Struct("<HHIHHH")
_UNCONNECTED: Final = struct.Struct("<HHHH")

_STATUSES: Final = {
    0x01: "command not supported",
    0x02: "the device has no memory left for another session",
    0x03: "the request was malformed",
    INVALID_SESSION: "the session is not known any more",
    INVALID_LENGTH: "the length is wrong",
    0x69: "the protocol's version is not supported",
}


class BadFrame(FramingError):
    """A frame that is not the answer; ``quality`` says how the connection failed."""

    def __init__(self, message: str, quality: Quality = BAD_COMMUNICATION_ERROR) -> None:
        super().__init__(message)
        self.quality = quality


def body_size(header: bytes) -> int:
    """How many bytes follow a header."""
    return int.from_bytes(header[2:4], "little")


def refusal_of(status: int) -> tuple[str, Quality]:
    """What an encapsulation status says, and what it makes of the values asked for."""
    closed = status in {INVALID_SESSION, INVALID_LENGTH}
    words = _STATUSES.get(status, "an error")
    message = f"the device refused the request: {words} (encapsulation status {status:#04x})"
    return message, BAD_CONNECTION_CLOSED if closed else BAD_COMMUNICATION_ERROR


class Conversation:
    """What was asked on one TCP connection, to tell whether the next frame answers it.

    One request at a time. Requests get a sender context of their own, which pycomm3 leaves
    the same for all; a connection's packets are told apart by their sequence count.
    """

    def __init__(self) -> None:
        self._count = 0
        self._command = 0
        self._session = 0
        self._context = b""
        self._service: int | None = None
        self._sequence: int | None = None
        self._connection: int | None = None
        self.refusal: tuple[int, int] | None = None
        """General and extended status of the last unconnected reply, where it was not success."""

    def ask(self, frame: bytes) -> bytes:
        """Take note of a request; returns the bytes to send."""
        self._count += 1
        self._command, _, self._session, _, _, _ = _HEADER.unpack_from(frame)
        self._context = self._count.to_bytes(8, "little")
        self._service = self._sequence = None
        if self._command == SEND_UNIT_DATA:
            self._sequence = _CONNECTED.unpack_from(frame, HEADER + _ITEMS.size)[5]
            self._service = frame[HEADER + _ITEMS.size + _CONNECTED.size]
        elif self._command == SEND_RR_DATA:
            self._service = frame[HEADER + _ITEMS.size + _UNCONNECTED.size]
        return frame[:12] + self._context + frame[20:]

    def check(self, frame: bytes) -> None:
        """Raise BadFrame unless this is the whole and right answer to what was last asked."""
        command, length, session, status, context, _ = _HEADER.unpack_from(frame)
        if length != len(frame) - HEADER:
            raise BadFrame(f"a frame of {len(frame)} bytes says that it has {length + HEADER}")
        if command != self._command:
            raise BadFrame(f"the reply to command {self._command:#04x} is of command {command:#04x}")
        if status:
            raise BadFrame(*refusal_of(status))
        # A connection's packets belong to it; the header's context is not theirs.
        if command != SEND_UNIT_DATA and context != self._context:
            raise BadFrame("a reply came to another request (its sender context is not ours)")
        if command in {SEND_RR_DATA, SEND_UNIT_DATA}:
            if session != self._session:
                raise BadFrame(f"a reply came for session {session:#x}, ours is {self._session:#x}")
            self._check_items(frame, connected=command == SEND_UNIT_DATA)

    def _check_items(self, frame: bytes, *, connected: bool) -> None:
        items = _CONNECTED if connected else _UNCONNECTED
        start = HEADER + _ITEMS.size + items.size
        if len(frame) < start + 4:
            raise BadFrame(f"a reply of {len(frame)} bytes has no room for a service")
        _, _, count = _ITEMS.unpack_from(frame, HEADER)
        if connected:
            address, size, connection, data, length, sequence = _CONNECTED.unpack_from(
                frame, HEADER + _ITEMS.size
            )
            right, length = (address, size, data) == (0xA1, 4, 0xB1), length - 2
        else:
            address, size, data, length = _UNCONNECTED.unpack_from(frame, HEADER + _ITEMS.size)
            right, connection, sequence = (address, size, data) == (0, 0, 0xB2), None, None
        left = len(frame) - start
        whole = length == left if count == 2 else length <= left
        if count < 2 or not right or length < 4 or not whole:
            raise BadFrame("a reply whose items are not those of a message")
        if connected and self._connection is not None and connection != self._connection:
            raise BadFrame("a reply came over another connection")
        if sequence != self._sequence:
            raise BadFrame(f"reply {sequence} came to request {self._sequence}: late, or never asked for")
        self._check_service(frame[start : start + length], connected=connected)

    def _check_service(self, message: bytes, *, connected: bool) -> None:
        service, status = message[0], message[2]
        asked = self._service or 0
        # What is wrapped in an unconnected send answers for itself, the wrapper only for a failure.
        if service != asked | REPLY and (connected or asked != _UNCONNECTED_SEND):
            raise BadFrame(f"the reply to service {asked:#04x} says {service:#04x}")
        if connected:
            return
        extended = int.from_bytes(message[4:6], "little") if message[3] else 0
        self.refusal = (status, extended) if status else None
        if asked in _FORWARD_OPENS and not status and len(message) >= 12:
            # The connection's packets to us carry the second of the two ids.
            self._connection = int.from_bytes(message[8:12], "little")
