"""What a driver counts of its scanning, for status and metrics."""

from __future__ import annotations

import math
import operator
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple, Protocol, runtime_checkable

_FINEST: Final = 1e-5
_PER_OCTAVE: Final = 8
_BUCKETS: Final = 200
"""From 10 µs to 90 min, each bucket 9 % above the one before."""
_WINDOW: Final = 300.0
_LOOKS: Final = 5


class Durations:
    """Which share of durations was below what, over the last five to ten minutes.

    To add one costs the same whatever was added before; a quantile is at most 9 % too high.
    """

    __slots__ = ("_before", "_clock", "_counts", "_until")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts, self._before = _empty(), _empty()
        self._until = clock() + _WINDOW

    def add(self, seconds: float) -> None:
        """Count one."""
        self._turn()
        bucket = math.ceil(_PER_OCTAVE * math.log2(seconds / _FINEST)) if seconds > _FINEST else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1

    def quantile(self, share: float) -> float:
        """What that share of them, 0 to 1, did not exceed, in seconds; 0 where there are none."""
        self._turn()
        counts = list(map(operator.add, self._counts, self._before))
        rank = share * sum(counts)
        if not rank:
            return 0.0
        reached = next(bucket for bucket, seen in enumerate(accumulate(counts)) if seen >= rank)
        return float(_FINEST * 2 ** (reached / _PER_OCTAVE))

    def _turn(self) -> None:
        """Let go of what is too old."""
        now = self._clock()
        if now >= self._until:
            self._before = self._counts if now < self._until + _WINDOW else _empty()
            self._counts = _empty()
            self._until = now + _WINDOW


def _empty() -> array[int]:
    return array("L", bytes(_BUCKETS * array("L").itemsize))


@dataclass(frozen=True, slots=True)
class ScanFigures:
    """A moment's picture of `ScanStatistics`; ``p99`` is of the last minutes, in seconds."""

    planned: float
    measured: float = 0.0
    p99: float = 0.0
    blocks: int = 0
    reads: int = 0
    overruns: int = 0


@dataclass(slots=True)
class ScanStatistics:
    """One scan class of one source; kept over reconnects.

    ``blocks`` is how many requests a whole scan takes, ``reads`` how many were made.
    ``overruns`` counts reads that were skipped because their time had passed before they
    could begin. ``planned`` is the class's period and ``measured`` how long its last
    requests took together, both in seconds: above ``planned`` the class cannot be kept.
    It is not taken by the loop's clock, which may have a grain longer than a request.
    """

    planned: float
    measured: float = 0.0
    blocks: int = 0
    reads: int = 0
    overruns: int = 0
    durations: Durations = field(default_factory=Durations, repr=False, compare=False)
    """Of its scans: what ``measured`` was after each request."""

    def took(self, seconds: float, before: float) -> None:
        """A request took so long, and ``before`` the last time; the time is in seconds."""
        self.measured += seconds - before
        self.durations.add(self.measured)

    def snapshot(self) -> ScanFigures:
        """How it stands now."""
        p99 = self.durations.quantile(0.99)
        return ScanFigures(self.planned, self.measured, p99, self.blocks, self.reads, self.overruns)


@runtime_checkable
class HasStatistics(Protocol):
    """What a source offers that counts; `sources.supervisor` shows it."""

    @property
    def statistics(self) -> Mapping[str, ScanStatistics]:
        """By the name of the scan class."""
        ...


class Rates(NamedTuple):
    """How fast a source's counters rose over the last seconds, each a second."""

    values: float = 0.0
    requests: float = 0.0
    bytes_out: float = 0.0
    bytes_in: float = 0.0


class Pace:
    """Rates of counters that are looked at about once a second: over the last few seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=_LOOKS)

    def look(self, now: float, totals: tuple[int, int, int, int]) -> None:
        """Take the counters, in the order of `Rates`; what comes within a second of the last look waits."""
        if not self._looks or now - self._looks[-1][0] >= 1.0:
            self._looks.append((now, totals))

    @property
    def rates(self) -> Rates:
        """Between the first and the last look that are remembered; all 0 before there are two."""
        if len(self._looks) < 2:
            return Rates()
        (since, before), (until, after) = self._looks[0], self._looks[-1]
        return Rates(*((new - old) / (until - since) for old, new in zip(before, after, strict=True)))
