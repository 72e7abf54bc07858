"""A raw OPC UA TCP client that says what it is told, and a listener whose handlers note what they get."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from server.opcua.transport.connection import Connection
from server.opcua.transport.limits import CAPS, LIMITS, Caps, Limits
from server.opcua.transport.listener import Listener

WITHIN = 10.0


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", 8 + len(body)) + body


def hello(
    *,
    receive: int = 65535,
    send: int = 65535,
    message: int = 0,
    chunks: int = 0,
    url: bytes = b"opc.tcp://localhost",
    version: int = 0,
) -> bytes:
    return chunk(b"HELF", struct.pack("<IIIIIi", version, receive, send, message, chunks, len(url)) + url)


class Wire:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def chunk(self) -> bytes:
        """The next chunk of the server."""
        head = await asyncio.wait_for(self.reader.readexactly(8), WITHIN)
        (size,) = struct.unpack("<I", head[4:])
        return head + await asyncio.wait_for(self.reader.readexactly(size - 8), WITHIN)

    async def end(self) -> bytes:
        """Everything the server still says before it hangs up."""
        try:
            return await asyncio.wait_for(self.reader.read(), WITHIN)
        except ConnectionError:
            return b""

    async def greet(self) -> None:
        """Say Hello and hear the Acknowledge."""
        self.send(hello())
        assert (await self.chunk())[:4] == b"ACKF"

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def wire(port: int, source: str | None = None) -> AsyncIterator[Wire]:
    """A connection, from another loopback address where one is given."""
    made = await connect(port, source)
    try:
        yield made
    finally:
        await made.close()


async def connect(port: int, source: str | None = None) -> Wire:
    local = None if source is None else (source, 0)
    return Wire(*await asyncio.open_connection("127.0.0.1", port, local_addr=local, limit=1 << 24))


def error_code(said: bytes) -> int:
    """The code of the ERR message that is all the server says."""
    assert said[:4] == b"ERRF", said
    assert len(said) == 16, said
    return int(struct.unpack_from("<I", said, 8)[0])


class Noting:
    """A handler that notes what it gets, and answers it as its host says."""

    def __init__(self, host: Host, connection: Connection) -> None:
        self.host = host
        self.connection = connection
        self.chunks: list[bytes] = []
        self.lost_times = 0
        self.waited = False

    def receive(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.host.answer(self.connection, chunk)

    def lost(self) -> None:
        self.lost_times += 1

    async def wait(self) -> None:
        await asyncio.sleep(0)
        self.waited = True


class Host:
    """A listener on a free port of the loopback, and the handlers of its connections."""

    def __init__(self, listener: Listener, port: int) -> None:
        self.listener = listener
        self.port = port
        self.handlers: list[Noting] = []
        self.answer: Callable[[Connection, bytes], None] = lambda connection, chunk: connection.write([chunk])

    def make(self, connection: Connection) -> Noting:
        self.handlers.append(Noting(self, connection))
        return self.handlers[-1]


@asynccontextmanager
async def hosting(limits: Limits = LIMITS, caps: Caps = CAPS) -> AsyncIterator[Host]:
    """A host that echoes; at the end nothing of it may be left."""
    listener = Listener(limits, caps)
    host = Host(listener, listener.bind("127.0.0.1", 0))
    await listener.serve(host.make)
    try:
        yield host
    finally:
        await listener.close(within=0.2)
        assert listener.connections == listener.unauthenticated == 0
        assert [handler.lost_times for handler in host.handlers] == [1] * len(host.handlers)
        assert all(handler.waited for handler in host.handlers)


async def until(probe: Callable[[], object], within: float = WITHIN) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within):
        while not probe():  # noqa: ASYNC110  # any condition, without the parts it is made of knowing
            await asyncio.sleep(0.005)
