"""All machines of one device, moved by a clock, with values that can be frozen."""

from __future__ import annotations

import random
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from sources.simulators.machine import Machine
from sources.simulators.spec import PointSpec, Scalar

TICK: Final = 0.1
"""Seconds between two states of the machines, at least: reads within one tick see the same."""
_TICK_PER_POINT: Final = 2e-5
"""Many points tick slower, so that moving them takes a small share of the CPU whoever reads."""
_MOST_STEPS: Final = 20
_LONGEST: Final = 300.0

Key = tuple[str, str]
"""Machine path and point name."""


class Simulation:
    """Values by machine and name, in engineering units.

    Time passes only in `advance`, when somebody looks: a simulator that nobody reads costs
    nothing. What was missed is made up in at most a few, longer steps; of more than five
    minutes unwatched only five pass. The same points give the same course every time.
    """

    def __init__(self, points: Sequence[PointSpec], clock: Callable[[], float] = time.monotonic) -> None:
        machines: defaultdict[str, list[PointSpec]] = defaultdict(list)
        for point in points:
            machines[point.machine].append(point)
        self._machines = {
            path: Machine(of_one, random.Random(zlib.crc32(path.encode())))  # noqa: S311  # wobble, not secrets
            for path, of_one in machines.items()
        }
        self._frozen: dict[Key, Scalar] = {}
        self._tick = max(TICK, len(points) * _TICK_PER_POINT)
        self._clock = clock
        self._last = clock()

    def advance(self) -> bool:
        """Let the machines catch up with the clock; False where not even a tick has passed."""
        now = self._clock()
        missed = now - self._last
        if missed < self._tick:
            return False
        self._last = now
        missed = min(missed, _LONGEST)
        steps = min(_MOST_STEPS, max(1, round(missed / self._tick)))
        for machine in self._machines.values():
            for _ in range(steps):
                machine.step(missed / steps)
        return True

    def value(self, key: Key) -> Scalar:
        """The point's value as of the last `advance`, or what it is frozen at. Raises KeyError."""
        frozen = self._frozen.get(key)
        return self._machines[key[0]].value(key[1]) if frozen is None else frozen

    def write(self, key: Key, value: Scalar) -> None:
        """Take what a master wrote. Raises KeyError, and TypeError for a point that is not writable."""
        self._machines[key[0]].write(key[1], value)

    def freeze(self, key: Key, value: Scalar | None) -> None:
        """Show ``value`` whatever the machine does; None lets go. Raises KeyError."""
        self._machines[key[0]].value(key[1])
        if value is None:
            self._frozen.pop(key, None)
        else:
            self._frozen[key] = value
