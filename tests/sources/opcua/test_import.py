"""Nodes of downstream servers, imported with their types: two like machines side by side below one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncua.ua
import pytest
from asyncua.client.client import Client
from support.auditing import last
from support.downstream import source
from support.machine_server import URI, Machine, machine_servers
from support.net import until
from support.opcua import OPERATOR, OPERATOR_PASSWORD, Bench
from support.scanning import FAST

from server.audit.log import AuditLog
from server.opcua.server import OpcUaServer
from server.opcua.wire.nodeid import key as node_key
from server.plant.model import Equipment, EquipmentLevel, Import, Role
from sources.opcua.address import parse_address
from sources.opcua.driver import OpcUaSource
from sources.opcua.imports import Wanted
from sources.supervisor import Supervisor

ua: Any = asyncua.ua

WRITERS = frozenset({Role.Operator})
BELOW = parse_address(f"nsu={URI};s=Filler")


@dataclass
class World:
    """Our server over two machines."""

    server: OpcUaServer
    machines: list[Machine]
    devices: list[OpcUaSource]
    namespaces: list[str]

    @property
    def url(self) -> str:
        return self.server.endpoints[0].url

    def index(self, device: str) -> int:
        return self.server.namespace_index(f"{URI}#{device}")


@asynccontextmanager
async def world(data: Path, machines: list[Machine], *, chosen: Sequence[str] = ()) -> AsyncIterator[World]:
    """Each machine's filler is imported whole, or, where there are any, the chosen nodes of it alone."""
    bench = Bench(data, allow_none=True, anonymous=True, writable=True)
    names = [f"F{number}" for number, _ in enumerate(machines, 1)]
    below, nodes = None if chosen else BELOW, tuple(map(parse_address, chosen))
    holders = tuple(
        Equipment(
            f"Acme/Line1/{name}",
            EquipmentLevel.WorkUnit,
            imported=Import(name, below, FAST, WRITERS, WRITERS, nodes=nodes),
        )
        for name in names
    )
    bench.plant = replace(bench.plant, equipment=(*bench.plant.equipment, *holders))
    await bench.add_users()
    bench.recorder = log = AuditLog(data / "audit")
    log.open(version="1.2.3")
    added: list[str] = []
    server = bench.server()
    server._namespace_added = added.append
    lives = []
    devices = []
    try:
        await server.start()
        for name, machine in zip(names, machines, strict=True):
            device = source(machine.port, [], recheck=60.0)
            device._device.name = name
            device.mirror(server.imported, [Wanted(f"Acme/Line1/{name}", below, FAST, nodes)])
            devices.append(device)
            supervisor = Supervisor(device, lambda _: None, delays=lambda: iter(lambda: 0.05, None))
            lives.append(asyncio.create_task(supervisor.run()))
        await until(lambda: len(server.imported._models) == len(names), what="imported")
        yield World(server, machines, devices, added)
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await server.stop()
        await log.close()


@asynccontextmanager
async def client(url: str, *, user: bool = False) -> AsyncIterator[Any]:
    made: Any = Client(url, timeout=20)
    if user:
        made.set_user(OPERATOR)
        made.set_password(OPERATOR_PASSWORD)
    async with made:
        yield made


async def write(node: Any, value: float) -> None:
    """Without the time that asyncua adds: only values are written downstream."""
    await node.write_attribute(ua.AttributeIds.Value, ua.DataValue(ua.Variant(value)))


def audited(caplog: pytest.LogCaptureFixture) -> set[tuple[Any, ...]]:
    """Event, user, in whose name, and outcome."""
    wanted = ("event", "user", "as", "status")
    return {tuple(r.__dict__.get(key) for key in wanted) for r in caplog.records}


