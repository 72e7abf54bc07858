"""How late the event loop is, and how many values a second come in."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Never

_EVERY: Final = 0.1
_WINDOW: Final = 600
_RATE_EVERY: Final = 20


class Meter:
    """Looks ten times a second; `lag` tells of the last minute, in seconds."""

    def __init__(self, totals: Callable[[], Mapping[str, int]]) -> None:
        """``totals`` are the values so far, by source."""
        self._totals = totals
        self._lags: deque[float] = deque(maxlen=_WINDOW)
        self.rates: dict[str, float] = {}
        """Values a second over the last two seconds, by source."""

    def lag(self, quantile: float) -> float:
        """The lag that a part of the looks, 0 to 1, did not exceed; 0 before the first look."""
        ordered = sorted(self._lags)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0

    async def run(self) -> Never:
        """Measure until cancelled."""
        before, since = dict(self._totals()), time.monotonic()
        while True:
            for _ in range(_RATE_EVERY):
                begin = time.monotonic()
                await asyncio.sleep(_EVERY)
                self._lags.append(max(0.0, time.monotonic() - begin - _EVERY))
            totals, moment = dict(self._totals()), time.monotonic()
            self.rates = {
                name: (total - before.get(name, 0)) / (moment - since) for name, total in totals.items()
            }
            before, since = totals, moment
