"""The Read service (OPC 10000-4 §5.11.2), fast where what is asked for is plain.

Plain is a list of values of the plant, whole and in the default encoding. Such a list is
parsed by splitting it at the bytes that stand between two NodeIds, and its plan is kept
(`plans`). Everything else takes the way of `readvalue`, item by item; both ways give the
same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping
from typing import Any, Final, Protocol

from server.opcua.limits import MAX_NODES_PER_READ
from server.opcua.requests import Answer, Request, Service, service
from server.opcua.services.plans import Budget, Plan, ReadPlans, Run, Scattered, grouped
from server.opcua.services.readvalue import (
    BOTH,
    MIN_READ_VALUE_ID,
    NEITHER,
    NOTHING_FAILED,
    SERVER,
    SOURCE,
    VALUE,
    ReadValueId,
    ValueReader,
    read_value_id,
    timed,
)
from server.opcua.services.sight import NO_DIAGNOSTICS, access_of, check_operations
from server.opcua.services.turns import Work, at_once, in_turns
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission
from server.opcua.space.points import encode_head, stamp, without_server, without_source, without_times
from server.opcua.space.space import Space
from server.opcua.space.value import head
from server.opcua.transport.limits import LIMITS
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, ticks
from server.plant.values import Point
from sources.clock import now
from sources.quality import Quality

_SLOW_AT_ONCE: Final = 10
"""Items off the fast way that are read in one go: some take milliseconds."""
_SLOW_A_STEP: Final = 50
"""Of more of them, so many before others may have their turn on the loop."""
_LARGE: Final = 1024
"""Bytes of a value that took long enough for others to have their turn behind it."""

_NOT_PLANNED: Final = 8
"""A plain list of so many is parsed sooner than its plan is found."""
_MOST_ACCESSES: Final = 16

_LIST: Final = 8
"""Where the list begins, behind TimestampsToReturn and its length."""
_BETWEEN: Final = 14
_PLAIN: Final = frozenset(
    b"\x0d\x00\x00\x00" + index_range + b"\x00\x00" + encoding
    for index_range in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00")
    for encoding in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00")
)
"""What follows a NodeId where its value is wanted as it is: AttributeId, IndexRange, DataEncoding."""

_BROWSE_AND_READ: Final = int(Permission.Browse | Permission.Read)
_HEAD: Final = struct.Struct("<dI")
"""MaxAge, TimestampsToReturn."""
_MAX_AGE: Final = 8
"""Bytes of MaxAge, which is not in the key of a plan."""
_TICKS_PER_MS: Final = 10_000
_ANY_AGE: Final = 2.0**31 - 1

Refresh = Callable[[Collection[Point]], Awaitable[Mapping[str, Quality]]]
"""Reads points anew from their devices; says by source why some could not be."""


class Layout(Protocol):
    """What of the value store matters here."""

    @property
    def layout(self) -> int:
        """Grows when points move to other blocks."""
        ...


class Reading:
    """Answers Read requests."""

    def __init__(self, space: Space, store: Layout, refresh: Refresh | None = None) -> None:
        """Without ``refresh`` every value is the one of the last scan, however small the MaxAge."""
        self._space = space
        self._store = store
        self._refresh = refresh
        self._budget = Budget()
        self._values = ValueReader(space)
        self._readable = _Readable()

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (service("Read", self.read),)

    def read(self, session: Session, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Read. Answers at once unless a device has to be asked or the list is long and not plain."""
        access = access_of(session)
        reader = request.reader
        begin = reader.skip(_HEAD.size)
        max_age, timestamps = _HEAD.unpack_from(reader.data, begin)
        key = reader.data[begin + _MAX_AGE :]
        if timestamps > NEITHER:
            raise ServiceFault(StatusCodes.BadTimestampsToReturnInvalid)
        if not max_age >= 0:  # NaN is not, either
            raise ServiceFault(StatusCodes.BadMaxAgeInvalid)
        fresh = max_age < _ANY_AGE and self._refresh is not None
        plans = session.part(ReadPlans)
        plan = plans.find(key, access, self._space.lasting)
        if plan is None:
            count = reader.count(MIN_READ_VALUE_ID)
            check_operations(count, MAX_NODES_PER_READ)
            points = self._plain(access, key, count)
            if points is None:
                parsing = self._parse(session, access, reader, count)
                if count > _SLOW_AT_ONCE and not fresh:
                    return in_turns(self._read_long(parsing, session, key, timestamps), request)
                plan = at_once(parsing)
            else:
                if count <= _NOT_PLANNED and not fresh:
                    return _once(points, timestamps)
                plan = Plan([*points], 0, access, self._space.lasting)
            plans.keep(key, plan, self._budget)
            if points is not None and not fresh:
                return _once(points, timestamps)
        if fresh and (old := self._older(plan, max_age)):
            return self._read_anew(plan, session, key, timestamps, old, request)
        if plan.slow > _SLOW_AT_ONCE:
            return in_turns(self._read_slowly(plan, session, key, timestamps), request)
        return self._answer(plan, timestamps)

    # --- From bytes to a plan

    def _plain(self, access: Access, body: bytes, count: int) -> list[Point] | None:
        """The points of a plain list, None for any other; ``body`` is as `Plan` has it for its key."""
        between = body[-_BETWEEN:]
        if between not in _PLAIN:
            return None
        names = body[_LIST:].split(between)
        # Encodings of NodeIds are prefix-free: where every name between is a known key, and nothing
        # is left behind the last, this split is what reading one item after the other would give.
        if len(names) != count + 1 or names.pop():
            return None
        known = self._readable.of(access, self._space.lasting)
        points = list(map(known.get, names))
        if None in points and not self._learn(access, known, names, points):
            return None
        return points  # type: ignore[return-value]  # None is not in it

    def _learn(
        self, access: Access, known: dict[Key, Point], names: list[Key], points: list[Point | None]
    ) -> bool:
        """Look up the points that are not known yet; False where one of the names is no such point."""
        find = self._space.nodes.get
        for index, point in enumerate(points):
            if point is not None:
                continue
            name = names[index]
            node = find(name)
            if node is None or type(node.value) is not Point or not _may_read(access, node):
                return False
            points[index] = known[name] = node.value
        return True

    def _parse(
        self, session: Session, access: Access, reader: Reader, count: int
    ) -> Generator[None, None, Plan]:
        items: list[Point | ReadValueId] = []
        slow, lasting = 0, self._space.lasting  # of the start: the model may change between turns
        for index in range(count):
            if index % _SLOW_A_STEP == _SLOW_A_STEP - 1:
                yield
            wanted = read_value_id(reader)
            if session.handles:
                wanted = wanted._replace(node=session.resolve(wanted.node))
            point = self._point(access, wanted)
            slow += point is None
            items.append(point or wanted)
        return Plan(items, slow, access, lasting)

    def _current(self, plan: Plan, session: Session, key: bytes) -> Plan:
        """The plan, or another where the model has changed since: its points may be nobody's to read now."""
        if plan.generation == self._space.lasting:
            return plan
        reader = Reader(key, _LIST - 4)
        count = reader.count(MIN_READ_VALUE_ID)
        found: Plan = at_once(self._parse(session, plan.access, reader, count))
        return found

    def _point(self, access: Access, wanted: ReadValueId) -> Point | None:
        """The point, where its value may be read and is wanted as it is."""
        if wanted.attribute != VALUE or wanted.index_range or wanted.encoding[1]:
            return None
        node = self._space.find(wanted.node)
        if node is None or type(node.value) is not Point or not _may_read(access, node):
            return None  # refused, item by item, on the other way
        return node.value

    # --- From a plan to bytes

    def _answer(
        self, plan: Plan, timestamps: int, failed: Mapping[str, Quality] = NOTHING_FAILED
    ) -> bytes | list[bytes]:
        if timestamps == BOTH and not failed and (scattered := plan.scattered(self._store.layout)):
            return _one_by_one(scattered)
        time = ticks(now())
        found = [int32(len(plan.items))]
        for part in plan.parts(self._store.layout):
            if type(part) is Run:
                found.append(
                    _values(part, timestamps) if not failed else _or_failed(part, timestamps, failed)
                )
            else:
                found.append(self._values.read(plan.access, part, timestamps, time, failed))  # type: ignore[arg-type]  # the other kind
        found.append(NO_DIAGNOSTICS)
        return found

    def _read_long(
        self, parsing: Generator[None, None, Plan], session: Session, key: bytes, timestamps: int
    ) -> Work:
        """Parse a long list that is not plain, keep its plan, and read."""
        plan = yield from parsing
        if not session.closed:  # who ended meanwhile would never give back what its plans take
            session.part(ReadPlans).keep(key, plan, self._budget)
        return (yield from self._read_slowly(plan, session, key, timestamps))

    def _read_slowly(
        self,
        plan: Plan,
        session: Session,
        key: bytes,
        timestamps: int,
        failed: Mapping[str, Quality] = NOTHING_FAILED,
    ) -> Work:
        """As `_answer`, with others between, for a long list that is not plain."""
        plan = self._current(plan, session, key)
        found = [int32(len(plan.items))]
        size, time = 0, ticks(now())
        index = done = 0
        parts = iter(plan.parts(self._store.layout))
        while (part := next(parts, None)) is not None:
            if type(part) is Run:
                one = _or_failed(part, timestamps, failed)
            else:
                one = self._values.read(plan.access, part, timestamps, time, failed)  # type: ignore[arg-type]  # as above
            found.append(one)
            size += len(one)
            done += len(part.points) if type(part) is Run else 1
            if size > LIMITS.response:
                raise ServiceFault(StatusCodes.BadResponseTooLarge, f"more than {LIMITS.response} bytes")
            if len(one) > _LARGE or index % _SLOW_A_STEP == _SLOW_A_STEP - 1 or _is_part(part):
                yield
                time = ticks(now())
                if plan.generation != self._space.lasting:
                    plan = self._current(plan, session, key)
                    parts = grouped(plan.items[done:])
            index += 1
        found.append(NO_DIAGNOSTICS)
        return found

    def _older(self, plan: Plan, max_age: float) -> list[Point]:
        """The points whose value was last heard longer ago than so many milliseconds."""
        limit = now() - int(max_age * _TICKS_PER_MS)
        found = []
        for part in plan.parts(self._store.layout):
            if isinstance(part, Run):
                if max_age == 0 or part.block.time < limit:
                    found += [point for point in part.points if point.property.binding is not None]
            elif part.attribute == VALUE and (node := self._space.find(part.node)) is not None:
                point = node.value
                if isinstance(point, Point) and (max_age == 0 or point.block.time < limit):
                    found.append(point)
        return found

    async def _read_anew(
        self, plan: Plan, session: Session, key: bytes, timestamps: int, old: list[Point], request: Request
    ) -> Answer:
        failed = await self._refresh(old) if self._refresh is not None else NOTHING_FAILED
        plan = self._current(plan, session, key)
        if plan.slow > _SLOW_AT_ONCE:
            answer = in_turns(self._read_slowly(plan, session, key, timestamps, failed), request)
            return await answer if isinstance(answer, Coroutine) else answer
        return self._answer(plan, timestamps, failed)


