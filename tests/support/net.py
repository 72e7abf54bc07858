"""Free ports, and waiting for what another process or task will do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from errno import EACCES, EADDRINUSE
from random import SystemRandom
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")


_PORTS: Final = range(12_000, 32_000)
"""Below what Linux, macOS and Windows give to connections that go out: tests make thousands of those."""

_CHANCE: Final = SystemRandom()
"""Not hypothesis's, which is the same in two processes."""


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now, and that no client is given."""
    for port in _CHANCE.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in (EADDRINUSE, EACCES):
                    raise
            else:
                return port
    raise AssertionError("a hundred ports in a row are taken")


@overload
async def until(
    probe: Callable[[], Coroutine[Any, Any, T]], *, within: float = ..., every: float = ..., what: str = ...
) -> T: ...
@overload
async def until(probe: Callable[[], T], *, within: float = ..., every: float = ..., what: str = ...) -> T: ...
async def until(
    probe: Callable[[], Any], *, within: float = 20.0, every: float = 0.05, what: str = ""
) -> Any:
    """Ask until the answer is true, and return it. Raises AssertionError after `within` seconds."""
    end = time.monotonic() + within
    while True:
        answer = probe()
        result = await answer if isinstance(answer, Coroutine) else answer
        if result:
            return result
        assert time.monotonic() < end, f"not within {within} s: {what or probe}"
        await asyncio.sleep(every)
