"""Encapsulated frames on a TCP connection of the event loop (CIP Vol. 2 §2-3): whole ones, or its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from sources.ethernetip.failures import Broken
from sources.ethernetip.framing import COMMANDS, HEADER
from sources.quality import BAD_CONNECTION_CLOSED

MAX_DATA: Final = 16_384
"""The most that a frame may carry: four times the largest connection's packet, and room for its wrapping."""


class Frames(asyncio.Protocol):
    """Cuts what arrives into frames and hands each to ``take``; ``lost`` is told, once, when it ends.

    Frames may come in any pieces, or several at once. One that says it is longer than any
    can be ends the connection: what follows has no meaning.
    """

    def __init__(self, take: Callable[[bytes], None], lost: Callable[[Broken], object]) -> None:
        self._take = take
        self._lost = lost
        self._partial = b""
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the socket is released."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # What create_connection gives; uvloop's are not of asyncio's class.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._partial:
            data = self._partial + data
        at, end = 0, len(data)
        while end - at >= HEADER:
            size = data[at + 2] | data[at + 3] << 8
            if size > MAX_DATA:
                self._partial = b""
                self._lost(Broken(f"a frame says that it carries {size} bytes"))
                return
            whole = at + HEADER + size
            if whole > end:
                if data[at] | data[at + 1] << 8 not in COMMANDS:
                    # What is no header has no length either: nothing to wait for.
                    self._partial = b""
                    self._lost(Broken(f"a frame of command {data[at] | data[at + 1] << 8:#06x} came"))
                    return
                break
            self._take(data[at:whole])
            at = whole
        self._partial = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        where = " in the middle of a reply" if self._partial else ""
        words = f"the device closed the connection{where}"
        if exc is not None:
            spoken = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            words = f"the connection was lost: {spoken.lower()}"
        if not self.closed.done():
            self.closed.set_result(None)
        self._lost(Broken(words, BAD_CONNECTION_CLOSED))