async def test_two_like_machines_side_by_side(  # noqa: PLR0915  # two processes are started once
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "isthmus.audit")
    async with (
        machine_servers(2) as (one, two),
        world(tmp_path, [one, two]) as it,
        client(it.url, user=True) as asking,
    ):
        first, second = it.index("F1"), it.index("F2")
        assert first != second
        assert it.namespaces == (await asking.get_namespace_array())[-len(it.namespaces) :]

        def node(index: int, name: str) -> Any:
            return asking.get_node(ua.NodeId(name, index))

        async def reads(index: int, name: str, value: object) -> bool:
            data = await node(index, name).read_data_value(raise_on_bad_status=False)
            return data.Value is not None and bool(data.Value.Value == value)

        # Where they hang, and of what types they are.
        holder = node(it.server.namespace_index("urn:acme:plant"), "Acme/Line1/F2")
        assert node(second, "Filler") in await holder.get_children()
        kind = await node(first, "Filler").read_type_definition()
        assert kind == ua.NodeId("FillerType", first)
        above = await asking.get_node(kind).get_references(
            refs=ua.ObjectIds.HasSubtype, direction=ua.BrowseDirection.Inverse
        )
        assert [one.NodeId for one in above] == [ua.NodeId(58)]
        state = await node(first, "Filler.State").read_data_type()
        assert state == ua.NodeId("State", first)
        definition = await asking.get_node(state).read_data_type_definition()
        assert [one.Name for one in definition.Fields] == ["Idle", "Running"]

        # Values, each machine's own, with their source times.
        await two("write", "Speed", 99.5)
        await until(lambda: reads(second, "Filler.Speed", 99.5))
        assert await reads(first, "Filler.Speed", 412.5)
        _, time = await two("read", "Speed")
        here = await node(second, "Filler.Speed").read_data_value()
        assert here.SourceTimestamp.isoformat() == time

        # Names within values lead to the machine they come from.
        assert await reads(first, "Filler.Self", ua.NodeId("Filler", first))
        assert await reads(second, "Filler.Self", ua.NodeId("Filler", second))
        assert await reads(
            second, "Filler.Names", [ua.QualifiedName("Cap", second), ua.QualifiedName("Label", second)]
        )
        setup = (await node(second, "Filler.Setup").read_data_value()).Value.Value
        assert setup.TypeId == ua.NodeId("Setup.Binary", second)
        assert setup.Body[1:3] == second.to_bytes(2, "little")

        # A write and a call arrive, once, as the source's user; the audit names both.
        await write(node(second, "Filler.SP"), 420.0)
        assert (await two("read", "SP"))[0] == 420.0
        assert (await one("read", "SP"))[0] == 1.0
        which = await node(second, "Filler").call_method(node(second, "Filler.Start"), 2.5)
        assert which == ua.NodeId("Filler", second)
        assert (await one("started"), await two("started")) == ([], [2.5])
        with pytest.raises(ua.UaStatusCodeError, match="BadOutOfRange"):
            await node(second, "Filler").call_method(node(second, "Filler.Start"), -1.0)
        with pytest.raises(ua.UaStatusCodeError, match="BadNotWritable"):
            await write(node(second, "Filler.Speed"), 1.0)
        told = audited(caplog)
        assert ("write", OPERATOR, "service:anonymous", "Good") in told
        assert ("call", OPERATOR, "service:anonymous", "Good") in told
        wanted = [
            ("write", "asked"),
            ("write", "done"),
            ("call", "asked"),
            ("call", "done"),
            ("call", "asked"),
            ("call", "failed"),
        ]
        await until(lambda: sent(tmp_path / "audit") == wanted, what="each record before and after")
        assert any(r.__dict__.get("inputs") == "[2.5]" for r in caplog.records)
        start = ua.NodeId("Filler.Start", second)
        async with client(it.url) as nobody:
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                await write(nobody.get_node(ua.NodeId("Filler.SP", second)), 1.0)
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                await nobody.get_node(ua.NodeId("Filler", second)).call_method(start, 1.0)

        # Events and history of the device are refused, not dropped.
        events = await asking.create_subscription(100, None)
        with pytest.raises(ua.UaStatusCodeError):
            await events.subscribe_events(node(second, "Filler"))
        with pytest.raises(ua.UaStatusCodeError, match="BadServiceUnsupported"):
            await node(second, "Filler.Speed").read_raw_history()

        # A change of the model is followed, one machine's for itself.
        async def is_now(name: str, status: str) -> bool:
            data = await node(first, name).read_data_value(raise_on_bad_status=False)
            return str(data.StatusCode.name) == status

        await one("add", "Torque")
        await until(lambda: is_now("Filler.Torque", "Good"))
        await one("remove", "Torque")
        await until(lambda: is_now("Filler.Torque", "BadNodeIdUnknown"))
        assert await is_now("Filler.Speed", "Good")

        # One that is gone is marked; the other is not concerned.
        await one.end()
        await until(lambda: is_now("Filler.Speed", "BadNoCommunication"))
        assert await reads(second, "Filler.Speed", 99.5)
        with pytest.raises(ua.UaStatusCodeError, match="BadNotConnected"):
            await write(node(first, "Filler.SP"), 1.0)


