"""How much of the event loop a server may take with what it publishes: half, and never long at once."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Final, Self

from sources.insight import Traffic

log = logging.getLogger(__name__)

_AT_ONCE: Final = 0.01
"""Seconds of the processor's time after which others have as long."""
_TOLD: Final = 100
"""So many waits within a minute make a line in the log."""
_MINUTE: Final = 60.0


class Pace:
    """Wraps what is done with each message: ``async with pace: …``.

    Whoever sends more than can be taken in waits, for he is asked for more only after that: what he has
    to say stays with him, in the queues that he was asked to keep.
    """

    def __init__(self, name: str, traffic: Traffic) -> None:
        self._name = name
        self._traffic = traffic
        self._debt = 0.0
        self._began = 0.0
        self._since = -_MINUTE
        self._waits = 0

    async def __aenter__(self) -> Self:
        self._began = time.thread_time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        self._debt += time.thread_time() - self._began
        if self._debt < _AT_ONCE:
            await asyncio.sleep(0)
            return
        wait, self._debt = self._debt, 0.0
        self._traffic.slowed += 1
        self._tell()
        await asyncio.sleep(wait)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._since >= _MINUTE:
            self._since, self._waits = now, 0
        self._waits += 1
        if self._waits == _TOLD:
            log.warning(
                "%s: the device publishes more than can be taken in beside all else: it is made to wait",
                self._name,
            )
