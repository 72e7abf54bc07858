"""How long to wait before dialling again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator


def delays(
    first: float = 0.5, limit: float = 30.0, *, jitter: Callable[[], float] = random.random
) -> Iterator[float]:
    """Seconds to wait before each next attempt, without end: doubling from ``first`` to ``limit``.

    Each is drawn from the upper half of its step, so that a hundred sources lost by one
    switch do not dial in step. ``jitter`` yields numbers from 0 to 1.
    """
    step = first
    while True:
        yield step * (0.5 + 0.5 * jitter())
        step = min(2 * step, limit)
