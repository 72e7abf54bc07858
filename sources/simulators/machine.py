"""A machine of a bottling line: its points move together, as one thing would make them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from sources.simulators.behaviour import (
    Choice,
    Counter,
    Flow,
    Follow,
    Hold,
    Signal,
    Walk,
    WritableSignal,
)
from sources.simulators.packml import State, StateMachine
from sources.simulators.roles import COUNTS, Role, role_of
from sources.simulators.scaling import Scaling
from sources.simulators.spec import Point, Scalar

_RAMP: Final = 3.0
"""Seconds from standstill to the top speed."""
_DEFAULT_TOP: Final = 900.0
_FIRST_SET_POINT: Final = 0.75
_NOISE: Final = 0.002
_REJECTS: Final = 0.015
_WITHIN: Final = 2.0
"""Seconds a unit spends in the machine."""
_TOGGLES: Final = (5.0, 20.0)
_CHANGES: Final = (10.0, 30.0)

_COUNTED: Final[dict[Role, Callable[[Flow], int]]] = {
    Role.entered: lambda flow: flow.entered,
    Role.good: lambda flow: flow.good,
    Role.rejected: lambda flow: flow.rejected,
    Role.processed: lambda flow: flow.good + flow.rejected,
}


class Machine:
    """The points of one machine, by name, in engineering units.

    In Execute it runs at its set point (three quarters of its range until one is written),
    else it stands. What enters leaves as good or reject a little later, so that InCount is never
    below GoodCount and RejectCount together. What a master writes is held; a counter counts
    on from it.
    """

    def __init__(self, points: Sequence[Point], random_: random.Random) -> None:
        self._random = random_
        self._flow = Flow()
        by_role = {role_of(point): point for point in points}
        self._top = self._top_speed(by_role)
        self._set_point = Hold(self._first_set_point(by_role.get(Role.set_point)))
        states = self._states(by_role.get(Role.state))
        self._packml = StateMachine(random_, states if State.Execute in states else tuple(State))
        self._flow.state = int(self._packml.state)
        self._part = 0.0
        self._signals: dict[str, Signal] = {point.name: self._signal(point) for point in points}

    def step(self, seconds: float) -> None:
        """Move everything on; some tenths of a second up to a minute."""
        self._packml.advance(seconds)
        flow = self._flow
        flow.state = int(self._packml.state)
        before = flow.speed
        target = self._target() if self._packml.executing else 0.0
        reach = self._top / _RAMP * seconds
        flow.speed = max(before - reach, min(before + reach, target))
        wobble = self._random.gauss(0.0, _NOISE) if flow.speed > 0 else 0.0
        flow.shown_speed = max(0.0, min(self._top, flow.speed * (1 + wobble)))
        self._count((before + flow.speed) / 2 * seconds / 60)
        for signal in self._signals.values():
            signal.step(seconds, flow)

    def value(self, name: str) -> Scalar:
        """What the point of that name shows now. Raises KeyError."""
        return self._signals[name].value

    def write(self, name: str, value: Scalar) -> None:
        """Take what a master wrote. Raises KeyError, and TypeError for a point that is not writable."""
        signal = self._signals[name]
        if not isinstance(signal, WritableSignal):
            raise TypeError(f"{name} cannot be written")
        signal.write(value)

    def _target(self) -> float:
        wanted = self._set_point.value
        if isinstance(wanted, str) or not math.isfinite(wanted):
            return 0.0
        return max(0.0, min(self._top, float(wanted)))

    def _count(self, units: float) -> None:
        flow = self._flow
        self._part += units
        whole = int(self._part)
        self._part -= whole
        flow.entered += whole
        within = math.ceil(self._target() / 60 * _WITHIN)
        leaving = max(0, flow.entered - within - flow.good - flow.rejected)
        rejected = (
            sum(self._random.random() < _REJECTS for _ in range(leaving))
            if leaving < 200
            else round(leaving * _REJECTS)
        )
        flow.rejected += rejected
        flow.good += leaving - rejected

    @staticmethod
    def _top_speed(by_role: dict[Role, Point]) -> float:
        tops = [_DEFAULT_TOP]
        for point in (by_role.get(Role.set_point), by_role.get(Role.speed)):
            if point is not None:
                tops.append(Scaling(point).span[1])
                if point.high is not None:
                    tops[0] = point.high
        return max(1.0, min(tops))

    def _first_set_point(self, point: Point | None) -> float:
        high = self._top if point is None or point.high is None else min(self._top, point.high)
        return round(max(0.0, high) * _FIRST_SET_POINT, 1)

    @staticmethod
    def _states(point: Point | None) -> tuple[int, ...]:
        """The numbers that the machine's State can show, in rising order."""
        members = None if point is None else _members(point)
        return tuple(int(state) for state in State) if members is None else members

    def _signal(self, point: Point) -> Signal:
        role = role_of(point)
        members = _members(point)
        if role is Role.set_point:
            return self._set_point
        if role is Role.speed:
            return Follow(lambda flow: flow.shown_speed, self._flow)
        if role is Role.state and (members is None or State.Execute in members):
            return Follow(lambda flow: flow.state, self._flow)
        if role is Role.mode:
            return Hold(1 if members is None or 1 in members else members[0])
        if role in COUNTS:
            return Counter(_COUNTED[role], self._flow)
        if point.kind == "counter":
            return Counter(_COUNTED[Role.entered], self._flow)
        kind = point.raw_type.kind
        if kind == "text":
            return Hold(f"{point.name} 1")
        if members is not None:
            return Hold(members[0]) if point.writable else Choice(self._random, members, _CHANGES)
        if kind == "bool":
            return Hold(value=False) if point.writable else Choice(self._random, (False, True), _TOGGLES)
        return self._walk(point, role)

    def _walk(self, point: Point, role: Role) -> Signal:
        """A number within its range; levels lie high, temperatures lower and slow."""
        share, spread, slowness, high = {
            Role.level: (0.65, 0.04, 20.0, 100.0),
            Role.temperature: (0.3, 0.01, 120.0, 60.0),
        }.get(role, (0.5, 0.08, 30.0, 100.0))
        bottom, top = Scaling(point).span
        low = max(bottom, point.low if point.low is not None else min(0.0, point.high or 0.0))
        high = min(top, point.high if point.high is not None else low + high)
        if low >= high:
            low, high = bottom, top
        width = high - low
        base = low + share * width
        if point.writable:
            return Hold(base)
        return Walk(self._random, base, spread * width, slowness, (low, high))


def _members(point: Point) -> tuple[int, ...] | None:
    """What the point's enumeration and lookup table both allow, rising; None where neither is given."""
    table = Scaling(point).members
    named = frozenset(point.members)
    if table is None:
        return tuple(sorted(named)) or None
    return tuple(sorted(table & named or table))
