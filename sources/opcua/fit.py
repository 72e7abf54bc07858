"""A value of the device's own type as a tag's, and back: nothing is rounded, cut or guessed."""

from __future__ import annotations

import math
from typing import Any, Final, cast

from sources import clock
from sources.opcua import wire
from sources.opcua.stack import ua
from sources.quality import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import ANY_LENGTH, INTEGER_LIMITS, Scalar, Tag, Value, ValueType

_BOOLEAN, _FLOAT, _DOUBLE, _STRING = 1, 10, 11, 12
_INTEGERS: Final = frozenset(wire.INTEGERS)
_FLOATS: Final = frozenset({_FLOAT, _DOUBLE})
_MAX_FLOAT: Final = 3.4028235677973366e38


def fit(kind: int, value: Value | bytes, wanted: ValueType) -> tuple[Value, Quality]:
    """A received value as a tag of that type hands it up, or None and BadTypeMismatch or BadOutOfRange.

    Integers pass between their types where they fit, and become Float or Double where that holds them
    exactly; a LocalizedText passes as a String, its text.
    """
    if kind == wanted.value == wire.DATE_TIME and isinstance(value, int):
        return (value, GOOD) if 0 <= value <= wire.LAST_TIME else (None, BAD_OUT_OF_RANGE)
    if kind in {wanted.value, wire.NOTHING}:
        return value if not isinstance(value, bytes) else None, GOOD
    if kind in _INTEGERS and isinstance(value, int):
        limits = INTEGER_LIMITS.get(wanted)
        if limits is not None:
            return (value, GOOD) if limits[0] <= value <= limits[1] else (None, BAD_OUT_OF_RANGE)
        if wanted.value in _FLOATS:
            exact = abs(value) <= (1 << 24 if wanted is ValueType.Float else 1 << 53)
            return (float(value), GOOD) if exact else (None, BAD_OUT_OF_RANGE)
    if kind in _FLOATS and wanted.value in _FLOATS and isinstance(value, float):
        # Only a Double too large for a Float cannot be one; what it loses in digits, its type says.
        if wanted is ValueType.Float and math.isfinite(value) and abs(value) >= _MAX_FLOAT:
            return None, BAD_OUT_OF_RANGE
        return value, GOOD
    if kind == wire.LOCALIZED and wanted is ValueType.String and isinstance(value, bytes):
        return wire.text_of(value), GOOD
    return None, BAD_TYPE_MISMATCH


def fit_tag(kind: int, value: Value | bytes, tag: Tag[Any]) -> tuple[Value, Quality]:
    """As `fit`; of a tag that is an array every element, as many as it has."""
    if tag.length is None:
        return fit(kind, value, tag.type)
    if kind == wire.NOTHING:
        return None, GOOD
    if not kind & wire.ARRAY or not isinstance(value, bytes):
        return None, BAD_TYPE_MISMATCH
    element, found = wire.elements(value)
    if found is None or (tag.length != ANY_LENGTH and len(found) != tag.length):
        return None, BAD_TYPE_MISMATCH
    if element == tag.type.value and element not in {wire.DATE_TIME, _STRING}:
        return cast("Value", tuple(found)), GOOD
    fitted: list[Scalar] = []
    for one in found:
        its, quality = fit(element, one, tag.type)
        if quality != GOOD:
            return None, quality
        # A null text within an array is one of no characters: the array would have no value else.
        fitted.append(cast("Scalar", "" if its is None else its))
    return tuple(fitted), GOOD


def to_device(value: Value, kind: int) -> object | None:
    """The stack's Variant of a value for a node of that built-in type; None where it cannot be one.

    An array is one of elements of that type, whether or not the node's own says that it is one.
    """
    if isinstance(value, tuple):
        element = kind & ~wire.ARRAY
        items = [_to_device(one, element) for one in value]
        if None in items:
            return None
        array: object = ua.Variant(items, ua.VariantType(element), is_array=True)
        return array
    fitted = _to_device(value, kind)
    if fitted is None:
        return None
    made: object = ua.Variant(fitted, ua.VariantType(kind))
    return made


def _to_device(value: Value, kind: int) -> object | None:
    if kind == _BOOLEAN and isinstance(value, bool):
        fitted: object = value
    elif kind in _INTEGERS and isinstance(value, int) and not isinstance(value, bool):
        low, high = INTEGER_LIMITS[ValueType(kind)]
        if not low <= value <= high:
            return None
        fitted = value
    elif kind in _FLOATS and isinstance(value, int | float) and not isinstance(value, bool):
        if kind == _FLOAT and math.isfinite(value) and abs(value) >= _MAX_FLOAT:
            return None
        fitted = float(value)
    elif kind == wire.DATE_TIME and isinstance(value, int) and 0 <= value <= wire.LAST_TIME:
        fitted = clock.to_datetime(value)
    elif kind == _STRING and isinstance(value, str):
        fitted = value
    elif kind == wire.LOCALIZED and isinstance(value, str):
        fitted = ua.LocalizedText(value)
    else:
        return None
    return fitted
