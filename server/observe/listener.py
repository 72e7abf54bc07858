"""A small TCP server: so many clients at once, so long each, and all of them gone at the end."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

_WITHIN: Final = 10.0
_CONNECTIONS: Final = 20


class Listener:
    """Gives each client to ``serve`` once and then hangs up."""

    def __init__(
        self,
        name: str,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        *,
        longest: int,
    ) -> None:
        """``name`` is for the log; ``longest`` bounds a line or head, in bytes."""
        self._name = name
        self._serve = serve
        self._longest = longest
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens, None while it does not."""
        return None if self._server is None else self._server.sockets[0].getsockname()[:2]

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        """Open the port; 0 takes a free one. Raises OSError."""
        self._server = await asyncio.start_server(self._client, host, port, ssl=context, limit=self._longest)

    async def stop(self) -> None:
        """Close the port and what is open. May be called at any time, and again."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= _CONNECTIONS:
            writer.close()
            return
        self._clients.add(task)
        try:
            async with asyncio.timeout(_WITHIN):
                await self._serve(reader, writer)
                await writer.drain()
        except (
            TimeoutError,
            OSError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as error:
            log.debug("%s: a client went wrong: %r", self._name, error)
        finally:
            self._clients.discard(task)
            writer.close()
