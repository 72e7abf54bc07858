"""Arrays from a device's memory to OPC UA and MQTT and back, over real sockets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from support import pki
from support.auditing import last
from support.isthmus import isthmus, running
from support.mosquitto import Mosquitto
from support.mqtt_observer import Observer, observe
from support.net import until
from support.simulator import RunningSimulator, running_simulator
from support.slc import serving
from support.uaclient import Client, ua

from certs.own import load_or_make
from certs.store import TrustList
from server.config import load
from server.simulate import device_spec
from sources.simulators.slc.device import SlcDevice

USER, PASSWORD = "anna", "correct horse"
CLASSES: Final = """\
classes:
  Oven:
    level: WorkUnit
    properties:
      Temps: {type: Float, array: 4, unit: CEL, range: [0, 300],
        write: {limits: [0, 250], verify: {within: 0.05}}}
      Counts: {type: Int32, array: 3, access: rw}
      Lamps: {type: Boolean, array: 10}
      Valves: {enum: valve, array: 2}
"""
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
  slc: {{driver: slc, host: 127.0.0.1, port: {slc}}}
{classes}
equipment:
  Acme: {{level: Enterprise}}
  Acme/modbus:
    class: Oven
    source: modbus
    properties: {{Log: {{type: UInt16, array: any}}}}
    map:
      Log: "fifo:9"
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
  Acme/slc:
    class: Oven
    source: slc
    map:
      Temps: {{addr: "N7:20", gain: 0.1}}
      Counts: "L10:3"
      Lamps: "B3:1/12"
      Valves: {{addr: "N7:30", lut: {{0: 1, 5: 0}}}}
"""
UPPER: Final = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], allow_none: true, writable: true}}
mqtt: {{broker: "{broker}", publisher_id: upper, publishing_interval: 100ms}}
scan: {{normal: 100ms}}
enums: {{valve: {{0: Closed, 1: Open}}}}
sources:
  lower: {{driver: opcua, url: "{lower}", user: anna, password: "env:LOWER_PASSWORD"}}
{classes}
equipment:
  Acme: {{level: Enterprise}}
  Acme/upstream:
    class: Oven
    source: lower
    prefix: "nsu=urn:acme:plant;s=Acme/modbus."
    properties: {{Log: {{type: UInt16, array: any}}}}
    map: {{Temps: Temps, Counts: Counts, Lamps: Lamps, Valves: Valves, Log: Log}}
