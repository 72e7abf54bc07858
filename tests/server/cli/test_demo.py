"""The demo as a user meets it: real processes, independent clients above."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiomqtt import ProtocolVersion
from support.isthmus import COMMAND, Process, alive, isthmus, running
from support.mqtt_observer import observe
from support.net import until
from support.pubsub_schema import validate
from support.uaclient import Client, ua

PLANT, TYPES = "urn:acme:plant", "urn:acme:types"
ISA95 = "http://www.OPCFoundation.org/UA/2013/01/ISA95"
FILLER = "Acme/Lyon/Packaging/Line1/Filler"
PACKER = "Acme/Lyon/Packaging/Line1/Packer"
DEMO = Path(__file__).parents[3] / "server" / "demo" / "plant.yaml"
FILLER_NAMES = (
    "Speed",
    "SpeedSP",
    "State",
    "Mode",
    "InCount",
    "GoodCount",
    "RejectCount",
    "BowlLevel",
    "ProductTemp",
)
PACKER_NAMES = ("Speed", "SpeedSP", "State", "Mode", "InCount", "GoodCount", "RejectCount", "CaseSize")


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[Process]:
    arguments = ("demo", "--opcua-port", "0", "--mqtt-port", "0", "--data", folder / "data")
    async with running(folder, *arguments) as process:
        yield process


@asynccontextmanager
async def client_of(process: Process, password: str | None = None) -> AsyncIterator[Any]:
    client = Client(process.ready["opcua"])
    if password is not None:
        client.set_user("operator")
        client.set_password(password)
    async with client:
        yield client


async def password_of(process: Process) -> str:
    match = await until(
        lambda: re.search(r"password (\S+)", process.output), what="the password on the screen"
    )
    assert match is not None
    return match[1]


async def variable(client: Any, name: str) -> Any:
    index = await client.get_namespace_index(PLANT)
    return client.get_node(ua.NodeId(f"{FILLER}.{name}", index))


async def good(client: Any, name: str) -> Any:
    node = await variable(client, name)

    async def look() -> Any:
        value = await node.read_data_value(raise_on_bad_status=False)
        return value if value.StatusCode.is_good() else None

    found = await until(look, what=f"{name} Good")
    assert found is not None
    return found


async def test_the_whole_path(tmp_path: Path) -> None:
    async with demo(tmp_path) as process:
        shown = re.compile(r"Filler\.Speed +[\d.]+ +bottle/min +Good")
        # The values come last on the screen.
        screen = await until(
            lambda: process.output if shown.search(process.output) else "", what="values on the screen"
        )
        assert "Try next" in screen
        assert process.ready["opcua"] in screen
        assert process.ready["mqtt"] in screen
        assert str(tmp_path / "data" / "pki") in screen
        await the_tree(process)
        await subscriptions(process)
        await writing(process)
        await mqtt(process)
        await a_killed_plc(process)
        await the_end(process)


async def the_tree(process: Process) -> None:
    async with client_of(process) as client:
        isa, types, plant = [await client.get_namespace_index(uri) for uri in (ISA95, TYPES, PLANT)]
        path = [f"{plant}:{part}" for part in FILLER.split("/")] + [f"{types}:Speed"]
        speed = await client.nodes.objects.get_child(path)
        assert speed.nodeid == ua.NodeId(f"{FILLER}.Speed", plant)
        assert (await speed.read_type_definition()) == ua.NodeId(954, isa)
        filler = await client.nodes.objects.get_child(path[:-1])
        assert (await filler.read_type_definition()) == ua.NodeId("FillerType", types)
        units = await (await speed.get_child("0:EngineeringUnits")).read_value()
        assert (units.DisplayName.Text, units.UnitId) == ("bottle/min", -1)
        limits = await (await speed.get_child("0:EURange")).read_value()
        assert (limits.Low, limits.High) == (0.0, 900.0)
        level = await (await filler.get_child(f"{isa}:EquipmentLevel")).read_value()
        assert level == 11
        packer = await client.nodes.objects.get_child([*path[:-2], f"{plant}:Packer"])
        assert (await packer.read_type_definition()) == ua.NodeId("PackerType", types)
        same = await packer.get_child(f"{types}:Speed")
        assert same.nodeid == ua.NodeId(f"{PACKER}.Speed", plant)
        value = await good(client, "State")
        state_type = client.get_node(await (await variable(client, "State")).read_data_type())
        strings = await (await state_type.get_child("0:EnumStrings")).read_value()
        assert strings[6].Text == "Execute"
        assert 0 <= value.Value.Value < len(strings)


class _Changes:
    def __init__(self) -> None:
        self.values: list[float] = []

    def datachange_notification(self, _node: object, value: float, _data: object) -> None:
        self.values.append(value)


async def subscriptions(process: Process) -> None:
    async with client_of(process) as client:
        changes = _Changes()
        subscription = await client.create_subscription(100, changes)
        await subscription.subscribe_data_change(await variable(client, "Speed"))
        await until(lambda: len(set(changes.values)) >= 3, what="three speeds")
        await subscription.delete()


async def writing(process: Process) -> None:
    async with client_of(process) as client:
        node = await variable(client, "SpeedSP")
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await node.write_value(300.0, ua.VariantType.Double)
        assert refused.value.code in {ua.StatusCodes.BadUserAccessDenied, ua.StatusCodes.BadNotWritable}
    async with client_of(process, await password_of(process)) as client:
        node = await variable(client, "SpeedSP")
        with pytest.raises(ua.UaStatusCodeError) as outside:
            await node.write_value(800.5, ua.VariantType.Double)
        assert outside.value.code == ua.StatusCodes.BadOutOfRange
        with pytest.raises(ua.UaStatusCodeError) as readonly:
            await (await variable(client, "Speed")).write_value(1.0, ua.VariantType.Double)
        assert readonly.value.code == ua.StatusCodes.BadNotWritable
        await node.write_value(300.0, ua.VariantType.Double)
        assert (await good(client, "SpeedSP")).Value.Value == 300.0
        speed = await variable(client, "Speed")

        async def follows() -> bool:
            value = await speed.read_data_value(raise_on_bad_status=False)
            return bool(value.StatusCode.is_good() and value.Value.Value < 330.0)

        await until(follows, within=40, what="the simulated filler at the new speed")
    log = (Path(process.ready["data"]) / "demo.log").read_text(encoding="utf-8")
    assert re.search(r'"user": "operator".*"old": 600.0, "new": 300.0.*"status": "Good"', log)


async def mqtt(process: Process) -> None:
    port = urlsplit(process.ready["mqtt"]).port
    assert port is not None
    async with observe(port, "opcua/#", protocol=ProtocolVersion.V311) as seen:
        frame = await seen.first("ua-keyframe", "Filler")
        await seen.first("ua-deltaframe", "Filler")
        first_data = next(i for i, s in enumerate(seen.seen) if "/data/" in s.topic)
        before = {(s.body["MessageType"], s.retain) for s in seen.seen[:first_data]}
        assert {("ua-metadata", True), ("ua-status", True)} <= before
        for message in seen.seen:
            validate(message.body)
        assert set(frame.part["Payload"]) >= {"Speed", "SpeedSP", "State", "GoodCount", "BowlLevel"}


async def a_killed_plc(process: Process) -> None:
    """Kill the filler: its variables leave Good, the packer's do not; revive it: they return."""
    filler = process.ready["sources"]["FillerPLC"]
    async with client_of(process) as client:
        index = await client.get_namespace_index(PLANT)

        async def statuses(machine: str, names: tuple[str, ...]) -> list[bool]:
            nodes = [client.get_node(ua.NodeId(f"{machine}.{name}", index)) for name in names]
            values = [await node.read_data_value(raise_on_bad_status=False) for node in nodes]
            return [value.StatusCode.is_good() for value in values]

        async def all_good() -> bool:
            return all(await statuses(FILLER, FILLER_NAMES))

        async def none_good() -> bool:
            return not any(await statuses(FILLER, FILLER_NAMES))

        await until(all_good, what="the filler Good")
        assert all(await statuses(PACKER, PACKER_NAMES))
        os.kill(filler["pid"], signal.SIGKILL)
        # The slowest scan class has 5 s: two scans.
        await until(none_good, within=15, what="the filler not Good")
        assert all(await statuses(PACKER, PACKER_NAMES))
        port = filler["address"].rpartition(":")[2]
        reviver = await asyncio.create_subprocess_exec(
            *COMMAND,
            "sim",
            str(DEMO),
            "--source",
            "FillerPLC",
            "--port",
            port,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert reviver.stdout is not None
            assert (
                (await reviver.stdout.readline())
                .decode()
                .startswith(f"FillerPLC: modbus on 127.0.0.1:{port}")
            )
            await until(all_good, within=40, what="the filler Good again")
            assert all(await statuses(PACKER, PACKER_NAMES))
        finally:
            reviver.send_signal(signal.SIGINT)
            assert await reviver.wait() == 0


async def the_end(process: Process) -> None:
    pids = [source["pid"] for source in process.ready["sources"].values()]
    children = [*pids, *(await asyncio.to_thread(_children, process.ready["pid"]))]
    assert len(set(children)) >= 2
    code, seconds = await process.stop(signal.SIGINT)
    assert code == 0, process.output
    assert seconds < 3.0
    assert "Traceback" not in process.output
    await until(lambda: not any(alive(pid) for pid in children), within=3, what="every process gone")


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="ascii").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


async def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    async with demo(tmp_path) as process:
        children = await asyncio.to_thread(_children, process.ready["pid"])
        assert len(children) >= 2
        os.kill(process.ready["pid"], signal.SIGKILL)
        await process.process.wait()
        await until(lambda: not any(alive(pid) for pid in children), within=10, what="every process gone")


async def test_a_data_directory_in_use_is_told(tmp_path: Path) -> None:
    async with demo(tmp_path) as process:
        second = await asyncio.to_thread(
            isthmus, "demo", "--opcua-port", "0", "--mqtt-port", "0", "--data", tmp_path / "data"
        )
        assert second.returncode == 1
        assert f"in use by a running server (pid {process.ready['pid']})" in second.stderr
        assert "Traceback" not in second.stderr
