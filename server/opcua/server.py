"""The OPC UA server: what it is made of, and the order it starts and stops in."""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from certs.errors import CertificateError
from certs.hosts import own_hosts
from certs.own import ApplicationIdentity
from certs.store import TrustList
from certs.upkeep import Revalidation
from nodesets.records import NodeRecord
from server.opcua.channels.channel import SecureChannel
from server.opcua.channels.gate import Gatekeeper
from server.opcua.dispatcher import Dispatcher
from server.opcua.endpoints import EndpointInfo, Endpoints, offers
from server.opcua.errors import ServerStartError, SpaceError
from server.opcua.ids import Namespaces, UnknownNamespace
from server.opcua.imported.nodes import Holder, ImportedNodes
from server.opcua.peer import ClientPeer, Host
from server.opcua.services.datatypes import DataTypes
from server.opcua.services.discovery import Discovery
from server.opcua.services.method import Methods
from server.opcua.services.read import Reading, Refresh
from server.opcua.services.registration import Registration
from server.opcua.services.view import Views
from server.opcua.services.write import Writing
from server.opcua.sessions.establish import Establishment
from server.opcua.sessions.pool import Pool
from server.opcua.sessions.registry import Limits, Sessions
from server.opcua.settings import OpcUaSettings
from server.opcua.space.assemble import build_space
from server.opcua.space.change import SpaceChange, prepare
from server.opcua.space.server import ServerObject
from server.opcua.space.sources import SourceObjects, Watched
from server.opcua.space.space import DuplicateNode, Space
from server.opcua.statistics import OpcUaStatistics
from server.opcua.status import audit_status, peer_status
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.item_services import ItemServices
from server.opcua.subscriptions.methods import GET_MONITORED_ITEMS, RESEND_DATA, SubscriptionMethods
from server.opcua.subscriptions.services import SubscriptionServices
from server.opcua.subscriptions.write_audit import WriteAudit
from server.opcua.tokens import Authenticator
from server.opcua.transport.connection import Connection
from server.opcua.transport.limits import LIMITS, caps_for
from server.opcua.transport.listener import Listener
from server.opcua.types import status_name
from server.opcua.users import UserStore
from server.opcua.wire.nodeid import key
from server.plant.commands import Commands
from server.plant.difference import Difference
from server.plant.model import Plant
from server.plant.values import Point, ValueStore
from server.progress import Progress, silent

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

_STOP_WITHIN: Final = 1.25
_NOTICE: Final = 0.25
"""Seconds subscribers have to hear that the server stops, before it hangs up."""
_TICK: Final = 1.0
_SWITCH: Final = 0.0005
"""Seconds a thread computes while others wait."""
_WORKERS: Final = 2
"""Threads that sign and verify."""


