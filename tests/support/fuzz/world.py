"""A whole server in this thread, whose connections have no sockets: what is fed to it is answered at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from unittest.mock import patch

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary
from support.fuzz.instances import Known
from support.nodes import access
from support.opcua import Bench
from support.rawclient import CLIENT_URI, Answer, answer_of, message, read_value
from support.wire import chunk, hello

from server.opcua.channels.gate import Gatekeeper
from server.opcua.endpoints import ANONYMOUS_POLICY, NONE_URI, USER_NAME_POLICY
from server.opcua.peer import ClientPeer
from server.opcua.requests import Service
from server.opcua.space.space import ModelChange
from server.opcua.subscriptions.events import Event
from server.opcua.transport.connection import Connection
from server.opcua.transport.ranks import group_of
from server.opcua.types import AttributeIds
from server.opcua.wire.nodeid import numeric, to_ua
from server.opcua.wire.reader import Reader
from server.plant.model import Role
from server.plant.values import Point

T = TypeVar("T")

_ua = cast("Any", ua)

CHANNEL = 1
"""The number of every channel, and of its first token: bytes that were recorded fit any connection."""
CPU_LIMIT = 2.0
"""Seconds of processor time that one input may take."""
_PATIENCE = 20.0
_PIECE = 60_000
_SHOWN = 20_000
_FRESH = 300
"""Inputs after which a session is replaced, so that its limits are not all that is met."""
_WAITING = {"Publish"}
"""Services whose requests may stay unanswered."""

STRUCTURES = (
    ua.EUInformation,
    ua.Range,
    ua.Argument,
    ua.DataChangeFilter,
    ua.EventFilter,
    ua.AggregateFilter,
    ua.LiteralOperand,
    ua.ElementOperand,
    ua.SimpleAttributeOperand,
    ua.AttributeOperand,
    ua.AnonymousIdentityToken,
    ua.UserNameIdentityToken,
    ua.X509IdentityToken,
    ua.IssuedIdentityToken,
)


_OPERANDS: Sequence[Sequence[type]] = (
    (ua.SimpleAttributeOperand, ua.LiteralOperand),
    (ua.SimpleAttributeOperand, ua.LiteralOperand),
    (ua.LiteralOperand, ua.LiteralOperand),
    (ua.LiteralOperand, ua.SimpleAttributeOperand),
    (ua.SimpleAttributeOperand, ua.LiteralOperand, ua.LiteralOperand),
    (ua.SimpleAttributeOperand, ua.ElementOperand),
    (ua.ElementOperand, ua.ElementOperand),
    (ua.SimpleAttributeOperand,),
    (ua.LiteralOperand,),
    (ua.ElementOperand,),
)
_STIRRING = {"CreateMonitoredItems", "ModifyMonitoredItems", "SetTriggering", "ModifySubscription"}
"""Services after which values change and events happen, for somebody may listen now."""
_STRING = 3
_WRITABLE = ("SpeedSP", "Mode", "Level")


def _standard(number: int) -> ua.NodeId:
    return cast("ua.NodeId", _ua.NodeId(number, 0))


_STANDARD = [
    _standard(number)
    for number in (85, 2253, 2256, 2258, 2255, 11492, 12873, 2994, 84, 47, 45, 24, 2041, 58, 11192, 7617)
]


def to_ua_name(encoded: bytes) -> Any:
    """A QualifiedName."""
    namespace, name = Reader(encoded).qualified_name()
    return _ua.QualifiedName(name, namespace)


class OurFault(AssertionError):
    """The server did what it never may."""


class _Faults(logging.Handler):
    """Keeps what the server logs as its own fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


