"""Interlocks: comparisons of other properties that have to hold while a property is written."""

from __future__ import annotations

import enum
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sources.tag import Value


class Comparison(enum.Enum):
    """How a property is compared; the enum's value is the sign."""

    Equal = "=="
    NotEqual = "!="
    AtMost = "<="
    AtLeast = ">="
    Below = "<"
    Above = ">"

    @property
    def orders(self) -> bool:
        """Whether it needs values that have an order: numbers."""
        return self not in {Comparison.Equal, Comparison.NotEqual}


_TESTS: Final[dict[Comparison, Callable[[Any, Any], bool]]] = {
    Comparison.Equal: operator.eq,
    Comparison.NotEqual: operator.ne,
    Comparison.AtMost: operator.le,
    Comparison.AtLeast: operator.ge,
    Comparison.Below: operator.lt,
    Comparison.Above: operator.gt,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: the property's key, and the value it is held against, of that property's type."""

    property: str
    comparison: Comparison
    value: Value
    text: str
    """As it was written."""

    def holds(self, found: Value) -> bool:
        """Whether it is so for that value. No value and NaN satisfy nothing, not even ``!=``."""
        if found is None or (isinstance(found, float) and math.isnan(found)):
            return False
        return _TESTS[self.comparison](found, self.value)
