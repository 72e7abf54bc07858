"""A link on a serial line, or on a stream that leads to one: one request at a time, unnumbered.

Without transaction numbers a late reply could pass for the next one's. So after a request
was given up, the next one to the same unit is held back until the late reply has come or as
much time again has passed. A reply that is later still is told by the one that follows it:
until a unit has sent one that nothing follows, its replies are believed only after the time
that another may take. And what is not of the function and length that are waited for
answers nothing, however wrong the device may be: else each reply that comes one too late
would be taken for the answer to the next request.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from sources.modbus import codec
from sources.modbus.codec import MalformedReply, Request
from sources.modbus.exchange import Exchange, Failure
from sources.modbus.link import Link, Watcher
from sources.modbus.serialframe import Framing
from sources.quality import Quality

_ONLY: Final = 0
"""The key of the one request in flight."""

_SETTLE: Final = 0.05
"""Seconds in which the rest of a garbled frame comes out of adapters and servers in between."""


class SerialLink(Link, asyncio.Protocol):
    """``silence`` is what must lie between two frames, ``character`` how long one takes, in seconds."""

    _transport: asyncio.Transport | None

    def __init__(
        self, watcher: Watcher, framing: Framing, *, silence: float = 0.0, character: float = 0.0
    ) -> None:
        super().__init__(watcher)
        self._framing = framing
        self._silence = silence
        self._character = character
        self._buffer = b""
        self._free_at = -math.inf
        """When the line may be spoken on again."""
        self._patience = 0.0
        self._held: asyncio.TimerHandle | None = None
        """Set while the request in flight has not been sent yet."""
        self._odd = False
        """Whether the unit has answered something else than was asked."""
        self._late: dict[int, float] = {}
        """Units that owe a reply nobody waits for any more, and until when it is expected."""
        self._owing: set[int] = set()
        """Units that may send one reply more than is waited for, however late."""
        self._suspect: tuple[bytes, asyncio.TimerHandle] | None = None
        """A reply of such a unit: the one that is owed, if another follows."""

    def render(self, request: Request) -> bytes:
        """See Link."""
        return self._framing.wrap(request.unit, request.pdu)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        self._transport = transport
        if self._closed:
            transport.abort()

    def ask(self, exchange: Exchange, patience: float) -> None:
        """See Link; the time of transmission at the line's speed is granted on top of the patience."""
        if (abandoned := self._pending.pop(_ONLY, None)) is not None:
            self._given_up(abandoned)  # by a command that was cancelled
        now = self._time()
        wait = max(self._free_at, self._late.get(exchange.request.unit, now)) - now
        self._patience = patience + self._character * (
            len(exchange.frame) + self._framing.size(codec.likely_length(exchange.request))
        )
        self._expect(_ONLY, exchange, max(wait, 0.0) + self._patience)
        if wait > 0:
            self._held = self._loop.call_later(wait, self._transmit, exchange)
        else:
            self._transmit(exchange)

    def _transmit(self, exchange: Exchange) -> None:
        self._held = None
        self._odd = False
        self._buffer = b""
        self._late.pop(exchange.request.unit, None)
        exchange.traffic.asked(len(exchange.frame))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(exchange.frame)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._free_at = self._time() + self._silence
        buffer = self._buffer + data
        try:
            found = self._framing.unwrap(buffer)
        except MalformedReply as error:
            self._buffer = b""
            self._free_at += _SETTLE
            if self._held is None and (exchange := self._pending.pop(_ONLY, None)) is not None:
                self._owe(exchange)
                exchange.failed(error)
            return
        self._buffer = b"" if found else buffer
        if found is not None:
            self._whole(*found)

    def _whole(self, unit: int, reply: bytes) -> None:
        """A whole frame has come; see whose it is."""
        exchange = self._pending.get(_ONLY)
        if exchange is not None and self._held is None and unit == exchange.request.unit:
            if _fits(exchange.request, reply):
                if unit in self._owing and self._suspect is None:
                    exchange.deadline = math.inf
                    self._suspect = reply, self._loop.call_later(self._patience, self._believe, exchange)
                    return
                self._answer(exchange, reply)
                return
            self._odd = True
        elif self._late.pop(unit, None) is not None:
            self._owing.discard(unit)
            self._release(unit, exchange)
        self.strangers += 1

    def _believe(self, exchange: Exchange) -> None:
        """No other reply has followed: it was the one asked for."""
        if self._suspect is not None and self._pending.get(_ONLY) is exchange:
            self._answer(exchange, self._suspect[0])

    def _answer(self, exchange: Exchange, reply: bytes) -> None:
        del self._pending[_ONLY]
        self._owing.discard(exchange.request.unit)
        self._forget_suspect()
        exchange.traffic.bytes_in += self._framing.size(len(reply))
        exchange.answered(reply)

    def _forget_suspect(self) -> None:
        if self._suspect is not None:
            self._suspect[1].cancel()
            self._suspect = None

    def _owe(self, exchange: Exchange) -> None:
        """A request was sent, and its reply is not here yet."""
        self._forget_suspect()
        self._owing.add(exchange.request.unit)
        self._late[exchange.request.unit] = self._time() + self._patience

    def _release(self, unit: int, exchange: Exchange | None) -> None:
        """What a request to this unit may be held back for is here."""
        if self._held is not None and exchange is not None and exchange.request.unit == unit:
            self._held.cancel()
            self._held = self._loop.call_later(self._silence, self._transmit, exchange)

    def _halfway(self) -> bool:
        # The next request begins with an empty buffer, after a silence: no reason to hang up.
        return False

    def _given_up(self, exchange: Exchange) -> Failure:
        self._buffer = b""
        if self._held is not None:
            self._held.cancel()  # nor was it sent
            self._held = None
        else:
            self._owe(exchange)
        if self._odd:
            return MalformedReply("the reply is of another function or length than was asked for")
        return super()._given_up(exchange)

    def close(self, reason: str, quality: Quality) -> None:
        """See Link."""
        if self._held is not None:
            self._held.cancel()
            self._held = None
        self._forget_suspect()
        super().close(reason, quality)


def _fits(request: Request, reply: bytes) -> bool:
    """Whether a reply looks like one to the request."""
    if reply[0] & 0x7F != request.function:
        return False
    size = codec.reply_length(request)
    return bool(reply[0] & 0x80) or size is None or len(reply) == size
