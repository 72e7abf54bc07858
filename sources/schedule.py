"""When to read what: absolute deadlines, staggered, one after the other. Pure: the caller has the clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

Entry: TypeAlias = tuple[float, int, float, T]
"""An item on the schedule: when it is due, its number, its period, and itself."""


class Schedule(Generic[T]):
    """Items that come due again and again, each at ``due``, ``due + period``, ... of its own.

    Deadlines are absolute, so work that takes time does not shift them. An item whose next
    deadlines have passed while it waited or worked skips these and says how many: scans are
    never queued. Among items that are due the one that has waited longest comes first, so
    under overload each gets its turn.
    """

    def __init__(self) -> None:
        self._heap: list[Entry[T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, item: T, period: float, due: float) -> None:
        """Have an item come due from ``due`` on; among equals the first added comes first."""
        heapq.heappush(self._heap, (due, self._count, period, item))
        self._count += 1

    @property
    def first(self) -> T:
        """The item that comes due next. Raises IndexError where there is none."""
        return self._heap[0][3]

    @property
    def due(self) -> float | None:
        """When it does, or None where there is no item."""
        return self._heap[0][0] if self._heap else None

    def done(self, now: float, again: float | None = None) -> int:
        """The first item has been served: set its next deadline; returns how many it had to skip.

        ``again`` sets a first deadline other than one period on, which starts the item's rhythm.
        """
        entry, missed = _following(self._heap[0], now, again)
        heapq.heapreplace(self._heap, entry)
        return missed

    def take(self) -> Entry[T]:
        """Take out the item that comes due next, while it is served. Raises IndexError without one."""
        return heapq.heappop(self._heap)

    def put_back(self, entry: Entry[T], now: float, again: float | None = None) -> int:
        """An item that was taken out has been served; otherwise as `done`."""
        entry, missed = _following(entry, now, again)
        heapq.heappush(self._heap, entry)
        return missed

    def dues(self) -> Iterator[tuple[T, float]]:
        """Each item and when it comes due, in no order."""
        return ((item, due) for due, _, _, item in self._heap)

    def remove(self, unwanted: set[T]) -> None:
        """Take items out."""
        self._heap = [entry for entry in self._heap if entry[3] not in unwanted]
        heapq.heapify(self._heap)


def _following(entry: Entry[T], now: float, again: float | None) -> tuple[Entry[T], int]:
    """When a served item comes due next, and how many deadlines it skips for that."""
    due, count, period, item = entry
    following = due + period if again is None else again
    missed = 0
    if following <= now:
        missed = int((now - following) / period) + 1
        following += missed * period
    return (following, count, period, item), missed


def phase(index: int, of: int, period: float, offset: float = 1.0) -> float:
    """How long after a start the ``index``-th of so many items of one period comes due, in (0, period].

    ``offset``, in (0, 1], moves the items of one class against those of another.
    """
    return period * (index + offset) / of
