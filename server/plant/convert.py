"""From a device's raw value to engineering units, and back for a write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

from sources.tag import ANY_LENGTH, INTEGER_LIMITS, Part, Scalar, Value, ValueType, Written


class ConversionError(ValueError):
    """A value that has no counterpart on the other side; the text says which."""


class Conversion(Protocol):
    """Both directions of one conversion. Values are those of one tag and one property."""

    def to_engineering(self, raw: Value) -> Value:
        """The served value. Raises ConversionError where there is none."""
        ...

    def to_raw(self, value: Value) -> Value:
        """What to write to the device. Raises ConversionError where there is nothing."""
        ...


def _number(value: Value) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConversionError(f"{value!r} is not a number")
    return value


def fit(value: Value, kind: ValueType) -> Scalar:
    """The value as plain Python of that type. Raises ConversionError where it does not fit.

    A float becomes an integer by rounding half to even, never by cutting; NaN and the
    infinities have no integer.
    """
    if value is None:
        raise ConversionError("there is no value")
    if kind in {ValueType.Boolean, ValueType.String, ValueType.DateTime}:
        return _fit_no_number(value, kind)
    number = int(value) if isinstance(value, bool) else _number(value)
    limits = INTEGER_LIMITS.get(kind)
    if limits is None:
        return float(number)
    if isinstance(number, float):
        if not math.isfinite(number):
            raise ConversionError(f"{number!r} has no {kind.name}")
        number = round(number)
    if not limits[0] <= number <= limits[1]:
        raise ConversionError(f"{number} is outside {kind.name} ({limits[0]}…{limits[1]})")
    return number


def fit_whole(value: object, kind: ValueType, length: int | None) -> Value:
    """As `fit`, or of a list or tuple every element where ``length`` says that it is an array."""
    if length is None:
        if isinstance(value, list | tuple):
            raise ConversionError(f"{value!r} is an array")
        return fit(cast("Value", value), kind)
    if not isinstance(value, list | tuple):
        raise ConversionError(f"{value!r} is no array")
    if len(value) != length != ANY_LENGTH:
        raise ConversionError(f"an array of {len(value)} elements, not of {length}")
    return tuple([fit(element, kind) for element in value])


def _fit_no_number(value: Scalar | tuple[Scalar, ...], kind: ValueType) -> Scalar:
    if kind is ValueType.Boolean:
        if isinstance(value, str | tuple):
            raise ConversionError(f"{value!r} is not a Boolean")
        return bool(value)
    if isinstance(value, str) and kind is ValueType.String:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and kind is ValueType.DateTime:
        return value
    raise ConversionError(f"{value!r} is not a {kind.name}")


@dataclass(frozen=True, slots=True)
class Cast:
    """A change of type alone: the tag's to the property's."""

    raw_type: ValueType
    type: ValueType

    @property
    def widens(self) -> bool:
        """Whether every raw value is the served one as it stands; a write may still not fit."""
        raw, served = INTEGER_LIMITS.get(self.raw_type), INTEGER_LIMITS.get(self.type)
        if raw is None or served is None:
            return self.raw_type is ValueType.Float and self.type is ValueType.Double
        return served[0] <= raw[0] and raw[1] <= served[1]

    def to_engineering(self, raw: Value) -> Scalar:
        """See Conversion."""
        return fit(raw, self.type)

    def to_raw(self, value: Value) -> Scalar:
        """See Conversion."""
        return fit(value, self.raw_type)


@dataclass(frozen=True, slots=True)
class Linear:
    """``engineering = raw * gain + offset``; ``gain`` is not zero."""

    raw_type: ValueType
    type: ValueType
    gain: float
    offset: float

    @classmethod
    def through(
        cls, raw_type: ValueType, type_: ValueType, raw: tuple[float, float], eu: tuple[float, float]
    ) -> Linear:
        """The line through two points. Raises ValueError where they do not make one."""
        if raw[0] == raw[1] or eu[0] == eu[1]:
            raise ValueError("a scale needs two different raw values and two different engineering values")
        gain = (eu[1] - eu[0]) / (raw[1] - raw[0])
        return cls(raw_type, type_, gain, eu[0] - raw[0] * gain)

    def to_engineering(self, raw: Value) -> Scalar:
        """See Conversion."""
        return fit(_number(raw) * self.gain + self.offset, self.type)

    def to_raw(self, value: Value) -> Scalar:
        """See Conversion."""
        return fit((_number(value) - self.offset) / self.gain, self.raw_type)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table from raw integers to served ones; a raw value outside it has no counterpart."""

    table: Mapping[int, int]
    inverse: Mapping[int, int]

    @classmethod
    def of(cls, table: Mapping[int, int]) -> Lookup:
        """Where several raw values give one served value, a write takes the first of the table."""
        inverse: dict[int, int] = {}
        for raw, served in table.items():
            inverse.setdefault(served, raw)
        return cls(dict(table), inverse)

    def to_engineering(self, raw: Value) -> Scalar:
        """See Conversion."""
        return self._look(self.table, raw, "the lookup table has no entry for")

    def to_raw(self, value: Value) -> Scalar:
        """See Conversion."""
        return self._look(self.inverse, value, "the lookup table yields nothing like")

    @staticmethod
    def _look(table: Mapping[int, int], value: Value, complaint: str) -> int:
        number = int(value) if isinstance(value, bool) else _number(value)
        whole = number if isinstance(number, int) else int(number) if number.is_integer() else None
        found = None if whole is None else table.get(whole)
        if found is None:
            raise ConversionError(f"{complaint} {value!r}")
        return found


