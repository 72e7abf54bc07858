"""The Read service (OPC 10000-4 §5.11.2), fast where what is asked for is plain.

Plain is a list of values of the plant, whole and in the default encoding. Such a list is
parsed by splitting it at the bytes that stand between two NodeIds, and its plan is kept
(`plans`). Everything else takes the way of `readvalue`, item by item; both ways give the
same bytes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from operator import attrgetter
from typing import Any, Final, Protocol

from server.opcua.limits import MAX_NODES_PER_READ
from server.opcua.requests import Answer, Request, Service, service
from server.opcua.services.plans import Budget, Plan, ReadPlans, Run
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
    check_readable,
    read_value_id,
    timed,
)
from server.opcua.services.sight import NO_DIAGNOSTICS, access_of, check_operations
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission
from server.opcua.space.points import encode_head, stamp, without_server, without_source, without_times
from server.opcua.space.space import Space
from server.opcua.space.value import head
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, ticks
from server.plant.values import Point
from sources.clock import now
from sources.quality import Quality

_SLOW_AT_ONCE: Final = 500
"""Items off the fast way that are read before others have their turn on the loop."""

_BROWSE_AND_READ: Final = int(Permission.Browse | Permission.Read)
_MAX_AGE: Final = struct.Struct("<d")
_TICKS_PER_MS: Final = 10_000
_ANY_AGE: Final = 2.0**31 - 1
_nodes_value: Final = attrgetter("value")
_nodes_rules: Final = attrgetter("role_permissions", "access_restrictions")

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

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (
            service(
                "Read",
                ObjectIds.ReadRequest_Encoding_DefaultBinary,
                ObjectIds.ReadResponse_Encoding_DefaultBinary,
                self.read,
            ),
        )

    def read(self, session: Session, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Read. Answers at once unless a device has to be asked or the list is long and not plain."""
        access = access_of(session)
        reader = request.reader
        (max_age,) = _MAX_AGE.unpack_from(reader.data, reader.skip(8))
        key = reader.data[reader.at :]
        timestamps = reader.uint32()
        if timestamps > NEITHER:
            raise ServiceFault(StatusCodes.BadTimestampsToReturnInvalid)
        if not max_age >= 0:  # NaN is not, either
            raise ServiceFault(StatusCodes.BadMaxAgeInvalid)
        plans = session.part(ReadPlans)
        plan = plans.find(key, access, self._space.lasting)
        is_new = plan is None
        if plan is None:
            plan = self._plan(session, access, reader)
            plans.keep(key, plan, self._budget)
        if max_age < _ANY_AGE and self._refresh is not None:
            old = self._older(plan, max_age)
            if old:
                return self._read_anew(plan, timestamps, old, self._refresh)
        if plan.slow > _SLOW_AT_ONCE:
            return self._read_in_turns(plan, timestamps)
        if is_new and not plan.slow:
            return _once(plan.items, timestamps)  # type: ignore[arg-type]  # all are points
        return self._answer(plan, timestamps)

    # --- From bytes to a plan

    def _plan(self, session: Session, access: Access, reader: Reader) -> Plan:
        count = reader.count(MIN_READ_VALUE_ID)
        check_operations(count, MAX_NODES_PER_READ)
        plain = self._plain(access, reader, count)
        if plain is not None:
            return Plan(plain, 0, access, self._space.lasting)
        items = self._parsed(session, access, reader, count)
        slow = sum(not isinstance(item, Point) for item in items)
        return Plan(items, slow, access, self._space.lasting)

    def _plain(self, access: Access, reader: Reader, count: int) -> list[Any] | None:
        """The points of a plain list, None for any other; the reader is where it was then."""
        start = reader.at
        first = read_value_id(reader)
        if first.attribute != VALUE or first.index_range or first.encoding[1]:
            reader.at = start
            return None
        after = start + len(first.node)
        between = reader.data[after : reader.at]
        reader.at = start
        names = reader.data[start:].split(between)
        # Encodings of NodeIds are prefix-free: where every name between is a known key, and nothing
        # is left behind the last, this split is what reading one item after the other would give.
        if len(names) != count + 1 or names.pop():
            return None
        nodes = list(map(self._space.nodes.get, names))
        if None in nodes:
            return None
        points = list(map(_nodes_value, nodes))
        if set(map(type, points)) != {Point}:
            return None
        for rules, restrictions in set(map(_nodes_rules, nodes)):
            may = rules.of(access.roles)
            if may & _BROWSE_AND_READ != _BROWSE_AND_READ or not access.satisfies(restrictions):
                return None
        return points

    def _parsed(
        self, session: Session, access: Access, reader: Reader, count: int
    ) -> list[Point | ReadValueId]:
        items: list[Point | ReadValueId] = []
        for _ in range(count):
            wanted = read_value_id(reader)
            if session.handles:
                wanted = wanted._replace(node=session.resolve(wanted.node))
            items.append(self._point(access, wanted) or wanted)
        return items

    def _point(self, access: Access, wanted: ReadValueId) -> Point | None:
        """The point, where its value may be read and is wanted as it is."""
        if wanted.attribute != VALUE or wanted.index_range or wanted.encoding[1]:
            return None
        node: Node | None = self._space.find(wanted.node)
        if node is None or type(node.value) is not Point:
            return None
        try:
            self._values.node(access, wanted.node)
            check_readable(access, node)
        except ServiceFault:
            return None  # refused, item by item, on the other way
        return node.value

    # --- From a plan to bytes

    def _answer(
        self, plan: Plan, timestamps: int, failed: Mapping[str, Quality] = NOTHING_FAILED
    ) -> list[bytes]:
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

    async def _read_in_turns(
        self, plan: Plan, timestamps: int, failed: Mapping[str, Quality] = NOTHING_FAILED
    ) -> list[bytes]:
        """As `_answer`, with others between, for a long list that is not plain."""
        found = [int32(len(plan.items))]
        parts = plan.parts(self._store.layout)
        for start in range(0, len(parts), _SLOW_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            time = ticks(now())
            for part in parts[start : start + _SLOW_AT_ONCE]:
                if type(part) is Run:
                    found.append(_or_failed(part, timestamps, failed))
                else:
                    found.append(self._values.read(plan.access, part, timestamps, time, failed))  # type: ignore[arg-type]  # as above
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
        self, plan: Plan, timestamps: int, old: list[Point], refresh: Refresh
    ) -> list[bytes]:
        failed = await refresh(old)
        if plan.slow > _SLOW_AT_ONCE:
            return await self._read_in_turns(plan, timestamps, failed)
        return self._answer(plan, timestamps, failed)


def _once(points: list[Point], timestamps: int) -> list[bytes]:
    """The response for points that may never be asked for together again, so are not grouped."""
    if timestamps == BOTH:
        found = [
            part
            for point in points
            for part in (point.head or encode_head(point), point.block.stamp or stamp(point.block))
        ]
    else:
        found = [timed(point.head or encode_head(point), stamp(point.block), timestamps) for point in points]
    return [int32(len(points)), *found, NO_DIAGNOSTICS]


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
