"""What a device made of a write, judged by what it is read to hold afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from server.plant.commands.attempt import Outcome, Result, elements
from server.plant.convert import ConversionError
from server.plant.model import Binding, PropertyType
from sources.quality import BAD_DEVICE_FAILURE, GOOD_CLAMPED, Quality
from sources.tag import Part, Value, ValueType, Written

_FLOATS: Final = frozenset({ValueType.Float, ValueType.Double})


def judge(
    kind: PropertyType, binding: Binding, old: Value, asked: Any, raw: Written, held: Value, quality: Quality
) -> Result:
    """``raw`` was written for ``asked``, ``held`` was read; ``quality`` is the device's answer to the write.

    An array is what its worst element is; of a part of one no other element is looked at.

    Done where it holds what was written, or what the tolerance allows. GoodClamped where a
    number stopped on its way from the ``old`` value (OPC 10000-4 §7.39), else
    BadDeviceFailure: also where the device holds on to the old value.
    """
    served = _served(binding, held)
    tolerance = kind.write.tolerance if kind.write is not None else None
    first = raw.first if isinstance(raw, Part) else 0
    count = len(elements(raw))
    differing: list[tuple[Any, Any, Any]] = [
        (before, shown, wanted)
        for before, wanted, written, there, shown in zip(
            _some(old, first, count),
            elements(asked),
            elements(raw),
            _some(held, first, count),
            _some(served, first, count),
            strict=True,
        )
        if not _same(there, written, binding.tag.type) and not _near(shown, wanted, tolerance)
    ]
    if not differing and isinstance(held, tuple) and not isinstance(raw, Part) and len(held) != count:
        return Result(BAD_DEVICE_FAILURE, Outcome.Failed, f"the device holds {len(held)} elements", served)
    if not differing:
        return Result(quality, Outcome.Done, held=served)
    ordered = binding.tag.type.is_number and kind.enumeration is None
    if ordered and all(_between(*each) for each in differing):
        return Result(GOOD_CLAMPED, Outcome.Done, "the device clamped it", served)
    return Result(BAD_DEVICE_FAILURE, Outcome.Failed, "the device holds another value", served)


def _some(value: Value, first: int, count: int) -> Sequence[Any]:
    """So many elements of what was read or known, None for those that are not there."""
    found = elements(value)[first : first + count]
    return (*found, *[None] * (count - len(found)))


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
