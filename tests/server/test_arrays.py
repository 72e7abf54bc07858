"""Arrays from a device's memory to OPC UA and MQTT and back, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from support.auditing import last
from support.isthmus import Process, isthmus, running
from support.mosquitto import Mosquitto
from support.mqtt_observer import Observer, observe
from support.net import until
from support.simulator import RunningSimulator, running_simulator
from support.uaclient import Client, ua

from server.config import load
from server.simulate import device_spec

USER, PASSWORD = "anna", "correct horse"
PLANT: Final = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], allow_none: true, writable: true}}
mqtt: {{broker: "{broker}", publisher_id: acme, publishing_interval: 100ms}}
scan: {{normal: 100ms}}
enums: {{valve: {{0: Closed, 1: Open}}}}
sources:
  modbus: {{driver: modbus, host: 127.0.0.1, port: {modbus}}}
  logix: {{driver: logix, host: 127.0.0.1, port: {logix}}}
classes:
  Oven:
    level: WorkUnit
    properties:
      Temps: {{type: Float, array: 4, unit: CEL, range: [0, 300],
        write: {{limits: [0, 250], verify: {{within: 0.05}}}}}}
      Counts: {{type: Int32, array: 3, access: rw}}
      Lamps: {{type: Boolean, array: 10}}
      Valves: {{enum: valve, array: 2}}
equipment:
  Acme: {{level: Enterprise}}
  Acme/modbus:
    class: Oven
    source: modbus
    map:
      Temps: {{addr: "holding:100", as: int16, gain: 0.1}}
      Counts: {{addr: "holding:110", as: int32, words: CDAB}}
      Lamps: "coil:3"
      Valves: {{addr: "input:7", as: uint16, lut: {{0: 1, 5: 0}}}}
  Acme/logix:
    class: Oven
    source: logix
    map:
      Temps: {{addr: "Temps[2]", as: int, gain: 0.1}}
      Counts: "Program:Main.Line.Counts"
      Lamps: "Lamps[30]"
      Valves: {{addr: "Line[1].Valves", as: sint, lut: {{0: 1, 5: 0}}}}
"""


@dataclass
class Rig:
    plcs: dict[str, RunningSimulator]
    process: Process
    client: Any
    index: int
    seen: Observer
    data: Path
    told: dict[str, list[Any]] = field(default_factory=dict)

    def node(self, name: str) -> Any:
        return self.client.get_node(ua.NodeId(f"Acme/{name}", self.index))

    async def read(self, name: str, index_range: str | None = None) -> Any:
        """The value, or the name of the StatusCode where there is none."""
        wanted = ua.ReadValueId(self.node(name).nodeid, ua.AttributeIds.Value, index_range)
        (found,) = await self.client.uaclient.read(ua.ReadParameters(NodesToRead=[wanted]))
        return found.Value.Value if found.StatusCode.is_good() else found.StatusCode.name

    async def write(self, name: str, value: Any, kind: str, index_range: str | None = None) -> str:
        """The name of the StatusCode a client is told."""
        content = ua.DataValue(ua.Variant(value, getattr(ua.VariantType, kind)))
        one = ua.WriteValue(self.node(name).nodeid, ua.AttributeIds.Value, index_range, content)
        (code,) = await self.client.uaclient.write(ua.WriteParameters(NodesToWrite=[one]))
        return str(code.name)

    async def comes_to(self, name: str, value: Any) -> None:
        """Wait until a client reads that."""

        async def there() -> bool:
            return bool(await self.read(name) == value)

        await until(there, within=60, what=f"{name} {value}")

    async def published(self, name: str, value: Any) -> None:
        """Wait until a message has that value of a property."""
        machine, _, short = name.rpartition(".")

        def there() -> bool:
            frames = [
                message.part
                for kind in ("ua-keyframe", "ua-deltaframe")
                for message in self.seen.of(kind, machine)
            ]
            return any(frame["Payload"].get(short, {}).get("Value") == value for frame in frames)

        await until(there, within=60, what=f"{name} {value} by MQTT")

    def datachange_notification(self, node: Any, value: Any, _: Any) -> None:
        self.told.setdefault(str(node.nodeid.Identifier).removeprefix("Acme/"), []).append(value)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    data, file = folder / "data", folder / "plant.yaml"
    added = isthmus(
        "users", "add", USER, "--role", "Operator", "--data", data, "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert added.returncode == 0, added.stderr
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        ports = {"modbus": 502, "logix": 44818}
        file.write_text(PLANT.format(broker=broker.url, **ports), encoding="utf-8")
        config = load(file)
        plcs = {}
        for entry in config.sources:
            spec = device_spec(config.plant, entry, any_port=True)
            plcs[entry.name] = await stack.enter_async_context(running_simulator(spec))
        ports |= {name: plc.port for name, plc in plcs.items()}
        file.write_text(PLANT.format(broker=broker.url, **ports), encoding="utf-8")
        seen = await stack.enter_async_context(observe(broker.port, "opcua/json/#"))
        process = await stack.enter_async_context(running(folder / "server", "run", file, "--data", data))
        client = Client(process.ready["opcua"])
        client.set_user(USER)
        client.set_password(PASSWORD)
        await stack.enter_async_context(client)
        index = await client.get_namespace_index("urn:acme:plant")
        yield Rig(plcs, process, client, index, seen, data)


async def settle(it: Rig, machine: str, **values: Any) -> None:
    """Have the device hold these values, an element each, and wait for them."""
    plc = it.plcs[machine]
    for name, array in values.items():
        for index, value in enumerate(array):
            await plc.set(f"{name}[{index}]", value, f"Acme/{machine}")
    for name, array in values.items():
        await it.comes_to(f"{machine}.{name}", array)


async def shown(it: Rig, machine: str) -> None:
    """Attributes, values, parts of values, and what MQTT tells of them."""
    attributes = {
        "Temps": (1, [4], ua.ObjectIds.Float),
        "Counts": (1, [3], ua.ObjectIds.Int32),
        "Lamps": (1, [10], ua.ObjectIds.Boolean),
    }
    for name, (rank, dimensions, kind) in attributes.items():
        node = it.node(f"{machine}.{name}")
        assert await node.read_value_rank() == rank
        assert await node.read_array_dimensions() == dimensions
        assert (await node.read_data_type()).Identifier == kind
    lamps = [True, False, True, False, False, False, False, True, True, False]
    await settle(it, machine, Temps=[10.0, 20.0, 30.0, 40.0], Counts=[-1, 70_000, 3], Lamps=lamps)
    assert await it.read(f"{machine}.Counts", "1") == [70_000]
    assert await it.read(f"{machine}.Temps", "1:2") == [20.0, 30.0]
    assert await it.read(f"{machine}.Temps", "3:9") == [40.0]
    assert await it.read(f"{machine}.Temps", "4:9") == "BadIndexRangeNoData"
    await it.published(f"{machine}.Counts", [-1, 70_000, 3])
    await it.published(f"{machine}.Temps", [10.0, 20.0, 30.0, 40.0])
    await it.published(f"{machine}.Lamps", lamps)
    metadata = (await it.seen.first("ua-metadata", machine)).body["MetaData"]
    fields = {one["Name"]: one for one in metadata["Fields"]}
    assert (fields["Temps"]["ValueRank"], fields["Temps"]["ArrayDimensions"]) == (1, [4])
    assert (fields["Temps"]["BuiltInType"], fields["Lamps"]["BuiltInType"]) == (10, 1)


async def told(it: Rig, machine: str) -> None:
    """A deadband lets pass what moves one element far enough, and nothing else."""
    name = f"{machine}.Temps"
    await settle(it, machine, Temps=[10.0, 20.0, 30.0, 40.0])
    filter_ = ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=ua.DeadbandType.Absolute, DeadbandValue=5.0
    )
    subscription = await it.client.create_subscription(50, it)
    await subscription._subscribe(it.node(name), queuesize=100, mfilter=filter_)
    await until(lambda: it.told.get(name), what="the first value")
    plc = it.plcs[machine]
    await plc.set("Temps[2]", 34.0, f"Acme/{machine}")
    await it.comes_to(name, [10.0, 20.0, 34.0, 40.0])
    await plc.set("Temps[0]", 16.0, f"Acme/{machine}")
    await until(lambda: len(it.told[name]) > 1, what="a change beyond the deadband")
    await subscription.delete()
    assert it.told[name] == [[10.0, 20.0, 30.0, 40.0], [16.0, 20.0, 34.0, 40.0]]


