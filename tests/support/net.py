"""Free ports, and waiting for what another process or task will do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
