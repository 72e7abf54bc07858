"""Running the event loop until a signal says stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

_HANGUP: Final = (signal.SIGHUP,) if sys.platform != "win32" else ()


def run_until_stopped(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` until it returns, or until SIGINT or SIGTERM; then cancel it and await its end.

    Further signals change nothing, to the end of the process: an impatient second Ctrl-C must
    not cut short what the first one began. What ``main`` raises otherwise is passed on.
    """
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_with_signals(main))
    finally:
        # A handler of Python's own gives way to the default, which kills, as the interpreter ends.
        for number in (signal.SIGINT, signal.SIGTERM, *_HANGUP):
            if number not in _HANGUP or callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_IGN)


def on_hangup(action: Callable[[], None]) -> None:
    """Have SIGHUP call ``action`` in the running loop. Where there is no such signal, nothing does.

    A terminal that is closed sends it, too: then what runs there ends, as by SIGTERM.
    """
    loop = asyncio.get_running_loop()
    at_terminal = sys.stdin is not None and sys.stdin.isatty()

    def on_signal(_number: int, _frame: object) -> None:
        if at_terminal and not _has_terminal():
            signal.raise_signal(signal.SIGTERM)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything is over
            loop.call_soon_threadsafe(action)

    for number in _HANGUP:
        signal.signal(number, on_signal)


def _has_terminal() -> bool:
    """Whether the terminal this process was started at is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where it is installed: a small request costs it half as much. None for asyncio's own."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


async def _with_signals(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.create_task(main(), name="main")
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    def on_signal(_number: int, _frame: object) -> None:
        # The loop may be closed already: then everything is over anyway.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop)

    # Not the loop's own handlers: those are gone a moment before the process is.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