def _is_part(part: Run | ReadValueId) -> bool:
    """Whether all of a value is decoded for a part of it."""
    return type(part) is ReadValueId and bool(part.index_range)


class _Readable:
    """Points that were found to be readable, for each `Access` that asked; void when the model changes."""

    def __init__(self) -> None:
        self._lasting = -1
        self._known: dict[Access, dict[Key, Point]] = {}
        self._last: tuple[Access | None, dict[Key, Point]] = None, {}

    def of(self, access: Access, lasting: int) -> dict[Key, Point]:
        """Those of that access."""
        if self._lasting != lasting:
            self._lasting = lasting
            self._known.clear()
        elif self._last[0] is access:
            return self._last[1]
        found = self._known.get(access)
        if found is None:
            while len(self._known) >= _MOST_ACCESSES:
                del self._known[next(iter(self._known))]
            found = self._known[access] = {}
        self._last = access, found
        return found


def _may_read(access: Access, node: Node) -> bool:
    """Whether that access may read the value of a variable of the plant."""
    may = node.role_permissions.of(access.roles)
    return may & _BROWSE_AND_READ == _BROWSE_AND_READ and access.satisfies(node.access_restrictions)


def _once(points: list[Point], timestamps: int) -> bytes:
    """The response for points one by one: they share no block, or are not asked for together again."""
    if timestamps == BOTH:
        found = [
            part
            for point in points
            for part in (point.head or encode_head(point), point.block.stamp or stamp(point.block))
        ]
    else:
        found = [timed(point.head or encode_head(point), stamp(point.block), timestamps) for point in points]
    return b"".join([int32(len(points)), *found, NO_DIAGNOSTICS])


