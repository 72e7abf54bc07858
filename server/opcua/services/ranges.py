"""NumericRange: parts of arrays, Strings and ByteStrings (OPC 10000-4 §7.27)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from server.opcua.types import ServiceFault, StatusCodes

_MAX_TEXT: Final = 256
_MAX_INDEX: Final = 0xFFFFFFFF


class Span(NamedTuple):
    """One dimension of a range; ``last`` is included."""

    first: int
    last: int


def parse(text: str) -> tuple[Span, ...]:
    """The dimensions of a range. Raises ServiceFault (BadIndexRangeInvalid)."""
    if len(text) > _MAX_TEXT:
        raise ServiceFault(StatusCodes.BadIndexRangeInvalid, "an index range of that length")
    return tuple(_span(part) for part in text.split(","))


def _span(text: str) -> Span:
    low, colon, high = text.partition(":")
    first = _index(low)
    last = _index(high) if colon else first
    if colon and first >= last:  # a single element is written without a colon
        raise ServiceFault(StatusCodes.BadIndexRangeInvalid, f"{text!r} ends before it begins")
    return Span(first, last)


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_INDEX):
        raise ServiceFault(StatusCodes.BadIndexRangeInvalid, f"{text!r} is no index")
    return int(text)


def select(value: Any, spans: tuple[Span, ...]) -> Any:
    """The part of a value, as much of it as there is.

    Arrays of several dimensions are lists of lists; behind the last of them a dimension more
    takes a part of each String or ByteString. Raises ServiceFault (BadIndexRangeNoData).
    """
    if not isinstance(value, list | str | bytes):
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, "there is nothing to take a range of")
    span, *rest = spans
    part = value[span.first : span.last + 1]
    if not part:
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, f"nothing from {span.first} to {span.last}")
    if not isinstance(part, list):
        if rest:
            raise ServiceFault(StatusCodes.BadIndexRangeNoData, "more dimensions than there are")
        return part
    if rest:
        return [select(item, tuple(rest)) for item in part]
    if part and isinstance(part[0], list):
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, "fewer dimensions than there are")
    return part


def replace(value: Any, spans: tuple[Span, ...], part: Any) -> Any:
    """The value with that part of it replaced; ``value`` itself is not changed.

    Raises ServiceFault: BadIndexRangeNoData where the range reaches beyond the value,
    BadIndexRangeDataMismatch where the part has another size than the range.
    """
    if not isinstance(value, list | str | bytes):
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, "there is nothing to write a range of")
    span, *rest = spans
    size = span.last - span.first + 1
    if span.last >= len(value):
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, f"nothing from {span.first} to {span.last}")
    if type(part) is not type(value) or len(part) != size:
        raise ServiceFault(StatusCodes.BadIndexRangeDataMismatch, f"not {size} elements")
    before: Any = value[: span.first]
    after: Any = value[span.last + 1 :]
    if not isinstance(value, list) or not rest:
        if rest or (isinstance(value, list) and value and isinstance(value[0], list)):
            raise ServiceFault(StatusCodes.BadIndexRangeNoData, "another number of dimensions")
        return before + part + after
    middle = [
        replace(old, tuple(rest), new)
        for old, new in zip(value[span.first : span.last + 1], part, strict=True)
    ]
    return before + middle + after
