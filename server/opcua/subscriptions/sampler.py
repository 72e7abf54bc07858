"""The clock of all items with one sampling interval (OPC 10000-4 §5.13.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.opcua.subscriptions.timers import NEVER, Timers

if TYPE_CHECKING:
    from server.opcua.subscriptions.data import DataItem

RANK: Final = 0
"""Samples are taken before what is due at the same time is published."""
AT_ONCE: Final = 2000
"""Items sampled before others have their turn."""
_FEW: Final = 64
"""Items that may have left and wait, however few others do."""


class Sampler:
    """Samples once an interval what has changed since, and what does not tell of its changes.

    Its ticks are the multiples of the interval, so equal items are sampled together, and one
    that did not change costs nothing.
    """

    __slots__ = ("_gone", "_left", "_timers", "due", "entry", "interval", "polled", "waiting")

    def __init__(self, interval: float, timers: Timers) -> None:
        """``interval`` in seconds."""
        self.interval = interval
        self.due = NEVER
        self.entry = 0
        self.waiting: list[DataItem] = []
        """Items that changed since the last tick; some of them may have left."""
        self.polled: dict[DataItem, None] = {}
        """Items sampled at every tick."""
        self._timers = timers
        self._left: list[DataItem] = []
        self._gone = 0
        """Items that left since the last tick: those who waited are cleared away with it, or before."""

    def tick_after(self, now: float) -> float:
        """The first tick after that time."""
        tick = (now // self.interval + 1) * self.interval
        return tick if tick > now else tick + self.interval

    def mark(self, item: DataItem, now: float) -> None:
        """The value of that item changed."""
        self.waiting.append(item)
        if self.due == NEVER:
            self._timers.set(self, self.tick_after(now), RANK)

    def poll(self, item: DataItem, now: float) -> None:
        """Sample that item at every tick from now on."""
        self.polled[item] = None
        if self.due == NEVER:
            self._timers.set(self, self.tick_after(now), RANK)

    def leave(self, item: DataItem) -> bool:
        """Sample that item no more; whether it was sampled at every tick."""
        self._gone += 1
        if self._gone > max(_FEW, len(self.waiting) // 2):
            self.waiting = [other for other in self.waiting if other.sampler is self and other is not item]
            self._gone = 0
        return self.polled.pop(item, self) is None

    def fire(self, now: float) -> None:
        """Take the samples, or the next part of them."""
        left = self._left
        if not left:
            left, self.waiting, self._gone = self.waiting, [], 0
            left.extend(self.polled)
        for item in left[:AT_ONCE]:
            item.sampled()
        self._left = left[AT_ONCE:]
        if self._left:
            self._timers.set(self, now, RANK)
        elif self.waiting or self.polled:
            self._timers.set(self, self.tick_after(now), RANK)
