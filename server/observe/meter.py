"""How late the event loop is."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, Never

_EVERY: Final = 0.1
_WINDOW: Final = 600


class Meter:
    """Looks ten times a second; `lag` tells of the last minute, in seconds."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=_WINDOW)

    def lag(self, quantile: float) -> float:
        """The lag that a part of the looks, 0 to 1, did not exceed; 0 before the first look."""
        ordered = sorted(self._lags)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0

    async def run(self) -> Never:
        """Measure until cancelled."""
        while True:
            begin = time.monotonic()
            await asyncio.sleep(_EVERY)
            self._lags.append(max(0.0, time.monotonic() - begin - _EVERY))
