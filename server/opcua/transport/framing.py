"""Message chunks out of a byte stream (OPC 10000-6 §7.1.2): nothing is kept that could not be one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from server.opcua.transport.limits import MAX_URL
from server.opcua.types import StatusCodes

HEADER: Final = 8
_SECURE_HEADER: Final = 12
_HELLO: Final = b"HELF"
_SECURE: Final = frozenset({b"OPNF", b"CLOF", b"MSGF", b"MSGC", b"MSGA"})
_MAX_HELLO: Final = HEADER + 24 + 2 * MAX_URL
"""So that an EndpointUrl that is too long is answered as such, within reason."""

_SIZE: Final = struct.Struct("<I")
_ERROR: Final = struct.Struct("<4sIIi")
_MAX_REASON: Final = 4096


class TransportError(Exception):
    """The connection has to end; the client is told ``code`` first, and no more than ``code``.

    ``answer`` is what it gets before that: an OpenSecureChannel response with a ServiceFault.
    """

    def __init__(self, code: int, reason: str, answer: Sequence[bytes] = ()) -> None:
        super().__init__(printable(reason))
        self.code = code
        self.answer = answer


class Frames:
    """Cuts what arrives into whole chunks, each copied at most once however it arrives.

    First nothing but Hello is taken; after `open`, nothing but the chunks of a secure channel.
    """

    __slots__ = ("_at", "_data", "_limit", "_need", "_part")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._part = bytearray()
        """The beginning of a chunk whose end is not here yet."""
        self._need = HEADER
        """How long ``_part`` has to become next."""
        self._limit = 0

    def open(self, limit: int) -> None:
        """Hello was said: chunks of up to ``limit`` bytes follow."""
        self._limit = limit

    def clear(self) -> None:
        """Forget what has arrived."""
        self._data, self._at = b"", 0
        self._part, self._need = bytearray(), HEADER

    @property
    def begun(self) -> bool:
        """Whether a chunk has begun and its end is not here yet, as far as was looked at."""
        return bool(self._part)

    @property
    def waiting(self) -> bool:
        """Whether bytes have not been looked at yet."""
        return self._at < len(self._data)

    def feed(self, data: bytes) -> None:
        """More has arrived; `next` cuts it."""
        # What arrives while the former is not all cut waits behind it: rare, for nothing is read then.
        self._data = data if self._at == len(self._data) else self._data[self._at :] + data
        self._at = 0

    def next(self) -> bytes | None:
        """The next whole chunk, or None where its end is not here yet.

        Raises TransportError as soon as a header announces what no client may send, before
        any of it is kept.
        """
        if self._part:
            return self._go_on()
        data, at = self._data, self._at
        left = len(data) - at
        if left < HEADER:
            self._begin(HEADER)
            return None
        size = self._announced(data, at)
        if size > left:
            self._begin(size)
            return None
        if size == left:
            self._data, self._at = b"", 0
            return data[at:] if at else data
        self._at = end = at + size
        return data[at:end]

    def _begin(self, need: int) -> None:
        """Keep the beginning of a chunk."""
        if self._at < len(self._data):
            self._part += memoryview(self._data)[self._at :]
        self._need = need
        self._data, self._at = b"", 0

    def _go_on(self) -> bytes | None:
        """Add to the beginning of a chunk what belongs to it."""
        part = self._part
        if not self._add():
            return None
        if self._need == HEADER and (size := self._announced(part, 0)) > HEADER:
            self._need = size
            if not self._add():
                return None
        self._part, self._need = bytearray(), HEADER
        return bytes(part)

    def _add(self) -> bool:
        part, at = self._part, self._at
        end = min(at + self._need - len(part), len(self._data))
        part += memoryview(self._data)[at:end]
        if end == len(self._data):
            self._data, end = b"", 0
        self._at = end
        return len(part) == self._need

    def _announced(self, data: bytes | bytearray, at: int) -> int:
        kind = bytes(data[at : at + 4])
        (size,) = _SIZE.unpack_from(data, at + 4)
        if kind in _SECURE:
            smallest, largest = _SECURE_HEADER, self._limit or HEADER
        elif kind == _HELLO:
            smallest, largest = HEADER, _MAX_HELLO
        else:
            raise TransportError(StatusCodes.BadTcpMessageTypeInvalid, f"no message type: {kind!r}")
        if size > largest and (self._limit or size > _MAX_HELLO):
            raise TransportError(StatusCodes.BadTcpMessageTooLarge, f"a chunk of {size} bytes is announced")
        if size < smallest:
            raise TransportError(
                StatusCodes.BadTcpMessageTypeInvalid, f"a chunk of {size} bytes is announced"
            )
        if (kind == _HELLO) is bool(self._limit):
            raise TransportError(
                StatusCodes.BadTcpMessageTypeInvalid,
                "a second Hello" if self._limit else "the connection does not start with Hello",
            )
        return int(size)


def printable(text: str) -> str:
    """A text for the log that may hold what a stranger sent: it stays on its line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def error_message(code: int, reason: str = "") -> bytes:
    """An ERR message (OPC 10000-6 §7.1.2.5); an empty reason is sent as null."""
    text = reason.encode("utf-8", "replace")[:_MAX_REASON]
    return _ERROR.pack(b"ERRF", _ERROR.size + len(text), code, len(text) or -1) + text
