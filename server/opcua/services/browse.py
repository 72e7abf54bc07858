"""Browse and BrowseNext (OPC 10000-4 §5.9.2, §5.9.3)."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

from server.opcua.limits import (
    MAX_BROWSE_BYTES,
    MAX_BROWSE_CONTINUATION_POINTS,
    MAX_NODES_PER_BROWSE,
    MAX_REFERENCES_PER_RESULT,
)
from server.opcua.requests import Answer, Request, Service, service
from server.opcua.services.sight import (
    NO_DIAGNOSTICS,
    Sight,
    access_of,
    check_operations,
    is_null,
    not_found,
)
from server.opcua.services.turns import Eventually, Work, in_turns
from server.opcua.sessions.session import OfAccess, Session
from server.opcua.space.node import Node, Reference
from server.opcua.space.space import Space
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import NULL, Key
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import NULL_STRING, byte_string, int32, qualified_name, uint32

FORWARD, INVERSE, BOTH = range(3)
"""BrowseDirection (OPC 10000-4 §7.5)."""

ALL_FIELDS: Final = 0x3F
"""A result mask of everything a ReferenceDescription has."""

_REFERENCE_TYPE_ID, _IS_FORWARD, _NODE_CLASS, _BROWSE_NAME, _DISPLAY_NAME, _TYPE_DEFINITION = (
    1 << bit for bit in range(6)
)
_REFERENCE_TYPE: Final = 32
_SMALLEST_DESCRIPTION: Final = 17
_SMALLEST_POINT: Final = 4
_POINT_BYTES: Final = 16
_SCANNED_A_STEP: Final = 512

_CLASSES: Final = {number: int32(number) for number in (0, 1, 2, 4, 8, 16, 32, 64, 128)}
_FALSE, _TRUE = b"\x00", b"\x01"
_NO_NAME: Final = qualified_name(None)
_NO_TEXT: Final = b"\x00"
_GOOD: Final = uint32(0)


class BrowseDescription(NamedTuple):
    """What is asked of one node (OPC 10000-4 §5.9.2.2)."""

    node: Key
    direction: int
    reference_type: Key
    subtypes: bool
    classes: int
    fields: int


def browse_description(reader: Reader) -> BrowseDescription:
    """Decode one. Raises DecodingError."""
    return BrowseDescription(
        reader.key(), reader.int32(), reader.key(), reader.boolean(), reader.uint32(), reader.uint32()
    )


class _Walk:
    """One node's references on their way to the client, from the first page to the last."""

    __slots__ = ("classes", "direction", "fields", "kinds", "limit", "node", "pending", "references")

    def __init__(
        self, node: Node, asked: BrowseDescription, kinds: frozenset[Node] | None, limit: int
    ) -> None:
        self.node = node
        self.direction = asked.direction
        self.kinds = kinds
        self.classes = asked.classes
        self.fields = asked.fields
        self.limit = limit
        """References of one page."""
        self.pending: Reference | None = None
        """The first of the next page."""
        self.references: Iterator[Reference] = node.references()


class ContinuationPoints(OfAccess):
    """The unfinished browses of one session (OPC 10000-4 §7.9)."""

    def __init__(self) -> None:
        self._walks: dict[bytes, tuple[_Walk, object]] = {}

    def __len__(self) -> int:
        return len(self._walks)

    def keep(self, walk: _Walk, request: object) -> bytes | None:
        """A continuation point for that walk; None where this request used up all there are.

        Those of earlier requests make room, the oldest first.
        """
        if len(self._walks) >= MAX_BROWSE_CONTINUATION_POINTS:
            earlier = next((point for point, (_, by) in self._walks.items() if by is not request), None)
            if earlier is None:
                return None
            del self._walks[earlier]
        point = secrets.token_bytes(_POINT_BYTES)
        self._walks[point] = walk, request
        return point

    def take(self, point: bytes) -> _Walk | None:
        """The walk of a continuation point, which is used up by that."""
        found = self._walks.pop(point, None)
        return found[0] if found is not None else None


class _Page(NamedTuple):
    """References that go out together; more are left where ``more`` is true."""

    references: list[bytes]
    size: int
    more: bool


class Browsing:
    """Answers Browse and BrowseNext requests."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (
            service("Browse", self.browse),
            service("BrowseNext", self.browse_next),
        )

    def browse(self, session: Session, request: Request) -> Eventually:
        """Browse: each node's references, as many as one answer takes."""
        reader = request.reader
        _check_view(reader)
        limit = reader.uint32()
        count = reader.count(_SMALLEST_DESCRIPTION)
        check_operations(count, MAX_NODES_PER_BROWSE)
        asked = [browse_description(reader) for _ in range(count)]
        limit = min(limit or MAX_REFERENCES_PER_RESULT, MAX_REFERENCES_PER_RESULT)
        return in_turns(self._browse_all(session, asked, limit), request)

    def browse_next(self, session: Session, request: Request) -> Eventually:
        """BrowseNext: the next page of each browse; releasing them answers with no results."""
        reader = request.reader
        release = reader.boolean()
        count = reader.count(_SMALLEST_POINT)
        check_operations(count, MAX_NODES_PER_BROWSE)
        points = [reader.byte_string() or b"" for _ in range(count)]
        if release:
            kept = session.part(ContinuationPoints)
            for point in points:
                kept.take(point)
            return int32(0) + NO_DIAGNOSTICS
        return in_turns(self._continue_all(session, points), request)

    def _browse_all(self, session: Session, asked: list[BrowseDescription], limit: int) -> Work:
        answer = _Response(session)
        for one in asked:
            walk = self._begin(session, answer.sight, one, limit)
            if isinstance(walk, int):
                answer.refuse(walk)
            else:
                yield from answer.add(walk)
            yield
        return answer.parts(len(asked))

    def _begin(self, session: Session, sight: Sight, asked: BrowseDescription, limit: int) -> _Walk | int:
        """The walk over a node's references, or the StatusCode that says why there is none."""
        key = session.resolve(asked.node)
        node = sight.find(self._space, key)
        if node is None:
            return not_found(key)
        if asked.direction not in {FORWARD, INVERSE, BOTH}:
            return StatusCodes.BadBrowseDirectionInvalid
        kinds = None
        if not is_null(asked.reference_type):
            kind = sight.find(self._space, session.resolve(asked.reference_type))
            if kind is None or kind.node_class != _REFERENCE_TYPE:
                return StatusCodes.BadReferenceTypeIdInvalid
            kinds = self._space.subtypes(kind) if asked.subtypes else frozenset((kind,))
        return _Walk(node, asked, kinds, limit)

    @staticmethod
    def _continue_all(session: Session, points: list[bytes]) -> Work:
        answer = _Response(session)
        kept = session.part(ContinuationPoints)
        for point in points:
            walk = kept.take(point)
            if walk is None or not walk.node.alive:
                answer.refuse(StatusCodes.BadContinuationPointInvalid)
            else:
                yield from answer.add(walk)
            yield
        return answer.parts(len(points))


