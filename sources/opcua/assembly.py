"""Chunks into messages (OPC 10000-6 §6.7.3): one after the other, none larger than a message may be.

One that the device gives up, or that is too large, is lost by itself: the channel goes on.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_FINAL, _MORE, _ABORT = b"F", b"C", b"A"
_TOO_LARGE: Final = 0x80B90000
"""BadResponseTooLarge."""
_PASSED_OVER: Final = 8
"""So many times its size may be passed over of a message that is too large."""
_AROUND: Final = 24
"""Bytes of a chunk beside its body, at least: one without any is counted, too."""
_SMALLEST: Final = 8192
"""Bytes in a chunk, at least, of a message that has many (OPC 10000-6 §7.1.2.3)."""


class Message(NamedTuple):
    """An answer, or the StatusCode that tells why there is none."""

    request: int
    body: bytes
    refused: int = 0


class Assembly:
    """The chunks of the message that is on its way. ``most`` is what a message may have, in bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._request: int | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False
        """Whether the message was too large, and what is still to come of it is passed over."""

    def add(self, kind: bytes, request: int, body: bytes) -> Message | None:
        """Take a chunk in; the message that is whole or lost by that. Raises ValueError for what is none."""
        if self._request is None and kind == _FINAL and len(body) <= self._most:
            return Message(request, body)
        if self._request not in {None, request}:
            raise ValueError("a message begins within another")
        self._request = request
        self._size += len(body) + (_AROUND if self._over else 0)
        found: Message | None = None
        if kind == _ABORT:
            found = None if self._over else Message(request, b"", _error(body))
        elif kind not in {_FINAL, _MORE}:
            raise ValueError(f"a chunk of the unknown kind {kind!r}")
        elif self._over:
            if self._size > _PASSED_OVER * self._most:
                raise ValueError(f"a message of more than {_PASSED_OVER * self._most} bytes")
        else:
            self._parts.append(body)
            self._over = self._size > self._most or len(self._parts) > self._most // _SMALLEST
            if self._over:
                self._parts = []
                found = Message(request, b"", _TOO_LARGE)
            elif kind == _FINAL:
                found = Message(request, b"".join(self._parts))
        if kind != _MORE:
            self._request, self._parts, self._size, self._over = None, [], 0, False
        return found


def _error(body: bytes) -> int:
    """The StatusCode of an Abort chunk (OPC 10000-6 §6.7.3)."""
    code = int.from_bytes(body[:4], "little") if len(body) >= 4 else 0
    return code if code & 0x80000000 else _TOO_LARGE
