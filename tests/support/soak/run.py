"""One soak: everything up, faults, then none, and what is right in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.isthmus import Process, isthmus, running
from support.soak.faults import afflict, heal, set_within
from support.soak.plant import Device, configuration, devices
from support.soak.report import Report
from support.soak.samples import Sample
from support.soak.watch import Watch, differences, write_on
from support.uaclient import Client

from bench.accounting import cpu_seconds
from server.observe.control import ask

USER, PASSWORD = "anna", "correct horse"
GENERATION = 2.5
"""Seconds between two changes of all values."""
SAMPLES = 180
"""So many looks at the server at most in one run."""
PATIENCE = 30.0
"""Seconds that clients wait for an answer."""
TOLD = 4_000
"""So many characters of the server's log are told where it has a traceback."""
RECOVERY = 90.0
"""Seconds within which every value must be right after the last fault; one wait before dialling may be 30."""


class Soak:
    """One run."""

    def __init__(self, folder: Path, seed: int, seconds: float, each: int) -> None:
        self._folder = folder
        self._dice = random.Random(seed)
        self._seconds = seconds
        self._each = each
        self.report = Report(seed, seconds)

    async def run(self, tell: Callable[[str], None] = lambda _: None) -> Report:
        """Run to the end; what was found. ``tell`` takes a line of progress now and then."""
        report, folder = self.report, self._folder
        data = folder / "data"
        named = ("--data", data, "--password-stdin")
        added = await asyncio.to_thread(
            isthmus, "users", "add", USER, "--role", "Operator", *named, stdin=f"{PASSWORD}\n"
        )
        assert added.returncode == 0, added.stderr
        async with devices(self._each) as plant, _sink() as sink:
            report.devices, report.tags = len(plant), sum(len(device.tags) for device in plant)
            file = folder / "plant.yaml"
            file.write_text(configuration(plant, sink.port), encoding="utf-8")
            async with running(folder / "server", "run", file, "--data", data) as process:
                await self._over(process, plant, data, tell)
                report.exit_code, _ = await process.stop(signal.SIGINT)
                report.tracebacks = process.output.count("Traceback")
                if report.tracebacks:
                    at = process.output.index("Traceback")
                    report.told = process.output[max(0, at - TOLD // 4) : at + TOLD]
            report.messages = await sink.total()
            report.generations = max(device.plc.generation for device in plant)
        return report

    async def _over(
        self, process: Process, plant: Sequence[Device], data: Path, tell: Callable[[str], None]
    ) -> None:
        report, pid, url = self.report, process.process.pid, process.ready["opcua"]
        watch = Watch(plant)
        # A write to a device that fails may take several of its time-outs.
        operator = Client(url, timeout=PATIENCE)
        operator.set_user(USER)
        operator.set_password(PASSWORD)
        async with Client(url, timeout=PATIENCE) as client, operator:
            await watch.subscribe(client)
            # Before the first fault all is there.
            await self._right(client, plant)
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(self._seconds, over.set)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sample(pid, data, tell, over))
                group.create_task(write_on(operator, plant, self._dice, report.writes, over))
                for device in plant:
                    group.create_task(_change(device, over))
                    if not device.calm:
                        dice = random.Random(self._dice.random())
                        group.create_task(afflict(device, dice, report.faults, over))
            tell("the faults are over")
            await heal(plant)
            ended = time.monotonic()
            await self._right(client, plant)
            report.recovered = time.monotonic() - ended
            report.cpu = cpu_seconds(pid)
            report.qualities, report.uneasy = watch.qualities, watch.uneasy
            report.wrong, report.words = watch.wrong, watch.words

    async def _right(self, client: Any, plant: Sequence[Device]) -> None:
        """Compare until every value is the device's, or time is up."""
        end = time.monotonic() + RECOVERY
        while True:
            self.report.compared, self.report.differences = await differences(client, plant)
            if not self.report.differences or time.monotonic() > end:
                return
            await asyncio.sleep(0.5)

    async def _sample(self, pid: int, data: Path, tell: Callable[[str], None], over: asyncio.Event) -> None:
        every = max(1.0, self._seconds / SAMPLES)
        while not await set_within(over, every):
            sample = Sample.of(pid, (await ask(data, "status"))["tasks"])
            self.report.samples.append(sample)
            if len(self.report.samples) % 6 == 0:
                tell(
                    f"{sample.memory:.1f} MB, {sample.tasks} tasks, {sample.files} files, {sample.threads} "
                    f"threads; {self.report.faults.total()} faults so far"
                )


async def _change(device: Device, over: asyncio.Event) -> None:
    """Every value changes now and then; while the device restarts, later."""
    while not await set_within(over, GENERATION):
        if device.plc.runs:
            with contextlib.suppress(OSError, ValueError):  # it went away meanwhile
                await device.plc.advance()


class _Sink:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def total(self) -> int:
        """How many messages came; it ends with that."""
        out, _ = await self._process.communicate(b"")
        return int(out.split()[1])


@asynccontextmanager
async def _sink() -> AsyncIterator[_Sink]:
    """The broker's place, in a process of its own."""
    command = (sys.executable, "-m", "bench.sink")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    port = int((await process.stdout.readline()).split()[1])
    try:
        yield _Sink(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
