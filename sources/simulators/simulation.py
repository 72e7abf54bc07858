"""All machines of one device, moved by a clock, with values that can be frozen."""

from __future__ import annotations

import random
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from sources.simulators.machine import Machine
from sources.simulators.spec import Point, Scalar

TICK: Final = 0.1
"""Seconds between two states of a machine, at least: reads within one tick see the same."""
_TICK_PER_POINT: Final = 2e-5
"""A device of many points ticks slower, so that moving them leaves CPU for whoever reads."""
_MOST_STEPS: Final = 20
_LONGEST: Final = 300.0

Key: TypeAlias = tuple[str, str]
"""Machine path and point name."""


class _Moving:
    """A machine and when it last moved."""

    __slots__ = ("last", "machine")

    def __init__(self, machine: Machine, last: float) -> None:
        self.machine = machine
        self.last = last


class Simulation:
    """Values by machine and name, in engineering units.

    Time passes for a machine only in `advance`, when somebody looks at it: what nobody
    reads costs nothing. What was missed is made up in at most a few, longer steps; of more
    than five minutes unwatched only five pass. The same points, looked at in the same way,
    give the same course every time.
    """

    def __init__(self, points: Sequence[Point], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tick = max(TICK, len(points) * _TICK_PER_POINT)
        of_machine: defaultdict[str, list[Point]] = defaultdict(list)
        for point in points:
            of_machine[point.machine].append(point)
        now = clock()
        self._machines: dict[str, _Moving] = {}
        for path, its in of_machine.items():
            wobble = random.Random(zlib.crc32(path.encode()))  # noqa: S311  # no secrets in it
            self._machines[path] = _Moving(Machine(its, wobble), now)
        self._frozen: dict[Key, Scalar] = {}

    def advance(self, machine: str) -> bool:
        """Let a machine catch up with the clock; False where not even a tick has passed. Raises KeyError."""
        moving = self._machines[machine]
        now = self._clock()
        missed = now - moving.last
        if missed < self._tick:
            return False
        moving.last = now
        missed = min(missed, _LONGEST)
        steps = min(_MOST_STEPS, max(1, round(missed / self._tick)))
        for _ in range(steps):
            moving.machine.step(missed / steps)
        return True

    def value(self, key: Key) -> Scalar:
        """The point's value as of its machine's last `advance`, or what it is frozen at. Raises KeyError."""
        frozen = self._frozen.get(key)
        return self._machines[key[0]].machine.value(key[1]) if frozen is None else frozen

    def write(self, key: Key, value: Scalar) -> None:
        """Take what a master wrote. Raises KeyError, and TypeError for a point that is not writable."""
        self._machines[key[0]].machine.write(key[1], value)

    def freeze(self, key: Key, value: Scalar | None) -> None:
        """Show ``value`` whatever the machine does; None lets go. Raises KeyError."""
        self._machines[key[0]].machine.value(key[1])
        if value is None:
            self._frozen.pop(key, None)
        else:
            self._frozen[key] = value
