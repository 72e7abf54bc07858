"""What the operators of content filters do (OPC 10000-4 §7.7.3, Table 116); None is null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from server.opcua.subscriptions import conversion
from server.opcua.subscriptions.conversion import (
    BOOLEAN,
    FALSE,
    NODE_ID,
    STRING,
    TRUE,
    Typed,
    common,
    convert,
)
from server.opcua.subscriptions.like import Pattern
from server.opcua.wire.nodeid import split

Operands = Sequence[Typed | None]

_LAST_BUILT_IN = 25


def truth(value: Typed | None) -> bool | None:
    """What a value is as an operand of And, Or and Not."""
    if value is None or value.is_array:
        return None
    found = convert(value, BOOLEAN)
    return None if found is None else bool(found.value)


def _of(value: bool | None) -> Typed | None:
    return None if value is None else TRUE if value else FALSE


def _compare(left: Typed | None, right: Typed | None, how: Callable[[Any, Any], bool]) -> bool | None:
    """Null where an operand is; False where they cannot be compared."""
    if left is None or right is None:
        return None
    pair = common(left, right)
    if pair is None or pair[0].is_array or not conversion.is_ordered(pair[0].kind):
        return False
    return how(pair[0].value, pair[1].value)


def _equal(left: Typed | None, right: Typed | None) -> bool | None:
    if left is None or right is None:
        return None
    pair = common(left, right)
    return pair is not None and bool(pair[0].value == pair[1].value)


def equals(operands: Operands) -> Typed | None:
    """Equals."""
    return _of(_equal(operands[0], operands[1]))


def is_null(operands: Operands) -> Typed | None:
    """IsNull."""
    return _of(operands[0] is None)


def greater(operands: Operands) -> Typed | None:
    """GreaterThan."""
    return _of(_compare(operands[0], operands[1], lambda a, b: a > b))


def less(operands: Operands) -> Typed | None:
    """LessThan."""
    return _of(_compare(operands[0], operands[1], lambda a, b: a < b))


def greater_or_equal(operands: Operands) -> Typed | None:
    """GreaterThanOrEqual."""
    return _of(_compare(operands[0], operands[1], lambda a, b: a >= b))


def less_or_equal(operands: Operands) -> Typed | None:
    """LessThanOrEqual."""
    return _of(_compare(operands[0], operands[1], lambda a, b: a <= b))


def between(operands: Operands) -> Typed | None:
    """Between: both bounds are within."""
    return both([greater_or_equal(operands[:2]), less_or_equal([operands[0], operands[2]])])


def in_list(operands: Operands) -> Typed | None:
    """InList: equal to one of them."""
    first, *others = operands
    if first is None:
        return None
    return _of(any(_equal(first, other) for other in others))


def negated(operands: Operands) -> Typed | None:
    """Not."""
    found = truth(operands[0])
    return None if found is None else _of(not found)


def both(operands: Operands) -> Typed | None:
    """And: False wins over null."""
    left, right = truth(operands[0]), truth(operands[1])
    if left is False or right is False:
        return FALSE
    return None if left is None or right is None else TRUE


def either(operands: Operands) -> Typed | None:
    """Or: True wins over null."""
    left, right = truth(operands[0]), truth(operands[1])
    if left or right:
        return TRUE
    return None if left is None or right is None else FALSE


def like(operands: Operands) -> Typed | None:
    """Like."""
    if operands[0] is None or operands[1] is None or operands[0].is_array or operands[1].is_array:
        return None
    text, pattern = convert(operands[0], STRING), convert(operands[1], STRING)
    if text is None or pattern is None:
        return FALSE
    compiled = _pattern(pattern.value)
    return _of(compiled is not None and compiled.matches(text.value))


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern | None:
    try:
        return Pattern(text)
    except ValueError:
        return None


def cast_to(operands: Operands) -> Typed | None:
    """Cast: to a built-in type, by the NodeId of its DataType."""
    value, target = operands[0], operands[1]
    if value is None or target is None or target.kind != NODE_ID or target.is_array:
        return None
    namespace, number = split(target.value)
    if namespace or not isinstance(number, int) or not 1 <= number <= _LAST_BUILT_IN:
        return None
    return convert(value, number)


def bitwise_and(operands: Operands) -> Typed | None:
    """BitwiseAnd."""
    return _bits(operands, lambda a, b: a & b)


def bitwise_or(operands: Operands) -> Typed | None:
    """BitwiseOr."""
    return _bits(operands, lambda a, b: a | b)


def _bits(operands: Operands, how: Callable[[int, int], int]) -> Typed | None:
    if operands[0] is None or operands[1] is None:
        return None
    pair = common(operands[0], operands[1])
    if pair is None or pair[0].is_array or not conversion.is_integer(pair[0].kind):
        return None
    return Typed(pair[0].kind, how(pair[0].value, pair[1].value))
