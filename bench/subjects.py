"""The servers of a run: Isthmus over its device, and the peers that are measured beside it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from bench.plant import plant, registers
from bench.processes import line, serve, spawn, start
from bench.session import Identity
from bench.subscriber import save

OURS: Final = ""
ASYNCUA: Final = "asyncua."
NODE_OPCUA: Final = "node-opcua."
NAMES: Final = {OURS: "Isthmus", ASYNCUA: "asyncua", NODE_OPCUA: "node-opcua"}

PEERS: Final = Path(__file__).parent / "peers"
INSTALL: Final = "npm install --prefix bench/peers --no-package-lock --ignore-scripts"

_Process: TypeAlias = subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that runs."""

    prefix: str
    """Of its metrics."""
    process: _Process
    url: str
    mover: _Process
    """Who has its values change, told so by ``moving MS COUNT`` and ``still``."""
    identity: str
    """A PEM file with the key and the certificate of a client it trusts."""


def node() -> str | None:
    """The program that runs node-opcua's server; None where one of them is absent."""
    installed = (PEERS / "node_modules" / "node-opcua-server").is_dir()
    return shutil.which("node") if installed else None


def begin(stack: ExitStack, prefix: str, variables: int, period_ms: int) -> Subject:
    """Start one with so many variables of Double; ours reads them with that period."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
    identity = Identity.make()
    pem = folder / "client.pem"
    save(identity, pem)
    if prefix == ASYNCUA:
        peer = start(stack, "bench.asyncua_peer", str(variables), str(pem))  # which may well be its own, too
    elif prefix == NODE_OPCUA:
        errors = stack.enter_context((folder / "errors").open("w+", encoding="utf-8"))
        script = str(PEERS / "server.js")
        peer = spawn(stack, [node() or "node", script, str(folder), str(variables)], errors)
    else:
        identity.trusted_in(folder / "data" / "pki")
        device = start(stack, "bench.device", str(registers(variables)))
        text = plant(variables, period_ms, device_port=int(line(device, "ready ")), kind="Double")
        server, url = serve(stack, folder, text)
        return Subject(prefix, server, url, device, str(pem))
    return Subject(prefix, peer, line(peer, "ready "), peer, str(pem))
