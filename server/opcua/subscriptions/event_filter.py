"""EventFilter: which events a client wants, and what of them (OPC 10000-4 §7.22.3)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from server.opcua.space.space import Space
from server.opcua.subscriptions.events import Event
from server.opcua.subscriptions.select import SimpleAttribute, select_clauses, types_below
from server.opcua.subscriptions.where import ElementResult, Where, where_clause
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, numeric
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import NULL_VARIANT, array, int32

EVENT: Final = numeric(ObjectIds.EventFilter_Encoding_DefaultBinary)

_RESULT: Final = numeric(ObjectIds.EventFilterResult_Encoding_DefaultBinary) + b"\x01"
_NO_DIAGNOSTICS: Final = b"\xff\xff\xff\xff"


class FilterRefused(Exception):
    """An EventFilter that is wrong; ``result`` is the EventFilterResult that says where."""

    def __init__(self, result: bytes) -> None:
        super().__init__("an event filter that is wrong")
        self.result = result


class EventFilter:
    """A filter that was found right."""

    def __init__(
        self, selects: Sequence[tuple[SimpleAttribute, frozenset[Key] | None] | None], where: Where | None
    ) -> None:
        """A select clause that was wrong is None: its field is always null."""
        self._selects = selects
        self._where = where
        self._head = int32(len(selects))

    def passes(self, event: Event) -> bool:
        """Whether the event is wanted."""
        return self._where is None or self._where.passes(event)

    def fields(self, event: Event) -> bytes:
        """The fields that were selected, an array of Variants."""
        return self._head + b"".join(
            NULL_VARIANT if chosen is None else chosen[0].encoded(event, chosen[1])
            for chosen in self._selects
        )


def event_filter(body: bytes | None, space: Space) -> tuple[EventFilter, bytes]:
    """Decode an EventFilter; with it the EventFilterResult, null where there is nothing to say.

    A wrong select clause is told and selects nothing. A wrong where clause makes the filter wrong, and so
    does a lack of select clauses that are right. Raises DecodingError, FilterRefused, ServiceFault.
    """
    if body is None:
        raise ServiceFault(StatusCodes.BadEventFilterInvalid)
    reader = Reader(body)
    clauses = select_clauses(reader)
    codes = [clause.check(space) for clause in clauses]
    where, elements = where_clause(reader, space)
    told = any(codes) or where is None
    result = _result(codes, elements) if told else b"\x00\x00\x00"
    if where is None or not clauses or all(codes):
        raise FilterRefused(result)
    selects = [
        None if code else (clause, types_below(clause.type, space))
        for clause, code in zip(clauses, codes, strict=True)
    ]
    return EventFilter(selects, where if elements else None), result


def _result(codes: Sequence[int], elements: Sequence[ElementResult]) -> bytes:
    """An EventFilterResult as an ExtensionObject."""
    body = (
        struct.pack(f"<i{len(codes)}I", len(codes), *codes)
        + _NO_DIAGNOSTICS
        + array([element.encode() for element in elements])
        + _NO_DIAGNOSTICS
    )
    return _RESULT + int32(len(body)) + body


def too_large(event: bytes) -> bytes:
    """An EventFieldList whose fields are all null, in the place of one that no message has room for."""
    (count,) = struct.unpack_from("<i", event, 4)
    return event[:8] + NULL_VARIANT * max(int(count), 0)
