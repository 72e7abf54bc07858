"""The OPC UA server, standing on asyncua's: the one file that knows asyncua's server side.

It copies node records into asyncua's address space and has asyncua run the subscriptions.
What is decided about clients is decided in the modules beside it, which stay when a later
version puts nodes and subscriptions of our own in this file's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from asyncua import ua
from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData, ViewService
from asyncua.server.internal_server import InternalServer

from certs.own import ApplicationIdentity
from certs.store import TrustList
from nodesets.records import NodeClass, NodeId, NodeRecord
from server.opcua.access import PlantAccess, data_value
from server.opcua.attributes import CURRENT_READ, attributes, definition
from server.opcua.channel import Gatekeeper
from server.opcua.connection import Listener
from server.opcua.conversation import Conversation, Host
from server.opcua.endpoints import LISTEN_HOST, EndpointInfo, Endpoints, factories, offers
from server.opcua.errors import ServerStartError
from server.opcua.ids import Namespaces, UnknownNamespace
from server.opcua.publishing import PublishRequest
from server.opcua.references import Described, both_ways, describe
from server.opcua.server_nodes import constants, server_status
from server.opcua.session import Session, Sessions
from server.opcua.session_services import Services
from server.opcua.settings import OpcUaSettings
from server.opcua.statistics import OpcUaStatistics, Tally
from server.opcua.tokens import Authenticator
from server.opcua.types import AttributeIds, ObjectIds, node_id, ua_time, utc_now
from server.opcua.users import UserStore
from server.opcua.wire import bounds as guard
from server.plant.commands import Commands
from server.plant.values import Point, ValueStore

log = logging.getLogger(__name__)

_SPARE_CONNECTIONS: Final = 20
_MAX_CHANGES: Final = 100_000
_STOP_WITHIN: Final = 1.5
_TICK: Final = 1.0
_TURN: Final = 0.005
"""Seconds of delivering changes before others have their turn on the loop."""

_SUBTYPE: Final = node_id(ObjectIds.HasSubtype)
_ENCODING: Final = node_id(ObjectIds.HasEncoding)
_STRUCTURE: Final = node_id(ObjectIds.Structure)


class OpcUaServer:
    """The server: `start`, `endpoints`, `stop`."""

    def __init__(  # noqa: PLR0913  # what the composition root knows, by name
        self,
        settings: OpcUaSettings,
        *,
        nodes: Iterable[NodeRecord],
        namespaces: Sequence[str],
        store: ValueStore,
        node_of: Mapping[str, NodeId],
        commands: Commands,
        identity: ApplicationIdentity,
        trust: TrustList,
        users: UserStore,
    ) -> None:
        """``nodes`` in dependency order; ``namespaces`` follow namespace 0 and the server's own."""
        self._settings = settings
        self._nodes = tuple(nodes)
        self._names = Namespaces(identity.application_uri, namespaces)
        self._store = store
        self._access = PlantAccess(store, commands, node_of, self._names, writable=settings.writable)
        self._identity = identity
        self._trust = trust
        self._users = users
        self._started = utc_now()
        self._stack: InternalServer | None = None
        self._listener: Listener | None = None
        self._sessions: Sessions | None = None
        self._tally = Tally()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = contextlib.ExitStack()
        self.endpoints: tuple[EndpointInfo, ...] = ()
        """What clients can connect to, the best protected first; there once the server is started."""

    def namespace_index(self, uri: str) -> int:
        """The index clients of this server see for a namespace. Raises UnknownNamespace."""
        return self._names.index(uri)

    @property
    def sessions(self) -> int:
        """How many sessions there are now."""
        return len(self._sessions) if self._sessions is not None else 0

    @property
    def statistics(self) -> OpcUaStatistics:
        """What clients make of the server now."""
        subscriptions = self._stack.subscription_service.subscriptions if self._stack else {}
        return OpcUaStatistics(
            sessions=self.sessions,
            subscriptions=len(subscriptions),
            monitored_items=sum(
                len(subscription.monitored_item_srv._monitored_items)  # noqa: SLF001 (it has no other way to ask)
                for subscription in subscriptions.values()
            ),
            notifications=self._tally.notifications,
        )

    async def start(self) -> None:
        """Build the address space and open the port. Raises ServerStartError and UserStoreError."""
        guard.install()
        await asyncio.to_thread(self._users.load)
        stack = self._stack = InternalServer()
        await stack.init()
        try:
            cells = await asyncio.to_thread(_populate, stack.aspace, self._nodes, self._names, self._access)
        except UnknownNamespace as error:
            raise ServerStartError(f"the address space cannot be built: {error}") from error
        self._write(constants(self._identity.application_uri, self._names.uris, self._settings.max_sessions))
        await self._tell_status(ua.ServerState.Running)

        subscriptions = stack.subscription_service
        services = Services(stack.aspace, _Views(stack.aspace), subscriptions, self._access)
        sessions = self._sessions = Sessions(self._settings.max_sessions, services.end)
        authenticator = Authenticator(
            self._users, self._identity.private_key, anonymous=self._settings.anonymous
        )
        offered = offers(self._settings)
        numbers = itertools.count(1)
        listener = self._listener = Listener(limit=self._settings.max_sessions + _SPARE_CONNECTIONS)
        try:
            port = listener.bind(LISTEN_HOST, self._settings.port)
        except OSError as error:
            raise ServerStartError(
                f"port {self._settings.port} of {LISTEN_HOST} cannot be opened: {error.strerror}. Another "
                "program may have it; end that, or choose another with `port` in the opcua section"
            ) from error
        endpoints = Endpoints(self._settings, self._identity, port)
        host = Host(
            endpoints=endpoints,
            gatekeeper=Gatekeeper(offered, self._identity, self._trust),
            factories=factories(offered, self._identity),
            authenticator=authenticator,
            sessions=sessions,
            services=services,
            next_channel=lambda: next(numbers),
            publish=lambda number, request: _publish(subscriptions, number, request),
            rebind=lambda session: _rebind(subscriptions, session),
            tally=self._tally,
        )
        await listener.serve(lambda transport: Conversation(host, transport))
        changes = _Changes(cells)
        self._ending.callback(self._store.listen(changes.tell))
        self._tasks = [
            asyncio.create_task(changes.run(), name="opcua changes"),
            asyncio.create_task(self._keep_up(sessions, authenticator, listener), name="opcua upkeep"),
        ]
        self.endpoints = endpoints.infos
        log.info("OPC UA server at %s, %d nodes", endpoints.url, len(stack.aspace.keys()))

    async def stop(self) -> None:
        """Say goodbye to every client and end within two seconds. May be called at any time, and again."""
        self._ending.close()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stack = self._stack
        if stack is None:
            return
        subscriptions = stack.subscription_service
        await self._tell_status(ua.ServerState.Shutdown, seconds_till_shutdown=1)
        for subscription in list(subscriptions.subscriptions.values()):
            await subscription.publish_results()
        self._stack = None
        if self._listener is not None:
            await self._listener.close(within=_STOP_WITHIN)
            self._listener = None
        await subscriptions.delete_subscriptions(list(subscriptions.subscriptions))
        await stack.stop()
        log.info("OPC UA server stopped")

    async def _keep_up(self, sessions: Sessions, authenticator: Authenticator, listener: Listener) -> None:
        """Every second: the clock, sessions nobody uses or may use any more, connections without one."""
        while True:
            await asyncio.sleep(_TICK)
            try:
                await self._tell_status(ua.ServerState.Running)
                listener.sweep()
                changed = await self._users.refresh()
                await sessions.end_unused(authenticator.refreshed if changed else None)
            except Exception:
                log.exception("the server's upkeep failed: a fault of ours")

    async def _tell_status(self, state: ua.ServerState, *, seconds_till_shutdown: int = 0) -> None:
        """Set ServerStatus and its parts, and have their subscribers told."""
        stack = self._stack
        if stack is None:
            return
        values = server_status(state, self._started, utc_now(), seconds_till_shutdown=seconds_till_shutdown)
        for number, value in values.items():
            await stack.aspace.write_attribute_value(
                node_id(number), cast("Any", AttributeIds.Value), _stamped(value)
            )

    def _write(self, values: Mapping[int, ua.Variant]) -> None:
        """Set values of standard nodes, of those there are; nobody is told."""
        if self._stack is None:
            return
        for number, value in values.items():
            node = self._stack.aspace.get(node_id(number))
            if node is not None and AttributeIds.Value in node.attributes:
                node.attributes[cast("Any", AttributeIds.Value)].value = _stamped(value)