class _Response:
    """The results of one request, no more bytes of them than one response may have.

    When the bytes are used up, each further node gets one reference and a continuation point
    as long as there are any, and BadNoContinuationPoints then.
    """

    def __init__(self, session: Session) -> None:
        self.sight = Sight(access_of(session))
        self._session = session
        self._room = MAX_BROWSE_BYTES
        self._results: list[bytes] = []

    def refuse(self, code: int) -> None:
        """A result that is a StatusCode and nothing else."""
        self._results.append(uint32(code) + NULL_STRING + int32(0))

    def add(self, walk: _Walk) -> Generator[None, None, None]:
        """The next page of a walk."""
        page = yield from _next_page(walk, self.sight, self._room)
        point = None
        if page.more:
            point = self._session.part(ContinuationPoints).keep(walk, self)
            if point is None:
                self.refuse(StatusCodes.BadNoContinuationPoints)
                return
        self._room -= page.size
        self._results.append(_GOOD + byte_string(point) + int32(len(page.references)))
        self._results += page.references

    def parts(self, count: int) -> Answer:
        """The whole answer."""
        return [int32(count), *self._results, NO_DIAGNOSTICS]


def _next_page(walk: _Walk, sight: Sight, room: int) -> Generator[None, None, _Page]:
    """The references of the next page: one at least, then as many as limit and room allow."""
    encode = _whole if walk.fields & ALL_FIELDS == ALL_FIELDS else _masked
    one_way = None if walk.direction == BOTH else walk.direction == FORWARD
    kinds, classes, fields, limit, sees = walk.kinds, walk.classes, walk.fields, walk.limit, sight.sees
    page: list[bytes] = []
    size = scanned = 0
    if walk.pending is not None:
        if walk.pending.target.alive and sees(walk.pending.target):
            page.append(encode(walk.pending, fields))
            size = len(page[0])
        walk.pending = None
    for reference in walk.references:
        scanned += 1
        if not scanned % _SCANNED_A_STEP:
            yield
        kind, forward, target = reference
        if one_way is not None and forward is not one_way:
            continue
        if kinds is not None and kind not in kinds:
            continue
        if (classes and not classes & target.node_class) or not sees(target):
            continue
        if len(page) >= limit or (size >= room and page):
            walk.pending = reference
            return _Page(page, size, more=True)
        encoded = encode(reference, fields)
        page.append(encoded)
        size += len(encoded)
    return _Page(page, size, more=False)


def _whole(reference: Reference, _fields: int) -> bytes:
    """A ReferenceDescription (OPC 10000-4 §7.30): its fields are all encoded already."""
    kind, forward, target = reference
    definition = target.type_definition
    return b"".join(
        (
            kind.key,
            _TRUE if forward else _FALSE,
            target.key,  # a NodeId is a valid ExpandedNodeId
            target.browse_name,
            target.display_name,
            _CLASSES[target.node_class],
            NULL if definition is None else definition.key,
        )
    )


def _masked(reference: Reference, fields: int) -> bytes:
    """A ReferenceDescription with those fields only, the others null."""
    kind, forward, target = reference
    definition = target.type_definition if fields & _TYPE_DEFINITION else None
    return b"".join(
        (
            kind.key if fields & _REFERENCE_TYPE_ID else NULL,
            _TRUE if forward and fields & _IS_FORWARD else _FALSE,
            target.key,
            target.browse_name if fields & _BROWSE_NAME else _NO_NAME,
            target.display_name if fields & _DISPLAY_NAME else _NO_TEXT,
            _CLASSES[target.node_class if fields & _NODE_CLASS else 0],
            NULL if definition is None else definition.key,
        )
    )


def _check_view(reader: Reader) -> None:
    """A ViewDescription (OPC 10000-4 §7.45): there is the whole address space, as it is now.

    A Timestamp names the version of then or the one before it; only one is kept, so any is
    answered by it. Raises ServiceFault, DecodingError.
    """
    view, timestamp, version = reader.key(), reader.int64(), reader.uint32()
    if not is_null(view):
        raise ServiceFault(StatusCodes.BadViewIdUnknown)
    if version:
        code = StatusCodes.BadViewParameterMismatch if timestamp else StatusCodes.BadViewVersionInvalid
        raise ServiceFault(code)