class OpcUaServer:
    """The server: `start`, `endpoints`, `stop`."""

    def __init__(  # noqa: PLR0913  # what the composition root knows, by name
        self,
        settings: OpcUaSettings,
        *,
        plant: Plant,
        nodesets: Iterable[NodeRecord],
        namespaces: Sequence[str],
        store: ValueStore,
        commands: Commands,
        identity: ApplicationIdentity,
        trust: TrustList,
        users: UserStore,
        refresh: Refresh | None = None,
        sources: Sequence[Watched] = (),
        namespace_added: Callable[[str], None] = lambda _: None,
        progress: Progress = silent,
    ) -> None:
        """``nodesets`` in dependency order: what the plant's nodes refer to beside namespace 0.

        ``namespaces`` follow namespace 0 and the server's own; ``namespace_added`` is told of those
        that imported nodes add while it runs.

        ``refresh`` reads points from their devices for clients that want values of now; ``sources``
        are shown to those who may know of them;
        ``progress`` is told, from another thread, how far the building of the address space is.
        """
        self._settings = settings
        self._plant: Plant | None = plant
        self._plant_uri = plant.plant_uri
        self._nodesets: Iterable[NodeRecord] = nodesets
        self._names = Namespaces(identity.application_uri, namespaces)
        self._store = store
        self._commands = commands
        self._identity = identity
        self._trust = trust
        self._users = users
        self._refresh = refresh
        self._sources = sources
        self.source_objects: SourceObjects | None = None
        """The sources that are shown, there once the server is started; more may come, and some go."""
        self._namespace_added = namespace_added
        self._progress = progress
        index = self._names.index(plant.plant_uri)
        self._holders = holders_of(plant, index)
        self._listener = Listener(caps=caps_for(settings.max_sessions))
        self._sessions = Sessions(Limits(settings.max_sessions, settings.max_sessions_per_user))
        self._peers: dict[ClientPeer, None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._space: Space | None = None
        self._engine: Engine | None = None
        self._dispatcher: Dispatcher | None = None
        self._shown: ServerObject | None = None
        self._stop_telling: Callable[[], None] = _nothing
        self._imported: ImportedNodes | None = None
        self.endpoints: tuple[EndpointInfo, ...] = ()
        """What clients can connect to, the best protected first; there once the server is started."""

    def namespace_index(self, uri: str) -> int:
        """The index clients of this server see for a namespace. Raises UnknownNamespace."""
        return self._names.index(uri)

    @property
    def imported(self) -> ImportedNodes:
        """Where sources show the nodes they import; there once the server is started."""
        if self._imported is None:
            raise RuntimeError("the server is not started")
        return self._imported

    @property
    def sessions(self) -> int:
        """How many sessions there are now."""
        return len(self._sessions)

    @property
    def statistics(self) -> OpcUaStatistics:
        """What clients make of the server now."""
        engine = self._engine
        if engine is None:
            return OpcUaStatistics()
        listener = self._listener
        return OpcUaStatistics(
            sessions=len(self._sessions),
            subscriptions=len(engine.subscriptions),
            monitored_items=engine.monitored_items,
            notifications=engine.notifications,
            connections=listener.connections,
            accepted=listener.accepted,
            ended={
                "refused": listener.refused.total(),
                "evicted": listener.evicted,
                "expired": listener.expired,
                "dropped": listener.dropped,
                "fault": listener.faults,
                "failure": listener.failures,
            },
            refused_requests=self._dispatcher.refused if self._dispatcher is not None else 0,
            refused_sessions=self._sessions.counts.rejected,
        )

    async def start(self) -> None:
        """Build the address space and open the port. Raises ServerStartError and UserStoreError."""
        # Threads check passwords and certificates, and decode what is large: none of them
        # may keep the event loop from its next turn for as long as Python would let it.
        sys.setswitchinterval(_SWITCH)
        await asyncio.to_thread(self._users.load)
        port = self._bind()
        try:
            space = await asyncio.to_thread(self._build)
        except (UnknownNamespace, DuplicateNode) as error:
            raise ServerStartError(f"the address space cannot be built: {error}") from error
        hosts = await asyncio.to_thread(own_hosts)
        endpoints = Endpoints(self._settings, self._identity, port, listen=self._settings.listen, hosts=hosts)
        pool = Pool(_WORKERS)
        authenticator = Authenticator(
            self._users, self._identity.private_key, anonymous=self._settings.anonymous, pool=pool
        )
        gate = Gatekeeper(offers(self._settings), self._identity, self._trust)
        self._space = space
        engine = self._engine = Engine(space, self._store)
        plant_index = self._names.index(self._plant_uri)
        told = WriteAudit(space, engine.emitter, index=plant_index, server=self._identity.application_uri)
        self._stop_telling = self._commands.listen(told)
        methods = Methods(space)
        dispatcher = self._dispatcher = self._dispatch(space, engine, endpoints, authenticator, pool, methods)
        host = Host(dispatcher, self._sessions, self._peers)
        self._shown = ServerObject(
            space,
            self._names,
            sessions=self._sessions,
            engine=engine,
            max_sessions=self._settings.max_sessions,
            rejected=lambda: (dispatcher.refused_for_security, dispatcher.refused),
        )
        self._shown.show_identities(self._users.known())
        self._imported = ImportedNodes(
            space,
            self._names,
            methods,
            self._holders,
            writable=self._settings.writable,
            added=self._namespace_added,
            forward=self._commands.forward,
            withhold=self._commands.withhold,
        )

        def handler(connection: Connection) -> ClientPeer:
            return ClientPeer(host, connection, _channel(gate, connection))

        await self._listener.serve(handler)
        self._tasks = [
            asyncio.create_task(engine.run(), name="opcua subscriptions"),
            asyncio.create_task(self._keep_up(authenticator), name="opcua upkeep"),
            *self._registration(endpoints),
        ]
        self.endpoints = endpoints.infos
        log.info("OPC UA server at %s, %d nodes", endpoints.url, len(space))

    async def stop(self) -> None:
        """Say goodbye to every client and end within two seconds. May be called at any time, and again."""
        if self._imported is not None:
            self._imported.close()
        engine, self._engine = self._engine, None
        if engine is not None and self._shown is not None:
            self._shown.shut_down(_STOP_WITHIN)
            engine.flush()
            if engine.subscriptions:
                await asyncio.sleep(_NOTICE)
                self._shown.tick()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sessions.close_all()
        for peer in list(self._peers):
            peer.stop()
        await self._listener.close(within=_STOP_WITHIN)
        stop_telling, self._stop_telling = self._stop_telling, _nothing
        stop_telling()
        if engine is not None:
            engine.close()
            log.info("OPC UA server stopped")

    # --- Changing

    def prepare(
        self, old: Plant, new: Plant, properties: Difference, points: Mapping[str, Point]
    ) -> SpaceChange:
        """Make everything ready for the plant to be another one. For a thread; touches nothing.

        ``new`` is reconciled with ``old``, which is what is served now; ``points`` has those of added
        properties and of all that stay. Raises SpaceError.
        """
        space = self._space
        if space is None:
            raise SpaceError("the server has not been started")
        writable = self._settings.writable
        try:
            return prepare(space, self._names, old, new, properties, points, writable=writable)
        except (UnknownNamespace, DuplicateNode) as error:
            raise SpaceError(f"the address space cannot be built: {error}") from error

    async def change_imports(self, plant: Plant) -> None:
        """Have the equipment of this plant hold imports, and no other. See `ImportedNodes.change`."""
        await self.imported.change(holders_of(plant, self._names.index(plant.plant_uri)))

    # --- Starting

    def _bind(self) -> int:
        """Take the port at every address. Raises ServerStartError."""
        port = self._settings.port
        for address in self._settings.listen:
            try:
                port = self._listener.bind(address, port)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL and address == "::" and len(self._settings.listen) > 1:
                    log.info("this machine has no IPv6: not listening on ::")
                    continue
                raise ServerStartError(
                    f"port {port} of {address} cannot be opened: {error.strerror or error}. "
                    f"{_advice(error.errno)} in the opcua section"
                ) from error
        return port

    def _build(self) -> Space:
        plant, self._plant = self._plant, None  # needed no more: it may be large
        nodesets, self._nodesets = self._nodesets, ()
        space = build_space(
            nodesets,
            self._names,
            plant,
            self._store.points,
            writable=self._settings.writable,
            methods=(GET_MONITORED_ITEMS, RESEND_DATA),
            progress=self._progress,
        )
        if plant is not None:
            shown = self.source_objects = SourceObjects(
                space, self._names, types_uri=plant.types_uri, plant_uri=plant.plant_uri
            )
            for source in self._sources:
                shown.show(source)
        return space

    def _dispatch(  # what its services are made of
        self,
        space: Space,
        engine: Engine,
        endpoints: Endpoints,
        authenticator: Authenticator,
        pool: Pool,
        methods: Methods,
    ) -> Dispatcher:
        types = DataTypes(space)
        for method, carry_out in SubscriptionMethods(engine).handlers().items():
            methods.add(method, carry_out)
        parts = (
            Discovery(endpoints),
            Establishment(self._sessions, endpoints, self._identity, authenticator, pool, LIMITS.message),
            Views(space),
            Reading(space, self._store, self._refresh),
            Writing(space, self._commands, types),
            methods,
            SubscriptionServices(engine),
            ItemServices(engine),
        )
        return Dispatcher(service for part in parts for service in part.services())

    def _registration(self, endpoints: Endpoints) -> list[asyncio.Task[None]]:
        url = self._settings.discovery_server
        if url is None:
            return []
        registration = Registration(
            url,
            name=self._settings.application_name,
            endpoints=endpoints,
            identity=self._identity,
            trust=self._trust,
        )
        return [asyncio.create_task(registration.run(), name="opcua registration")]

    # --- Upkeep

    async def _keep_up(self, authenticator: Authenticator) -> None:
        """Every second: what has been silent for too long, and who may no longer be here."""
        revalidation = Revalidation(self._trust)
        shown = self._shown
        while True:
            await asyncio.sleep(_TICK)
            try:
                self._listener.sweep()
                self._sessions.sweep()
                if await self._users.refresh():
                    self._sessions.refresh(authenticator.refreshed)
                    if shown is not None:
                        shown.show_identities(self._users.known())
                await self._expel(revalidation)
            except Exception:
                log.exception("the server's upkeep failed: a fault of ours")

    async def _expel(self, revalidation: Revalidation) -> None:
        """End the connections whose certificate would not be let in any more, and their sessions."""
        chains = {peer: peer.channel.chain for peer in self._peers if peer.channel.chain}
        if not chains:
            return
        try:
            refused = await asyncio.to_thread(revalidation.refused, chains, datetime.now(UTC))
        except CertificateError as error:
            log.error("the trust list cannot be read: %s", error)  # noqa: TRY400  # the text says it all
            return
        for peer, why in refused.items():
            audit.warning(
                "%s is sent away: %s",
                peer.name,
                why,
                extra={
                    "event": "channel",
                    "client": peer.name,
                    "step": why.step.value,
                    "status": status_name(audit_status(why.step)),
                },
            )
            self._sessions.distrust(peer.channel.certificate)
            peer.end(peer_status(why.step), str(why))


def holders_of(plant: Plant, index: int) -> dict[str, Holder]:
    """The equipment that holds imports, by path; ``index`` is that of the plant's namespace."""
    return {
        one.path: Holder(key(one.node_id, index), one.imported, one.node_id)
        for one in plant.equipment
        if one.imported is not None
    }


def _nothing() -> None:
    """There is nothing to stop."""


def _advice(error: int | None) -> str:
    """What to do where a port cannot be opened."""
    if error == errno.EADDRNOTAVAIL:
        return "This machine has no such address; name one of its own with `listen`"
    if error in {errno.EACCES, errno.EPERM}:
        return "Ports below 1024 need special rights; choose another with `port`"
    return "Another program may have it; end that, or choose another with `port`"


def _channel(gate: Gatekeeper, connection: Connection) -> SecureChannel:
    agreed = connection.negotiated
    assert agreed is not None  # noqa: S101  # handlers are made after Hello
    return SecureChannel(gate, agreed, address=connection.address, peer=connection.peer)
