"""The processes of a run: each started, talked to by lines, and ended with it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

NAMESPACE: Final = 4
"""Of the plant: ns 0, the server's own, ISA-95 and the plant's types come first."""

_START_WITHIN: Final = 60.0


class BenchError(Exception):
    """A part of the bench did not do what it should; the text says which."""


def serve(stack: ExitStack, folder: Path, plant: str) -> tuple[subprocess.Popen[str], str]:
    """``isthmus run`` on that configuration, once it is ready; its process and endpoint."""
    (folder / "plant.yaml").write_text(plant, encoding="utf-8")
    log = stack.enter_context((folder / "server.log").open("w+", encoding="utf-8"))
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "server.cli", "--log-format", "text", "run", str(folder / "plant.yaml")]
    server = subprocess.Popen(
        [*command, "--data", str(folder / "data"), "--ready-file", str(ready)], stderr=log, text=True
    )
    stack.callback(_end, server)
    end = time.monotonic() + _START_WITHIN
    while not ready.exists():
        if server.poll() is not None or time.monotonic() > end:
            raise BenchError(
                f"the server did not start:\n{(folder / 'server.log').read_text(encoding='utf-8')}"
            )
        time.sleep(0.02)
    url = str(json.loads(ready.read_text(encoding="utf-8"))["opcua"])
    if not re.match(r"opc\.tcp://", url):
        raise BenchError(f"the server gave no endpoint but {url!r}")
    return server, url


def start(stack: ExitStack, module: str, *arguments: str) -> subprocess.Popen[str]:
    """A module of the bench as a process with pipes."""
    return spawn(stack, [sys.executable, "-m", module, *arguments])


def spawn(stack: ExitStack, command: list[str], errors: IO[str] | None = None) -> subprocess.Popen[str]:
    """A program as a process with pipes; what it says to standard error goes to ``errors`` where given."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    stack.callback(_end, process)
    return process


def tell(process: subprocess.Popen[str], text: str) -> None:
    """Send it a line."""
    stream = _stream(process.stdin)
    stream.write(text + "\n")
    stream.flush()


def tell_all(process: subprocess.Popen[str], text: str) -> None:
    """Send it a text, and that nothing follows."""
    _stream(process.stdin).write(text)
    _stream(process.stdin).close()
    process.stdin = None


def line(process: subprocess.Popen[str], prefix: str) -> str:
    """What stands behind the prefix in the next line that has it."""
    for text in _stream(process.stdout):
        if text.startswith(prefix):
            return text[len(prefix) :].strip()
    raise BenchError(f"{process.args!r} ended before it said {prefix!r}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise BenchError("a process has no pipe")
    return stream