class _Transport(asyncio.Transport):
    """Takes whatever is written, as fast as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.protocol: Connection | None = None
        self.reads = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            assert self.protocol is not None
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class Link:
    """One connection."""

    def __init__(self, world: World, address: str) -> None:
        self.world = world
        self.transport = _Transport()
        listener = world.server._listener
        self.connection = Connection(listener, address, 50_000)
        listener._enter(self.connection, group_of(address))
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self.channel = self.token_id = self.sequence = 0
        self.token = b"\0\0"
        self.numbers = itertools.count(100)

    @property
    def peer(self) -> ClientPeer | None:
        return cast("ClientPeer | None", self.connection.handler)

    @property
    def closed(self) -> bool:
        return self.transport.closed

    async def receive(self, *pieces: bytes) -> None:
        """Bytes arrive, in these pieces; returns when everything that can be answered is."""
        for data in pieces:
            for at in range(0, len(data), _PIECE):
                if self.closed:
                    return
                await self._while_paused()
                piece = data[at : at + _PIECE]
                self.connection.get_buffer(-1)[: len(piece)] = piece
                self.connection.buffer_updated(len(piece))
        await self.settle()

    async def _while_paused(self) -> None:
        until = time.monotonic() + _PATIENCE
        while not self.transport.reads and not self.closed:
            await asyncio.sleep(0)
            if time.monotonic() > until:
                raise OurFault("a connection stays paused")

    async def settle(self) -> None:
        """Until nothing runs for this connection."""
        await self._while_paused()
        peer = self.peer
        if peer is not None and peer._tasks:
            await asyncio.wait(set(peer._tasks), timeout=_PATIENCE)
            if peer._tasks:
                raise OurFault(f"still at work after {_PATIENCE} s: {peer._tasks}")
        await asyncio.sleep(0)

    def taken(self) -> list[bytes]:
        """The chunks that were sent since the last time."""
        data, found = bytes(self.transport.written), []
        self.transport.written.clear()
        while data:
            (size,) = struct.unpack_from("<I", data, 4)
            found.append(data[:size])
            data = data[size:]
        return found

    def known(self) -> Self:
        """Use the numbers that every first channel has here."""
        self.channel = self.token_id = CHANNEL
        return self

    def seal(self, body: bytes, request: int, final: bytes = b"F", kind: bytes = b"MSG") -> bytes:
        self.sequence += 1
        return chunk(
            kind + final, struct.pack("<IIII", self.channel, self.token_id, self.sequence, request) + body
        )

    def chunks(self, body: bytes, request: int) -> list[bytes]:
        places = range(0, max(len(body), 1), _PIECE)
        return [
            self.seal(body[at : at + _PIECE], request, b"C" if at + _PIECE < len(body) else b"F")
            for at in places
        ]

    # --- How a client begins

    def opening(self) -> bytes:
        self.sequence += 1
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestedLifetime = 3_600_000
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        head = struct.pack("<Ii", self.channel, len(NONE_URI)) + NONE_URI.encode() + b"\xff" * 8
        return chunk(b"OPNF", head + struct.pack("<II", self.sequence, 1) + struct_to_binary(request))

    async def open(self) -> None:
        await self.receive(hello(), self.opening())
        _, opened = self.taken()
        reader = Reader(opened, 12)
        for _ in range(3):
            reader.byte_string()
        reader.skip(8)
        token = answer_of(opened[reader.at :]).of(ua.OpenSecureChannelResult).SecurityToken
        self.channel, self.token_id = token.ChannelId, token.TokenId

    async def ask(self, service: str, parameters: object = b"") -> Answer:
        number = next(self.numbers)
        await self.receive(
            *self.chunks(message(service, parameters, token=self.token, handle=number), number)
        )
        return answer_of(b"".join(part[24:] for part in self.taken()))

    async def log_in(self) -> None:
        """An activated session of a user who may do anything, with a subscription."""
        await self.open()
        client = _ua.ApplicationDescription(ApplicationUri=CLIENT_URI)
        made = await self.ask(
            "CreateSession",
            _ua.CreateSessionParameters(ClientDescription=client, RequestedSessionTimeout=600_000.0),
        )
        self.token = nodeid_to_binary(made.of(ua.CreateSessionResult).AuthenticationToken)
        token = _ua.AnonymousIdentityToken(PolicyId=ANONYMOUS_POLICY)
        activated = await self.ask("ActivateSession", _ua.ActivateSessionParameters(UserIdentityToken=token))
        assert activated.code == 0
        assert self.peer is not None
        (session,) = self.peer.sessions.values()
        session.access = access(*Role)
        created = await self.ask(
            "CreateSubscription",
            _ua.CreateSubscriptionParameters(100.0, 1000, 10, 100, PublishingEnabled=True),
        )
        number = created.of(ua.CreateSubscriptionResult).SubscriptionId
        items = [
            _ua.MonitoredItemCreateRequest(
                ItemToMonitor=read_value(self.world.bench.node(name)),
                MonitoringMode=ua.MonitoringMode.Reporting,
                RequestedParameters=_ua.MonitoringParameters(ClientHandle=7, QueueSize=3),
            )
            for name in ("Speed", "State")
        ]
        wanted = _ua.CreateMonitoredItemsParameters(number, ua.TimestampsToReturn.Both, items)
        assert (await self.ask("CreateMonitoredItems", wanted)).code == 0
        self.world.numbers[:] = [number]


class World:
    """The server, and the bounds within which it has to answer."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.bench = Bench(folder, allow_none=True, anonymous=True, writable=True)
        self.server = self.bench.server()
        self.inputs = 0
        self._faults = _Faults()
        self._patch = patch.object(Gatekeeper, "next_id", lambda _: CHANNEL)
        self._link: Link | None = None
        self._addresses = itertools.count()
        self.numbers = [0]
        """The id of the subscription that there is."""

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._faults)
        self.loop.set_exception_handler(lambda _, context: self._faults.found.append(str(context)))
        self._patch.start()
        self.loop.run_until_complete(self.server.start())
        for name, value in (("Speed", 1.5), ("State", 2)):
            self.bench.feed(name, value)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.run_until_complete(self.server.stop())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self._patch.stop()
        logging.getLogger().removeHandler(self._faults)

    @property
    def services(self) -> dict[str, Service]:
        """Every service there is, by name."""
        assert self.server._dispatcher is not None
        return {service.name: service for service in self.server._dispatcher}

    @property
    def token(self) -> bytes:
        """The AuthenticationToken of the session there is."""
        return b"\0\0" if self._link is None else self._link.token

    def known(self) -> Known:
        """What requests may be about."""
        space = self.server._space
        assert space is not None
        plant = [to_ua(key) for key in space.nodes if key[0] == _STRING]
        nodes = [*_STANDARD, *plant[:60]]
        values = [to_ua(key) for key, node in space.nodes.items() if isinstance(node.value, Point)][:20]
        names = [to_ua_name(node.browse_name) for node in list(space.nodes.values())[:2000:40]]
        references = (ua.NodeId(), *(_standard(number) for number in (31, 33, 35, 45, 46, 47, 40)))
        fields: dict[str, Sequence[Any]] = {
            "SubscriptionId": self.numbers,
            "SubscriptionIds": [self.numbers],
            "MonitoredItemId": (1, 2, 3),
            "TriggeringItemId": (1, 2),
            "AttributeId": (*(13,) * 12, 12, 1, 14, 24),
            "TimestampsToReturn": tuple(ua.TimestampsToReturn)[:4],
            "MaxAge": (0.0, 1000.0, 2.0**31),
            "View": (_ua.ViewDescription(),),
            "PolicyId": (ANONYMOUS_POLICY, USER_NAME_POLICY),
            "IndexRange": (None, None, None, None, "0", "0:1", "1,0"),
            "DataEncoding": (_ua.QualifiedName(), _ua.QualifiedName(), _ua.QualifiedName("Default Binary")),
            "NodeId": [
                *(ua.NodeId.from_string(self.bench.node(name)) for name in _WRITABLE * 40),
                *values,
                *nodes,
            ],
            "ReferenceTypeId": references,
            "BrowseDirection": tuple(ua.BrowseDirection)[:3],
            "TargetName": names,
            "BrowsePath": [
                [_ua.QualifiedName(name)]
                for name in ("Message", "Severity", "EventType", "SourceName", "Time", "EventId", "Changes")
            ],
            "ObjectId": (_standard(2253), *plant[:5]),
            "MethodId": (_standard(11492), _standard(12873)),
            "ItemToMonitor": (
                ua.ReadValueId,
                ua.ReadValueId,
                _ua.ReadValueId(NodeId=_standard(2253), AttributeId=AttributeIds.EventNotifier),
            ),
            "MonitoringMode": tuple(ua.MonitoringMode)[:3],
            "FilterOperands": [list(operands) for operands in _OPERANDS],
            "SelectClauses": ([ua.SimpleAttributeOperand], [ua.SimpleAttributeOperand] * 3),
            "Index": (1, 2),
            "Filter": (_ua.ExtensionObject(), ua.DataChangeFilter, ua.EventFilter),
            "FilterOperator": tuple(ua.FilterOperator),
            "TypeDefinitionId": (_standard(2041), _standard(2130), ua.NodeId()),
            "UserIdentityToken": (
                ua.AnonymousIdentityToken,
                ua.UserNameIdentityToken,
                ua.X509IdentityToken,
                ua.IssuedIdentityToken,
            ),
        }
        return Known(
            nodes, range(1, 29), ("Speed", "Server", CLIENT_URI, ANONYMOUS_POLICY), STRUCTURES, fields
        )

    def link(self) -> Link:
        return Link(self, f"10.0.{next(self._addresses) % 250}.1")

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call something within the loop."""

        async def called() -> T:
            return function(*arguments)

        return self.loop.run_until_complete(called())

    # --- Inputs

    def stream(self, pieces: Sequence[bytes]) -> None:
        """Bytes from a connection's first on."""
        with self._watched(b"".join(pieces)):
            self.loop.run_until_complete(self._stream(pieces))

    async def _stream(self, pieces: Sequence[bytes]) -> None:
        link = self.link()
        await link.receive(*pieces)
        link.taken()
        link.connection.abort()
        await link.settle()
        await asyncio.sleep(0)

    def request(self, service: str | int, parameters: bytes, *, body: bytes | None = None) -> None:
        """A request of a session; ``body`` stands for the whole of it, header and all."""
        with self._watched(f"{service}:".encode() + (parameters if body is None else body)):
            self.loop.run_until_complete(self._request(service, parameters, body))

    async def _request(self, service: str | int, parameters: bytes, body: bytes | None) -> None:
        link = self._link
        engine = self.server._engine
        assert engine is not None
        if (
            link is None
            or link.closed
            or not self.server.sessions
            or self.numbers[0] not in engine.subscriptions
            or self.inputs % _FRESH == 0
        ):
            link = await self._renewed()
        number = next(link.numbers)
        if body is None:
            body = message(service, parameters, token=link.token, handle=number)
        if len(body) > 4 << 20:
            return
        await link.receive(*link.chunks(body, number))
        if service in _STIRRING:
            self._stir()
        answers = [part for part in link.taken() if part[:3] == b"MSG"]
        if link.closed:
            return
        assert link.peer is not None
        for request in link.peer._open.values():
            if request.service.name not in _WAITING:
                raise OurFault(f"{request.service.name} is not answered")
        if not answers and service not in _WAITING and body is None:
            raise OurFault("neither an answer nor an end")

    def _stir(self) -> None:
        """Values change, and events happen."""
        engine, space = self.server._engine, self.server._space
        assert engine is not None
        assert space is not None
        self.bench.feed("Speed", float(self.inputs % 1000))
        self.bench.feed("State", self.inputs % 3)
        server = space.nodes[numeric(2253)]
        engine.emitter.emit(Event(space.nodes[numeric(2130)], server, "It happened", 1 + self.inputs % 1000))
        engine.emitter.model_changed([ModelChange(server, 1)])
        engine.flush()

    async def _renewed(self) -> Link:
        if self._link is not None:
            self._link.connection.abort()
            await self._link.settle()
        self.server._sessions.close_all()
        engine = self.server._engine
        assert engine is not None
        for left in list(engine.subscriptions.values()):
            engine.delete(left)
        await asyncio.sleep(0)
        self._link = link = self.link()
        await link.log_in()
        return link

    @contextmanager
    def _watched(self, data: bytes) -> Iterator[None]:
        self.inputs += 1
        self._faults.found.clear()
        before = time.process_time()
        wrong = ""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it is, the input that led to it is wanted
            wrong = repr(error)
        taken = time.process_time() - before
        if taken > CPU_LIMIT:
            wrong = wrong or f"{taken:.1f} s of processor time"
        wrong = self._faults.found[0] if self._faults.found else wrong
        if wrong:
            shown = data.hex() if len(data) < _SHOWN else f"{data[:_SHOWN].hex()}… ({len(data)} bytes)"
            raise OurFault(f"{wrong}\ninput: {shown}")


def request_class(service: Service) -> type | None:
    """The stack's type of a service's requests."""
    return ua.extension_objects_by_typeid.get(to_ua(service.request))
