"""Whoever has much to say says it bit by bit, and all of them together no faster than others can bear."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

ROUND: Final = 0.0005
"""Seconds they have together before everybody else is served."""


class Talkative(Protocol):
    """A connection whose chunks wait."""

    def go_on(self) -> None:
        """Deliver some of them; what is left has to be added again."""
        ...


class Turns:
    """Connections that wait for their turn, those that have waited the longest first.

    However many they are, each round of the event loop serves them for `ROUND` (and ends what
    it has begun): a crowd slows itself, not those who are answered at once.
    """

    def __init__(self) -> None:
        self._waiting: dict[Talkative, None] = {}
        self._due = False

    def add(self, connection: Talkative) -> None:
        """It waits, behind all others."""
        self._waiting[connection] = None
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._serve)

    def discard(self, connection: Talkative) -> None:
        """It waits no more."""
        self._waiting.pop(connection, None)

    def _serve(self) -> None:
        until = time.monotonic() + ROUND
        try:
            while self._waiting:
                connection = next(iter(self._waiting))
                del self._waiting[connection]
                connection.go_on()
                if time.monotonic() > until:
                    break
        finally:  # whatever goes wrong with one of them, the others go on
            self._due = bool(self._waiting)
            if self._due:
                asyncio.get_running_loop().call_soon(self._serve)
