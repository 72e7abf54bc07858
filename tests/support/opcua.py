"""A whole OPC UA server over a small plant, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from support import pki
from support.devices import OneName
from support.line import MACHINE, line
from support.watched import FakeSource

from certs.own import ApplicationIdentity, load_or_make
from certs.store import TrustList
from nodesets import isa95
from nodesets.records import NodeRecord
from server.opcua.endpoints import PolicyClass
from server.opcua.server import OpcUaServer
from server.opcua.settings import OpcUaSettings
from server.opcua.users import UserStore
from server.plant.build import namespaces
from server.plant.commands import Commands, Device
from server.plant.commands.trail import Recorder
from server.plant.model import Plant, Role
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.quality import GOOD, Quality
from sources.tag import Tag, Value

OPERATOR, OPERATOR_PASSWORD = "operator", "line-one-runs"
OBSERVER, OBSERVER_PASSWORD = "observer", "only-looking"
CLIENT_URI = "urn:test:client"

BASIC256SHA256: PolicyClass = SecurityPolicyBasic256Sha256

T = TypeVar("T")
Connect = Callable[..., AbstractAsyncContextManager[Client]]
"""See the fixture ``connect``."""


def _short(tag: Tag[Any]) -> str:
    return tag.name.rpartition(".")[2]


@dataclass
class MemoryDevice(OneName):
    """A device that is nothing but memory: it holds what is written, by the property's name."""

    held: dict[str, Value] = field(default_factory=dict)
    answer: Quality = GOOD
    delay: float = 0.0

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        return Batch(tuple(tags), [self.held[_short(tag)] for tag in tags], GOOD, None, now())

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        await asyncio.sleep(self.delay)
        if self.answer == GOOD:
            self.held.update({_short(tag): value for tag, value in pairs})
        return [self.answer for _ in pairs]


class Bench:
    """What a server stands on: plant, store, device, users, certificates."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.data = data
        self.plant: Plant = line()
        given: dict[str, Any] = {"port": 0, "listen": ("127.0.0.1",)} | settings
        self.settings = OpcUaSettings(**given)
        self.store = ValueStore(self.plant)
        self.device = MemoryDevice()
        self.devices: dict[str, Device] = {}
        """Those beside it, by their sources."""
        self.kept: dict[str, Value] = {}
        self.recorder: Recorder | None = None
        self.source = FakeSource()
        own = data / "pki" / "own"
        own.mkdir(parents=True, exist_ok=True)
        (own / "private-key.pem").write_bytes(pki.key_pem(pki.key(10)))
        (own / "private-key.pem").chmod(0o600)
        self.identity: ApplicationIdentity = load_or_make(data / "pki", application_uri="urn:test:isthmus")
        self.trust = TrustList(data / "pki")
        self.trust.prepare()
        self.users = UserStore(data / "users.yaml")
        self._tags = {
            p.name: (p.binding.tag,) for p in self.plant.properties() if p.binding and p.binding.enabled
        }

    def records(self) -> list[NodeRecord]:
        return isa95.load().nodes

    async def add_users(self) -> None:
        await self.users.add(OPERATOR, OPERATOR_PASSWORD, [Role.Operator])
        await self.users.add(OBSERVER, OBSERVER_PASSWORD, [Role.Observer])

    def server(self) -> OpcUaServer:
        return OpcUaServer(
            self.settings,
            plant=self.plant,
            nodesets=self.records(),
            namespaces=(isa95.ISA95, *namespaces(self.plant)),
            store=self.store,
            commands=Commands(
                self.store,
                {"PLC": self.device, **self.devices},
                enabled=self.settings.writable,
                keep=self._keep,
                recorder=self.recorder,
            ),
            identity=self.identity,
            trust=self.trust,
            users=self.users,
            sources=(self.source,),
        )

    async def _keep(self, key: str, value: Value) -> None:
        self.kept[key] = value

    def feed(self, name: str, value: Value, quality: Quality = GOOD, received: int | None = None) -> None:
        """What a source would bring for one property: its raw value."""
        tags = self._tags[name]
        self.store.ingest(Batch(tags, [value], quality, None, received or now()))

    def lose(self, name: str, quality: Quality) -> None:
        """What the supervisor would say of one property when its device falls silent."""
        self.store.ingest(Batch(self._tags[name], None, quality, None, now()))

    @property
    def namespace_array(self) -> tuple[str, ...]:
        return (
            "http://opcfoundation.org/UA/",
            "urn:test:isthmus",
            isa95.ISA95,
            *namespaces(self.plant),
        )

    def node(self, name: str) -> str:
        """The NodeId of a property of the machine, by namespace index."""
        return f"ns={self.namespace_array.index(self.plant.plant_uri)};s={MACHINE}.{name}"


class Running:
    """A bench whose server runs in a thread."""

    def __init__(self, bench: Bench, server: OpcUaServer, loop: asyncio.AbstractEventLoop) -> None:
        self.bench = bench
        self.server = server
        self._loop = loop

    @property
    def url(self) -> str:
        return self.server.endpoints[0].url

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def do(self, function: Callable[[], T]) -> T:
        """Call a function in the server's loop."""

        async def done() -> T:
            return function()

        return self.call(done())

    def feed(self, name: str, value: Value, quality: Quality = GOOD, received: int | None = None) -> None:
        """As Bench.feed, in the server's loop."""
        self.do(lambda: self.bench.feed(name, value, quality, received))


@contextmanager
def serving(data: Path, **settings: Any) -> Iterator[Running]:
    """A server with two users, from its start to its end; nothing of it may be left then."""
    bench = Bench(data, **settings)
    loop = asyncio.new_event_loop()

    def live() -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=live, name="opcua server")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(bench.add_users(), loop).result(60)
        running = Running(bench, bench.server(), loop)
        try:
            running.call(running.server.start())
            yield running
        finally:
            running.call(running.server.stop())
            left = running.do(lambda: [t for t in asyncio.all_tasks() if t is not asyncio.current_task()])
            assert not left, f"the server left tasks behind: {left}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def trusted_client(running: Running, folder: Path, *, number: int = 11) -> tuple[Path, Path]:
    """Certificate and key of a client application the server trusts."""
    certificate, private = client_files(folder, number=number)
    running.bench.trust.trust(certificate)
    return certificate, private


def client_files(folder: Path, *, number: int = 11) -> tuple[Path, Path]:
    """Certificate and key of a client application nobody knows yet."""
    own = pki.key(number)
    return pki.write(folder, pki.application(f"Client {number}", uri=CLIENT_URI, private=own), own)


async def prepared(
    running: Running,
    folder: Path,
    *,
    policy: PolicyClass | None = None,
    mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt,
    user: str | None = None,
    password: str = OPERATOR_PASSWORD,
    files: tuple[Path, Path] | None = None,
) -> Client:
    """asyncua's client, not connected yet: over None, or by a policy with a trusted certificate."""
    client = Client(running.url, timeout=20)
    client.application_uri = CLIENT_URI
    if user is not None:
        client.set_user(user)
        client.set_password(password)
    if policy is not None:
        certificate, key = files or trusted_client(running, folder)
        server = running.bench.data / "pki" / "own" / "certificate.der"
        await client.set_security(policy, certificate, key, server_certificate=str(server), mode=mode)
    return client
