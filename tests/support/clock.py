"""Time that passes when it is told to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """In seconds. Call it for the time, as `time.monotonic`."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now
