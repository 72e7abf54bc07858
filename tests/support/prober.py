"""A client that reads and takes the time, in a process of its own: whoever attacks must not slow it himself."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support import channels, pki
from support.rawclient import encode, kind_of, raw, read_value, reading
from support.victim import Victim

_TESTS = Path(__file__).parent.parent

TIMES = 2.0
"""How much slower reads may become under attack, by the median."""
FLOOR = 0.004
"""Seconds a read may take in any case: two turns of other connections, which a machine in a hurry doubles."""
TRIES = 4


@dataclass(frozen=True)
class Times:
    """How long reads took, in seconds."""

    median: float
    worst: float
    count: int


class Prober:
    """A session whose reads are timed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def measure(self, seconds: float) -> Times:
        """Read again and again for so long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n".encode())
        line = await asyncio.wait_for(self._process.stdout.readline(), seconds + 20)
        assert line, "the client that measures lost its session"
        taken = json.loads(line)
        return Times(statistics.median(taken), max(taken), len(taken))


@asynccontextmanager
async def probing(server: Victim) -> AsyncIterator[Prober]:
    """A client with an encrypted session from another address than all attackers."""
    certificate = pki.application("Prober", private=pki.key(12))
    server.trust(certificate)
    pki.write(server.data / "prober", certificate, pki.key(12))
    arguments = {"port": server.port, "data": str(server.data), "node": server.node("Speed")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.prober",
        json.dumps(arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
        yield Prober(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)


Attack = Callable[[], AbstractAsyncContextManager[Any]]
"""Starts doing harm, and stops when the block ends."""


async def unharmed(prober: Prober, attack: Attack, seconds: float = 0.6) -> float:
    """Reads are answered in time while somebody attacks; returns how many times slower they became.

    Idle and attacked runs take turns, and a machine that is busy with something else gets
    another chance.
    """
    told = []
    for _ in range(TRIES):
        idle = await prober.measure(seconds / 2)
        async with attack():
            await asyncio.sleep(0.1)
            busy = await prober.measure(seconds)
        told.append(
            f"{idle.median * 1e3:.2f} ms idle, {busy.median * 1e3:.2f} ms ({busy.worst * 1e3:.0f} worst)"
        )
        if busy.median <= max(TIMES * idle.median, FLOOR):
            print(f"  reads: {told[-1]}")  # noqa: T201  # what a run with -s is for
            return busy.median / idle.median
        await asyncio.sleep(0.5)
    raise AssertionError(f"reads under attack: {'; '.join(told)}")


# --- The process


async def _probe(arguments: dict[str, Any]) -> None:
    folder = Path(arguments["data"])
    certificate = x509.load_pem_x509_certificate((folder / "prober/certificate.pem").read_bytes())
    key = load_pem_private_key((folder / "prober/key.pem").read_bytes(), None)
    server = x509.load_der_x509_certificate((folder / "pki/own/certificate.der").read_bytes())
    peer = channels.Peer(channels.POLICIES["Basic256Sha256"](server, certificate, key, channels.ENCRYPT))
    loop = asyncio.get_running_loop()
    async with raw(arguments["port"], source="127.0.0.9", peer=peer) as client:
        await client.ready(("observer", "only-looking"))
        body = encode(reading([read_value(arguments["node"])] * 10))
        print("ready", flush=True)  # noqa: T201
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            taken, end = [], time.monotonic() + float(line)
            while (began := time.perf_counter()) and time.monotonic() < end:
                answer = await client.call(kind_of("Read"), body)
                taken.append(time.perf_counter() - began)
                assert answer.code == 0
                await asyncio.sleep(0.002)
            print(json.dumps(taken), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_probe(json.loads(sys.argv[1])))
