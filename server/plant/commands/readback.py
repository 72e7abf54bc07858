"""What a device made of a write, judged by what it is read to hold afterwards."""

from __future__ import annotations

import math
from typing import Final

from server.plant.commands.attempt import Outcome, Result
from server.plant.convert import ConversionError
from server.plant.model import Binding, PropertyType
from sources.quality import BAD_DEVICE_FAILURE, GOOD_CLAMPED, Quality
from sources.tag import Value, ValueType

_FLOATS: Final = frozenset({ValueType.Float, ValueType.Double})


def judge(
    kind: PropertyType, binding: Binding, old: Value, asked: Value, raw: Value, held: Value, quality: Quality
) -> Result:
    """``raw`` was written for ``asked``, ``held`` was read; ``quality`` is the device's answer to the write.

    Done where it holds what was written, or what the tolerance allows. GoodClamped where a
    number stopped on its way from the ``old`` value (OPC 10000-4 §7.39), else
    BadDeviceFailure: also where the device holds on to the old value.
    """
    served = _served(binding, held)
    tolerance = kind.write.tolerance if kind.write is not None else None
    if _same(held, raw, binding.tag.type) or _near(served, asked, tolerance):
        return Result(quality, Outcome.Done, held=served)
    ordered = binding.tag.type.is_number and kind.enumeration is None
    if ordered and _between(old, served, asked):
        return Result(GOOD_CLAMPED, Outcome.Done, "the device clamped it", served)
    return Result(BAD_DEVICE_FAILURE, Outcome.Failed, "the device holds another value", served)


def _served(binding: Binding, held: Value) -> Value:
    if binding.conversion is None:
        return held
    try:
        return binding.conversion.to_engineering(held)
    except ConversionError:
        return None


def _same(held: Value, asked: Value, kind: ValueType) -> bool:
    if kind in _FLOATS and isinstance(held, float) and isinstance(asked, float):
        return math.isclose(held, asked, rel_tol=1e-6, abs_tol=1e-30)
    return held == asked


def _near(held: Value, asked: Value, tolerance: float | None) -> bool:
    if tolerance is None or not isinstance(held, int | float) or not isinstance(asked, int | float):
        return False
    # Half a part in a million more: what Float and scaling leave of a number that lies on the edge.
    return abs(held - asked) <= tolerance * (1 + 5e-7)


def _between(old: Value, held: Value, asked: Value) -> bool:
    """Whether a number is on the way from the old one, if that is known, and no longer the old one."""
    if not isinstance(held, int | float) or not isinstance(asked, int | float):
        return False
    if not isinstance(old, int | float) or math.isnan(old):
        return not math.isnan(held)
    return old < held < asked or asked < held < old
