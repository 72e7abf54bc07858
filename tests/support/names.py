"""Host names whose server is dead: who looks one up is held up, and nobody else may be."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from support.net import until

from sources.errors import Unreachable


async def is_alone_in_it(
    monkeypatch: pytest.MonkeyPatch, host: str, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    """Connecting twice, each for 0.1 s, leaves one thread at this host's name, and the loop's own free."""
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait()
        return []

    def resolving() -> list[str]:
        prefix = f"resolver {host.partition('.')[0]}"
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)]

    # As many as one sees soon; the loop's own look-ups would wait in this executor's one thread.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        for _ in range(2):
            with pytest.raises(Unreachable, match=r"the host name is not resolved within 0\.1 s"):
                async with connect():
                    pass
        assert resolving() == [f"resolver {host}"], "it is asked once and waited for"
        async with asyncio.timeout(20):
            await asyncio.to_thread(int)
    finally:
        monkeypatch.undo()
        release.set()
    await until(lambda: not resolving())
