"""Taking turns on a connection that carries one request at a time: commands before scans."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final


class Busy(Exception):
    """Too many commands wait already; this one was not queued."""


class Turns:
    """A lock with two queues.

    The urgent queue, of commands that people wait for, goes first and has a limit; beyond it
    a command is refused, and counted. The patient one, of scans, gets a turn after every
    ``urgent_in_a_row`` urgent ones, so that a flood of commands cannot stop the values.
    """

    urgent_in_a_row: Final = 16

    def __init__(self, limit: int = 64) -> None:
        self.refused = 0
        """How many commands found the queue full."""
        self._limit = limit
        self._held = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._row = 0

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncIterator[None]:
        """Hold the connection. Raises Busy where the urgent queue is full."""
        await self.take(urgent=urgent)
        try:
            yield
        finally:
            self.give()

    async def take(self, *, urgent: bool) -> None:
        """Hold the connection until `give`: what `turn` does, for those to whom its microseconds matter."""
        if not self._held:
            self._held = True
            return
        queue = self._urgent if urgent else self._patient
        if urgent and len(queue) >= self._limit:
            self.refused += 1
            raise Busy(f"{len(queue)} commands are waiting already")
        waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # whoever passed the turn on may have thrown it out already
                    queue.remove(waiter)
            else:
                # The turn had come just as we were cancelled: it belongs to the next.
                self.give()
            raise

    def give(self) -> None:
        """Give the turn to whom it belongs next, or to nobody."""
        while (queue := self._next()) is not None:
            waiter = queue.popleft()
            if waiter.done():
                continue
            waiter.set_result(None)
            return
        self._held = False

    def _next(self) -> deque[asyncio.Future[None]] | None:
        if self._urgent and (self._row < self.urgent_in_a_row or not self._patient):
            self._row = self._row + 1 if self._patient else 0
            return self._urgent
        self._row = 0
        return self._patient or None
