"""Bytes no client sends. Each is answered with an error or an end, and the server goes on serving."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.rawclient import RawClient, message, raw, read_value, reading
from support.victim import MIB, Victim
from support.wire import chunk, error_code, hello, wire

from server.opcua.transport.limits import LIMITS
from server.opcua.types import ObjectIds, StatusCodes

OPERATOR = ("operator", "line-one-runs")
NOTHING = struct.pack("<iii", -1, -1, -1)
"""The parameters of GetEndpoints, all null."""
NOT_DECODED = {
    StatusCodes.BadDecodingError,
    StatusCodes.BadEncodingLimitsExceeded,
    StatusCodes.BadTooManyOperations,
}


async def cut_off(client: RawClient, code: int) -> None:
    """The connection ends; the error may be lost, for what was sent meanwhile resets it."""
    said = await client.wire.end()
    assert not said or error_code(said) == code


async def still_serves(server: Victim) -> None:
    async with raw(server.port) as client:
        await client.open()
        assert (await client.call("GetEndpoints", NOTHING)).code == 0


# --- Before Hello, and Hello


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", StatusCodes.BadTcpMessageTypeInvalid),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 2**32 - 1), StatusCodes.BadTcpMessageTooLarge),
        (b"HELF" + struct.pack("<I", 2**32 - 1), StatusCodes.BadTcpMessageTooLarge),
        (b"OPNF" + struct.pack("<I", 2**31), StatusCodes.BadTcpMessageTooLarge),
        (b"HELF" + struct.pack("<I", 0), StatusCodes.BadTcpMessageTypeInvalid),
        (b"HELF" + struct.pack("<I", 20) + b"\xff" * 12, StatusCodes.BadDecodingError),
        (b"OPNF" + struct.pack("<I", 16) + b"\x00" * 8, StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 24) + b"\x00" * 16, StatusCodes.BadTcpMessageTypeInvalid),
        (b"ACKF" + struct.pack("<I", 28) + b"\x00" * 20, StatusCodes.BadTcpMessageTypeInvalid),
        (b"RHEF" + struct.pack("<I", 16) + b"\xff" * 8, StatusCodes.BadTcpMessageTypeInvalid),
        (
            chunk(b"HELF", struct.pack("<IIIIIi", 0, 65535, 65535, 0, 0, 2**31 - 1)),
            StatusCodes.BadTcpEndpointUrlInvalid,
        ),
        (chunk(b"HELF", struct.pack("<IIIIIi", 0, 65535, 65535, 0, 0, -4)), StatusCodes.BadDecodingError),
    ],
)
async def test_what_does_not_start_like_a_client_ends_with_an_error(
    strict: Victim, data: bytes, code: int
) -> None:
    async with wire(strict.port) as connection:
        connection.send(data)
        assert error_code(await connection.end()) == code
    await still_serves(strict)


@pytest.mark.parametrize(("receive", "send"), [(0, 65536), (65536, 0), (8191, 65536), (65536, 1)])
async def test_buffers_too_small_to_work_with_are_refused(strict: Victim, receive: int, send: int) -> None:
    async with wire(strict.port) as connection:
        connection.send(hello(receive=receive, send=send))
        assert error_code(await connection.end()) == StatusCodes.BadConnectionRejected


async def test_a_second_hello_is_refused(strict: Victim) -> None:
    async with wire(strict.port) as connection:
        await connection.greet()
        connection.send(hello())
        assert error_code(await connection.end()) == StatusCodes.BadTcpMessageTypeInvalid


@pytest.mark.parametrize("kind", [b"MSG", b"CLO"])
async def test_a_message_before_the_channel_is_refused(strict: Victim, kind: bytes) -> None:
    async with raw(strict.port) as client:
        await client.wire.greet()
        client.wire.send(client.seal(b"\x00" * 20, kind=kind))
        assert error_code(await client.wire.end()) == StatusCodes.BadTcpSecureChannelUnknown


# --- Sizes


@pytest.mark.parametrize("kind", [b"OPNF", b"MSGF", b"MSGC", b"CLOF"])
async def test_a_chunk_larger_than_agreed_ends_the_connection_before_it_is_there(
    strict: Victim, kind: bytes
) -> None:
    async with wire(strict.port) as connection:
        await connection.greet()
        connection.send(kind + struct.pack("<I", 65536))
        assert error_code(await connection.end()) == StatusCodes.BadTcpMessageTooLarge


@pytest.mark.parametrize("size", [0, 1, 8, 11])
async def test_a_chunk_smaller_than_its_header_ends_the_connection(strict: Victim, size: int) -> None:
    async with wire(strict.port) as connection:
        await connection.greet()
        connection.send(b"MSGF" + struct.pack("<I", size) + b"\0" * 20)
        assert error_code(await connection.end()) == StatusCodes.BadTcpMessageTypeInvalid


async def test_before_a_session_little_is_kept_of_chunks_without_an_end(strict: Victim) -> None:
    before = strict.memory
    async with raw(strict.port) as client:
        await client.open()
        for _ in range(LIMITS.early_message // 8000 + 2):
            client.wire.send(client.seal(b"\x00" * 8000, final=b"C"))
        await cut_off(client, StatusCodes.BadTcpMessageTooLarge)
    await still_serves(strict)
    assert strict.memory - before < MIB


async def test_with_a_session_more_is_kept_but_not_without_end(strict: Victim) -> None:
    before = strict.memory
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.ready(OPERATOR)
        for _ in range(LIMITS.message // 60_000 + 2):
            client.wire.send(client.seal(b"\x00" * 60_000, final=b"C"))
        await cut_off(client, StatusCodes.BadTcpMessageTooLarge)
    assert strict.memory - before < 8 * LIMITS.message


async def test_tiny_chunks_without_an_end_are_cut_off(strict: Victim) -> None:
    for session in (False, True):
        async with raw(strict.port, peer=strict.peer() if session else None) as client:
            await (client.ready(OPERATOR) if session else client.open())
            for _ in range(LIMITS.chunks + 1):
                client.wire.send(client.seal(b"\x00", final=b"C"))
            await cut_off(client, StatusCodes.BadTcpMessageTooLarge)


async def test_announcements_are_not_believed_however_many_announce(strict: Victim) -> None:
    """Fifty connections that each begin the largest chunk there may be, over and over."""
    before = strict.memory
    for _ in range(5):
        connections = []
        for _ in range(40):
            async with raw(strict.port) as client:
                await client.open()
                client.wire.send(b"MSGC" + struct.pack("<I", 65535) + b"\0" * 1000)
                connections.append(client)
    assert strict.memory - before < 8 * MIB
    await still_serves(strict)


# --- Lengths inside messages


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<iii", -1, 2**31 - 1, -4),
        struct.pack("<ii", -1, 2**31 - 1),
        struct.pack("<i", -7),
        struct.pack("<i", 2**31 - 1),
        struct.pack("<i", -(2**31)),
        b"",
    ],
)
async def test_lengths_that_cannot_be_are_answered_at_once(strict: Victim, body: bytes) -> None:
    began = strict.cpu
    async with raw(strict.port) as client:
        await client.open()
        for service in ("GetEndpoints", "FindServers"):
            assert (await client.call(service, body)).fault == StatusCodes.BadDecodingError
        assert (await client.call("GetEndpoints", NOTHING)).code == 0
    assert strict.cpu - began < 1


_PREFIXES: dict[str, bytes] = {
    "Read": struct.pack("<di", 0.0, 2),
    "Write": b"",
    "Browse": b"\0\0" + struct.pack("<qII", 0, 0, 0),
    "BrowseNext": b"\0",
    "TranslateBrowsePathsToNodeIds": b"",
    "RegisterNodes": b"",
    "UnregisterNodes": b"",
    "Call": b"",
}
"""What stands before the array of a request."""


@pytest.mark.parametrize("length", [2**31 - 1, 10**8, -7, -(2**31)])
async def test_an_array_of_any_service_is_no_longer_than_its_message(session: RawClient, length: int) -> None:
    for service, prefix in _PREFIXES.items():
        body = prefix + struct.pack("<i", length) + b"\0" * 60
        assert (await session.call(service, body)).fault in NOT_DECODED, service


@pytest.mark.parametrize("length", [2**31 - 1, 10**7, -2, -(2**31)])
async def test_an_array_in_a_variant_is_no_longer_than_its_message(session: RawClient, length: int) -> None:
    """As Write takes it: an array of each built-in type, one that has no bytes on the wire among them."""
    for kind in range(26):
        value = bytes((0x80 | kind,)) + struct.pack("<i", length) + b"\0" * 20
        body = struct.pack("<i", 1) + b"\0\x01" + struct.pack("<Ii", 13, -1) + b"\x01" + value
        assert (await session.call("Write", body)).fault in NOT_DECODED, kind


@pytest.mark.parametrize(
    "dimensions", [(2**16, 2**16), (2**31 - 1,) * 4, (-1, -1), (0, 2**31 - 1), (2,) * 2000]
)
async def test_dimensions_of_an_array_are_not_believed(
    session: RawClient, dimensions: tuple[int, ...]
) -> None:
    value = bytes((0xC0 | 1,)) + struct.pack("<i", 4) + b"\1" * 4
    value += struct.pack(f"<i{len(dimensions)}i", len(dimensions), *dimensions)
    body = struct.pack("<i", 1) + b"\0\x01" + struct.pack("<Ii", 13, -1) + b"\x01" + value
    assert (await session.call("Write", body)).kind  # an answer, whatever it is
    assert (await session.read(("i=2259", 13)))[0].Value is not None


async def test_an_array_of_nothing_in_the_header_is_not_looked_into(strict: Victim) -> None:
    """What an AdditionalHeader holds is skipped by its length (OPC 10000-4 §7.33)."""
    variant = bytes([0x80]) + struct.pack("<i", 2**31 - 1)
    number = ObjectIds.LiteralOperand_Encoding_DefaultBinary  # holds a Variant
    header = b"\x01\x00" + struct.pack("<H", number) + b"\x01"
    before, began = strict.memory, strict.cpu
    async with raw(strict.port) as client:
        await client.open()
        additional = header + struct.pack("<i", len(variant)) + variant
        assert (await client.call("GetEndpoints", NOTHING, additional=additional)).code == 0
    for length in (2**31 - 1, -5, 100):
        async with raw(strict.port) as client:
            await client.open()
            client.ask("GetEndpoints", b"", additional=header + struct.pack("<i", length) + variant)
            assert error_code(await client.wire.end()) == StatusCodes.BadDecodingError
    assert strict.memory - before < MIB
    assert strict.cpu - began < 1


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff" * 40, struct.pack("<BBH", 1, 0, 60000)])
async def test_a_message_without_a_header_ends_the_connection(strict: Victim, body: bytes) -> None:
    async with raw(strict.port) as client:
        await client.open()
        client.say(body)
        assert error_code(await client.wire.end()) == StatusCodes.BadDecodingError


async def test_a_service_nobody_knows_is_answered(lenient: Victim) -> None:
    async with raw(lenient.port) as client:
        await client.open()
        assert (await client.call(60_000)).fault == StatusCodes.BadServiceUnsupported
        assert (await client.call("GetEndpoints", NOTHING)).code == 0


async def test_requests_that_are_refused_do_not_fill_the_log(lenient: Victim) -> None:
    before = len(lenient.entries())
    async with raw(lenient.port, source="127.0.8.1") as client:
        await client.open()
        for _ in range(300):
            assert (await client.call(60_000)).fault == StatusCodes.BadServiceUnsupported
    async with raw(lenient.port, source="127.0.8.2") as client:
        await client.open()
        for _ in range(300):
            client.ask("CreateSession", client.creation())
        refused = [(await client.answer()).code for _ in range(300)].count(StatusCodes.BadTooManyOperations)
    assert refused > 10
    assert len(lenient.entries()) - before < 30


# --- Sequence


async def test_a_repeated_sequence_number_ends_the_connection(strict: Victim) -> None:
    async with raw(strict.port) as client:
        await client.open()
        client.sequence -= 1
        client.ask("GetEndpoints", NOTHING)
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


async def test_a_replayed_chunk_ends_the_connection(strict: Victim) -> None:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.ready(OPERATOR)
        once = client.seal(message("Read", reading([read_value("i=2259")]), token=client.token), 50)
        client.wire.send(once)
        assert (await client.answer()).code == 0
        client.wire.send(once)
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


@pytest.mark.parametrize("secure", [False, True])
async def test_chunks_in_another_order_end_the_connection(lenient: Victim, secure: bool) -> None:
    async with raw(lenient.port, peer=lenient.peer() if secure else None) as client:
        await client.open()
        first, second = (client.seal(message("GetEndpoints", NOTHING), number) for number in (50, 51))
        client.wire.send(second + first)
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


async def test_a_chunk_that_is_missing_ends_the_connection(strict: Victim) -> None:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        client.seal(message("GetEndpoints", NOTHING))
        client.ask("GetEndpoints", NOTHING)
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


async def test_chunks_of_two_requests_at_once_end_the_connection(strict: Victim) -> None:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        body = message("GetEndpoints", NOTHING)
        client.wire.send(client.seal(body[:20], 50, b"C") + client.seal(body[:20], 51, b"C"))
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


async def test_a_chunk_of_another_channel_ends_the_connection(strict: Victim) -> None:
    async with raw(strict.port, peer=strict.peer()) as client, raw(strict.port, peer=strict.peer()) as other:
        await client.ready(OPERATOR)
        await other.open()
        body = message("Read", reading([read_value("i=2259")]), token=client.token)
        other.wire.send(client.seal(body))
        assert error_code(await other.wire.end()) == StatusCodes.BadTcpSecureChannelUnknown


async def test_an_opening_said_again_opens_nothing_of_use(strict: Victim) -> None:
    """The keys are made of a nonce that only the owner of the certificate can read."""
    async with raw(strict.port, peer=strict.peer()) as client, raw(strict.port) as intruder:
        assert client.peer is not None
        opening = client.peer.opening()
        await client.wire.greet()
        client.wire.send(opening)
        client.peer.opened(await client.wire.chunk())
        client.wire.send(opening)
        assert error_code(await client.wire.end()) == StatusCodes.BadTcpSecureChannelUnknown
        await intruder.wire.greet()
        intruder.wire.send(opening)
        answer = await intruder.wire.chunk()
        (intruder.channel,) = struct.unpack_from("<I", answer, 8)
        intruder.token_id = 1
        intruder.ask("GetEndpoints", NOTHING)
        assert error_code(await intruder.wire.end()) == StatusCodes.BadSecurityChecksFailed


@pytest.mark.parametrize("at", [12, 16, 30, -1])
async def test_a_chunk_that_was_changed_on_its_way_ends_the_connection(strict: Victim, at: int) -> None:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        sent = bytearray(client.seal(message("GetEndpoints", NOTHING)))
        sent[at] ^= 1
        client.wire.send(bytes(sent))
        code = error_code(await client.wire.end())
        expected = (
            StatusCodes.BadSecureChannelTokenUnknown if at == 12 else StatusCodes.BadSecurityChecksFailed
        )
        assert code == expected


@pytest.fixture
async def session(strict: Victim) -> AsyncIterator[RawClient]:
    async with _session(strict) as client:
        yield client


@asynccontextmanager
async def _session(server: Victim) -> AsyncIterator[RawClient]:
    async with raw(server.port, peer=server.peer()) as client:
        await client.ready(OPERATOR)
        yield client
