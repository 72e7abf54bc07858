"""Governed writes over real sockets, to simulated controllers, and what the audit log says of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.auditing import last
from support.isthmus import Process, isthmus, running
from support.logix import PACKER, packer
from support.net import until
from support.simulator import FILLER, RunningSimulator, filler, running_simulator
from support.uaclient import Client, ua

from server.audit.verify import verify

PLANT = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], allow_none: true, writable: true}}
scan: {{normal: 100ms}}
sources:
  Modbus: {{driver: modbus, host: 127.0.0.1, port: {modbus}, timeout: 500ms}}
  Logix: {{driver: logix, host: 127.0.0.1, port: {logix}}}
equipment:
  Acme: {{level: Site}}
  Acme/Filler:
    level: WorkUnit
    source: Modbus
    properties:
      DoorClosed: {{type: Boolean}}
      SpeedSP:
        write: {{limits: [0, 800], max_step: 50, interlock: [DoorClosed == true, ../Packer.Mode != 3]}}
      Mode: {{type: Int32, write: {{latest_wins: true}}}}
      Pump: {{type: Boolean, write: {{verify: none}}}}
    map: {{DoorClosed: "discrete:7", SpeedSP: {{addr: "holding:2", as: float32}},
      Mode: {{addr: "holding:10", as: int16}}, Pump: "coil:3"}}
  Acme/Packer:
    level: WorkUnit
    source: Logix
    properties:
      Mode: {{type: Int32, write: {{}}}}
      SpeedSP:
        write: {{max_per_minute: 2, verify: {{within: 0.01}}, interlock: ../Filler.DoorClosed == true}}
    map:
      Mode: "Program:Packer.PML.Status.UnitModeCurrent"
      SpeedSP: "Program:Packer.PML.Command.MachSpeed"
"""
USER, PASSWORD = "anna", "correct horse"


