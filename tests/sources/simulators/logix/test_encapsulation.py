from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from support.logix import RawClient, forward_open, path, raw_client, read, serving
from support.net import until


async def bare(port: int) -> RawClient:
    """A client without a session."""
    return RawClient(*await asyncio.open_connection("127.0.0.1", port))


async def end(client: RawClient) -> None:
    client.writer.close()
    await client.writer.wait_closed()


async def test_a_session_is_registered_once_and_ends_with_its_socket() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        again = await client.ask(0x65, struct.pack("<HH", 1, 0))
        assert (again.status, again.data) == (1, b"")
        await client.send(client.frame(0x66))
        assert await client.closed() == b""


async def test_sessions_differ_between_clients() -> None:
    async with serving() as serves, raw_client(serves.port) as one, raw_client(serves.port) as two:
        assert one.session != two.session
        assert (await one.unconnected(read(path("A_DINT")))).status == 0
        assert (await two.ask(0x6F, b"", session=one.session)).status == 0x64


@pytest.mark.parametrize(
    ("data", "status", "answer"),
    [
        (struct.pack("<HH", 2, 0), 0x69, struct.pack("<HH", 1, 0)),
        (struct.pack("<HH", 1, 1), 0x69, struct.pack("<HH", 1, 0)),
        (b"\x01\x00", 0x65, b""),
        (b"\x01\x00\x00\x00\x00", 0x65, b""),
    ],
)
async def test_a_bad_registration_is_refused(data: bytes, status: int, answer: bytes) -> None:
    async with serving() as serves:
        client = await bare(serves.port)
        reply = await client.ask(0x65, data)
        assert (reply.status, reply.session, reply.data) == (status, 0, answer)
        await end(client)


@pytest.mark.parametrize("command", [0x6F, 0x70])
async def test_data_needs_a_session(command: int) -> None:
    async with serving() as serves:
        client = await bare(serves.port)
        assert (await client.ask(command, bytes(20), session=99)).status == 0x64
        await end(client)


@pytest.mark.parametrize(
    ("command", "data", "status"),
    [
        (0x6F, b"", 0x65),
        (0x6F, struct.pack("<IHH", 1, 0, 2), 0x03),  # an interface that is not CIP
        (0x6F, struct.pack("<IHHHH", 0, 0, 1, 0, 0), 0x03),  # one item only
        (0x6F, struct.pack("<IHHHH", 0, 0, 2, 0, 9), 0x65),  # an item that reaches beyond the end
        (0x6F, struct.pack("<IHHHHHH", 0, 0, 2, 0, 0, 0xB1, 0), 0x03),  # connected data, unconnected command
        (0x70, struct.pack("<IHHHHIHH", 0, 0, 2, 0xA1, 4, 1, 0xB2, 0), 0x03),
        (0x70, struct.pack("<IHHHHHHH", 0, 0, 2, 0xA1, 2, 1, 0xB1, 0), 0x65),
        (0x70, struct.pack("<IHHHHIHH", 0, 0, 2, 0xA1, 4, 1, 0xB1, 0), 0x65),
        (0x55, b"whatever", 0x01),
        (0x72, b"", 0x01),
    ],
)
async def test_what_makes_no_sense_gets_its_status(command: int, data: bytes, status: int) -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        reply = await client.ask(command, data)
        assert (reply.status, reply.data, reply.session) == (status, b"", client.session)
        assert (await client.unconnected(read(path("A_DINT")))).status == 0


async def test_identity_services_and_interfaces_are_listed_without_a_session() -> None:
    async with serving() as serves:
        client = await bare(serves.port)
        identity = await client.ask(0x63)
        count, kind, length, version = struct.unpack_from("<HHHH", identity.data)
        assert (count, kind, length, version) == (1, 0x0C, len(identity.data) - 6, 1)
        family, port, address = struct.unpack_from(">HH4s", identity.data, 8)
        assert (family, port, address) == (socket.AF_INET, serves.port, socket.inet_aton("127.0.0.1"))
        assert identity.data[24:].endswith(b"\x0b1756-L83E/B\x03")
        services = await client.ask(0x04)
        assert services.data == struct.pack("<HHHHH", 1, 0x100, 20, 1, 0x20) + b"Communications\0\0"
        assert (await client.ask(0x64)).data == b"\0\0"
        await end(client)


async def test_no_operation_and_frames_with_options_have_no_reply() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        await client.send(client.frame(0x00, b"anything"))
        await client.send(client.frame(0x63, options=1))
        assert (await client.ask(0x04)).status == 0


async def test_a_frame_longer_than_any_is_refused_and_its_socket_closed() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        await client.send(struct.pack("<HHII8sI", 0x6F, 65535, client.session, 0, b"contexts", 0))
        assert (await client.receive()).status == 0x65
        assert await client.closed() == b""


async def test_a_frame_may_come_byte_by_byte_and_several_at_once() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        for byte in client.frame(0x04):
            await client.send(bytes((byte,)))
        assert (await client.receive()).command == 0x04
        await client.send(client.frame(0x04) + client.frame(0x63) + client.frame(0x64))
        assert [(await client.receive()).command for _ in range(3)] == [0x04, 0x63, 0x64]


async def test_clients_that_vanish_leave_nothing_behind() -> None:
    async with serving() as serves:
        for half_a_frame in (b"", b"\x6f\x00", forward_open(4000)[:30]):
            async with raw_client(serves.port) as client:
                assert (await client.open()).status == 0
                assert serves.controller.status()["connections"] == 1
                await client.send(half_a_frame)
                client.writer.transport.abort()
            await until(lambda: serves.controller.status()["clients"] == 0)
            assert serves.controller.status()["connections"] == 0


async def test_one_client_too_many_is_turned_away_and_the_others_served() -> None:
    async with serving() as serves:
        clients = [await bare(serves.port) for _ in range(64)]
        for client in clients:
            assert (await client.ask(0x04)).status == 0
        refused = await bare(serves.port)
        assert await refused.closed() == b""
        await end(refused)
        assert (await clients[0].ask(0x04)).status == 0
        for client in clients:
            await end(client)
        await until(lambda: serves.controller.status()["clients"] == 0)
        async with raw_client(serves.port) as client:
            assert client.session
