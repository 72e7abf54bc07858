"""Channels on connections: what a client may send without waiting, and in which order it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asyncua import ua
from support import channels
from support.channels import ENCRYPT, NONE, POLICIES, SIGN, Peer, peer
from support.wire import Wire, chunk, error_code, wire

from server.opcua.channels.channel import SecureChannel
from server.opcua.channels.gate import Gatekeeper
from server.opcua.transport.connection import Connection
from server.opcua.transport.framing import TransportError
from server.opcua.transport.listener import Listener
from server.opcua.types import StatusCodes


class Echo:
    """Answers each message with itself."""

    def __init__(self, gate: Gatekeeper, connection: Connection) -> None:
        assert connection.negotiated is not None
        self.connection = connection
        self.channel = SecureChannel(gate, connection.negotiated, address=connection.address)
        self.tasks: set[asyncio.Task[None]] = set()

    def receive(self, data: bytes) -> None:
        if data[:3] == b"OPN":
            self.connection.hold()
            task = asyncio.create_task(self.open(data))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        message = self.channel.receive(data, early=False)
        if message is not None and message.closing:
            self.connection.close()
        elif message is not None:
            self.connection.write(self.channel.encode(message.request_id, message.body))

    async def open(self, data: bytes) -> None:
        try:
            self.connection.write(await self.channel.open(data))
        except TransportError as error:
            self.connection.fail(error)
        finally:
            self.connection.release()

    def lost(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def wait(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    gate = channels.gatekeeper(tmp_path, channels.client_certificate(), offers=channels.all_offers(none=True))
    listener = Listener()
    port = listener.bind("127.0.0.1", 0)
    await listener.serve(lambda connection: Echo(gate, connection))
    yield port
    await listener.close(within=1)


@asynccontextmanager
async def opened(
    port: int, name: str, mode: ua.MessageSecurityMode = ENCRYPT
) -> AsyncIterator[tuple[Wire, Peer]]:
    async with wire(port) as raw:
        client = peer(name, mode)
        await raw.greet()
        raw.send(client.opening())
        client.opened(await raw.chunk())
        yield raw, client


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, mode) for name in POLICIES for mode in (SIGN, ENCRYPT)), ("None", NONE)]
)
async def test_a_client_need_not_wait_for_its_renewal(
    port: int, name: str, mode: ua.MessageSecurityMode
) -> None:
    async with opened(port, name, mode) as (raw, client):
        raw.send(
            client.seal(b"before") + client.opening() + client.seal(b"after") + client.seal(bytes(100_000))
        )
        assert client.text([await raw.chunk()]) == b"before"
        client.opened(await raw.chunk())
        assert client.text([await raw.chunk()]) == b"after"
        assert client.text([await raw.chunk(), await raw.chunk()]) == bytes(100_000)
        client.stack.revolve_tokens()
        raw.send(client.seal(b"under the new one"))
        assert client.text([await raw.chunk()]) == b"under the new one"
        raw.send(client.seal(b"bye", ua.MessageType.SecureClose))
        assert await raw.end() == b""


async def test_what_follows_a_refused_opening_is_not_looked_at(port: int) -> None:
    async with wire(port) as raw:
        await raw.greet()
        client = peer("Basic256Sha256")
        raw.send(client.opening(ClientNonce=b"short") + chunk(b"MSGF", bytes(16)) * 10)
        client.read(await raw.chunk())
        assert error_code(await raw.end()) == StatusCodes.BadNonceInvalid


async def test_many_clients_open_at_once(port: int) -> None:
    async def one(number: int) -> None:
        async with opened(port, list(POLICIES)[number % 3]) as (raw, client):
            raw.send(client.seal(bytes([number])))
            assert client.text([await raw.chunk()]) == bytes([number])

    await asyncio.gather(*(one(number) for number in range(40)))


async def test_a_client_that_leaves_while_it_is_looked_at_leaves_nothing_behind(port: int) -> None:
    for _ in range(10):
        async with wire(port) as raw:
            await raw.greet()
            raw.send(peer("Basic256Sha256").opening())
