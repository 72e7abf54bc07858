"""The line of writes before one device."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Self

LIMIT: Final = 64
"""Writes that may wait for one device."""
SHARE: Final = 48
"""Of these, one user's: whoever writes without end leaves others a place."""


class Full(Exception):
    """So many writes wait for the device already that this one was not queued."""


class Place:
    """A write's place in the line: ``async with`` it to wait for the turn and to give it up after."""

    __slots__ = ("_line", "_turn", "key", "superseded", "user")

    def __init__(self, line: DeviceQueue, key: str, user: str, turn: asyncio.Future[None] | None) -> None:
        self.key = key
        self.user = user
        self.superseded = False
        """A newer write of the same property made this one needless before its turn came."""
        self._line = line
        self._turn = turn

    async def __aenter__(self) -> Self:
        if self._turn is not None:
            try:
                await self._turn
            except asyncio.CancelledError:
                self._line.leave(self)
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._line.leave(self)

    def supersede(self) -> None:
        """Let it go without its turn."""
        self.superseded = True
        self.call()

    def call(self) -> bool:
        """It is its turn; whether somebody still waits for it."""
        if self._turn is None or self._turn.done():
            return False
        self._turn.set_result(None)
        return True


class DeviceQueue:
    """Writes to one device, one at a time, in the order in which they joined."""

    def __init__(self, limit: int = LIMIT, share: int = SHARE) -> None:
        self._limit = limit
        self._share = share
        self._holder: Place | None = None
        self._waiting: deque[Place] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, key: str, user: str = "", *, latest_wins: bool = False) -> Place:
        """Take a place at once, before anything is awaited. Raises Full.

        With ``latest_wins`` those that wait to write the same property leave the line. The new
        place is at its end all the same: what a client wrote in between stays before it.
        """
        if self._holder is None:
            self._holder = place = Place(self, key, user, None)
            return place
        if latest_wins:
            for other in [one for one in self._waiting if one.key == key]:
                self._waiting.remove(other)
                other.supersede()
        if len(self._waiting) >= self._limit:
            raise Full(f"{len(self._waiting)} writes wait for this device already")
        its = sum(one.user == user for one in self._waiting)
        if its >= self._share:
            raise Full(f"{its} writes of this user wait for this device already")
        place = Place(self, key, user, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give up a place, or the turn: it is the next one's."""
        if place is not self._holder:
            if place in self._waiting:
                self._waiting.remove(place)
            return
        self._holder = None
        while self._waiting:
            following = self._waiting.popleft()
            if following.call():
                self._holder = following
                return
