"""Message chunks out of a byte stream (OPC 10000-6 §7.1.2): nothing is kept that could not be one."""

from __future__ import annotations

import struct
from typing import Final

from server.opcua.types import StatusCodes

MAX_CHUNK: Final = 65536
"""Bytes of the largest chunk taken."""

HEADER: Final = 8
_SECURE_HEADER: Final = 12
_TYPES: Final = frozenset({b"HEL", b"OPN", b"MSG", b"CLO"})
_SIZE: Final = struct.Struct("<I")
_ERROR: Final = struct.Struct("<4sIII")


class TransportError(Exception):
    """The connection has to end; the client is told ``code`` first, and no more than ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Frames:
    """Cuts what arrives into whole chunks."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that ``data`` completes.

        Raises TransportError as soon as a header announces what no client may send, before
        any of it is buffered.
        """
        buffer = self._buffer
        buffer += data
        start, found = 0, []
        while len(buffer) - start >= HEADER:
            size = _announced(buffer, start)
            if len(buffer) - start < size:
                break
            found.append(bytes(buffer[start : start + size]))
            start += size
        del buffer[:start]
        return found


def _announced(buffer: bytearray, start: int) -> int:
    kind = bytes(buffer[start : start + 3])
    if kind not in _TYPES:
        raise TransportError(StatusCodes.BadTcpMessageTypeInvalid, f"no message type: {kind!r}")
    (size,) = _SIZE.unpack_from(buffer, start + 4)
    if size > MAX_CHUNK:
        raise TransportError(StatusCodes.BadTcpMessageTooLarge, f"a chunk of {size} bytes is announced")
    if size < (HEADER if kind == b"HEL" else _SECURE_HEADER):
        raise TransportError(StatusCodes.BadTcpMessageTypeInvalid, f"a chunk of {size} bytes is announced")
    return int(size)


def error_message(code: int) -> bytes:
    """An ERR message with that code and no reason: what went wrong inside is for our log."""
    return _ERROR.pack(b"ERRF", 16, code, 0xFFFFFFFF)
