"""A simulated PLC as a process of its own, for tests of what talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from sources.simulators.kinds import Spec
from sources.simulators.spec import DeviceSpec, ModbusAddress, PointSpec

ROOT = Path(__file__).parents[2]
FILLER = "Acme/Lyon/Packaging/Line1/Filler"
PACKML_LUT = {0: 2, 1: 3, 2: 6, 3: 7, 4: 11, 9: 9}


def point(name: str, table: str, at: int, encoding: str, **more: Any) -> PointSpec:
    """A point of the filler at an address; ``bit`` and ``words`` belong to that."""
    where = {key: more.pop(key) for key in ("bit", "words") if key in more}
    address = ModbusAddress.model_validate({"table": table, "offset": at, "encoding": encoding} | where)
    machine = more.pop("machine", FILLER)
    return PointSpec.model_validate({"machine": machine, "name": name, "address": address} | more)


def filler(**more: Any) -> DeviceSpec:
    """The filler of the demo, with a few coils, discrete inputs, bits and a text beside."""
    return DeviceSpec(
        name="FillerPLC",
        points=(
            point("Speed", "holding", 0, "float32", low=0, high=900),
            point("SpeedSP", "holding", 2, "float32", low=0, high=800, writable=True),
            point("State", "holding", 9, "int16", lut=PACKML_LUT),
            point("Mode", "holding", 10, "int16", members=(1, 2, 3), writable=True),
            point("InCount", "holding", 20, "uint32", kind="counter"),
            point("GoodCount", "holding", 22, "uint32", kind="counter"),
            point("RejectCount", "holding", 24, "uint32", kind="counter"),
            point("Ready", "holding", 26, "bool", bit=0),
            point("Reset", "holding", 26, "bool", bit=3, writable=True),
            point("Recipe", "holding", 30, "string(16)", writable=True),
            point("BowlLevel", "input", 0, "uint16", low=0, high=100, gain=100 / 27648),
            point("ProductTemp", "input", 1, "int16", low=0, high=60, gain=0.1),
            point("Pump", "coil", 3, "bool", writable=True),
            point("Valve", "coil", 20, "bool", writable=True),
            point("Lamp", "coil", 21, "bool"),
            point("DoorClosed", "discrete", 7, "bool"),
        ),
        **more,
    )


class RunningSimulator:
    """A simulator process. It keeps its port over a restart."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.port = spec.port
        self.address = ""
        self.control_port = 0
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        """Start it and wait until it can be reached."""
        file = self._folder / "spec.json"
        file.write_text(self.spec.model_dump_json(), encoding="utf-8")
        self._process = await start_process("--spec", str(file), "--port", str(self.port))
        line = await ready_line(self._process)
        _, _, address, _, control = line.split()
        self.address = address
        self.port = int(address.rpartition(":")[2]) if ":" in address else 0
        self.control_port = int(control.rpartition(":")[2])

    async def control(self, **command: Any) -> dict[str, Any]:
        """Order something; what it answers. Raises AssertionError where it refuses."""
        answer = await self.ask(json.dumps(command))
        assert answer["ok"], answer
        return answer

    async def ask(self, line: str) -> dict[str, Any]:
        """Send a line to the control port; the answer, whatever it is."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.control_port)
        try:
            writer.write(line.encode() + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer
        finally:
            writer.close()
            await writer.wait_closed()

    async def get(self, name: str, machine: str = FILLER) -> Any:
        """A point's engineering value, as a master would read it."""
        return (await self.control(get={"machine": machine, "name": name}))["value"]

    async def set(self, name: str, value: Any, machine: str = FILLER) -> None:
        """Freeze a point at an engineering value; None lets go."""
        await self.control(set={"machine": machine, "name": name, "value": value})

    async def kill(self) -> None:
        """End it at once, as a power failure would."""
        if self.process.returncode is None:
            self.process.kill()
        # Reads its pipes to the end, too, and closes them.
        await self.process.communicate()

    async def terminate(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(20):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    async def restart(self) -> None:
        """Kill it and start it again on the same port."""
        await self.kill()
        await self.start()


async def eventually(probe: Callable[[], Awaitable[bool]], *, within: float = 20.0) -> None:
    """Ask until the answer is true. Raises TimeoutError after ``within`` seconds."""
    async with asyncio.timeout(within):
        while True:
            if await probe():
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running_simulator(spec: Spec | None = None) -> AsyncIterator[RunningSimulator]:
    """A simulator of ``spec``, the filler by default, that runs while inside."""
    with tempfile.TemporaryDirectory(prefix="isthmus-sim-") as folder:
        simulator = RunningSimulator(spec or filler(), Path(folder))
        try:
            await simulator.start()
            yield simulator
        finally:
            if simulator._process is not None:
                await simulator.kill()


async def start_process(*arguments: str) -> asyncio.subprocess.Process:
    """``python -m sources.simulators`` with pipes on all three standard streams."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sources.simulators",
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ready_line(process: asyncio.subprocess.Process) -> str:
    """The line it prints when it is ready. Raises AssertionError where it ends instead."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode()
    assert line.startswith("ready "), (await process.stderr.read()).decode()
    return line.strip()
