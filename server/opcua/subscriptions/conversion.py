"""Values in content filters: in which type two are compared, how one becomes another (OPC 10000-4 §7.7.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from asyncua import ua

from server.opcua.wire import nodeid
from sources.clock import from_datetime, to_iso
from sources.tag import INTEGER_LIMITS

BOOLEAN, STRING, DATE_TIME, GUID, BYTE_STRING, NODE_ID = 1, 12, 13, 14, 15, 17
EXPANDED_NODE_ID, STATUS_CODE, QUALIFIED_NAME, LOCALIZED_TEXT = 18, 19, 20, 21
FLOAT, DOUBLE, UINT16 = 10, 11, 5

_INTEGERS: Final = {kind.value: limits for kind, limits in INTEGER_LIMITS.items()}
_PRECEDENCE: Final = {
    kind: rank for rank, kind in enumerate((11, 10, 8, 9, 6, 7, 19, 4, 5, 2, 3, 1, 14, 12, 18, 17, 21, 20))
}
"""Table 121: of two types the one that stands first is compared in."""
_NUMBERS: Final = frozenset(_INTEGERS) | {FLOAT, DOUBLE}
_ORDERED: Final = _NUMBERS | {BOOLEAN, STRING, DATE_TIME, STATUS_CODE}
_TRUE: Final = {"true": True, "1": True, "false": False, "0": False}
_FLOAT_MAX: Final = 3.4028234663852886e38
_TEXTS: Final = frozenset({STRING, LOCALIZED_TEXT, QUALIFIED_NAME})


class Typed(NamedTuple):
    """A value and its built-in type: plain Python where there is one, ``key`` for NodeIds. Never null."""

    kind: int
    value: Any
    is_array: bool = False


TRUE: Final = Typed(BOOLEAN, True)
FALSE: Final = Typed(BOOLEAN, False)


def of_variant(variant: ua.Variant | None) -> Typed | None:
    """The content of a Variant; None for null."""
    if variant is None or variant.Value is None:
        return None
    kind = int(variant.VariantType.value)
    if variant.is_array:
        return Typed(kind, variant.Value, True)
    return Typed(kind, _plain(variant.Value))


def _plain(value: Any) -> Any:
    match value:
        case ua.NodeId():
            return nodeid.key_of(value)
        case ua.StatusCode():
            return int(value.value)
        case ua.LocalizedText():
            return value.Text or ""
        case datetime():
            return _utc(value)
        case ua.QualifiedName():
            return (value.NamespaceIndex, value.Name or "")
        case _:
            return value


def common(left: Typed, right: Typed) -> tuple[Typed, Typed] | None:
    """Both in the type they are compared in; None where there is none."""
    if left.is_array or right.is_array:
        return (left, right) if left.kind == right.kind and left.is_array == right.is_array else None
    if left.kind == right.kind:
        return left, right
    ranks = _PRECEDENCE.get(left.kind), _PRECEDENCE.get(right.kind)
    if ranks[0] is None or ranks[1] is None:
        return None
    if ranks[0] < ranks[1]:
        other = convert(right, left.kind)
        return None if other is None else (left, other)
    other = convert(left, right.kind)
    return None if other is None else (other, right)


def is_ordered(kind: int) -> bool:
    """Whether greater and less mean something."""
    return kind in _ORDERED


def is_integer(kind: int) -> bool:
    """Whether it has bits to look at."""
    return kind in _INTEGERS


def convert(value: Typed, kind: int) -> Typed | None:
    """The value in another type; None where that cannot be."""
    if value.kind == kind:
        return value
    if value.is_array:
        return None
    found = _integer(value, *_INTEGERS[kind]) if kind in _INTEGERS else _converted(value, kind)
    return None if found is None else Typed(kind, found)


def _converted(value: Typed, kind: int) -> Any:
    make = _CONVERSIONS.get(kind)
    return None if make is None else make(value)


def _integer(value: Typed, low: int, high: int) -> int | None:
    content = value.value
    if value.kind == STRING:
        content = _or_none(int, content.strip())
    elif value.kind in {FLOAT, DOUBLE}:
        content = _rounded(content) if math.isfinite(content) else None
    elif value.kind not in _NUMBERS | {BOOLEAN, STATUS_CODE}:
        content = None
    return None if content is None or not low <= content <= high else int(content)


def _rounded(number: float) -> int:
    """The nearest integer, of two the greater: a half is added, and what is behind the point cut off."""
    below = math.floor(number)
    return below + (number - below >= 0.5)  # exact, as a sum of large floats is not


def _real(value: Typed) -> float | None:
    if value.kind == STRING:
        found = _or_none(float, value.value.strip())
        return None if found is None else float(found)
    return float(value.value) if value.kind in _NUMBERS | {BOOLEAN, STATUS_CODE} else None


def _boolean(value: Typed) -> bool | None:
    if value.kind == STRING:
        return _TRUE.get(value.value.strip().lower())
    return bool(value.value) if value.kind in _NUMBERS else None


def _text(value: Typed) -> str | None:
    match value.kind:
        case 21 | 12:
            return str(value.value)
        case 20:
            return str(value.value[1])
        case 1:
            return "true" if value.value else "false"
        case 13:
            return to_iso(from_datetime(value.value))
        case 14:
            return str(value.value)
        case 17 | 18:
            return nodeid.text(value.value)
        case kind:
            return str(value.value) if kind in _NUMBERS | {STATUS_CODE} else None


def _node_id(value: Typed) -> bytes | None:
    if value.kind in {NODE_ID, EXPANDED_NODE_ID}:
        return bytes(value.value)
    if value.kind != STRING:
        return None
    found: bytes | None = _or_none(lambda text: nodeid.key_of(ua.NodeId.from_string(text)), value.value)
    return found


def _or_none(make: Any, content: str) -> Any:
    try:
        return make(content)
    except Exception:  # noqa: BLE001  # what a client wrote cannot be read as that, whatever the parser says
        return None


def _single(value: Typed) -> float | None:
    found = _real(value)
    return None if found is None or (math.isfinite(found) and abs(found) > _FLOAT_MAX) else found


def _words(value: Typed) -> str | None:
    return _text(value) if value.kind in _TEXTS else None


def _name(value: Typed) -> tuple[int, str | None] | None:
    return (0, _text(value)) if value.kind in _TEXTS else None


def _guid(value: Typed) -> Any:
    return _or_none(UUID, value.value) if value.kind == STRING else None


def _time(value: Typed) -> Any:
    if value.kind != STRING:
        return None
    return _or_none(lambda text: _utc(datetime.fromisoformat(text)), value.value)


def _utc(moment: datetime) -> datetime:
    """Of moments with and without a zone none could be compared. Raises OverflowError."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _code(value: Typed) -> int | None:
    found = _integer(value, 0, 0xFFFFFFFF)
    return found << 16 if found is not None and value.kind == UINT16 else found


_CONVERSIONS: Final[Mapping[int, Callable[[Typed], Any]]] = {
    FLOAT: _single,
    DOUBLE: _real,
    BOOLEAN: _boolean,
    STRING: _text,
    LOCALIZED_TEXT: _words,
    QUALIFIED_NAME: _name,
    GUID: _guid,
    STATUS_CODE: _code,
    NODE_ID: _node_id,
    EXPANDED_NODE_ID: _node_id,
    DATE_TIME: _time,
}
