"""One master's connection, by stream, by datagrams, or on a pseudo terminal."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final

from pymodbus.server.requesthandler import ServerRequestHandler

from sources.simulators.modbus.framing import Framing, NotModbusError
from sources.simulators.modbus.respond import Respondent

if TYPE_CHECKING:
    from sources.simulators.modbus.server import ModbusSimulator

_CHUNK: Final = 4096
_MOST_DATAGRAMS: Final = 64


class Connection(ServerRequestHandler):
    """Reads the stream and answers each request in turn.

    `serve` runs in a task of the server's. A master that does not read its replies stops
    being read itself: nothing here grows without bound.
    """

    def __init__(self, simulator: ModbusSimulator) -> None:
        super().__init__(simulator, None, None, None)  # type: ignore[no-untyped-call]  # pymodbus leaves it bare
        self._simulator = simulator
        self._respondent = Respondent(simulator, Framing(simulator.transport_name, simulator.decoder))
        self._reader = asyncio.StreamReader()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._socket: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: start to serve, or close at once what is not accepted."""
        super().connection_made(transport)
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("Modbus TCP needs a stream")
        self._socket = transport
        if not self._simulator.accepts:
            transport.abort()
            return
        self._reader.set_transport(transport)
        self._task = self._simulator.own(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._reader.feed_data(data)

    def eof_received(self) -> None:
        """Called by asyncio: the master is done, and so are we."""
        self._reader.feed_eof()

    def pause_writing(self) -> None:
        """Called by asyncio when the master does not read its replies."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Called by asyncio when it does again."""
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: what is being answered has nobody to go to any more."""
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        """Close now, whatever is under way."""
        if self._socket is not None:
            self._socket.abort()

    async def serve(self) -> None:
        """Answer requests until the connection ends."""
        buffer = b""
        try:
            while data := await self._reader.read(_CHUNK):
                buffer = await self._respondent.answer_all(buffer + data, self._write)
                await self._may_write.wait()
        except NotModbusError:
            return
        finally:
            # pymodbus keeps its books in connection_lost, which this brings about.
            if self._socket is not None:
                self._socket.close()

    def _write(self, frame: bytes) -> None:
        if self._socket is not None:
            self._socket.write(frame)


class Datagrams(asyncio.DatagramProtocol):
    """All masters on a UDP port. Whoever asks faster than is answered loses datagrams, as on a network."""

    def __init__(self, simulator: ModbusSimulator) -> None:
        self._simulator = simulator
        self._respondent = Respondent(simulator, Framing("udp", simulator.decoder))
        self._arrived: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue(_MOST_DATAGRAMS)
        self._socket: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        self._socket = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by asyncio."""
        if not self._arrived.full() and self._simulator.accepts:
            self._arrived.put_nowait((data, addr))

    async def serve(self) -> None:
        """Answer until cancelled."""
        while True:
            data, address = await self._arrived.get()
            transport = self._socket
            if transport is None:
                continue
            try:
                await self._respondent.answer_all(data, functools.partial(transport.sendto, addr=address))
            except NotModbusError:
                continue
