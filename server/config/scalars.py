"""Plain scalars by the core schema of YAML 1.2 (§10.3.2): what looks like text is text.

``on``, ``yes``, ``1:30`` and ``2024-05-01`` stay strings; ``0711`` is seven hundred and
eleven, ``0o711`` octal.
"""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias

ScalarValue: TypeAlias = bool | int | float | str | None

_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST: Final = 40
"""Digits of the longest number anybody means; a text of thousands would take Python minutes."""


def plain(text: str) -> ScalarValue:
    """The value of a plain scalar. Raises ValueError for a number that is none: too long, infinite, NaN."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "-+.0123456789":
        return text
    if (number := integer(text)) is not None:
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("the number is too large for a Double")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinities and NaN are not used here; write a finite number")
    return text


def integer(text: str) -> int | None:
    """The integer a plain scalar is, or None. Raises ValueError when it is absurdly long."""
    if not _INTEGER.fullmatch(text):
        return None
    if len(text) > _LONGEST:
        raise ValueError(f"the number has more than {_LONGEST} digits")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)
