"""Thousands of connections that never come to anything, held by a process of its own."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_TESTS = Path(__file__).parent.parent
_AT_ONCE = 100
_HELLO = b"HELF\x33\0\0\0" + b"\0" * 4 + b"\xff\xff\0\0" * 2 + b"\0" * 8 + b"\x13\0\0\0opc.tcp://localhost"


class Crowd:
    """How many connections have been made so far is told by `held`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def held(self) -> tuple[int, float]:
        """Wait until all are there; how many, and the seconds it took."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        number, seconds = line.split()
        return int(number), float(seconds)


@asynccontextmanager
async def crowd(port: int, number: int, addresses: int, kind: str) -> AsyncIterator[Crowd]:
    """So many connections from so many addresses, until the block ends.

    ``kind``: ``silent`` says nothing, ``half`` half a Hello, ``hello`` a whole one.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.crowd",
        *map(str, (port, number, addresses, kind)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
    )
    try:
        yield Crowd(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)


def _hold(port: int, number: int, addresses: int, kind: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    room = number if most == resource.RLIM_INFINITY else min(number, most - 100)
    words = {"silent": b"", "half": _HELLO[:20], "hello": _HELLO}[kind]
    held: deque[socket.socket] = deque()
    began = time.monotonic()
    for which in range(number):
        if len(held) >= room:  # the system lets nobody hold more
            held.popleft().close()
        place = which % addresses
        made = socket.socket()
        made.bind((f"127.{10 + place // 65025}.{place // 255 % 255}.{1 + place % 255}", 0))
        made.setblocking(False)
        with suppress(BlockingIOError, ConnectionError):
            made.connect(("127.0.0.1", port))
        with suppress(BlockingIOError, OSError):
            made.send(words)
        held.append(made)
        if which % _AT_ONCE == _AT_ONCE - 1:
            time.sleep(0.02)
    print(number, time.monotonic() - began, flush=True)  # noqa: T201
    sys.stdin.read()
    for made in held:
        made.close()


if __name__ == "__main__":
    _hold(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
