"""A server over a small plant in a process of its own, to be attacked; run as a script it is that process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from support import channels, pki

_TESTS = Path(__file__).parent.parent
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Victim:
    """The process of a server."""

    process: subprocess.Popen[str]
    port: int
    data: Path
    log: Path
    namespaces: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/isthmus"

    @property
    def certificate(self) -> x509.Certificate:
        """The server's own."""
        return x509.load_der_x509_certificate((self.data / "pki/own/certificate.der").read_bytes())

    def node(self, name: str) -> str:
        """A property of the machine of the plant."""
        return f"ns={self.namespaces.index('urn:acme:plant')};s=Acme/Line1/Filler.{name}"

    @property
    def memory(self) -> int:
        """Bytes it has in memory (RSS)."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii")
        return int(text.split()[1]) * _PAGE

    @property
    def cpu(self) -> float:
        """Seconds of processor time it has had."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
        return sum(map(int, text.split()[11:13])) / _TICKS

    @property
    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def entries(self) -> list[dict[str, Any]]:
        """What it logged, audit included."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def trust(self, certificate: x509.Certificate, folder: str = "trusted/certs") -> None:
        """Put a certificate on the trust list."""
        name = pki.der(certificate).hex()[-16:] + ".der"
        (self.data / "pki" / folder / name).write_bytes(pki.der(certificate))

    def peer(
        self,
        certificate: x509.Certificate | None = None,
        private: rsa.RSAPrivateKey | None = None,
        policy: str = "Basic256Sha256",
        mode: ua.MessageSecurityMode = channels.ENCRYPT,
    ) -> channels.Peer:
        """The client's end of a channel with it; by default that of the client it trusts."""
        key = private or pki.key(channels.CLIENT_KEY)
        mine = certificate or channels.client_certificate()
        return channels.Peer(channels.POLICIES[policy](self.certificate, mine, key, mode))


@contextmanager
def victim(
    data: Path,
    limits: dict[str, Any] | None = None,
    caps: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Victim]:
    """A server in a process of its own, from its start to its end, which has to be a clean one.

    ``limits`` and ``caps`` are what its transport has other than it usually does. Nothing it was
    sent may have led to a fault of its own.
    """
    data.mkdir(parents=True, exist_ok=True)
    log = data / "log.jsonl"
    arguments = json.dumps({"data": str(data), "limits": limits, "caps": caps, "settings": settings})
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(  # this very module
            [sys.executable, "-m", "support.victim", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text(encoding="utf-8")
        ready = json.loads(line)
        found = Victim(process, ready["port"], data, log, tuple(ready["namespaces"]))
        found.trust(channels.client_certificate())
        yield found
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text(encoding="utf-8")[-4000:]
        faults = [entry for entry in found.entries() if entry["level"] in {"ERROR", "CRITICAL"}]
        assert not faults, faults[:3]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


# --- The process


async def _serve(arguments: dict[str, Any]) -> None:
    from support.opcua import Bench  # the test process has no need of it

    bench = Bench(Path(arguments["data"]), **arguments["settings"])
    await bench.add_users()
    for name, value in (("Speed", 7.5), ("Count", 1), ("Recipe", "x" * 4000)):
        bench.feed(name, value)
    server = bench.server()
    listener = server._listener  # how long to wait is no setting
    listener.limits = replace(listener.limits, **(arguments["limits"] or {}))
    listener.caps = replace(listener.caps, **(arguments["caps"] or {}))
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin, over.set)  # which ends when whoever started it does
    await server.start()
    try:
        port = int(server.endpoints[0].url.split(":")[2].split("/")[0])
        print(json.dumps({"port": port, "namespaces": bench.namespace_array}), flush=True)  # noqa: T201
        await over.wait()
    finally:
        await server.stop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, left


def _main() -> None:
    from server.log import configure

    configure(logging.INFO, sys.stderr, "json")
    asyncio.run(_serve(json.loads(sys.argv[1])))
    logging.shutdown()


if __name__ == "__main__":
    _main()