@dataclass
class Rig:
    modbus: RunningSimulator
    logix: RunningSimulator
    process: Process
    client: Any
    data: Path

    async def node(self, name: str) -> Any:
        index = await self.client.get_namespace_index("urn:acme:plant")
        return self.client.get_node(ua.NodeId(f"Acme/{name}", index))

    async def write(self, name: str, value: Any, kind: str = "Double") -> str:
        """The name of the StatusCode a client is told."""
        node = await self.node(name)
        one = ua.WriteValue(
            NodeId=node.nodeid,
            AttributeId=ua.AttributeIds.Value,
            Value=ua.DataValue(ua.Variant(value, getattr(ua.VariantType, kind))),
        )
        (code,) = await self.client.uaclient.write(ua.WriteParameters(NodesToWrite=[one]))
        return str(code.name)

    async def shows(self, name: str, value: Any) -> None:
        """Wait until a client reads that value, Good."""
        node = await self.node(name)

        async def there() -> bool:
            found = await node.read_data_value(raise_on_bad_status=False)
            return bool(found.StatusCode.is_good() and found.Value.Value == value)

        await until(there, what=f"{name} {value}")

    def records(self, event: str) -> list[dict[str, Any]]:
        return last(self.data / "audit", 10_000, {"event": event})


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    data = folder / "data"
    added = isthmus(
        "users", "add", USER, "--role", "Operator", "--data", data, "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert added.returncode == 0, added.stderr
    async with AsyncExitStack() as stack:
        modbus = await stack.enter_async_context(running_simulator(filler()))
        logix = await stack.enter_async_context(running_simulator(packer()))
        file = folder / "plant.yaml"
        file.write_text(PLANT.format(modbus=modbus.port, logix=logix.port), encoding="utf-8")
        process = await stack.enter_async_context(running(folder / "server", "run", file, "--data", data))
        client = Client(process.ready["opcua"])
        client.set_user(USER)
        client.set_password(PASSWORD)
        await stack.enter_async_context(client)
        await modbus.set("DoorClosed", True, FILLER)
        await modbus.set("SpeedSP", 100.0, FILLER)
        await modbus.set("SpeedSP", None, FILLER)
        await logix.set("Mode", 1, PACKER)
        whole = Rig(modbus, logix, process, client, data)
        await whole.shows("Filler.DoorClosed", True)
        await whole.shows("Packer.Mode", 1)
        yield whole


async def _unknown_and_seen(plant: Rig) -> None:
    """A write that a controller gone mute may have taken is not repeated, and told of once it is heard."""
    await plant.modbus.set("DoorClosed", True, FILLER)
    await plant.shows("Filler.DoorClosed", True)
    start = await (await plant.node("Filler.SpeedSP")).read_value()
    code = ""
    for _ in range(10):  # a scan that goes unanswered first may lock the write
        await plant.modbus.control(mute=True)
        code = await plant.write("Filler.SpeedSP", start - 10)
        await plant.modbus.control(mute=False)
        if plant.records("write")[-1]["outcome"] in {"unknown", "seen"}:
            break
        await plant.shows("Filler.DoorClosed", True)

    async def seen() -> bool:
        return bool(plant.records("write")[-1]["outcome"] == "seen")

    await until(seen, within=30, what="the write seen")
    asked, unknown, found = plant.records("write")[-3:]
    assert [record["outcome"] for record in (asked, unknown, found)] == ["asked", "unknown", "seen"]
    assert unknown["status"] == code
    assert code.startswith("Bad")
    assert unknown["of"] == found["of"] == asked["seq"]
    # Whether the controller took it, the record says; it was asked once.
    assert found["held"] == await plant.modbus.get("SpeedSP", FILLER)


async def test_writes_are_governed_and_the_log_of_them_cannot_be_changed_unseen(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        start = await (await plant.node("Filler.SpeedSP")).read_value()
        assert await plant.write("Filler.SpeedSP", start + 51) == "BadOutOfRange"
        assert await plant.write("Filler.SpeedSP", 801.0) == "BadOutOfRange"
        assert await plant.write("Filler.SpeedSP", start + 50) == "Good"
        assert await plant.modbus.get("SpeedSP", FILLER) == start + 50

        assert await plant.write("Filler.Pump", True, "Boolean") == "Good"
        assert await plant.modbus.get("Pump", FILLER) is True

        assert [await plant.write("Packer.SpeedSP", speed) for speed in (20.1, 21.0, 22.0)] == [
            "Good",
            "Good",
            "BadTooManyOperations",
        ]
        # The interlock of one controller is a value of the other.
        await plant.logix.set("Mode", 3, PACKER)
        await plant.shows("Packer.Mode", 3)
        assert await plant.write("Filler.SpeedSP", start) == "BadInvalidState"
        await plant.logix.set("Mode", 1, PACKER)
        await plant.shows("Packer.Mode", 1)
        await plant.modbus.set("DoorClosed", False, FILLER)
        await plant.shows("Filler.DoorClosed", False)
        assert await plant.write("Packer.SpeedSP", 23.0) == "BadInvalidState"
        assert await plant.write("Filler.SpeedSP", start) == "BadInvalidState"

        # The latest of those that wait wins, within one session too.
        await plant.modbus.control(delay=0.3)
        codes = await asyncio.gather(*(plant.write("Filler.Mode", mode, "Int32") for mode in (1, 2, 3)))
        await plant.modbus.control(delay=0)
        assert codes == ["Good", "BadOperationAbandoned", "Good"]
        assert await plant.modbus.get("Mode", FILLER) == 3

        status = json.loads(isthmus("status", "--data", plant.data, "--json").stdout)
        head = status["audit"]["head"]
        assert status["writes"] == {"refused": 7, "done": 6}
        assert verify(plant.data / "audit", [head]).broken is None
        writes = plant.records("write")
        await _unknown_and_seen(plant)
        assert (await plant.process.stop())[0] == 0

    assert [record["outcome"] for record in writes].count("asked") == 6
    (ended,) = [r for r in writes if r["node"] == "Acme/Filler.SpeedSP" and r["outcome"] == "done"]
    assert (ended["user"], ended["old"], ended["asked"], ended["held"]) == (
        "anna",
        start,
        start + 50,
        start + 50,
    )
    assert ended["client"].startswith("127.0.0.1:")
    assert [record["user"] for record in plant.records("login")] == [USER]
    (file,) = (plant.data / "audit").iterdir()
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"outcome":"done"' in line)

    file.write_bytes(lines[0] + b"".join(lines[1:]).replace(b'"user":"anna"', b'"user":"otto"', 1))
    forged = verify(file.parent).broken
    assert forged is not None
    assert "its hash is another" in forged.what
    file.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
    gap = verify(file.parent).broken
    assert gap is not None
    assert (gap.path, gap.line, "what was between is missing" in gap.what) == (file, at + 1, True)
    file.write_bytes(b"".join(lines[:at]))
    assert verify(file.parent).broken is None
    assert verify(file.parent, [head[:12]]).broken is not None
