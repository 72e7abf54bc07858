"""What a point is to its machine, told from its name: PackML tag names and their usual short forms."""

from __future__ import annotations

import enum
import functools
import re
from typing import Final

from sources.simulators.spec import Point


class Role(enum.Enum):
    """A part that a point plays in a machine; ``other`` moves by its type and range alone."""

    speed = enum.auto()
    set_point = enum.auto()
    state = enum.auto()
    mode = enum.auto()
    entered = enum.auto()
    good = enum.auto()
    rejected = enum.auto()
    processed = enum.auto()
    level = enum.auto()
    temperature = enum.auto()
    other = enum.auto()


COUNTS: Final = frozenset({Role.entered, Role.good, Role.rejected, Role.processed})

_NAMES: Final = {
    "speed": Role.speed,
    "curmachspeed": Role.speed,
    "speedsp": Role.set_point,
    "machspeed": Role.set_point,
    "state": Role.state,
    "statecurrent": Role.state,
    "mode": Role.mode,
    "unitmodecurrent": Role.mode,
    "incount": Role.entered,
    "prodconsumedcount": Role.entered,
    "goodcount": Role.good,
    "outcount": Role.good,
    "rejectcount": Role.rejected,
    "prodprocessedcount": Role.processed,
}
_PATTERNS: Final = (
    # Words within a CamelCase name: ProductTemp and TempProduct, but no Template.
    (re.compile(r"(Defective|Rejects?|Scrap)(Count)?$"), Role.rejected),
    (re.compile(r"Level(?![a-z])"), Role.level),
    (re.compile(r"Temp(erature)?(?![a-z])"), Role.temperature),
)


def role_of(point: Point) -> Role:
    """The role of a point that can hold a number; of any other it is ``other``."""
    kind = point.raw_type.kind
    if kind == "text" or (kind == "bool" and point.lut is None):
        return Role.other
    return _named(point.name)


@functools.lru_cache(maxsize=1024)
def _named(name: str) -> Role:
    known = _NAMES.get(name.casefold())
    if known is not None:
        return known
    return next((role for pattern, role in _PATTERNS if pattern.search(name)), Role.other)
