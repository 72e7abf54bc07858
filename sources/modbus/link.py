"""A link: one connection and its framing, what is in flight on it, and deadlines by one timer."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from typing import Protocol

from sources.errors import ConnectionLost
from sources.modbus.codec import Request
from sources.modbus.exchange import Exchange, Failure, NoReply
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, Quality


class Watcher(Protocol):
    """Who is told of what happens on a link."""

    def lost(self, reason: str, quality: Quality) -> None:
        """The link stands no more, and not because it was closed from here. Called once at most."""
        ...


class Link(ABC):
    """What all links share. How bytes become replies, and whose a reply is, subclasses say."""

    def __init__(self, watcher: Watcher) -> None:
        self.strangers = 0
        """How many replies came that nobody waited for: late ones, or to other masters."""
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._transport: asyncio.Transport | asyncio.DatagramTransport | None = None
        self._pending: dict[int, Exchange] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._closed = False

    @abstractmethod
    def render(self, request: Request) -> bytes:
        """The bytes of a request in this framing, made once for `Exchange.frame`."""

    @abstractmethod
    def ask(self, exchange: Exchange, patience: float) -> None:
        """Send a request that may be answered within so many seconds."""

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return len(self._pending)

    @property
    def stands(self) -> bool:
        """Whether it is of use."""
        return not self._closed

    def close(self, reason: str, quality: Quality) -> None:
        """Hang up; whoever waits for a reply gets ConnectionLost."""
        if self._closed:
            return
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._transport is not None:
            # At once: what is not sent yet would keep a connection to a dead peer for long.
            self._transport.abort()
        waiting, self._pending = self._pending, {}
        for exchange in waiting.values():
            exchange.failed(ConnectionLost(reason, quality))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        del exc  # closed or reset, it is gone
        self._drop("the device closed the connection", BAD_CONNECTION_CLOSED)

    def _drop(self, reason: str, quality: Quality) -> None:
        """The link is of no more use."""
        if not self._closed:
            # First the watcher: whoever loses a reply may want to ask again, and must not here.
            self._watcher.lost(reason, quality)
            self.close(reason, quality)

    def _expect(self, key: int, exchange: Exchange, patience: float) -> None:
        """Start the time of an exchange."""
        self._pending[key] = exchange
        deadline = exchange.deadline = self._time() + patience
        # The timer is left to ring though what it was set for has been answered: a ring now and
        # then costs less than a timer set and cancelled for each request.
        if deadline < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._set(deadline)

    def _set(self, deadline: float) -> None:
        self._alarm_at = deadline
        self._alarm = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        # By what it was set for, not by the clock alone: timers may be early by the clock's grain.
        now = max(self._time(), self._alarm_at)
        self._alarm, self._alarm_at = None, math.inf
        overdue = [key for key, exchange in self._pending.items() if exchange.deadline <= now]
        if overdue and self._halfway():
            self._drop("a reply came incomplete or garbled", BAD_COMMUNICATION_ERROR)
        for key in overdue:
            exchange = self._pending.pop(key, None)
            if exchange is not None:
                exchange.failed(self._given_up(exchange))
        if self._pending:
            following = min(exchange.deadline for exchange in self._pending.values())
            if following < self._alarm_at:
                self._set(following)

    def _halfway(self) -> bool:
        """Whether part of a reply is here: the rest would be taken for the head of the next."""
        return False

    def _given_up(self, exchange: Exchange) -> Failure:
        """No reply to it came in time, and one may come yet; what it is told."""
        del exchange
        return NoReply("no reply")
