"""One quality contract: the same cause is the same StatusCode, whatever the driver, in OPC UA and MQTT alike.

A driver joins by an entry in `DRIVERS`: how its device is described, simulated and broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from support.isthmus import running
from support.logix import packer
from support.mosquitto import Mosquitto
from support.mqtt_observer import Observer, observe
from support.net import free_port, until
from support.simulator import RunningSimulator, point, running_simulator
from support.uaclient import Client, ua

from sources import quality
from sources.quality import GOOD, Quality, is_bad, quality_name
from sources.simulators.kinds import Spec
from sources.simulators.slc.spec import FileSpec, SlcSpec
from sources.simulators.spec import DeviceSpec

Order = Callable[[RunningSimulator], Awaitable[Any]]

UNCERTAIN: Final = quality.UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE


def order(**command: Any) -> Order:
    """One line to the simulator's control port."""
    return lambda plc: plc.control(**command)


def modbus_exception(code: int) -> Order:
    return order(exception={"table": "holding", "offset": 100, "code": code})


def cip_status(status: int, *extended: int) -> Order:
    return order(tag_status={"tag": VICTIM, "status": status, "extended": list(extended)})


def pccc_status(status: int, extended: int = 0) -> Order:
    return order(tag_status={"tag": "N7:0", "status": status, "extended": extended})


VICTIM: Final = "Program:Packer.CaseSize"


@dataclass(frozen=True)
class Driver:
    """``keys`` are a source's beside host and port, ``tags`` the addresses by property.

    ``lasting`` is a property whose last value is usable for some seconds, by what the source or
    the scan class says of staleness. ``refusals`` order, by the StatusCode it must come to, that
    the device refuses the victim, and ``relent`` takes it back.
    """

    keys: str
    spec: Callable[[], Spec]
    tags: Mapping[str, str]
    lasting: str
    refusals: Mapping[Quality, Order]
    relent: Order


def modbus_spec() -> DeviceSpec:
    machine = "Acme/modbus"
    return DeviceSpec(
        name="M",
        points=(
            point("Speed", "holding", 0, "float32", low=0, high=900, machine=machine),
            point("Victim", "holding", 100, "int16", low=6, high=24, machine=machine),
            point("Odd", "holding", 200, "int16", members=(1, 2, 3), machine=machine),
            point("Slow", "holding", 300, "float32", low=0, high=900, machine=machine),
        ),
    )


def slc_spec() -> SlcSpec:
    files = {"O0": 1, "I1": 1, "S2": 32, "N7": 40, "F8": 40}
    return SlcSpec(name="S", files=tuple(FileSpec(name=name, elements=n) for name, n in files.items()))


DRIVERS: Final[Mapping[str, Driver]] = {
    "modbus": Driver(
        "driver: modbus, max_gap: 4, stale: {bad_after: 15}",
        modbus_spec,
        {
            "Speed": "addr: 'holding:0', as: float32",
            "Victim": "addr: 'holding:100'",
            "Odd": "addr: 'holding:200', as: int16",
            "Slow": "addr: 'holding:300', as: float32",
        },
        "Speed",
        {
            quality.BAD_NOT_SUPPORTED: modbus_exception(1),
            quality.BAD_RESOURCE_UNAVAILABLE: modbus_exception(6),
            quality.BAD_INVALID_STATE: modbus_exception(7),
            quality.BAD_UNEXPECTED_ERROR: modbus_exception(9),
            # Last: what a device does not have is asked for again at long intervals only.
            quality.BAD_CONFIGURATION_ERROR: modbus_exception(2),
        },
        order(exception=None),
    ),
    "logix": Driver(
        "driver: logix",
        packer,
        {
            "Speed": "addr: 'Program:Packer.PML.Status.CurMachSpeed'",
            "Victim": f"addr: '{VICTIM}'",
            "Odd": "addr: 'Program:Packer.PML.Status.UnitModeCurrent'",
            "Slow": "addr: 'Program:Packer.GlueTemp'",
        },
        "Slow",
        {
            quality.BAD_NOT_SUPPORTED: cip_status(0x08),
            quality.BAD_RESOURCE_UNAVAILABLE: cip_status(0x02),
            quality.BAD_INVALID_STATE: cip_status(0x0C),
            quality.BAD_UNEXPECTED_ERROR: cip_status(0x2B),
            quality.BAD_CONFIGURATION_ERROR: cip_status(0x05, 0),
        },
        order(tag_status={"tag": VICTIM, "status": None}),
    ),
    "slc": Driver(
        "driver: slc",
        slc_spec,
        {"Speed": "addr: 'F8:0'", "Victim": "addr: 'N7:0'", "Odd": "addr: 'N7:20'", "Slow": "addr: 'F8:30'"},
        "Slow",
        {
            quality.BAD_NOT_SUPPORTED: pccc_status(0x10),
            quality.BAD_RESOURCE_UNAVAILABLE: pccc_status(0xF0, 0x0C),
            quality.BAD_INVALID_STATE: pccc_status(0x70),
            quality.BAD_UNEXPECTED_ERROR: pccc_status(0x99),
            quality.BAD_CONFIGURATION_ERROR: pccc_status(0x50),
        },
        order(tag_status={"tag": "N7:0", "status": None}),
    ),
}

