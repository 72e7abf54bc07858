"""Host names looked up, one look at a time for each source.

A resolver that hangs holds a thread for as long as it likes. It gets one of its own, so
that it takes nothing from others (the loop's own look-ups share a few threads with logins
and files), and whoever dials again waits for the same look.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from typing import Any, TypeAlias

from sources.errors import Unreachable

Endpoint: TypeAlias = tuple[int, Any]
"""An address family, and an address of it as sockets take it."""


class Resolver:
    """Finds the addresses of one host."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._looking: asyncio.Future[list[Endpoint]] | None = None

    async def resolve(self) -> list[Endpoint]:
        """Where to dial, best first. Raises Unreachable where the name leads nowhere."""
        try:
            literal = ipaddress.ip_address(self._host)
        except ValueError:
            return await self._look()
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        return [(family, (self._host, self._port))]

    async def _look(self) -> list[Endpoint]:
        looking = self._looking
        if looking is None or looking.get_loop() is not asyncio.get_running_loop():
            looking = self._looking = asyncio.get_running_loop().create_future()
            looking.add_done_callback(self._looked)
            thread = threading.Thread(
                target=self._run, args=(looking,), name=f"resolver {self._host}", daemon=True
            )
            thread.start()
        try:
            return await asyncio.shield(looking)
        except OSError as error:
            words = error.strerror or str(error)
            raise Unreachable(f"the host name cannot be resolved: {words}") from None

    def _looked(self, looking: asyncio.Future[list[Endpoint]]) -> None:
        if self._looking is looking:
            self._looking = None
        if not looking.cancelled():
            looking.exception()  # nobody may be there to hear it any more

    def _run(self, looking: asyncio.Future[list[Endpoint]]) -> None:
        """The thread's life."""
        found: list[Endpoint] = []
        failure: OSError | None = None
        try:
            infos = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            found = [(int(info[0]), info[4]) for info in infos]
        except OSError as error:
            failure = error
        except UnicodeError:
            failure = OSError("it is no host name")

        def tell() -> None:
            if looking.done():
                return
            if failure is not None:
                looking.set_exception(failure)
            else:
                looking.set_result(found)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            looking.get_loop().call_soon_threadsafe(tell)