async def written(it: Rig, machine: str) -> None:
    """Whole arrays and parts go to the device; what does not fit goes nowhere."""
    temps, counts, plc = f"{machine}.Temps", f"{machine}.Counts", it.plcs[machine]
    await settle(it, machine, Temps=[10.0, 20.0, 30.0, 40.0], Counts=[1, 2, 3])
    for index in range(4):
        await plc.set(f"Temps[{index}]", None, f"Acme/{machine}")
    for index in range(3):
        await plc.set(f"Counts[{index}]", None, f"Acme/{machine}")
    assert await it.write(temps, [11.0, 22.0, 33.0, 44.5], "Float") == "Good"
    await it.comes_to(temps, [11.0, 22.0, 33.0, 44.5])
    assert [await plc.get(f"Temps[{index}]", f"Acme/{machine}") for index in range(4)] == [
        11.0,
        22.0,
        33.0,
        44.5,
    ]
    assert await it.write(counts, [-7, 8, 9], "Int32") == "Good"
    assert await it.write(counts, [70_000], "Int32", "1") == "Good"
    await it.comes_to(counts, [-7, 70_000, 9])
    assert await it.write(counts, [5, 6], "Int32", "1:2") == "Good"
    assert [await plc.get(f"Counts[{index}]", f"Acme/{machine}") for index in range(3)] == [-7, 5, 6]
    await it.published(counts, [-7, 5, 6])
    assert await it.write(temps, [11.0, 22.0, 33.0], "Float") == "BadTypeMismatch"
    assert await it.write(temps, [11.0, 22.0, 33.0, 251.0], "Float") == "BadOutOfRange"
    assert await it.write(temps, [1.0, 2.0], "Float", "3:4") == "BadIndexRangeNoData"
    assert await it.write(temps, [1.0], "Float", "2:3") == "BadIndexRangeDataMismatch"
    assert await it.write(temps, [1], "Int32", "2") == "BadTypeMismatch"
    assert await it.write(temps, 1.0, "Float") == "BadTypeMismatch"
    assert await it.read(temps) == [11.0, 22.0, 33.0, 44.5]
    record = last(it.data / "audit", 1000, {"event": "write", "node": f"Acme/{counts}", "outcome": "done"})[
        -1
    ]
    assert (record["asked"], record["held"]) == ({"first": 1, "values": [5, 6]}, [-7, 5, 6])


async def test_an_array_is_one_value_at_both_ends(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        for machine in it.plcs:
            await shown(it, machine)
            await told(it, machine)
            await written(it, machine)
            await settle(it, machine, Valves=[0, 1])
            await it.published(f"{machine}.Valves", ["Closed_0", "Open_1"])
