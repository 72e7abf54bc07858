"""Attackers in numbers, and whether those who are served notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from support.prober import Prober
from support.rawclient import RawClient
from support.victim import MIB, Victim
from support.wire import Wire

log = logging.getLogger(__name__)

TIMES = 2.0
"""How many times slower reads may become under attack, by the median."""
FLOOR = 0.004
"""Seconds a read may take in any case: attacker, server and reader share a machine of two cores."""
TRIES = 6


class Flood:
    """Attackers at work until it is over; they may be sent away at any time, and come back."""

    def __init__(self) -> None:
        self.over = False
        self.done = 0
        """What they have got done, by their own count."""
        self.cut = 0
        """How often they were sent away."""


Attacker = Callable[[Flood, int], Coroutine[Any, Any, None]]


@asynccontextmanager
async def flooding(attacker: Attacker, number: int = 1) -> AsyncIterator[Flood]:
    """So many attackers, each begun again whenever its connection is cut, until the block ends."""
    flood = Flood()

    async def attack(which: int) -> None:
        while not flood.over:
            try:
                await attacker(flood, which)
            except (ConnectionError, asyncio.IncompleteReadError, AssertionError, TimeoutError):
                flood.cut += 1
            # Nobody is cancelled: what waits for an answer in time might not notice.
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(attack(which)) for which in range(number)]
    try:
        yield flood
    finally:
        flood.over = True
        await asyncio.gather(*tasks)


@asynccontextmanager
async def deaf(wire: Wire) -> AsyncIterator[None]:
    """Whatever the server says is read and thrown away."""

    async def drain() -> None:
        with suppress(ConnectionError):
            while await wire.reader.read(1 << 20):
                pass

    task = asyncio.create_task(drain())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def pour(flood: Flood, client: RawClient, body: bytes, burst: int = 50) -> None:
    """Send one request again and again, and hear no answer."""
    async with deaf(client.wire):
        while not flood.over:
            client.wire.send(b"".join(client.seal(body, number) for number in range(burst)))
            await client.wire.writer.drain()
            flood.done += burst
            await asyncio.sleep(0)


async def unharmed(
    server: Victim,
    prober: Prober,
    attacker: Attacker,
    number: int = 1,
    *,
    memory: float = 20,
    floor: float = FLOOR,
    seconds: float = 0.6,
) -> Flood:
    """Reads are answered in time while so many attack, and the server grows by no more than so many MiB.

    Idle and attacked runs take turns, and a machine that is busy with something else gets
    another chance. Memory is compared with that before the first run.
    """
    before = most = server.memory
    told: list[str] = []
    for _ in range(TRIES):
        idle = await prober.measure(seconds / 2)
        async with flooding(attacker, number) as flood:
            await asyncio.sleep(0.1)
            busy = await prober.measure(seconds)
            most = max(most, server.memory)
        told.append(
            f"reads {idle.median * 1e3:.2f} ms idle, {busy.median * 1e3:.2f} ms under attack "
            f"({busy.median / idle.median:.1f} times, worst {busy.worst * 1e3:.0f} ms)"
        )
        if busy.median <= max(TIMES * idle.median, floor):
            growth = (most - before) / MIB
            log.info("%s; %d done, %d cut; %+.1f MiB", told[-1], flood.done, flood.cut, growth)
            assert growth < memory, told
            return flood
        await asyncio.sleep(len(told) / 2)
    raise AssertionError("; ".join(told))
