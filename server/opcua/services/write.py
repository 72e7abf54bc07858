"""The Write service (OPC 10000-4 §5.11.4)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final, cast

from asyncua import ua

from server.opcua.imported.value import ImportedValue
from server.opcua.limits import MAX_NODES_PER_WRITE
from server.opcua.requests import Request, Service, service
from server.opcua.services import ranges
from server.opcua.services.datatypes import SCALAR, DataTypes, value_rank
from server.opcua.services.decoding import Decoding
from server.opcua.services.readvalue import VALUE, ValueReader
from server.opcua.services.sight import NO_DIAGNOSTICS, check_operations
from server.opcua.sessions.session import Session
from server.opcua.space.attribute import attribute
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds, ServiceFault, StatusCodes, status_name
from server.opcua.wire import structs
from server.opcua.wire.nodeid import key_of, text
from server.opcua.wire.reader import DecodingError, Reader
from server.opcua.wire.writer import array, uint32
from server.plant.commands import Caller, Commands
from server.plant.commands.trail import brief
from server.plant.values import Point
from sources.clock import from_datetime
from sources.errors import Denied
from sources.quality import BAD_NODE_ID_UNKNOWN, BAD_TIMEOUT, Quality, is_bad
from sources.tag import Part, ValueType

audit = logging.getLogger("isthmus.audit")

_ACCESS_LEVEL: Final = int(AttributeIds.AccessLevel)
_CURRENT_WRITE: Final = 0x02
_STATUS_WRITE: Final = 0x20
_TIMESTAMP_WRITE: Final = 0x40
_TEXTS: Final = (str, bytes, list)
_MAX_ENTRY: Final = 200
"""Characters of an AuditEntryId that are kept."""
_MAX_NODE: Final = 300
"""Characters of a NodeId in the audit log."""
_WITH_PARTS: Final = frozenset({12, 15})
"""String and ByteString: scalars that have parts all the same."""


class _Order:
    """Keeps the writes of one session to one device in the order they were sent."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        """There are no more of them than sources."""

    @asynccontextmanager
    async def holding(self, sources: Sequence[str]) -> AsyncIterator[_Held]:
        """Until the end, or until it lets go, no other request of the session writes to these sources."""
        held = _Held()
        try:
            for source in sources:
                lock = self._locks.setdefault(source, asyncio.Lock())
                await lock.acquire()
                held.locks.append(lock)
            yield held
        finally:
            held.let_go()


class _Held:
    """The locks a request holds."""

    def __init__(self) -> None:
        self.locks: list[asyncio.Lock] = []

    def let_go(self) -> None:
        """Give them back, once."""
        locks, self.locks = self.locks, []
        for lock in locks:
            lock.release()


class Writing:
    """Answers Write requests: what concerns a device goes through the plant's commands."""

    def __init__(self, space: Space, commands: Commands, types: DataTypes) -> None:
        self._space = space
        self._commands = commands
        self._types = types
        self._values = ValueReader(space)
        self._decoding = Decoding()

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (service("Write", self.write),)

    def write(self, session: Session, request: Request) -> Any:
        """Write: a coroutine, for devices take their time. Values are written in the order given."""
        return self._write(session, request)

    async def _write(self, session: Session, request: Request) -> list[bytes]:
        asker = session.caller()
        wanted = (await self._decoding.read(request, _wanted)).NodesToWrite
        check_operations(len(wanted), MAX_NODES_PER_WRITE)
        nodes = [self._space.find(session.resolve(key_of(value.NodeId))) for value in wanted]
        order = session.part(_Order)
        codes: list[int] = []
        async with order.holding(sorted({_source(node) for node in nodes})) as held:
            if not _awaited(request):
                # Its client does not wait any more: a write that nobody hears of moves no machine.
                raise ServiceFault(StatusCodes.BadTimeout)
            last = len(wanted) - 1
            for index, (node, value) in enumerate(zip(nodes, wanted, strict=True)):
                queued = held.let_go if index == last and _makes_room(node) else None
                # What was begun is carried out to the end, though nobody waits: half of several values
                # serves nobody.
                awaited = partial(_still_may, session, asker, session.access, None if index else request)
                codes.append(
                    await self._write_one(session, asker, request.entry, node, value, queued, awaited)
                )
        return [array([uint32(code) for code in codes]), NO_DIAGNOSTICS]

    async def _write_one(  # what is written, for whom, and who waits for it
        self,
        session: Session,
        asker: Caller,
        entry: str | None,
        node: Node | None,
        wanted: ua.WriteValue,
        queued: Callable[[], None] | None,
        awaited: Callable[[], bool],
    ) -> int:
        """The StatusCode of one write; whatever was tried is told to the audit."""
        access = session.access
        if access is None or session.closed:  # nobody answers any more for what is left of a long request
            return int(StatusCodes.BadSessionClosed)
        caller = session.caller()
        others = caller.user != asker.user
        if others:  # the session is another user's by now, who has asked for nothing
            caller = asker
        if entry:
            caller = replace(caller, entry=entry[:_MAX_ENTRY])
        point = node.value if node is not None else None
        try:
            if others:
                raise ServiceFault(StatusCodes.BadUserAccessDenied)  # noqa: TRY301
            found = self._check(access, node, wanted)
            if isinstance(point, Point):
                value = self._to_plant(found, point, wanted)
                moment = wanted.Value.SourceTimestamp
                return await self._commands.write(
                    caller,
                    point.property.key,
                    value,
                    None if moment is None else from_datetime(moment),
                    queued=queued,
                    wanted=awaited,
                )
            if isinstance(point, ImportedValue):
                return await self._to_device(caller, access, found, wanted, awaited)
            code = self._to_store(found, cast("StoredValue", point), wanted)
        except ServiceFault as fault:
            code = fault.code
            if code == StatusCodes.BadUserAccessDenied:
                session.unauthorized += 1
            if isinstance(point, Point):
                given = wanted.Value.Value
                asked = given.Value if given is not None else None
                return await self._commands.refuse(caller, point.property.key, asked, code)
        _tell(caller, wanted, status_name(code))
        return code

    def _to_plant(self, node: Node, point: Point, wanted: ua.WriteValue) -> Any:
        """What a property is to hold; of an array that is written in part, the part. Raises ServiceFault."""
        if not wanted.IndexRange or point.property.type.length is None:
            return _value(self._content(node, point.value, wanted).Value)
        content = self._given(node, wanted)
        spans = ranges.parse(wanted.IndexRange)
        if len(spans) > 1:
            raise ServiceFault(StatusCodes.BadIndexRangeNoData, "more dimensions than there are")
        if not self._types.fits_element(node, content):
            raise ServiceFault(StatusCodes.BadTypeMismatch)
        first, last = spans[0]
        if not isinstance(content.Value, list) or len(content.Value) != last - first + 1:
            raise ServiceFault(StatusCodes.BadIndexRangeDataMismatch, f"not {last - first + 1} elements")
        return Part(first, _value(content.Value))

    async def _to_device(
        self,
        caller: Caller,
        access: Access,
        node: Node,
        wanted: ua.WriteValue,
        awaited: Callable[[], bool],
    ) -> int:
        """A variable of a downstream server: the whole value, in the name the caller has there."""
        imported = cast("ImportedValue", node.value)
        before = _held(imported)
        content = self._content(node, before, wanted)
        device = imported.device
        fields = {
            "user": caller.user,
            "client": caller.client,
            **({"entry": caller.entry} if caller.entry else {}),
            "node": text(node.key)[:_MAX_NODE],
            "source": device.name,
            "old": brief(before),
            "asked": brief(content.Value),
        }
        variant = structs.encode_variant(content)
        try:
            hand = device.acting(caller.asker)
        except Denied as denied:
            return await self._commands.withhold("write", fields, denied)

        async def send() -> Quality:
            if not awaited():
                raise Denied("its client waits no longer, or may not write any more", BAD_TIMEOUT)
            self._check_again(access, node, imported, wanted)
            return await hand.write_node(imported.key, variant)

        return await self._commands.forward("write", {**fields, "as": hand.acts_as}, hand.ready, send)

    def _check(self, access: Access, node: Node | None, wanted: ua.WriteValue) -> Node:
        """The node, where its value may be written by this user. Raises ServiceFault."""
        if node is None or not node.role_permissions.of(access.roles) & Permission.Browse:
            raise ServiceFault(StatusCodes.BadNodeIdUnknown)
        number = int(wanted.AttributeId)
        if number != VALUE:
            known = attribute(node, number, access) is not None
            raise ServiceFault(StatusCodes.BadNotWritable if known else StatusCodes.BadAttributeIdInvalid)
        if node.value is None:
            raise ServiceFault(StatusCodes.BadAttributeIdInvalid)
        if not _level(node) & _CURRENT_WRITE or not isinstance(node.value, Point | StoredValue):
            raise ServiceFault(StatusCodes.BadNotWritable)
        if not access.satisfies(node.access_restrictions):
            raise ServiceFault(StatusCodes.BadSecurityModeInsufficient)
        if not node.role_permissions.of(access.roles) & Permission.Write:
            raise ServiceFault(StatusCodes.BadUserAccessDenied)
        return node

    def _check_again(
        self, access: Access, node: Node, imported: ImportedValue, wanted: ua.WriteValue
    ) -> None:
        """What allowed it may be so no longer: disk and device took their time. Raises Denied."""
        if self._space.find(node.key) is not node or node.value is not imported:
            raise Denied("the node was removed or changed meanwhile", BAD_NODE_ID_UNKNOWN)
        try:
            self._check(access, node, wanted)
        except ServiceFault as fault:
            raise Denied("it may not be written any more", fault.code) from None

    def _to_store(self, node: Node, stored: StoredValue, wanted: ua.WriteValue) -> int:
        """A variable that is nothing but memory."""
        held = structs.decode_variant(stored.variant).Value if stored.variant else None
        content = self._content(node, held, wanted)
        moment = wanted.Value.SourceTimestamp
        code = wanted.Value.StatusCode
        stored.set(
            structs.encode_variant(content),
            code.value if code is not None else 0,
            None if moment is None else from_datetime(moment),
        )
        return int(StatusCodes.Good)

    def _content(self, node: Node, held: Any, wanted: ua.WriteValue) -> ua.Variant:
        """The whole value to write, of the right type and rank. Raises ServiceFault."""
        content = self._given(node, wanted)
        if wanted.IndexRange:
            spans = ranges.parse(wanted.IndexRange)
            if value_rank(node) == SCALAR and int(content.VariantType.value) not in _WITH_PARTS:
                raise ServiceFault(StatusCodes.BadWriteNotSupported, "the value has no parts")
            if not isinstance(held, _TEXTS):
                raise ServiceFault(StatusCodes.BadIndexRangeNoData, "there is no value yet")
            if not self._types.fits_element(node, content):
                raise ServiceFault(StatusCodes.BadTypeMismatch)
            return structs.variant_of(ranges.replace(held, spans, content.Value), content)
        if not self._types.fits(node, content):
            raise ServiceFault(StatusCodes.BadTypeMismatch)
        return content

    def _given(self, node: Node, wanted: ua.WriteValue) -> ua.Variant:
        """What a client sent, where it is a value and nothing beside it that cannot be written."""
        given = wanted.Value
        _check_extras(given, _level(node))
        content = given.Value
        if content is None or content.Value is None:
            raise ServiceFault(StatusCodes.BadTypeMismatch, "a null value")
        return self._types.expected(node, content)