"""


class Plc(Protocol):
    """A device whose elements can be looked at and set."""

    async def get(self, name: str, machine: str) -> Any: ...

    async def set(self, name: str, value: Any, machine: str) -> None: ...


class Files:
    """The files of the simulated SLC, as the plant above names what is in them."""

    def __init__(self, device: SlcDevice) -> None:
        self._device = device

    def _place(self, name: str) -> tuple[str, int, bytearray, str, int]:
        short, _, rest = name.partition("[")
        number, form, first = {"Temps": (7, "<h", 20), "Counts": (10, "<i", 3), "Valves": (7, "<h", 30)}.get(
            short, (3, "<H", 1)
        )
        index = int(rest.rstrip("]"))
        element, bit = (first + index, 0) if short != "Lamps" else divmod(16 * first + 12 + index, 16)
        return short, bit, self._device.files[number].data, form, element * struct.calcsize(form)

    async def get(self, name: str, _machine: str) -> Any:
        short, _bit, data, form, at = self._place(name)
        (raw,) = struct.unpack_from(form, data, at)
        return raw / 10 if short == "Temps" else raw

    async def set(self, name: str, value: Any, _machine: str) -> None:
        if value is None:
            return
        short, bit, data, form, at = self._place(name)
        (before,) = struct.unpack_from(form, data, at)
        raw = round(value * 10) if short == "Temps" else value
        if short == "Valves":
            raw = 0 if value else 5
        if short == "Lamps":
            raw = before & ~(1 << bit) | value << bit
        struct.pack_into(form, data, at, raw)


@dataclass
class Machine:
    """A machine of a server, the device that its values come from, and what is heard of it."""

    name: str
    plc: Plc
    there: str
    """What the simulator calls it."""
    client: Any
    index: int
    seen: Observer
    data: Path
    told: list[Any] = field(default_factory=list)

    def node(self, name: str) -> Any:
        return self.client.get_node(ua.NodeId(f"Acme/{self.name}.{name}", self.index))

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

        await until(there, within=60, what=f"{self.name}.{name} {value}")

    async def published(self, name: str, value: Any) -> None:
        """Wait until a message has that value of a property."""

        def there() -> bool:
            kinds = ("ua-keyframe", "ua-deltaframe")
            frames = [message.part for kind in kinds for message in self.seen.of(kind, self.name)]
            return any(frame["Payload"].get(name, {}).get("Value") == value for frame in frames)

        await until(there, within=60, what=f"{self.name}.{name} {value} by MQTT")

    async def set(self, name: str, index: int, value: Any) -> None:
        """Freeze an element of the device; None lets go."""
        await self.plc.set(f"{name}[{index}]", value, self.there)

    async def holds(self, name: str, count: int) -> list[Any]:
        """The elements of the device."""
        return [await self.plc.get(f"{name}[{index}]", self.there) for index in range(count)]

    async def settle(self, **values: list[Any]) -> None:
        """Have the device hold these values, an element each, and wait for them."""
        for name, array in values.items():
            for index, value in enumerate(array):
                await self.set(name, index, value)
        for name, array in values.items():
            await self.comes_to(name, array)

    def datachange_notification(self, _node: Any, value: Any, _data: Any) -> None:
        self.told.append(value)


async def shown(it: Machine) -> None:
    """Attributes, values, parts of values, and what MQTT tells of them."""
    attributes = {
        "Temps": ([4], ua.ObjectIds.Float),
        "Counts": ([3], ua.ObjectIds.Int32),
        "Lamps": ([10], ua.ObjectIds.Boolean),
    }
    for name, (dimensions, kind) in attributes.items():
        node = it.node(name)
        assert await node.read_value_rank() == 1
        assert await node.read_array_dimensions() == dimensions
        assert (await node.read_data_type()).Identifier == kind
        (typed,) = await node.get_references(ua.ObjectIds.HasTypeDefinition)
        assert await it.client.get_node(typed.NodeId).read_value_rank() == -2, "the type's allows it"
        extended = (await node.read_attribute(ua.AttributeIds.AccessLevelEx)).Value.Value
        assert extended & 0x700 == 0x300, "neither atomic, nor whole only"
    lamps = [True, False, True, False, False, False, False, True, True, False]
    await it.settle(Temps=[10.0, 20.0, 30.0, 40.0], Counts=[-1, 70_000, 3], Lamps=lamps)
    assert await it.read("Counts", "1") == [70_000]
    assert await it.read("Temps", "1:2") == [20.0, 30.0]
    assert await it.read("Temps", "3:9") == [40.0]
    assert await it.read("Temps", "4:9") == "BadIndexRangeNoData"
    await it.published("Counts", [-1, 70_000, 3])
    await it.published("Temps", [10.0, 20.0, 30.0, 40.0])
    await it.published("Lamps", lamps)
    await it.settle(Valves=[0, 1])
    await it.published("Valves", ["Closed_0", "Open_1"])
    metadata = (await it.seen.first("ua-metadata", it.name)).body["MetaData"]
    fields = {one["Name"]: one for one in metadata["Fields"]}
    assert (fields["Temps"]["ValueRank"], fields["Temps"]["ArrayDimensions"]) == (1, [4])
    assert (fields["Temps"]["BuiltInType"], fields["Lamps"]["BuiltInType"]) == (10, 1)


async def told(it: Machine) -> None:
    """A deadband lets pass what moves one element far enough, and nothing else."""
    await it.settle(Temps=[10.0, 20.0, 30.0, 40.0])
    filter_ = ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=ua.DeadbandType.Absolute, DeadbandValue=5.0
    )
    subscription = await it.client.create_subscription(50, it)
    await subscription._subscribe(it.node("Temps"), queuesize=100, mfilter=filter_)
    await until(lambda: it.told, what="the first value")
    await it.set("Temps", 2, 34.0)
    await it.comes_to("Temps", [10.0, 20.0, 34.0, 40.0])
    await it.set("Temps", 0, 16.0)
    await until(lambda: len(it.told) > 1, what="a change beyond the deadband")
    await subscription.delete()
    assert it.told == [[10.0, 20.0, 30.0, 40.0], [16.0, 20.0, 34.0, 40.0]]


async def written(it: Machine) -> None:
    """Whole arrays and parts go to the device; what does not fit goes nowhere."""
    await it.settle(Temps=[10.0, 20.0, 30.0, 40.0], Counts=[1, 2, 3])
    for name, count in (("Temps", 4), ("Counts", 3)):
        for index in range(count):
            await it.set(name, index, None)
    assert await it.write("Temps", [11.0, 22.0, 33.0, 44.5], "Float") == "Good"
    await it.comes_to("Temps", [11.0, 22.0, 33.0, 44.5])
    assert await it.holds("Temps", 4) == [11.0, 22.0, 33.0, 44.5]
    assert await it.write("Counts", [-7, 8, 9], "Int32") == "Good"
    assert await it.write("Counts", [70_000], "Int32", "1") == "Good"
    await it.comes_to("Counts", [-7, 70_000, 9])
    assert await it.write("Counts", [5, 6], "Int32", "1:2") == "Good"
    assert await it.holds("Counts", 3) == [-7, 5, 6]
    await it.published("Counts", [-7, 5, 6])
    assert await it.write("Temps", [11.0, 22.0, 33.0], "Float") == "BadTypeMismatch"
    assert await it.write("Temps", [11.0, 22.0, 33.0, 251.0], "Float") == "BadOutOfRange"
    assert await it.write("Temps", [1.0, 2.0], "Float", "3:4") == "BadIndexRangeNoData"
    assert await it.write("Temps", [1.0], "Float", "2:3") == "BadIndexRangeDataMismatch"
    assert await it.write("Temps", [1], "Int32", "2") == "BadTypeMismatch"
    assert await it.write("Temps", 1.0, "Float") == "BadTypeMismatch"
    assert await it.read("Temps") == [11.0, 22.0, 33.0, 44.5]
    wanted = {"event": "write", "node": f"Acme/{it.name}.Counts", "outcome": "done"}
    record = last(it.data / "audit", 1000, wanted)[-1]
    assert (record["asked"], record["held"]) == ({"first": 1, "values": [5, 6]}, [-7, 5, 6])


async def queued(all_of_them: Sequence[Machine]) -> None:
    """What a FIFO queue holds has another length each time, by Modbus and again by OPC UA."""
    for values in ([1, 2, 3], [], list(range(31)), [7]):
        for it in all_of_them:
            assert isinstance(it.plc, RunningSimulator)
            await it.plc.control(queue={"offset": 9, "values": values})
        for it in all_of_them:
            await it.comes_to("Log", values)
            await it.published("Log", values)
    for it in all_of_them:
        assert await it.node("Log").read_array_dimensions() == [0]
        metadata = (await it.seen.first("ua-metadata", it.name)).body["MetaData"]
        (log,) = [one for one in metadata["Fields"] if one["Name"] == "Log"]
        assert (log["ValueRank"], log["ArrayDimensions"]) == (1, [0])


async def add_user(data: Path) -> None:
    added = await asyncio.to_thread(
        isthmus,
        *("users", "add", USER, "--role", "Operator", "--data", data, "--password-stdin"),
        stdin=f"{PASSWORD}\n",
    )
    assert added.returncode == 0, added.stderr


async def served(stack: AsyncExitStack, folder: Path, file: Path, data: Path) -> tuple[str, Any, int]:
    """A server's URL, a client of it, and the index of the plant's namespace."""
    process = await stack.enter_async_context(running(folder, "run", file, "--data", data))
    client = Client(process.ready["opcua"])
    client.set_user(USER)
    client.set_password(PASSWORD)
    await stack.enter_async_context(client)
    return process.ready["opcua"], client, await client.get_namespace_index("urn:acme:plant")


def trust_each_other(one: Path, other: Path) -> None:
    for mine, theirs in ((one, other), (other, one)):
        trust = TrustList(mine / "pki")
        trust.prepare()
        trust.trust(theirs / "pki" / "own" / "certificate.der")


@asynccontextmanager
async def machines(folder: Path) -> AsyncIterator[list[Machine]]:
    """A machine of every kind of device, and that of a server above: one of the first by way of OPC UA."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        lower, upper = folder / "lower", folder / "upper"
        slc = await stack.enter_async_context(serving())
        ports = {"modbus": 502, "logix": 44818, "slc": slc.port}
        file = folder / "plant.yaml"
        file.write_text(PLANT.format(broker=broker.url, classes=CLASSES, **ports), encoding="utf-8")
        config = load(file)
        plcs: dict[str, Plc] = {"slc": Files(slc.device)}
        for entry in config.sources:
            if entry.name not in plcs:
                spec = device_spec(config.plant, entry, any_port=True)
                plc = await stack.enter_async_context(running_simulator(spec))
                plcs[entry.name], ports[entry.name] = plc, plc.port
        file.write_text(PLANT.format(broker=broker.url, classes=CLASSES, **ports), encoding="utf-8")
        await add_user(lower)
        await add_user(upper)
        seen = await stack.enter_async_context(observe(broker.port, "opcua/json/#"))
        url, client, index = await served(stack, folder / "run-lower", file, lower)
        found = [Machine(name, plc, f"Acme/{name}", client, index, seen, lower) for name, plc in plcs.items()]
        above = folder / "upper.yaml"
        above.write_text(UPPER.format(broker=broker.url, classes=CLASSES, lower=url), encoding="utf-8")
        own = upper / "pki" / "own"
        own.mkdir(parents=True)
        (own / "private-key.pem").write_bytes(pki.key_pem(pki.key(12)))
        (own / "private-key.pem").chmod(0o600)
        load_or_make(upper / "pki")
        trust_each_other(lower, upper)
        _, client, index = await served(stack, folder / "run-upper", above, upper)
        found.append(Machine("upstream", plcs["modbus"], "Acme/modbus", client, index, seen, upper))
        yield found


async def test_an_array_is_one_value_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWER_PASSWORD", PASSWORD)
    async with machines(tmp_path) as all_of_them:
        for machine in all_of_them:
            await shown(machine)
            await told(machine)
            await written(machine)
        await queued([machine for machine in all_of_them if machine.there == "Acme/modbus"])
