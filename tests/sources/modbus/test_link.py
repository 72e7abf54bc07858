"""A link that has just ended."""

from __future__ import annotations

import asyncio
from typing import Any

from support.modbus_peer import modbus_peer
from support.net import until

from sources.errors import ConnectionLost
from sources.insight import Traffic
from sources.modbus import codec
from sources.modbus.exchange import Exchange, Failure
from sources.modbus.mbap import MbapStream
from sources.modbus.tables import Table
from sources.quality import Quality


class Watched:
    """A watcher that fails what waits, as the line does."""

    def __init__(self) -> None:
        self.link: MbapStream | None = None
        self.reasons: list[str] = []

    def lost(self, reason: str, quality: Quality) -> None:
        self.reasons.append(reason)
        assert self.link is not None
        self.link.close(reason, quality)


class Asked(Exchange):
    __slots__ = ("failure",)

    def __init__(self) -> None:
        super().__init__(codec.read(1, Table.holding, 0, 1), bytes(10), Traffic())
        self.failure: Failure | None = None

    def answered(self, reply: bytes) -> None:
        raise AssertionError(f"an answer: {reply!r}")

    def failed(self, error: Failure) -> None:
        self.failure = error


class Strict:
    """A transport that minds being written to once it is closed, as uvloop's does and asyncio's does not."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def abort(self) -> None:
        self._transport.abort()

    def write(self, data: bytes) -> None:
        if self.is_closing():
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")
        self._transport.write(data)


async def test_what_is_asked_of_a_link_that_has_just_ended_is_lost() -> None:
    """The transport is closed already, and nobody has been told yet."""
    async with modbus_peer() as peer:
        watched = Watched()
        loop = asyncio.get_running_loop()
        transport, link = await loop.create_connection(lambda: MbapStream(watched), "127.0.0.1", peer.port)
        watched.link = link
        strict: Any = Strict(transport)
        link._transport = strict
        transport.abort()
        asked = Asked()
        link.ask(asked, 10.0)
        await until(lambda: asked.failure is not None, what="the answer that there is none")
        assert isinstance(asked.failure, ConnectionLost)
        assert watched.reasons == ["the device closed the connection"]
