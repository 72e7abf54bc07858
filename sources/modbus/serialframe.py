"""Modbus on a serial line: RTU and ASCII frames (Modbus over Serial Line V1.02 §2.5).

Frames carry no transaction number and RTU frames no length: how long a reply is follows
from its function and its own counts. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import binascii
from typing import Final, Protocol

from sources.modbus.codec import MalformedReply

_LONGEST_ASCII: Final = 513


class Framing(Protocol):
    """How a unit and a PDU stand on the line."""

    def size(self, pdu: int) -> int:
        """The characters of a frame with so many bytes of PDU."""
        ...

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """A whole frame."""
        ...

    def unwrap(self, buffer: bytes) -> tuple[int, bytes] | None:
        """Unit and PDU of the reply that the buffer is; None while it is not whole.

        Raises MalformedReply for what is no frame, or more than one.
        """
        ...


def crc(data: bytes) -> bytes:
    """CRC-16 with the polynomial 0xA001, low byte first as it is sent."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1  # noqa: PLW2901 - it is shifted through
        table.append(value)
    return tuple(table)


_CRC: Final = _crc_table()


class Rtu:
    """Unit, PDU, CRC."""

    def size(self, pdu: int) -> int:
        """See Framing."""
        return pdu + 3

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """See Framing."""
        body = bytes((unit,)) + pdu
        return body + crc(body)

    def unwrap(self, buffer: bytes) -> tuple[int, bytes] | None:
        """See Framing."""
        size = rtu_reply_size(buffer)
        if size is None or len(buffer) < size:
            return None
        if len(buffer) > size:
            raise MalformedReply(f"{len(buffer) - size} bytes more than a reply has")
        if crc(buffer[:-2]) != buffer[-2:]:
            raise MalformedReply("the reply's CRC is wrong")
        return buffer[0], buffer[1:-2]


def rtu_reply_size(buffer: bytes) -> int | None:
    """How long the reply is that begins so; None while that cannot be told yet."""
    if len(buffer) < 5:
        return None
    function = buffer[1]
    if function & 0x80:
        return 5
    if function in {1, 2, 3, 4, 12, 17, 20, 21, 23}:
        return buffer[2] + 5
    if function in {5, 6, 8, 11, 15, 16}:
        return 8
    if function == 7:
        return 5
    if function == 22:
        return 10
    if function == 24:
        return int.from_bytes(buffer[2:4], "big") + 6
    if function == 43:
        return _identification_size(buffer)
    raise MalformedReply(f"a reply of function {function}, which was not asked for")


def _identification_size(buffer: bytes) -> int | None:
    at = 8
    if len(buffer) < at:
        return None
    for _ in range(buffer[7]):
        if len(buffer) < at + 2:
            return None
        at += 2 + buffer[at + 1]
    return at + 2


class Ascii:
    """Colon, unit and PDU and LRC in hexadecimal, CR LF."""

    def size(self, pdu: int) -> int:
        """See Framing."""
        return 2 * (pdu + 2) + 3

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """See Framing."""
        body = bytes((unit,)) + pdu
        return b":" + binascii.hexlify(body + lrc(body)).upper() + b"\r\n"

    def unwrap(self, buffer: bytes) -> tuple[int, bytes] | None:
        """See Framing; what stands before the colon is noise and does not count."""
        _, colon, text = buffer.rpartition(b":")
        if not colon:
            if len(buffer) > _LONGEST_ASCII:
                raise MalformedReply("what came has no beginning")
            return None
        if not text.endswith(b"\r\n"):
            if len(text) > _LONGEST_ASCII:
                raise MalformedReply("what came has no end")
            return None
        try:
            raw = binascii.unhexlify(text[:-2])
        except binascii.Error:
            raise MalformedReply("the reply is not hexadecimal") from None
        if len(raw) < 3 or lrc(raw[:-1]) != raw[-1:]:
            raise MalformedReply("the reply's LRC is wrong")
        return raw[0], raw[1:-1]


def lrc(data: bytes) -> bytes:
    """The two's complement of the sum of all bytes."""
    return bytes((-sum(data) & 0xFF,))