def _stamped(value: ua.Variant) -> ua.DataValue:
    now = ua_time(utc_now())
    return ua.DataValue(value, SourceTimestamp=now, ServerTimestamp=now)


class _Views(ViewService):
    """Browsing with the subtypes of a reference type looked up once: the model does not change."""

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self._subtypes: dict[ua.NodeId, frozenset[ua.NodeId]] = {}

    def _suitable_reftype(self, ref1: ua.NodeId, ref2: ua.NodeId, subtypes: bool) -> bool:
        if ref1.is_null() or ref1 == ref2:
            return True
        if not subtypes or ref1 not in self._aspace:
            return False
        found = self._subtypes.get(ref1)
        if found is None:
            found = self._subtypes[ref1] = frozenset(self._get_sub_ref(ref1))
        return ref2 in found


class _Changes:
    """Takes changes from the value store to the monitored items, a turn of the loop later.

    At most so many wait; of more the oldest are dropped and counted.
    """

    def __init__(self, cells: Mapping[str, AttributeValue]) -> None:
        self._cells = cells
        self._waiting: deque[tuple[AttributeValue, ua.DataValue]] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0

    def tell(self, points: Sequence[Point]) -> None:
        """A Listener of the value store."""
        for point in points:
            cell = self._cells.get(point.property.key)
            if cell is None or not cell.datachange_callbacks:
                continue
            if len(self._waiting) >= _MAX_CHANGES:
                self._waiting.popleft()
                if not self.dropped:
                    log.warning("changes come faster than subscriptions take them; the oldest are dropped")
                self.dropped += 1
            self._waiting.append((cell, data_value(point)))
        if self._waiting:
            self._wake.set()

    async def run(self) -> None:
        """Deliver, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            since = time.monotonic()
            while self._waiting:
                if time.monotonic() - since > _TURN:
                    await asyncio.sleep(0)
                    since = time.monotonic()
                cell, value = self._waiting.popleft()
                for handle, callback in list(cell.datachange_callbacks.items()):
                    try:
                        await callback(handle, value)
                    except Exception:
                        log.exception("a change did not reach its monitored item: a fault of ours")


async def _publish(subscriptions: Any, number: int, request: PublishRequest) -> bool:
    subscription = subscriptions.subscriptions.get(number)
    return subscription is not None and bool(await subscription.publish_results(request))


def _rebind(subscriptions: Any, session: Session) -> None:
    for number in session.subscriptions:
        subscription = subscriptions.subscriptions.get(number)
        if subscription is not None and session.owner is not None:
            owner: Any = session.owner
            subscription.pub_result_callback = owner.forward_publish_response
            subscription.pub_request_callback = owner.get_publish_request


def _populate(
    space: AddressSpace, records: Sequence[NodeRecord], names: Namespaces, access: PlantAccess
) -> dict[str, AttributeValue]:
    """Put the records in; gives the value cell of every point. Raises UnknownNamespace, ServerStartError."""
    _make_read_only(space)
    cells: dict[str, AttributeValue] = {}
    described: dict[ua.NodeId, Described] = {}
    for record in records:
        node = NodeData(names.node_id(record.node_id))
        if node.nodeid in space:
            raise ServerStartError(f"the address space cannot be built: two nodes are {record.node_id}")
        point = access.point(node.nodeid)
        writable = point is not None and access.is_writable(point.property)
        found = attributes(record, names, writable=writable)
        node.attributes = cast("Any", {number: AttributeValue(value) for number, value in found.items()})
        if point is not None:
            cells[point.property.key] = node.attributes[cast("Any", AttributeIds.Value)] = _cell(point)
        space[node.nodeid] = node
        described[node.nodeid] = describe(record, names)

    def known(node: ua.NodeId) -> Described | None:
        if node not in described and (data := space.get(node)) is not None:
            described[node] = _described(data)
        return described.get(node)

    for holder, reference in both_ways(records, names, known):
        space[holder].references.append(reference)
    for record in records:
        if record.node_class is NodeClass.DataType:
            _define(space, record, names)
    return cells


def _cell(point: Point) -> AttributeValue:
    cell = AttributeValue(ua.DataValue())
    cell.value = None
    cell.value_callback = lambda _node, _attribute: data_value(point)
    return cell


def _make_read_only(space: AddressSpace) -> None:
    """The standard nodes promise neither a write nor a call: this version serves none of them."""
    changes = {
        AttributeIds.AccessLevel: ua.Variant(CURRENT_READ, ua.VariantType.Byte),
        AttributeIds.UserAccessLevel: ua.Variant(CURRENT_READ, ua.VariantType.Byte),
        AttributeIds.Executable: ua.Variant(False, ua.VariantType.Boolean),
        AttributeIds.UserExecutable: ua.Variant(False, ua.VariantType.Boolean),
    }
    for node in list(space.keys()):
        held: Any = space[node].attributes
        for attribute, value in changes.items():
            if attribute in held:
                held[attribute].value = ua.DataValue(value)


def _described(node: NodeData) -> Described:
    """A standard node as the target of a reference."""

    def read(attribute: AttributeIds) -> Any:
        value = node.attributes[cast("Any", attribute)].value
        return value.Value.Value if value is not None and value.Value is not None else None

    kind = next(
        (
            r.NodeId
            for r in node.references
            if r.IsForward and r.ReferenceTypeId == node_id(ObjectIds.HasTypeDefinition)
        ),
        ua.NodeId(),
    )
    return Described(
        ua.NodeClass(read(AttributeIds.NodeClass)),
        read(AttributeIds.BrowseName),
        read(AttributeIds.DisplayName),
        kind,
    )


def _define(space: AddressSpace, record: NodeRecord, names: Namespaces) -> None:
    """Give a data type its DataTypeDefinition."""
    node = space[names.node_id(record.node_id)]
    base = _target(node, _SUBTYPE, forward=False)
    ancestor: ua.NodeId | None = base
    while ancestor is not None and ancestor != _STRUCTURE:
        data = space.get(ancestor)
        ancestor = _target(data, _SUBTYPE, forward=False) if data is not None else None
    found = definition(
        record,
        names,
        base=base or ua.NodeId(),
        encoding=_target(node, _ENCODING, forward=True, name="Default Binary") or ua.NodeId(),
        is_structure=ancestor == _STRUCTURE,
    )
    if found is not None:
        node.attributes[cast("Any", AttributeIds.DataTypeDefinition)] = AttributeValue(found)


def _target(node: NodeData, kind: ua.NodeId, *, forward: bool, name: str | None = None) -> ua.NodeId | None:
    for reference in node.references:
        fits = reference.ReferenceTypeId == kind and reference.IsForward == forward
        if fits and name in {None, reference.BrowseName.Name}:
            return cast("ua.NodeId", reference.NodeId)
    return None
