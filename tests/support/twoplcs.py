"""A server over two simulated PLCs, with clients on it: what the fault tests break."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.isthmus import Process, isthmus, running
from support.net import until
from support.proxy import Proxy, proxy_to
from support.simulator import RunningSimulator, point, running_simulator
from support.uaclient import Client, ua

from sources.simulators.spec import DeviceSpec

PLANT = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true, writable: true}}
{mqtt}
scan: {{normal: 200ms}}
sources:
  A: {{driver: modbus, host: 127.0.0.1, port: {a}, timeout: 500ms}}
  B: {{driver: modbus, host: 127.0.0.1, port: {b}, timeout: 500ms}}
classes:
  Filler:
    level: WorkUnit
    properties:
      Speed: {{range: [0, 900]}}
      SpeedSP: {{range: [0, 800], access: rw}}
      Count: {{type: UInt32, kind: counter}}
equipment:
  Acme:
    level: Enterprise
    properties: {{Target: {{type: UInt16, value: 500, access: rw}}}}
  Acme/A: {{class: Filler, source: A, map: &map {{Speed: {{addr: "holding:0", as: float32}},
    SpeedSP: {{addr: "holding:2", as: float32}}, Count: {{addr: "holding:20", as: uint32}}}}}}
  Acme/B: {{class: Filler, source: B, map: *map}}
"""
NAMES = ("Speed", "SpeedSP", "Count")
USER, PASSWORD = "anna", "correct horse"


def spec(name: str) -> DeviceSpec:
    machine = f"Acme/{name}"
    return DeviceSpec(
        name=name,
        points=(
            point("Speed", "holding", 0, "float32", low=0, high=900, machine=machine),
            point("SpeedSP", "holding", 2, "float32", low=0, high=800, writable=True, machine=machine),
            point("Count", "holding", 20, "uint32", kind="counter", machine=machine),
        ),
    )


@dataclass
class Rig:
    """The processes, a client of the server, and the proxy before PLC A."""

    a: RunningSimulator
    b: RunningSimulator
    proxy: Proxy
    process: Process
    client: Any
    data: Path
    file: Path

    async def node(self, path: str) -> Any:
        index = await self.client.get_namespace_index("urn:acme:plant")
        return self.client.get_node(ua.NodeId(path, index))

    async def values(self, plc: str) -> list[Any]:
        nodes = [await self.node(f"Acme/{plc}.{name}") for name in NAMES]
        return [await node.read_data_value(raise_on_bad_status=False) for node in nodes]

    async def status(self, plc: str) -> set[str]:
        return {value.StatusCode.name for value in await self.values(plc)}

    async def are(self, plc: str, *names: str, within: float = 20.0) -> float:
        """Wait until every value of a PLC has one of these statuses; the seconds it took."""
        begin = time.monotonic()

        async def there() -> bool:
            return await self.status(plc) <= set(names)

        await until(there, within=within, what=f"{plc} {names}, is {await self.status(plc)}")
        return time.monotonic() - begin

    def log_lines(self, pattern: str) -> list[str]:
        return [line for line in self.process.output.splitlines() if re.search(pattern, line)]

    async def as_operator(self) -> Any:
        client = Client(self.process.ready["opcua"])
        client.set_user(USER)
        client.set_password(PASSWORD)
        return client


@asynccontextmanager
async def rig(folder: Path, mqtt: str = "", environment: dict[str, str] | None = None) -> AsyncIterator[Rig]:
    """Everything up, both PLCs Good. ``mqtt`` is the section's line in the configuration."""
    data = folder / "data"
    added = isthmus(
        "users", "add", USER, "--role", "Operator", "--data", data, "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert added.returncode == 0, added.stderr
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(running_simulator(spec("A")))
        b = await stack.enter_async_context(running_simulator(spec("B")))
        proxy = await stack.enter_async_context(proxy_to(a.port))
        file = folder / "plant.yaml"
        file.write_text(PLANT.format(a=proxy.port, b=b.port, mqtt=mqtt), encoding="utf-8")
        process = await stack.enter_async_context(
            running(folder / "server", "run", file, "--data", data, environment=environment)
        )
        client = await stack.enter_async_context(Client(process.ready["opcua"]))
        whole = Rig(a, b, proxy, process, client, data, file)
        await whole.are("A", "Good")
        await whole.are("B", "Good")
        yield whole
