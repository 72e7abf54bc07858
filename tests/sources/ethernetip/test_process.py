"""The packer as a process of its own: it dies, hangs, restarts; its values follow, by themselves."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.logix import PACKER, packer
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import FAST, NORMAL, Listener
from support.simulator import RunningSimulator, running_simulator

from sources.ethernetip.decode import LogixTag
from sources.ethernetip.driver import LogixSource
from sources.quality import (
    BAD_NO_COMMUNICATION,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
)
from sources.supervisor import SourceState, Supervisor

TAGS = [
    tag("Program:Packer.PML.Status.StateCurrent", scan=FAST),
    tag("Program:Packer.PML.Status.CurMachSpeed", "real", NORMAL),
    tag("Program:Packer.PML.Command.MachSpeed", "real", NORMAL, writable=True),
    tag("Program:Packer.PML.Admin.ProdConsumedCount[0].Count", scan=NORMAL),
    tag("Program:Packer.Recipe", "string", NORMAL, writable=True),
    tag("Program:Packer.Safety.3", "bool", FAST),
]


class Plant:
    """A supervised packer."""

    def __init__(self, simulator: RunningSimulator) -> None:
        self.simulator = simulator
        self.listener = Listener()
        self.source = LogixSource("PackerPLC", settings(simulator.port, timeout="1s"), TAGS)
        self.supervisor = Supervisor(self.source, self.listener, delays=lambda: itertools.repeat(0.1))

    async def all(self, quality: int, tags: list[LogixTag] = TAGS) -> None:
        await until(lambda: all(self.listener.quality(its) == quality for its in tags), what="the quality")


@asynccontextmanager
async def plant() -> AsyncIterator[Plant]:
    async with running_simulator(packer()) as simulator:
        made = Plant(simulator)
        run = asyncio.create_task(made.supervisor.run())
        try:
            await made.all(GOOD)
            yield made
        finally:
            run.cancel()
            await asyncio.wait((run,))
    await until(lambda: not any(t.name.startswith("logix ") for t in threading.enumerate()))
    assert made.source.threads_abandoned == 0


async def test_a_packer_that_dies_and_comes_back() -> None:
    async with plant() as its:
        await its.simulator.kill()
        await its.all(BAD_NO_COMMUNICATION)
        assert its.listener.saw(TAGS[0], UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
        assert its.supervisor.status.state is SourceState.Disconnected
        await its.simulator.start()
        await its.all(GOOD)


async def test_a_packer_that_hangs_and_goes_on() -> None:
    async with plant() as its:
        os.kill(its.simulator.pid, signal.SIGSTOP)
        try:
            await until(lambda: its.listener.quality(TAGS[0]) != GOOD)
            await its.all(BAD_NO_COMMUNICATION)
        finally:
            os.kill(its.simulator.pid, signal.SIGCONT)
        await its.all(GOOD)


async def test_a_set_point_is_written_and_the_machine_follows() -> None:
    async with plant() as its:
        assert await its.supervisor.write([(TAGS[2], 60.0), (TAGS[4], "24 x 0,5 l")]) == [GOOD, GOOD]
        assert await its.simulator.get("SpeedSP", machine=PACKER) == 60.0
        await until(lambda: its.listener.value(TAGS[4]) == "24 x 0,5 l")


async def test_a_source_that_is_stopped_while_its_packer_hangs_ends_soon() -> None:
    async with running_simulator(packer()) as simulator:
        its = Plant(simulator)
        run = asyncio.create_task(its.supervisor.run())
        try:
            await its.all(GOOD)
            os.kill(simulator.pid, signal.SIGSTOP)
        finally:
            began = time.monotonic()
            run.cancel()
            await asyncio.wait((run,))
        assert time.monotonic() - began < 5
        assert its.source.threads_abandoned == 0
    await until(lambda: not any(t.name.startswith("logix ") for t in threading.enumerate()))
