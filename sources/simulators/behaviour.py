"""How one value of a machine moves, step by step, in engineering units."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from sources.simulators.spec import Scalar


@dataclass(slots=True)
class Flow:
    """What goes on in the machine, for its signals to show: speeds in units per minute, counts of units."""

    speed: float = 0.0
    shown_speed: float = 0.0
    state: int = 0
    entered: int = 0
    good: int = 0
    rejected: int = 0


class Signal(Protocol):
    """One value of a machine. ``value`` is in engineering units."""

    value: Scalar

    def step(self, seconds: float, flow: Flow) -> None:
        """Move on by some seconds."""
        ...


@runtime_checkable
class WritableSignal(Signal, Protocol):
    """One value that a master may write."""

    def write(self, value: Scalar) -> None:
        """Take what a master wrote."""
        ...


class Hold:
    """Stays as it is until written: a set point, a mode, a recipe parameter, a text."""

    def __init__(self, value: Scalar) -> None:
        self.value: Scalar = value

    def step(self, seconds: float, flow: Flow) -> None:
        """See Signal."""

    def write(self, value: Scalar) -> None:
        """See WritableSignal."""
        self.value = value


class Follow:
    """Shows something of the flow; once written, holds what was written."""

    def __init__(self, shown: Callable[[Flow], Scalar], flow: Flow) -> None:
        self._shown = shown
        self._written = False
        self.value: Scalar = shown(flow)

    def step(self, seconds: float, flow: Flow) -> None:
        """See Signal."""
        del seconds
        if not self._written:
            self.value = self._shown(flow)

    def write(self, value: Scalar) -> None:
        """See WritableSignal."""
        self._written = True
        self.value = value


class Counter:
    """Follows a count of the flow, and counts on from what is written.

    Unbounded: a register that holds it wraps.
    """

    def __init__(self, count: Callable[[Flow], int], flow: Flow) -> None:
        self._count = count
        self._flow = flow
        self._base: int | float = 0
        self.value: Scalar = count(flow)

    def step(self, seconds: float, flow: Flow) -> None:
        """See Signal."""
        del seconds
        self.value = self._base + self._count(flow)

    def write(self, value: Scalar) -> None:
        """See WritableSignal. Nothing but a finite number can be counted on from."""
        if not isinstance(value, str) and math.isfinite(value):
            self._base = value - self._count(self._flow)
            self.value = value


class Walk:
    """A level or a temperature: a walk that is drawn back to its base (Ornstein-Uhlenbeck), within bounds.

    ``spread`` is its standard deviation, ``slowness`` in seconds how long it takes to come
    back. Exact for a step of any length.
    """

    def __init__(
        self, random_: random.Random, base: float, spread: float, slowness: float, bounds: tuple[float, float]
    ) -> None:
        self._random = random_
        self._base = base
        self._spread = spread
        self._slowness = slowness
        self._low, self._high = bounds
        self._now = base
        self.value: Scalar = base

    def step(self, seconds: float, flow: Flow) -> None:
        """See Signal."""
        del flow
        kept = math.exp(-seconds / self._slowness)
        noise = self._random.gauss(0.0, self._spread) * math.sqrt(1.0 - kept * kept)
        moved = self._base + (self._now - self._base) * kept + noise
        self.value = self._now = max(self._low, min(self._high, moved))


class Choice:
    """One of a few values, another one now and then: a Boolean, an enumeration."""

    def __init__(self, random_: random.Random, values: Sequence[Scalar], dwell: tuple[float, float]) -> None:
        self._random = random_
        self._values: Final = values
        self._dwell = dwell
        self._left = random_.uniform(*dwell)
        self.value: Scalar = values[0]

    def step(self, seconds: float, flow: Flow) -> None:
        """See Signal."""
        del flow
        self._left -= seconds
        if self._left > 0 or len(self._values) < 2:
            return
        self._left = self._random.uniform(*self._dwell)
        self.value = self._random.choice([value for value in self._values if value != self.value])
