"""What may be written: by whom, which values, and under which circumstances (OPC 10000-4 §5.11.4)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, TypeGuard

from server.plant.commands.attempt import Caller, Result, elements, refused
from server.plant.commands.pace import Pace
from server.plant.model import Property, PropertyType
from server.plant.values import Point
from sources.quality import (
    BAD_INDEX_RANGE_NO_DATA,
    BAD_INVALID_STATE,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_OUT_OF_SERVICE,
    BAD_TOO_MANY_OPERATIONS,
    BAD_TYPE_MISMATCH,
    BAD_USER_ACCESS_DENIED,
    BAD_WRITE_NOT_SUPPORTED,
    is_good,
    quality_name,
)
from sources.tag import ANY_LENGTH, INTEGER_LIMITS, MAX_LENGTH, Part, Scalar, ValueType, Written

MAX_TEXT: Final = 4096
"""Characters a written String may have."""

_MINUTE: Final = 60.0


class Rules:
    """Judges writes. It remembers when properties with a rate limit were written, and what."""

    def __init__(
        self, points: Mapping[str, Point], *, enabled: bool, clock: Callable[[], float] = monotonic
    ) -> None:
        """``enabled`` false refuses everything."""
        self._points = points
        self._enabled = enabled
        self._clock = clock
        self._pace = Pace(points, clock)
        self._written: dict[str, deque[float]] = {}

    def may_write(self, caller: Caller, prop: Property) -> bool:
        """Whether this caller's roles allow writing this property."""
        rule = prop.type.write
        return self._enabled and rule is not None and not rule.roles.isdisjoint(caller.roles)

    def of_request(self, caller: Caller, prop: Property, value: Written) -> Result | None:
        """What is wrong with the request itself, whenever it is carried out; None where nothing is."""
        rule = prop.type.write
        if rule is None or not self._enabled:
            return refused(BAD_NOT_WRITABLE)
        if rule.roles.isdisjoint(caller.roles):
            return refused(BAD_USER_ACCESS_DENIED)
        misfit = _misshapen(value, prop.type.length)
        if misfit is not None:
            return misfit
        first = value.first if isinstance(value, Part) else 0
        for index, element in enumerate(elements(value), first):
            if not fits_type(element, prop.type.type):
                return refused(BAD_TYPE_MISMATCH)
            reason = _outside(element, prop.type)
            if reason:
                where = "" if prop.type.length is None else f"[{index}]: "
                return refused(BAD_OUT_OF_RANGE, where + reason)
        if prop.binding is not None and not prop.binding.enabled:
            return refused(BAD_OUT_OF_SERVICE)
        return None

    def of_moment(self, point: Point, value: Written) -> Result | None:
        """What forbids it at this moment: an interlock, too large a step, too fast, too often."""
        return (
            self._interlocked(point.property)
            or _too_far(point, value)
            or self._pace.too_far(point, value)
            or self._pace.too_fast(point, value)
            or self._too_often(point.property)
        )

    def count(self, point: Point, value: Written) -> None:
        """It is written now."""
        self._pace.count(point, value)
        prop = point.property
        rule = prop.type.write
        if rule is None or rule.max_per_minute is None:
            return
        written = self._written.get(prop.key)
        if written is None or written.maxlen != rule.max_per_minute:  # which may have changed
            written = self._written[prop.key] = deque(written or (), maxlen=rule.max_per_minute)
        written.append(self._clock())

    def sent(self, point: Point) -> None:
        """The device has answered to a write, or has not."""
        self._pace.sent(point)

    def _interlocked(self, prop: Property) -> Result | None:
        for condition in prop.interlock:
            point = self._points.get(condition.property)
            if point is None:
                return refused(BAD_INVALID_STATE, f"{condition.text}: {condition.property} is no more")
            if not is_good(point.status):
                what = f"{condition.text}: {point.property.key} is {quality_name(point.status)}"
                return refused(BAD_INVALID_STATE, what)
            if not condition.holds(point.value):
                what = f"{condition.text}: {point.property.key} is {point.value!r}"
                return refused(BAD_INVALID_STATE, what)
        return None

    def _too_often(self, prop: Property) -> Result | None:
        rule = prop.type.write
        written = self._written.get(prop.key)
        if rule is None or rule.max_per_minute is None or written is None:
            return None
        most = rule.max_per_minute
        if len(written) >= most and self._clock() - written[-most] < _MINUTE:
            return refused(BAD_TOO_MANY_OPERATIONS, f"more than {most} writes a minute")
        return None


def _misshapen(value: Written, length: int | None) -> Result | None:
    """What is wrong with a value's shape: a property that is an array takes one of its length, or a part."""
    if isinstance(value, Part):
        if length is None:
            return refused(BAD_WRITE_NOT_SUPPORTED, "a scalar has no parts")
        if value.end > length != ANY_LENGTH:
            return refused(BAD_INDEX_RANGE_NO_DATA, f"the array has {length} elements")
        return None
    if isinstance(value, tuple) is not (length is not None):
        return refused(BAD_TYPE_MISMATCH, "a scalar" if length is not None else "an array")
    if isinstance(value, tuple) and length is not None and len(value) != length != ANY_LENGTH:
        return refused(BAD_TYPE_MISMATCH, f"{len(value)} elements, and the array has {length}")
    if isinstance(value, tuple) and len(value) > MAX_LENGTH:
        return refused(BAD_OUT_OF_RANGE, f"{len(value)} elements, and {MAX_LENGTH} are the most")
    return None


def _outside(value: Scalar, kind: PropertyType) -> str:
    """Why a scalar or an element is none of the property's values; empty where it is one."""
    if kind.enumeration is not None and value not in kind.enumeration.members:
        return f"no state of {kind.enumeration.name}"
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"longer than {MAX_TEXT} characters"
    limits = (kind.write.limits if kind.write is not None else None) or kind.range
    if limits is not None and isinstance(value, int | float) and not limits.low <= value <= limits.high:
        return f"outside [{limits.low:g}, {limits.high:g}]"
    return ""


def _too_far(point: Point, value: Written) -> Result | None:
    rule = point.property.type.write
    if rule is None or rule.max_step is None:
        return None
    first = value.first if isinstance(value, Part) else 0
    asked = elements(value)
    held = elements(point.value)[first : first + len(asked)]
    if not is_good(point.status) or len(held) < len(asked) or not all(map(_is_measure, held)):
        what = f"no step can be measured: its value is {quality_name(point.status)}"
        return refused(BAD_INVALID_STATE, what)
    for old, new in zip(held, asked, strict=True):
        if isinstance(new, int | float) and isinstance(old, int | float) and abs(new - old) > rule.max_step:
            return refused(BAD_OUT_OF_RANGE, f"more than {rule.max_step:g} away from {old!r}")
    return None


def _is_measure(value: object) -> bool:
    """Whether a step can be measured from it."""
    return isinstance(value, int | float) and not math.isnan(value)


def fits_type(value: object, kind: ValueType) -> TypeGuard[bool | int | float | str]:
    """Whether it is a value of that type."""
    if kind is ValueType.Boolean:
        return isinstance(value, bool)
    if kind is ValueType.String:
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if kind is ValueType.DateTime:
        return isinstance(value, int)
    limits = INTEGER_LIMITS.get(kind)
    if limits is None:
        return isinstance(value, float)
    return isinstance(value, int) and limits[0] <= value <= limits[1]
