"""A server that imports machines of a maker's, with a broker and clients on it, each a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.isthmus import Process, running
from support.machine_server import URI, Machine, machine_servers
from support.mosquitto import Mosquitto
from support.mqtt_observer import Observer, Seen, observe
from support.net import until
from support.proxy import Proxy, proxy_to
from support.uaclient import Client, ua

from server.observe.control import ask
from server.opcua.users import UserStore
from server.plant.model import Role

PLANT_URI = "urn:acme:plant"
USER, PASSWORD = "anna", "correct horse"
BEGIN = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true, writable: true}}
{mqtt}
metrics: {{port: 0}}
scan: {{normal: 200ms, slow: {{every: 400ms, stale: {{bad_after: 5}}}}}}
sources:
"""
SOURCE = (
    '  {name}: {{driver: opcua, url: "opc.tcp://127.0.0.1:{port}", security: none, '
    "keepalive: 500ms, timeout: 1s}}\n"
)
EQUIPMENT = "equipment:\n  Acme: {level: Site}\n"
DATA = "opcua/json/data/acme/plant/"
METADATA = "opcua/json/metadata/acme/plant/"


def mqtt(broker: Mosquitto) -> str:
    """The section of the configuration."""
    return (
        f"mqtt: {{broker: '{broker.url}', publisher_id: acme, publishing_interval: 100ms, "
        "key_frame_every: 1000, keep_alive: 20s}"
    )


def stanza(path: str, source: str, under: str = f"nsu={URI};s=Filler", more: str = "") -> str:
    """An equipment that holds an import."""
    return f'  {path}: {{level: WorkUnit, import: {{from: {source}, under: "{under}"{more}}}}}\n'


async def first(
    observer: Observer,
    kind: str,
    topic: str,
    *,
    where: Callable[[Seen], bool] = lambda _: True,
    after: int = 0,
) -> Seen:
    """As `Observer.first`, of that very topic: there are others that begin like it."""
    return await observer.first(
        kind, topic, where=lambda seen: seen.topic == topic and where(seen), after=after
    )


@dataclass
class Rig:
    """The processes, a client of the server, and the proxies before the machines."""

    machines: Sequence[Machine]
    proxies: Sequence[Proxy]
    broker: Mosquitto
    observer: Observer
    process: Process
    client: Any
    data: Path
    file: Path
    head: str

    def lose(self, number: int) -> None:
        """Have a machine vanish from the network; its proxy is opened again by `Proxy.open`."""
        self.proxies[number].open = False
        self.proxies[number].cut()

    async def index(self, source: str) -> int:
        """The namespace of what a source imports, once it is there."""

        async def found() -> int:
            names = await self.client.get_namespace_array()
            name = f"{URI}#{source}"
            return names.index(name) if name in names else 0

        return int(await until(found, what=f"the namespace of {source}"))

    async def value(self, source: str, name: str) -> Any:
        """The DataValue of an imported variable."""
        node = self.client.get_node(ua.NodeId(f"Filler.{name}", await self.index(source)))
        return await node.read_data_value(raise_on_bad_status=False)

    async def status(self, source: str, name: str) -> str:
        return str((await self.value(source, name)).StatusCode.name)

    async def told(self, source: str) -> dict[str, Any]:
        """What `isthmus status` says of a source."""
        found = await ask(self.data, "status")
        return next(one for one in found["sources"] if one["name"] == source)

    async def shown(self, source: str, *names: str) -> list[Any]:
        """What an operator reads of a source in the address space."""
        index = await self.client.get_namespace_index(PLANT_URI)
        asking = Client(self.process.ready["opcua"])
        asking.set_user(USER)
        asking.set_password(PASSWORD)
        async with asking:
            nodes = [asking.get_node(ua.NodeId(f"@sources/{source}/{name}", index)) for name in names]
            return [await node.read_value() for node in nodes]

    async def order(self, *stanzas: str, dry_run: bool = False) -> dict[str, Any]:
        """Apply another configuration; the report."""
        self.file.write_text(self.head + "".join(stanzas), encoding="utf-8")
        found: dict[str, Any] = await ask(self.data, "apply", within=60, file=str(self.file), dry_run=dry_run)
        return found


@asynccontextmanager
async def rig(folder: Path, *stanzas: str, machines: int = 1) -> AsyncIterator[Rig]:
    """Everything up; sources F1, F2, … are the machines."""
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(machine_servers(machines))
        proxies = [await stack.enter_async_context(proxy_to(one.port)) for one in made]
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        observer = await stack.enter_async_context(observe(broker.port))
        sources = "".join(SOURCE.format(name=f"F{n}", port=one.port) for n, one in enumerate(proxies, 1))
        head = BEGIN.format(mqtt=mqtt(broker)) + sources + EQUIPMENT
        file = folder / "plant.yaml"
        file.write_text(head + "".join(stanzas), encoding="utf-8")
        data = folder / "data"
        data.mkdir()
        await UserStore(data / "users.yaml").add(USER, PASSWORD, [Role.Operator])
        process = await stack.enter_async_context(running(folder / "run", "run", file, "--data", data))
        client = await stack.enter_async_context(Client(process.ready["opcua"]))
        yield Rig(made, proxies, broker, observer, process, client, data, file, head)
