"""Running the event loop until a signal says stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any


def run_until_stopped(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` until it returns, or until SIGINT or SIGTERM; then cancel it and await its end.

    Further signals while it ends change nothing. What it raises otherwise is passed on.
    """
    asyncio.run(_with_signals(main))


async def _with_signals(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.create_task(main(), name="main")
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows: asyncio.run turns Ctrl-C into a cancellation
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
