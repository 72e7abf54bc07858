"""From a point's engineering value to its raw one and back, as a controller would hold it."""

from __future__ import annotations

import math
from typing import Final

from sources.simulators.roles import COUNTS, role_of
from sources.simulators.spec import Point, RawType, Scalar

_FLOAT_COUNTER_TOP: Final = 2**24
"""Above it a float32 no longer holds every whole number."""


class Scaling:
    """Both directions for one point. Independent of the drivers', so that each checks the other."""

    def __init__(self, point: Point) -> None:
        self.type: Final[RawType] = point.raw_type
        self._counter = point.kind == "counter" or role_of(point) in COUNTS
        self._gain = point.gain
        self._offset = point.offset
        self._lut = point.lut
        self._inverse: dict[int, int] = {}
        for raw, engineering in (point.lut or {}).items():
            self._inverse.setdefault(engineering, raw)

    @property
    def members(self) -> frozenset[int] | None:
        """The engineering integers the lut can express; None without a lut."""
        return frozenset(self._inverse) if self._lut is not None else None

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and highest engineering number that the raw type can express."""
        if self._inverse:
            return min(self._inverse), max(self._inverse)
        ends = (self._linear(self.type.low), self._linear(self.type.high))
        return min(ends), max(ends)

    def to_raw(self, value: Scalar) -> Scalar:
        """The raw value nearest to ``value``: clamped, and a counter wraps at its width. Never fails."""
        if self.type.kind == "text":
            return cut(str(value), self.type.size)
        number = 0.0 if isinstance(value, str) else value
        if self._inverse:
            nearest = min(self._inverse, key=lambda member: abs(member - number))
            return self._fit(self._inverse[nearest])
        if self._identity:
            return self._fit(number)
        return self._fit((number - self._offset) / self._gain)

    def checked_raw(self, value: Scalar) -> Scalar:
        """As `to_raw`, but raises ValueError, saying why, where the point cannot hold the value."""
        if (self.type.kind == "text") != isinstance(value, str):
            raise ValueError(f"{value!r} is not a {'text' if self.type.kind == 'text' else 'number'}")
        if isinstance(value, str):
            if len(value.encode()) > self.type.size:
                raise ValueError(f"{value!r} is longer than {self.type.size} bytes")
            return value
        if isinstance(value, float) and not math.isfinite(value):
            if self.type.kind == "float" and self._identity:
                return value
            raise ValueError(f"{value!r} cannot be held in this point")
        if self._lut is not None and value not in self._inverse:
            raise ValueError(f"{value!r} is not in the lookup table: it yields {sorted(self._inverse)}")
        low, high = self.span
        if not low <= value <= high:
            raise ValueError(f"{value!r} is outside what the point can hold ({low:g} to {high:g})")
        return self.to_raw(value)

    def to_engineering(self, raw: Scalar) -> Scalar | None:
        """The engineering value of what the device holds; None where the lut has no entry for it."""
        if isinstance(raw, str):
            return raw
        if self._lut is not None:
            return self._lut.get(int(raw))
        return raw if self._identity else self._linear(raw)

    @property
    def _identity(self) -> bool:
        return self._lut is None and self._gain == 1.0 and self._offset == 0.0

    def _linear(self, raw: float) -> float:
        return raw if self._identity else raw * self._gain + self._offset

    def _fit(self, number: float) -> Scalar:
        if self.type.kind == "bool":
            return bool(number)
        if self._counter and math.isfinite(number):
            top = _FLOAT_COUNTER_TOP if self.type.kind == "float" else int(self.type.high) + 1
            number %= top
        if self.type.kind == "float":
            return max(self.type.low, min(self.type.high, float(number))) if math.isfinite(number) else number
        if isinstance(number, float):
            if math.isnan(number):
                return 0
            if math.isinf(number):
                return int(self.type.high if number > 0 else self.type.low)
            # A counter shows a unit once it is complete; what the gain made a hair less than whole is whole.
            number = math.floor(number + 1e-9) if self._counter else round(number)
        return max(int(self.type.low), min(int(self.type.high), number))


def cut(text: str, size: int) -> str:
    """As much of the text as ``size`` bytes of UTF-8 hold, no character cut in two."""
    return text.encode()[:size].decode(errors="ignore")
