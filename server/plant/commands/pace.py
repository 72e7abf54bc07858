"""How fast a value may change: what was written last, when, and how far the next write may go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from server.plant.commands.attempt import Result, refused
from server.plant.values import Point
from sources.clock import now
from sources.quality import BAD_INVALID_STATE, BAD_OUT_OF_RANGE, is_good, quality_name
from sources.tag import Written


class _Last(NamedTuple):
    value: float
    at: float
    """By the clock that measures."""
    time: int
    """In ticks, as a point's ``server_time``."""


class Pace:
    """Judges writes of properties with a ``max_rate``, by what was written before. Arrays have none."""

    def __init__(self, points: Mapping[str, Point], clock: Callable[[], float]) -> None:
        self._points = points
        self._clock = clock
        self._written: dict[str, _Last] = {}

    def too_fast(self, point: Point, value: Written) -> Result | None:
        """What forbids the write now; None where nothing does.

        A value may go as far as the rate allows in the time since the last write that changed it, and never
        further than in the rate's own unit of time, however long ago that was: after a night without a write
        the set point of a kiln must not jump. So the first write after a start is measured.
        """
        rule = point.property.type.write
        if rule is None or rule.max_rate is None:
            return None
        present = _number(point.value) if is_good(point.status) else None
        if present is None:
            what = f"no rate can be measured: its value is {quality_name(point.status)}"
            return refused(BAD_INVALID_STATE, what)
        wanted = _number(value)
        if wanted is None:
            return None
        rate, last = rule.max_rate, self._written.get(point.property.key)
        allowed, since, known = rate.amount, "", [present]
        if last is not None:
            elapsed = max(self._clock() - last.at, 0.0)
            if elapsed < rate.seconds:
                allowed, since = (
                    rate.amount * elapsed / rate.seconds,
                    f", {elapsed:.3g} s after the last write",
                )
            if point.server_time <= last.time:  # not heard since: the device may hold the one or the other
                known.append(last.value)
        # Half a part in a million more: what Float and scaling leave of a number that lies on the edge.
        most = allowed * (1 + 5e-7)
        for base in known:
            if abs(wanted - base) > most:
                what = f"faster than {rate}: at most {allowed:.6g} away from {base!r}{since}"
                return refused(BAD_OUT_OF_RANGE, what)
        return None

    def count(self, point: Point, value: Written) -> None:
        """It is written now. What repeats the present value changes nothing, and holds up nobody."""
        rule, wanted, key = point.property.type.write, _number(value), point.property.key
        if rule is None or rule.max_rate is None or wanted is None or wanted == point.value:
            return
        if len(self._written) > len(self._points):  # properties that are no more
            self._written = {one: last for one, last in self._written.items() if one in self._points}
        self._written[key] = _Last(wanted, self._clock(), now())


def _number(value: Written) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        return None
    return value