def _held(imported: ImportedValue) -> Any:
    """What the device sent last; None where nobody can read it."""
    try:
        return structs.decode_variant(imported.variant).Value if imported.variant else None
    except DecodingError:
        return None


def _value(content: Any) -> Any:
    """A DateTime in ticks and an array as a tuple, as the plant has them."""
    if isinstance(content, list):
        return tuple(map(_value, content))
    return from_datetime(content) if isinstance(content, datetime) else content


def _source(node: Node | None) -> str:
    point = node.value if node is not None else None
    if isinstance(point, ImportedValue):
        return point.device.name
    binding = point.property.binding if isinstance(point, Point) else None
    return binding.source if binding is not None else ""


def _makes_room(node: Node | None) -> bool:
    """Whether a write of it that waits may be overtaken by a newer one, also of its own session.

    That of a text may not: a part of one is written into what the write before it left.
    """
    point = node.value if node is not None else None
    if not isinstance(point, Point) or point.property.type.type is ValueType.String:
        return False
    rule = point.property.type.write
    return rule is not None and rule.latest_wins


def _still_may(session: Session, asker: Caller, access: Access | None, request: Request | None) -> bool:
    """Whether the session is still there, of the same user and roles, and waits for the answer."""
    return session.is_of(asker.user, access) and (request is None or _awaited(request))


