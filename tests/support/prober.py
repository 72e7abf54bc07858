"""A client that reads and takes the time, in a process of its own, so that no attacker slows it himself."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support import channels, pki
from support.rawclient import encode, kind_of, raw, read_value, reading
from support.victim import Victim

_TESTS = Path(__file__).parent.parent


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
