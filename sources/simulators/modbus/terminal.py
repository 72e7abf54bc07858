"""A serial line without a cable: a pseudo terminal whose other end a master opens as its port."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sources.simulators.listen import ListenError
from sources.simulators.modbus.framing import Framing
from sources.simulators.modbus.respond import Respondent

if TYPE_CHECKING:
    from sources.simulators.modbus.server import ModbusSimulator

_CHUNK: Final = 4096


@contextlib.contextmanager
def pseudo_terminal() -> Iterator[tuple[int, str]]:
    """Our end, and the path of the master's. Raises ListenError where there is no such thing."""
    try:
        ours, theirs = os.openpty()
    except (AttributeError, OSError) as error:
        raise ListenError(f"there is no pseudo terminal to be had: {error}") from None
    # Theirs stays open here, too: else each master that leaves would end ours.
    try:
        import tty  # noqa: PLC0415 - not on Windows

        tty.setraw(theirs)
        os.set_blocking(ours, False)
        yield ours, os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


async def serve_terminal(simulator: ModbusSimulator, terminal: int) -> None:
    """Answer what comes on a pseudo terminal until cancelled."""
    loop = asyncio.get_running_loop()
    respondent = Respondent(simulator, Framing(simulator.transport_name, simulator.decoder))
    readable = asyncio.Event()
    loop.add_reader(terminal, readable.set)
    buffer = b""
    try:
        while True:
            await readable.wait()
            readable.clear()
            with contextlib.suppress(BlockingIOError):
                data = os.read(terminal, _CHUNK)
                buffer = await respondent.answer_all(
                    (buffer + data)[-_CHUNK:], lambda frame: _write(terminal, frame)
                )
    finally:
        loop.remove_reader(terminal)


def _write(terminal: int, frame: bytes) -> None:
    # Nobody reads at the other end: as on a cable that leads nowhere.
    with contextlib.suppress(BlockingIOError):
        os.write(terminal, frame)
