"""Who is due when: one heap for everything that waits for a time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Final, Protocol

NEVER: Final = math.inf


class Timed(Protocol):
    """Something that becomes due."""

    due: float
    """When, by the engine's clock; `NEVER` where it waits for nothing."""

    entry: int
    """Its number in the heap."""

    def fire(self, now: float) -> None:
        """It is due: `due` is `NEVER` until it is set again."""
        ...


class Timers:
    """What waits, the soonest first. An entry whose time was changed since is passed over."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """``wake`` is called when something becomes due before ``asleep_until``."""
        self.asleep_until = -NEVER
        """Until when nobody looks here."""
        self._wake = wake
        self._heap: list[tuple[float, int, int, Timed]] = []
        self._numbers = itertools.count()

    def set(self, timed: Timed, due: float, rank: int) -> None:
        """Have it fire at that time and no other; of those due together the lowest rank comes first."""
        if timed.due == due:
            return
        timed.due = due
        timed.entry = next(self._numbers)
        heapq.heappush(self._heap, (due, rank, timed.entry, timed))
        if due < self.asleep_until:
            self._wake()

    @property
    def next(self) -> float:
        """When the next is due; `NEVER` where none is."""
        heap = self._heap
        while heap:
            due, _, entry, timed = heap[0]
            if entry == timed.entry and due == timed.due:
                break
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def pop(self, now: float) -> Timed | None:
        """The next that is due by now; None where none is."""
        if self.next > now:
            return None
        timed = heapq.heappop(self._heap)[3]
        timed.due = NEVER
        return timed
