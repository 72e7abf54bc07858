"""When a simulator process ends, and how it says that it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


class ReadyFileError(Exception):
    """The ready file cannot be written; the text says which and why."""


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set while inside."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        loop.call_soon_threadsafe(stop.set)

    # Not loop.add_signal_handler: Windows has none.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent(stop: asyncio.Event) -> None:
    """Set the event when standard input ends, as it does when the process at its other end dies.

    Standard input must be a pipe that nobody else holds open.
    """
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def wait() -> None:
        # os.read and not sys.stdin: a daemon thread must not hold a buffer's lock at exit.
        while os.read(descriptor, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends anyway
            loop.call_soon_threadsafe(stop.set)

    # A thread, since asyncio cannot wait for a pipe on standard input on every platform.
    threading.Thread(target=wait, name="parent", daemon=True).start()


def clear(ready_file: Path) -> None:
    """Take away the ready file of an earlier run: nobody shall take it for this one's.

    Raises ReadyFileError.
    """
    try:
        ready_file.unlink(missing_ok=True)
    except OSError as error:
        raise ReadyFileError(f"the ready file {ready_file} cannot be replaced: {error.strerror}") from error


def write_ready_file(ready_file: Path, port: int, control_port: int) -> None:
    """Write pid and ports, all or nothing. Raises ReadyFileError."""
    content = {"pid": os.getpid(), "port": port, "control_port": control_port}
    part = ready_file.with_name(f".{ready_file.name}.part")
    try:
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(ready_file)
    except OSError as error:
        raise ReadyFileError(f"the ready file {ready_file} cannot be written: {error.strerror}") from error


def announce(kind: str, address: tuple[str, int], control: tuple[str, int]) -> None:
    """Say on standard output, in one line, that the simulator can be reached, and where."""
    sys.stdout.write(f"ready {kind} {_joined(address)} control {_joined(control)}\n")
    sys.stdout.flush()


def _joined(address: tuple[str, int]) -> str:
    host, port = address
    if not port:
        return host  # the path of a terminal
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
