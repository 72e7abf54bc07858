"""Chunks put together to messages, within limits (OPC 10000-6 §6.7.2.4, §6.7.3)."""

from __future__ import annotations

from typing import Final, NamedTuple

from server.opcua.transport.framing import TransportError
from server.opcua.transport.limits import Limits
from server.opcua.types import StatusCodes

_WHOLE, _MORE, _ABORT = ord("F"), ord("C"), ord("A")
_LAST: Final = 0xFFFF_FFFF
_WRAP: Final = 1024


class Message(NamedTuple):
    """A whole message of the client."""

    request_id: int
    body: bytes
    closing: bool = False
    """Whether it is a CloseSecureChannel request: nothing follows, and nothing is answered."""


def following(number: int) -> int:
    """The sequence number that we give the chunk after that one."""
    return number + 1 if number < _LAST else 1


class Assembly:
    """The chunks of one side of a channel, which come one message after the other."""

    __slots__ = ("_last", "_limits", "_parts", "_request", "_size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: int | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._request = 0

    def count(self, sequence: int) -> None:
        """Each chunk's sequence number is one more than the last one's. Raises TransportError."""
        last, self._last = self._last, sequence
        if last is None or sequence == last + 1 or (last >= _LAST - _WRAP and sequence < _WRAP):
            return
        # To the log it is BadSequenceNumberInvalid, to the peer no more than that (§6.7.7).
        raise TransportError(
            StatusCodes.BadSecurityChecksFailed,
            f"BadSequenceNumberInvalid: chunk {sequence} after {last}; one was lost, repeated or reordered",
        )

    def add(self, final: int, request: int, body: bytes, *, early: bool) -> Message | None:
        """The message that a chunk completes; None while others are missing, or where it was aborted.

        ``final`` is the header's IsFinal, ``early`` says that no session is activated. Raises
        TransportError.
        """
        parts = self._parts
        if final == _WHOLE and not parts:
            self._check(len(body), early)
            return Message(request, body)
        if parts and request != self._request:
            raise TransportError(
                StatusCodes.BadSecurityChecksFailed,
                f"a chunk of request {request} amid those of request {self._request}",
            )
        if final == _ABORT:
            self.clear()
            return None
        self._request = request
        self._size += len(body)
        self._check(self._size, early)
        parts.append(body)
        if final == _MORE:
            return None
        whole = b"".join(parts)
        self.clear()
        return Message(request, whole)

    def clear(self) -> None:
        """Forget the chunks of a message that does not get its end."""
        self._parts, self._size = [], 0

    def _check(self, size: int, early: bool) -> None:
        limits = self._limits
        if size > (limits.early_message if early else limits.message) or len(self._parts) >= limits.chunks:
            raise TransportError(
                StatusCodes.BadTcpMessageTooLarge,
                f"a request of {size} bytes or more{', without a session' if early else ''}",
            )
