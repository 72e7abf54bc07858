"""What every simulated controller that speaks EtherNet/IP is on its sockets, whatever it holds."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.peer import Served
from sources.simulators.logix.server import LogixServer


class ServedController:
    """A device served at an address."""

    def __init__(self, device: Served, host: str, port: int) -> None:
        self._at = host, port
        self._faults = device.faults
        self._server = LogixServer(device)

    @property
    def faults(self) -> LogixFaults:
        """What it does wrong."""
        return self._faults

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[tuple[str, int]]:
        """Serve while inside; yields the address listened on. Raises ListenError."""
        async with self._server.listening(*self._at) as address:
            yield address

    def drop(self) -> None:
        """Close every connection now."""
        self._server.drop()
