"""How fast a value may change: what was written last, when, and how far the next write may go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from server.plant.commands.attempt import Result, refused
from server.plant.values import Point
from sources.quality import BAD_INVALID_STATE, BAD_OUT_OF_RANGE, is_good, quality_name
from sources.tag import Value, Written

_HEARD: Final = 2.0
"""Scans after a write until what is reported is not of before it, also where it is as before."""


class _Last(NamedTuple):
    value: float
    at: float
    """By the clock that measures."""
    sent: float
    """The same, of when the device had answered, or had not: what was reported before is of before."""
    present: Value
    """What the point had before."""
    heard: int
    """The point's ``server_time`` when it was sent; others of its block may move that, too."""


class Pace:
    """Judges writes of numbers with a ``max_rate`` or ``max_step``, by what was written before."""

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
        known = self.may_hold(point)
        if not known:
            what = f"no rate can be measured: its value is {quality_name(point.status)}"
            return refused(BAD_INVALID_STATE, what)
        wanted = _number(value)
        if wanted is None:
            return None
        rate, last = rule.max_rate, self._written.get(point.property.key)
        allowed, since = rate.amount, ""
        if last is not None:
            elapsed = max(self._clock() - last.at, 0.0)
            if elapsed < rate.seconds:
                allowed, since = (
                    rate.amount * elapsed / rate.seconds,
                    f", {elapsed:.3g} s after the last write",
                )
        # Half a part in a million more: what Float and scaling leave of a number that lies on the edge.
        most = allowed * (1 + 5e-7)
        for base in known:
            if abs(wanted - base) > most:
                what = f"faster than {rate}: at most {allowed:.6g} away from {base!r}{since}"
                return refused(BAD_OUT_OF_RANGE, what)
        return None

    def too_far(self, point: Point, value: Written) -> Result | None:
        """Whether a number is too far from what was written and not heard of since."""
        rule, wanted = point.property.type.write, _number(value)
        if rule is None or rule.max_step is None or wanted is None:
            return None
        for base in self.may_hold(point)[1:]:
            if abs(wanted - base) > rule.max_step:
                return refused(BAD_OUT_OF_RANGE, f"more than {rule.max_step:g} away from {base!r}")
        return None

    def may_hold(self, point: Point) -> list[float]:
        """The value, and what was written and not heard of since: the device may hold the one or the other.

        Empty where the value is no number, or not Good.
        """
        present = _number(point.value) if is_good(point.status) else None
        if present is None:
            return []
        last = self._written.get(point.property.key)
        return [present] if last is None or self._is_heard(point, last) else [present, last.value]

    def _is_heard(self, point: Point, last: _Last) -> bool:
        if point.server_time == last.heard:
            return False
        binding = point.property.binding
        period = binding.tag.scan.period if binding is not None else 0.0
        return point.value != last.present or self._clock() - last.sent >= _HEARD * period

    def count(self, point: Point, value: Written) -> None:
        """It is written now. What repeats the present value changes nothing, and holds up nobody."""
        rule, wanted, key = point.property.type.write, _number(value), point.property.key
        if rule is None or (rule.max_rate is None and rule.max_step is None) or wanted is None:
            return
        if all(wanted == one for one in self.may_hold(point)):
            return
        if len(self._written) > len(self._points):  # properties that are no more
            self._written = {one: last for one, last in self._written.items() if one in self._points}
        at = self._clock()
        self._written[key] = _Last(wanted, at, at, point.value, point.server_time)

    def sent(self, point: Point) -> None:
        """The device has answered, or has not: what it reports from now on may be of after the write."""
        last = self._written.get(point.property.key)
        if last is not None:
            self._written[point.property.key] = last._replace(sent=self._clock(), heard=point.server_time)


def _number(value: Written) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        return None
    return value