async def test_chosen_nodes_stand_below_the_equipment_without_what_lies_below_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/Objects/nsu={URI};Filler"
    chosen = [
        f"{path}/nsu={URI};Speed",
        f"nsu={URI};s=Filler.Drive",
        f"{path}/nsu={URI};Start",
        f"nsu={URI};s=Filler.Setup",
        f"nsu={URI};s=Filler.Nowhere",
        f"{path}/nsu={URI};Neither",
        "i=2258",
    ]
    async with (
        machine_servers(1) as (one,),
        world(tmp_path, [one], chosen=chosen) as it,
        client(it.url, user=True) as asking,
    ):
        index = it.index("F1")
        holder = asking.get_node(ua.NodeId("Acme/Line1/F1", it.server.namespace_index("urn:acme:plant")))

        def node(name: str) -> Any:
            return asking.get_node(ua.NodeId(name, index))

        async def below(parent: Any) -> set[str]:
            found = [child.nodeid for child in await parent.get_children()]
            return {one.Identifier for one in found if one.NamespaceIndex == index}

        assert await below(holder) == {"Filler.Speed", "Filler.Drive", "Filler.Start", "Filler.Setup"}
        assert await below(node("Filler.Speed")) == {"Filler.Speed.EURange"}
        assert await below(node("Filler.Drive")) == {"Filler.Drive.Serial"}
        limits = await node("Filler.Speed.EURange").read_value()
        assert (limits.Low, limits.High) == (0.0, 600.0)
        for name in ("Filler", "Filler.Drive.Current", "Filler.SP"):
            assert it.server.imported._space.find(node_key(name, index)) is None
        # With their types: a structure of the maker's own among them.
        assert await node("Filler.Setup").read_data_type() == ua.NodeId("Setup", index)
        setup = (await node("Filler.Setup").read_data_value()).Value.Value
        assert setup.TypeId == ua.NodeId("Setup.Binary", index)

        # They live as what is imported whole does.
        await one("write", "Speed", 99.5)

        async def follows() -> bool:
            return bool(await node("Filler.Speed").read_value() == 99.5)

        await until(follows)
        which = await holder.call_method(node("Filler.Start"), 2.5)
        assert which == ua.NodeId("Filler", index)
        assert await one("started") == [2.5]

        told = caplog.text
        assert f"nsu={URI};s=Filler.Nowhere is not imported for Acme/Line1/F1: BadNodeIdUnknown" in told
        assert f"{path}/nsu={URI};Neither is not imported for Acme/Line1/F1: the server has no such" in told
        assert "i=2258 is not imported for Acme/Line1/F1: it is in namespace 0" in told


def sent(audit: Path) -> list[tuple[str, str]]:
    """What is recorded of writes and calls, but those that were refused before they were sent."""
    records = last(audit, 50, {"user": OPERATOR})
    found = [(record["event"], record.get("outcome", "")) for record in records]
    return [one for one in found if one[0] in {"write", "call"} and one[1] != "refused"]