PLANT = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true}}
mqtt: {{broker: "{broker}", publisher_id: acme, publishing_interval: 100ms}}
scan: {{normal: 200ms, slow: {{every: 1s, stale: {{bad_after: 3}}}}}}
sources:
{sources}
classes:
  Machine:
    level: WorkUnit
    properties:
      Speed: {{type: Float}}
      Victim: {{type: Int16}}
      Odd: {{type: Int32}}
      Slow: {{type: Float, scan: slow}}
      Off: {{type: Float}}
      Never: {{type: Float}}
      Waiting: {{type: Float}}
equipment:
  Acme: {{level: Enterprise}}
{equipment}
"""


def plant_file(ports: Mapping[str, int], silent: int, broker: str) -> str:
    sources, equipment = [], []
    for name, driver in DRIVERS.items():
        for source, port, timeout in (
            (name, ports[name], "500ms"),
            (f"{name}-never", free_port(), "500ms"),
            (f"{name}-silent", silent, "5min"),
        ):
            sources.append(
                f"  {source}: {{{driver.keys}, host: 127.0.0.1, port: {port}, timeout: {timeout}}}"
            )
        tags = driver.tags
        equipment.append(
            f"""\
  Acme/{name}:
    class: Machine
    source: {name}
    map:
      Speed: {{{tags["Speed"]}}}
      Victim: {{{tags["Victim"]}}}
      Odd: {{{tags["Odd"]}, lut: {{99: 1}}}}
      Slow: {{{tags["Slow"]}}}
      Off: {{{tags["Speed"]}, enabled: false}}
      Never: {{{tags["Speed"]}, source: {name}-never}}
      Waiting: {{{tags["Speed"]}, source: {name}-silent}}"""
        )
    return PLANT.format(broker=broker, sources="\n".join(sources), equipment="\n".join(equipment))


@asynccontextmanager
async def mute_listener() -> AsyncIterator[int]:
    """A port that takes every call and never says a word."""
    ended = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


@dataclass
class Ends:
    """A value as it is seen at both ends."""

    client: Any
    index: int
    seen: Observer
    plcs: Mapping[str, RunningSimulator]
    taken: int = 0
    fields: dict[tuple[str, str], Any] = field(default_factory=dict)

    def node(self, driver: str, name: str) -> Any:
        return self.client.get_node(ua.NodeId(f"Acme/{driver}.{name}", self.index))

    async def opcua(self, driver: str, name: str) -> tuple[Quality, Any]:
        """What a client reads that leaves the device alone."""
        wanted = ua.ReadValueId(self.node(driver, name).nodeid, ua.AttributeIds.Value)
        request = ua.ReadParameters(MaxAge=2.0**31, NodesToRead=[wanted])
        (value,) = await self.client.uaclient.read(request)
        return value.StatusCode.value, None if value.Value is None else value.Value.Value

    def mqtt(self, driver: str, name: str) -> tuple[Quality, Any] | None:
        """What the messages so far come to; None before there was one."""
        for message in self.seen.seen[self.taken :]:
            parts = message.body.get("Messages", ()) if message.body is not None else ()
            for part in parts:
                for its, found in part["Payload"].items():
                    self.fields[message.topic, its] = found
        self.taken = len(self.seen.seen)
        held = [found for (topic, its), found in self.fields.items() if driver in topic and its == name]
        if not held:
            return None
        (found,) = held
        return found.get("Status", {"Code": GOOD})["Code"], found["Value"]

    async def come_to(self, wanted: Quality, driver: str, name: str = "Victim") -> None:
        """Wait until both ends say so, and hold what each says of the value against that."""
        heard: list[Any] = []

        async def agreed() -> bool:
            heard[:] = [await self.opcua(driver, name), self.mqtt(driver, name)]
            return all(end is not None and end[0] == wanted for end in heard)

        await until(agreed, within=60, what=f"{quality_name(wanted)} of {driver}.{name}; {heard}")
        for _, value in heard:
            assert (value is None) is is_bad(wanted), (driver, name, quality_name(wanted), heard)


@asynccontextmanager
async def both_ends(folder: Path) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        silent = await stack.enter_async_context(mute_listener())
        plcs = {
            name: await stack.enter_async_context(running_simulator(driver.spec()))
            for name, driver in DRIVERS.items()
        }
        seen = await stack.enter_async_context(observe(broker.port, "opcua/json/data/#"))
        file = folder / "plant.yaml"
        ports = {name: plc.port for name, plc in plcs.items()}
        file.write_text(plant_file(ports, silent, broker.url), encoding="utf-8")
        process = await stack.enter_async_context(
            running(folder / "server", "run", file, "--data", folder / "data")
        )
        client = await stack.enter_async_context(Client(process.ready["opcua"]))
        index = await client.get_namespace_index("urn:acme:plant")
        yield Ends(client, index, seen, plcs)


class History:
    """Every StatusCode that a subscription brought, by node."""

    def __init__(self) -> None:
        self.codes: dict[str, set[Quality]] = {}

    def datachange_notification(self, node: Any, _value: object, data: Any) -> None:
        self.codes.setdefault(node.nodeid.Identifier, set()).add(data.monitored_item.Value.StatusCode.value)

    def timed_out(self, driver: str) -> bool:
        """Whether a value of that driver's device ever was BadTimeout."""
        its = [codes for name, codes in self.codes.items() if name.startswith(f"Acme/{driver}.")]
        return any(quality.BAD_TIMEOUT in codes for codes in its)