def _one_by_one(scattered: Scattered) -> bytes:
    """The response for points whose blocks are known, with both times."""
    points, blocks, distinct = scattered
    for block in distinct:
        if block.stamp is None:
            stamp(block)
    found: list[bytes] = [b""] * (2 * len(points) + 2)
    found[0] = int32(len(points))
    found[1:-1:2] = [point.head or encode_head(point) for point in points]
    found[2:-1:2] = [block.stamp for block in blocks]  # type: ignore[misc]  # made above
    found[-1] = NO_DIAGNOSTICS
    return b"".join(found)


def _values(run: Run, timestamps: int) -> bytes:
    """The DataValues of a run: its heads, its one ServerTimestamp behind each."""
    heads = [point.head or encode_head(point) for point in run.points]
    if timestamps == BOTH:
        time = stamp(run.block)
        heads.append(b"")
        return time.join(heads)
    if timestamps == SOURCE:
        return b"".join(map(without_server, heads))
    if timestamps == SERVER:
        time = stamp(run.block)
        return time.join([*map(without_source, heads), b""])
    return b"".join(map(without_times, heads))


def _or_failed(run: Run, timestamps: int, failed: Mapping[str, Quality]) -> bytes:
    """As `_values`, but for points whose source did not answer, why."""
    if not failed:
        return _values(run, timestamps)
    time = stamp(run.block)
    found = []
    for point in run.points:
        binding = point.property.binding
        whole = point.head or encode_head(point)
        if binding is not None and binding.source in failed:
            whole = head(b"", failed[binding.source], point.source_time)
        found.append(timed(whole, time, timestamps))
    return b"".join(found)
