"""Helper processes: started, waited for, ended with their owner."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

log = logging.getLogger(__name__)


class ProcessError(Exception):
    """A helper process did not come up; the text says which and what it said."""


class ChildProcess:
    """A Python module run as a process of its own.

    Its standard input is a pipe that it reads to the end: when this process dies, however
    it does, the pipe closes and the child leaves too.
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str]) -> None:
        self.name = name
        # -P: a folder named server where the user happens to stand must not pass for ours.
        self._command = (sys.executable, "-P", "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises ProcessError before `start`."""
        if self._process is None:
            raise ProcessError(f"{self.name} has not been started")
        return self._process.pid

    async def start(self, ready: str, within: float = 20.0) -> str:
        """Start it and return the rest of the line of its output that begins with ``ready``.

        Raises ProcessError with what it wrote to standard error when it ends before, or
        says nothing in time.
        """
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A Ctrl-C at the terminal goes to the parent alone, which ends its children in order.
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(within):
                return await self._ready_line(process, ready)
        except TimeoutError:
            await self.stop()
            raise ProcessError(f"{self.name} was not ready within {within:g} s") from None
        except BaseException:
            await self.stop()
            raise

    async def _ready_line(self, process: asyncio.subprocess.Process, ready: str) -> str:
        if process.stdout is None or process.stderr is None:
            raise ProcessError(f"{self.name} has no output")
        while line := (await process.stdout.readline()).decode(errors="replace"):
            if line.startswith(ready):
                return line[len(ready) :].strip()
        said = (await process.stderr.read()).decode(errors="replace").strip()
        code = await process.wait()
        raise ProcessError(f"{self.name} did not start: {said or f'exit code {code}'}")

    async def watch(self) -> int:
        """Pass on what it says to the log until it ends; its exit code."""
        process = self._process
        if process is None or process.stdout is None or process.stderr is None:
            raise ProcessError(f"{self.name} has not been started")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass_on(process.stdout, logging.DEBUG))
            group.create_task(self._pass_on(process.stderr, logging.WARNING))
        return await process.wait()

    async def _pass_on(self, stream: asyncio.StreamReader, level: int) -> None:
        while not stream.at_eof():
            try:
                line = await stream.readline()
            except ValueError:
                line = b"(a line too long to show)"
            if line:
                log.log(level, "%s: %s", self.name, line.decode(errors="replace").rstrip())

    async def stop(self, within: float = 1.5) -> None:
        """Ask it to end, then insist."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(within):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
