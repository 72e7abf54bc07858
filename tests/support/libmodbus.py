"""A device on libmodbus, a process of its own: compiled once, told what to do by lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.libmodbus_build import compiled

_SOURCE = Path(__file__).with_name("libmodbus_server.c")


def server_program() -> Path:
    """The compiled server; skips the test where libmodbus is absent, fails it under CI=true."""
    return compiled(_SOURCE)


class LibmodbusServer:
    """A running server. Its tables hold 200 points each, all 0 at first."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()
        answer = (await self.process.stdout.readline()).decode().strip()
        assert answer != "what?", f"the server did not understand {line!r}"
        return answer

    async def set(self, table: str, address: int, *values: int) -> None:
        """Put raw values into a table."""
        await self._ask(f"set {table} {address} {' '.join(map(str, values))}")

    async def get(self, table: str, address: int, count: int = 1) -> list[int]:
        """What a table holds."""
        return [int(word) for word in (await self._ask(f"get {table} {address} {count}")).split()]

    async def fail(self, function: int, code: int) -> None:
        """Answer a function with an exception from now on; code 0 ends that."""
        await self._ask(f"fail {function} {code}")

    async def delay(self, milliseconds: int) -> None:
        """Take so long for each reply."""
        await self._ask(f"delay {milliseconds}")

    async def count(self) -> int:
        """How many requests it has served."""
        return int(await self._ask("count"))

    async def kill(self) -> None:
        """End it as a power cut would; its connections are reset or closed by the system."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def start(port: int | str = 0) -> LibmodbusServer:
    """Start a server; port 0 takes a free one, a path is that of a terminal (RTU). The caller kills it."""
    process = await asyncio.create_subprocess_exec(
        str(server_program()), str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the libmodbus server did not start"
    return LibmodbusServer(process, int(line))


@asynccontextmanager
async def libmodbus_server(port: int | str = 0) -> AsyncIterator[LibmodbusServer]:
    """A server for the time of the block."""
    server = await start(port)
    try:
        yield server
    finally:
        await server.kill()
