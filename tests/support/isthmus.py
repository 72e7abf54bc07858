"""The command `isthmus` as a user runs it: a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.net import until

COMMAND = [sys.executable, "-m", "server.cli"]


def isthmus(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


class Process:
    """A command that runs until it is told to stop."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, Any], output: Path) -> None:
        self.process = process
        self.ready = ready
        self._output = output

    @property
    def output(self) -> str:
        """What it printed so far, on both streams."""
        return self._output.read_text(encoding="utf-8")

    async def stop(self, number: int = signal.SIGINT, within: float = 20.0) -> tuple[int, float]:
        """Send a signal; exit code and seconds until the end."""
        begin = time.monotonic()
        self.process.send_signal(number)
        async with asyncio.timeout(within):
            code = await self.process.wait()
        return code, time.monotonic() - begin


@asynccontextmanager
async def running(
    folder: Path, *arguments: str | Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Process]:
    """Start a command with ``--ready-file`` and wait until it is up; end it if the test did not."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, output = folder / "ready.json", folder / "output.txt"
    ready.unlink(missing_ok=True)
    with output.open("w", encoding="utf-8") as file:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, arguments),
            "--ready-file",
            str(ready),
            stdout=file,
            stderr=file,
            env=os.environ | (environment or {}),
        )
    try:
        await until(
            lambda: ready.exists() or process.returncode is not None,
            within=60,
            what=f"isthmus {arguments} ready",
        )
        assert process.returncode is None, output.read_text(encoding="utf-8")
        yield Process(process, json.loads(ready.read_text(encoding="utf-8")), output)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def alive(pid: int) -> bool:
    """Whether a process is there and not just waiting to be buried."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
