"""Who may ask next: commands before scans, and no more requests in flight than the line takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

from sources.turns import Busy

Given: TypeAlias = Callable[[], None]
"""Called with a slot that whoever is called must use or release. Must not raise."""


class Slots:
    """As many slots as requests may be in flight, and two queues for them.

    The urgent queue, of commands that people wait for, goes first and has a limit; beyond it
    a command is refused, and counted. One command at a time holds a slot, so that what it
    reads and writes back nobody of ours writes in between. The patient queue, of scans, gets a slot
    after every ``urgent_in_a_row`` urgent ones, so that a flood of commands cannot stop the
    values. A scan stands in it once, so it needs no limit.
    """

    urgent_in_a_row: Final = 16

    def __init__(self, size: int, limit: int = 64) -> None:
        self.refused = 0
        """How many commands found the queue full."""
        self._free = size
        self._limit = limit
        self._commanding = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[Given] = deque()
        self._row = 0

    def take(self, given: Given) -> bool:
        """A slot for a scan, if one is free; otherwise ``given`` is called when its turn comes."""
        if self._free and not self._patient:
            self._free -= 1
            return True
        if given not in self._patient:
            self._patient.append(given)
        return False

    def leave(self, given: Given) -> None:
        """Wait no longer."""
        with suppress(ValueError):
            self._patient.remove(given)

    def release(self) -> None:
        """Give a slot back."""
        self._free += 1
        if self._urgent or self._patient:
            self._serve()

    @asynccontextmanager
    async def patient(self) -> AsyncIterator[None]:
        """Hold a slot as a scan does, in a coroutine."""
        waiter = asyncio.get_running_loop().create_future()

        def given() -> None:
            if waiter.done():
                self.release()
            else:
                waiter.set_result(None)

        if not self.take(given):
            try:
                await waiter
            except asyncio.CancelledError:
                self.leave(given)
                if not waiter.cancelled():
                    self.release()
                raise
        try:
            yield
        finally:
            self.release()

    @asynccontextmanager
    async def command(self) -> AsyncIterator[None]:
        """Hold a slot, and be the only one who commands. Raises Busy where the urgent queue is full."""
        await self._acquire()
        try:
            yield
        finally:
            self._end_command()

    async def _acquire(self) -> None:
        if self._free and not self._commanding and not self._urgent:
            self._free -= 1
            self._commanding = True
            return
        if len(self._urgent) >= self._limit:
            self.refused += 1
            raise Busy(f"{len(self._urgent)} commands are waiting already")
        waiter = asyncio.get_running_loop().create_future()
        self._urgent.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # whoever passed the slot on may have thrown it out already
                    self._urgent.remove(waiter)
            else:
                # The slot had come just as we were cancelled: it belongs to the next.
                self._end_command()
            raise

    def _end_command(self) -> None:
        self._commanding = False
        self.release()

    def _serve(self) -> None:
        """Give free slots to whom they belong next."""
        while self._free:
            while self._urgent and self._urgent[0].done():
                self._urgent.popleft()
            patient = self._patient
            if self._urgent and not self._commanding and (self._row < self.urgent_in_a_row or not patient):
                self._row = self._row + 1 if patient else 0
                self._free -= 1
                self._commanding = True
                self._urgent.popleft().set_result(None)
            elif patient:
                self._row = 0
                self._free -= 1
                patient.popleft()()
            else:
                return