async def steady(ends: Ends) -> None:
    """What nothing has happened to."""
    for driver in DRIVERS:
        await ends.come_to(GOOD, driver)
        await ends.come_to(GOOD, driver, "Slow")
        await ends.come_to(quality.BAD_DECODING_ERROR, driver, "Odd")
        await ends.come_to(quality.BAD_OUT_OF_SERVICE, driver, "Off")
        await ends.come_to(quality.BAD_NOT_CONNECTED, driver, "Never")
        await ends.come_to(quality.BAD_WAITING_FOR_INITIAL_DATA, driver, "Waiting")


async def silenced(ends: Ends) -> None:
    """The device is there and does not answer: a time-out of what was asked for, then no communication."""
    history = History()
    subscription = await ends.client.create_subscription(50, history)
    nodes = [ends.node(driver, name) for driver in DRIVERS for name in ("Speed", "Victim", "Odd", "Slow")]
    await subscription.subscribe_data_change(nodes, queuesize=100, sampling_interval=0)
    for plc in ends.plcs.values():
        await plc.control(mute=True)
    for driver, plc in ends.plcs.items():
        await ends.come_to(quality.BAD_NO_COMMUNICATION, driver)
        await plc.control(mute=False)
    for driver in DRIVERS:
        await until(partial(history.timed_out, driver), what=f"a time-out of {driver}")
        await ends.come_to(GOOD, driver)
        await ends.come_to(GOOD, driver, "Slow")
    await subscription.delete()


async def gone(ends: Ends) -> None:
    """The device is gone: its last values are Uncertain for a while, then there is no communication."""
    for name, driver in DRIVERS.items():
        await ends.plcs[name].kill()
        await ends.come_to(UNCERTAIN, name, driver.lasting)
    for name, driver in DRIVERS.items():
        await ends.come_to(quality.BAD_NO_COMMUNICATION, name)
        await ends.come_to(quality.BAD_NO_COMMUNICATION, name, driver.lasting)
        await ends.plcs[name].start()
    for name in DRIVERS:
        await ends.come_to(GOOD, name)


async def refused(ends: Ends) -> None:
    """The device refuses one point, for this reason and that; the others stay Good."""
    codes = {tuple(driver.refusals) for driver in DRIVERS.values()}
    assert len(codes) == 1, "every driver has the same causes"
    for code in codes.pop():
        for name, driver in DRIVERS.items():
            await driver.refusals[code](ends.plcs[name])
        for name, driver in DRIVERS.items():
            await ends.come_to(code, name)
            await ends.come_to(GOOD, name, "Speed")
            await driver.relent(ends.plcs[name])


async def test_a_cause_is_one_code_at_both_ends_whatever_the_driver(tmp_path: Path) -> None:
    async with both_ends(tmp_path) as ends:
        for cause in (steady, silenced, gone, refused):
            await cause(ends)
