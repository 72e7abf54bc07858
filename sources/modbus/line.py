"""The line to a device or gateway: its links, who may ask next, and whether it still stands."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from typing import Final

from sources.errors import ConnectionLost, Unreachable
from sources.insight import Traffic
from sources.modbus.codec import Request
from sources.modbus.config import ModbusSettings
from sources.modbus.exchange import Awaited, Exchange, NoReply, NotSent
from sources.modbus.link import Link
from sources.modbus.mbap import MbapStream
from sources.modbus.slots import Slots
from sources.quality import BAD_CONNECTION_CLOSED, BAD_TIMEOUT, Quality

SILENT_LIMIT: Final = 2
"""So many requests in a row without a reply, and the connection counts as lost."""


class Line:
    """One or more connections, and so many requests in flight on each.

    Whoever asks holds a slot (``slots``) meanwhile. ``patience`` is how long the next reply
    may take, in seconds: the source's timeout, unless lowered after a request that was not
    answered; a reply restores it.
    """

    def __init__(self, settings: ModbusSettings) -> None:
        self.slots = Slots(settings.connections * settings.pipeline)
        self.patience = settings.timeout
        self.silent = 0
        """How many requests in a row have had no reply."""
        self.loss: tuple[str, Quality] | None = None
        """Why the line is lost, or None while it stands."""
        self.on_loss: Callable[[], None] | None = None
        """Called once, when it is lost."""
        self.traffic = Traffic()
        """What the requests that `exchange` sends are counted in."""
        self._settings = settings
        self._links: list[Link] = []

    async def dial(self) -> None:
        """Connect. Raises Unreachable with the cause."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(settings.timeout):
                for _ in range(settings.connections):
                    _, link = await loop.create_connection(
                        lambda: MbapStream(self), settings.host, settings.port
                    )
                    self._links.append(link)
        except TimeoutError:
            raise Unreachable(f"no answer to the call within {settings.timeout:g} s") from None
        except OSError as error:
            raise Unreachable(_cause(error)) from None

    def close(self) -> None:
        """Hang up; whoever waits for a reply gets ConnectionLost."""
        self.lost("the connection was closed by this side", BAD_CONNECTION_CLOSED)

    def render(self, request: Request) -> bytes:
        """The bytes of a request, made once for `Exchange.frame`."""
        return self._links[0].render(request)

    def send(self, exchange: Exchange) -> None:
        """Send a request; the caller holds a slot, and the line stands."""
        links = self._links
        link = links[0] if len(links) == 1 else min(links, key=_in_flight)
        link.ask(exchange, self.patience)

    async def exchange(self, request: Request) -> bytes:
        """Send a request and return the reply's PDU. The caller holds a slot.

        Raises NoReply, ConnectionLost once the line is lost, by too many of those, a broken
        frame or the peer, and NotSent where it was lost before.
        """
        if self.loss is not None:
            raise NotSent(*self.loss)
        asked = Awaited(request, self.render(request), self.traffic)
        self.send(asked)
        try:
            reply = await asked.reply
        except NoReply as error:
            raise self.unanswered(error) from None
        self.heard()
        return reply

    def heard(self) -> None:
        """A reply came."""
        if self.silent:
            self.silent = 0
            self.patience = self._settings.timeout

    def unanswered(self, error: NoReply) -> NoReply | ConnectionLost:
        """A request was not answered; what that means."""
        self.silent += 1
        if self.silent >= SILENT_LIMIT:
            self.lost(f"no reply to {self.silent} requests in a row", BAD_TIMEOUT)
        if self.loss is not None:
            return ConnectionLost(*self.loss)
        return NoReply(f"{error} within {self.patience:g} s")

    def lost(self, reason: str, quality: Quality) -> None:
        """See Watcher: without one of its links the line is lost."""
        if self.loss is not None:
            return
        self.loss = reason, quality
        for link in self._links:
            link.close(reason, quality)
        if self.on_loss is not None:
            self.on_loss()


def _in_flight(link: Link) -> int:
    return link.in_flight


def _cause(error: OSError) -> str:
    """The operating system's words, without asyncio's ``Connect call failed ('10.0.0.1', 502)``."""
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    numbers = [error.errno] if error.errno else [int(n) for n in re.findall(r"\[Errno (\d+)\]", str(error))]
    return ", ".join(dict.fromkeys(os.strerror(n).lower() for n in numbers)) or str(error)
