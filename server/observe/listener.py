"""A small TCP server: so many clients at once, so long each, and all of them gone at the end.

Those that have proved who they are have room of their own (`Listener.prove`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

log = logging.getLogger(__name__)

_WITHIN: Final = 10.0
_HANDSHAKE: Final = 5.0
_GOODBYE: Final = 1.0
_CONNECTIONS: Final = 20


class Listener:
    """Gives each client to ``serve`` once and then hangs up."""

    def __init__(
        self,
        name: str,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        *,
        longest: int,
        within: float = _WITHIN,
    ) -> None:
        """``name`` is for the log; ``longest`` bounds a head in bytes, ``within`` a client in seconds."""
        self._within = within
        self._name = name
        self._serve = serve
        self._longest = longest
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """Those of whom nothing is known."""
        self._known: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """Those that have proved who they are."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens, None while it does not."""
        return None if self._server is None else self._server.sockets[0].getsockname()[:2]

    def prove(self) -> bool:
        """The client that is being served has proved who it is: nobody's connection makes it go any more.

        False where there are as many of these as may be.
        """
        task = asyncio.current_task()
        if task is None or task not in self._clients or len(self._known) >= _CONNECTIONS:
            return False
        self._known[task] = self._clients.pop(task)
        return True

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        """Open the port; 0 takes a free one. Raises OSError."""
        times: dict[str, Any] = (
            {"ssl_handshake_timeout": _HANDSHAKE, "ssl_shutdown_timeout": _GOODBYE} if context else {}
        )
        self._server = await asyncio.start_server(
            self._client, host, port, ssl=context, limit=self._longest, **times
        )

    async def stop(self) -> None:
        """Close the port and what is open, within a second. May be called at any time, and again."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        clients = self._clients | self._known
        for task, writer in clients.items():
            task.cancel()
            # Not closed but cut: a client that reads nothing would have us wait for ever.
            writer.transport.abort()
        await asyncio.gather(*clients, return_exceptions=True)
        try:
            async with asyncio.timeout(_GOODBYE):
                # From Python 3.12 on this also waits for clients that never finished a TLS handshake.
                await server.wait_closed()
        except TimeoutError:
            log.debug("%s: clients that say nothing are left to their time-out", self._name)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None:
            writer.transport.abort()
            return
        staying = [one for one in self._clients.values() if not one.transport.is_closing()]
        if len(staying) >= _CONNECTIONS:
            # The newest is served: whoever only holds connections must not keep others out. Those who have
            # proved who they are stay: what they have begun is no stranger's to end. Several may come before
            # the first of those that go is gone.
            staying[0].transport.abort()
        self._clients[task] = writer
        try:
            async with asyncio.timeout(self._within):
                await self._serve(reader, writer)
                await writer.drain()
        except (TimeoutError, OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            log.debug("%s: a client went wrong: %r", self._name, error)
        except asyncio.CancelledError:
            # `stop` cancels and awaits us; Python 3.11 would log a cancelled client as an error.
            if self._server is not None:
                raise
        finally:
            self._clients.pop(task, None)
            self._known.pop(task, None)
            writer.close()
