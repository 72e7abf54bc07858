"""Who is due when: one heap for everything that waits for a time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Final, Protocol

NEVER: Final = math.inf

_SWEEP_ABOVE: Final = 64


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
        self._stale = 0
        """Entries that are passed over, about."""

    def set(self, timed: Timed, due: float, rank: int) -> None:
        """Have it fire at that time and no other; of those due together the lowest rank comes first."""
        if timed.due == due:
            return
        if timed.due != NEVER:
            self._stale += 1
        timed.due = due
        timed.entry = next(self._numbers)
        heapq.heappush(self._heap, (due, rank, timed.entry, timed))
        if self._stale > _SWEEP_ABOVE and 2 * self._stale > len(self._heap):
            self._sweep()
        if due < self.asleep_until:
            self._wake()

    def drop(self, timed: Timed) -> None:
        """Have it fire no more."""
        if timed.due != NEVER:
            timed.due = NEVER
            self._stale += 1

    def _sweep(self) -> None:
        """Take out the entries that are passed over: what they hold on to would stay until they are due."""
        self._heap = [entry for entry in self._heap if _is_live(entry)]
        heapq.heapify(self._heap)
        self._stale = 0

    @property
    def next(self) -> float:
        """When the next is due; `NEVER` where none is."""
        heap = self._heap
        while heap:
            if _is_live(heap[0]):
                break
            heapq.heappop(heap)
            self._stale = max(self._stale - 1, 0)
        return heap[0][0] if heap else NEVER

    def pop(self, now: float) -> Timed | None:
        """The next that is due by now; None where none is."""
        if self.next > now:
            return None
        timed = heapq.heappop(self._heap)[3]
        timed.due = NEVER
        return timed


def _is_live(entry: tuple[float, int, int, Timed]) -> bool:
    due, _, number, timed = entry
    return number == timed.entry and due == timed.due