ScalarConversion: TypeAlias = Cast | Linear | Lookup


def _scaled(line: Linear, raw: tuple[Any, ...]) -> tuple[Scalar, ...] | None:
    """What the line makes of thousands of numbers, in a tenth of the time; None where one does not fit."""
    gain, offset = line.gain, line.offset
    limits = INTEGER_LIMITS.get(line.type)
    try:
        found = [one * gain + offset for one in raw]
        if limits is None:
            return tuple(found)
        whole = tuple(map(round, found))
    except (TypeError, ValueError, OverflowError):
        return None
    fits = not whole or (limits[0] <= min(whole) and max(whole) <= limits[1])
    return whole if fits else None


@dataclass(frozen=True, slots=True)
class Elements:
    """The conversion of an array: of each of its elements by ``each``, or none where that is None.

    ``length`` is how many there have to be, ANY_LENGTH for as many as there are; ``raw_type`` is
    the type of the tag's elements.
    """

    raw_type: ValueType
    length: int
    each: ScalarConversion | None = None

    def to_engineering(self, raw: Value) -> Value:
        """See Conversion."""
        if not isinstance(raw, tuple):
            raise ConversionError(f"{raw!r} is no array")
        if len(raw) != self.length != ANY_LENGTH:
            raise ConversionError(f"an array of {len(raw)} elements, not of {self.length}")
        each = self.each
        if each is None or (isinstance(each, Cast) and each.widens):
            return raw
        fast = _scaled(each, raw) if isinstance(each, Linear) else None
        return tuple(map(each.to_engineering, raw)) if fast is None else fast

    def to_raw(self, value: Value) -> Value:
        """See Conversion."""
        if not isinstance(value, tuple):
            raise ConversionError(f"{value!r} is no array")
        return tuple(map(self._to_raw, value))

    def part_to_raw(self, part: Part) -> Part:
        """As `to_raw`, of a part of the array."""
        return Part(part.first, tuple(map(self._to_raw, part.values)))

    def _to_raw(self, element: Scalar) -> Scalar:
        return fit(element if self.each is None else self.each.to_raw(element), self.raw_type)


def raw_of(value: Written, conversion: Conversion | None, kind: ValueType) -> Written:
    """What to write to a tag of that type. Raises ConversionError where there is nothing."""
    if isinstance(conversion, Elements):
        return conversion.part_to_raw(value) if isinstance(value, Part) else conversion.to_raw(value)
    if isinstance(value, Part):
        raise ConversionError("a scalar has no parts")
    return fit(value if conversion is None else conversion.to_raw(value), kind)