def _awaited(request: Request) -> bool:
    """Whether the client still waits for the answer."""
    return not request.answered and (request.deadline is None or time.monotonic() <= request.deadline)


def _level(node: Node) -> int:
    """The AccessLevel, for everybody."""
    encoded = node.attributes.get(_ACCESS_LEVEL)
    return encoded[1] if encoded is not None else 0


def _tell(caller: Caller, wanted: ua.WriteValue, outcome: str) -> None:
    """A line of the audit log for what is no point of the plant."""
    node = text(key_of(wanted.NodeId))[:_MAX_NODE]
    audit.info(
        "write %s by %s: %s",
        node,
        caller.user,
        outcome,
        extra={
            "event": "write",
            "node": node,
            "attribute": int(wanted.AttributeId),
            "user": caller.user,
            "client": caller.client,
            "status": outcome,
        },
    )


def _check_extras(given: ua.DataValue, level: int) -> None:
    """Status and timestamps are written where the AccessLevel says so (OPC 10000-3 §8.57).

    Raises ServiceFault (BadWriteNotSupported). Good is what leaving the status out means.
    """
    code = given.StatusCode
    if code is not None and code.value != 0 and (not level & _STATUS_WRITE or is_bad(code.value)):
        raise ServiceFault(StatusCodes.BadWriteNotSupported, "the status cannot be written")
    if given.SourceTimestamp is not None and not level & _TIMESTAMP_WRITE:
        raise ServiceFault(StatusCodes.BadWriteNotSupported, "the timestamp cannot be written")
    if (
        given.ServerTimestamp is not None
        or given.SourcePicoseconds is not None
        or given.ServerPicoseconds is not None
    ):
        raise ServiceFault(StatusCodes.BadWriteNotSupported, "the server's time cannot be written")


def _wanted(reader: Reader) -> ua.WriteParameters:
    return structs.decode(ua.WriteParameters, reader)
