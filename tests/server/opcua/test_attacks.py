"""Bytes no client sends. Each is answered with an error or an end, and the server goes on serving."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.ua_binary import struct_to_binary
from support import pki
from support.net import until
from support.opcua import Connect, Running

from server.opcua import connection
from server.opcua.channel import MAX_EARLY_MESSAGE
from server.opcua.endpoints import NONE_URI
from server.opcua.types import ObjectIds, StatusCodes

WITHIN = 20.0
POLICY = b"http://opcfoundation.org/UA/SecurityPolicy#"


class Wire:
    """A socket that says what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.sequence = 0
        self.channel = (0, 0)

    async def end(self) -> bytes:
        """Everything the server still says before it hangs up."""
        try:
            return await asyncio.wait_for(self.reader.read(), WITHIN)
        except ConnectionError:
            return b""

    async def chunk(self) -> bytes:
        head = await asyncio.wait_for(self.reader.readexactly(8), WITHIN)
        (size,) = struct.unpack("<I", head[4:])
        return head + await asyncio.wait_for(self.reader.readexactly(size - 8), WITHIN)

    def send(self, kind: bytes, body: bytes) -> None:
        self.writer.write(kind + struct.pack("<I", 8 + len(body)) + body)

    def hello(self, *, receive: int = 65536, send: int = 65536, url: bytes = b"opc.tcp://localhost") -> None:
        self.send(b"HELF", struct.pack("<IIIIIi", 0, receive, send, 0, 0, len(url)) + url)

    def message(self, body: bytes, kind: bytes = b"MSGF", request: int = 7) -> None:
        self.sequence += 1
        self.send(kind, struct.pack("<IIII", *self.channel, self.sequence, request) + body)

    async def open(self) -> None:
        """Hello and a channel over None."""
        self.hello()
        assert (await self.chunk())[:4] == b"ACKF"
        self.ask_to_open(NONE_URI.encode())
        answer = await self.chunk()
        assert answer[:4] == b"OPNF"
        # After header, policy, two nulls, sequence header, type id, response header: the token.
        channel = struct.unpack_from("<I", answer, 8)[0]
        self.channel = (channel, 13)

    def ask_to_open(
        self, uri: bytes, certificate: bytes | None = None, thumbprint: bytes | None = None
    ) -> None:
        self.sequence += 1
        request = ua.OpenSecureChannelRequest()
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        request.Parameters.RequestedLifetime = 60_000
        header = struct.pack("<I", 0) + _bytes(uri) + _bytes(certificate) + _bytes(thumbprint)
        self.send(b"OPNF", header + struct.pack("<II", self.sequence, 1) + struct_to_binary(request))


def _bytes(value: bytes | None) -> bytes:
    return struct.pack("<i", -1) if value is None else struct.pack("<i", len(value)) + value


@asynccontextmanager
async def wire(running: Running) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def error_code(said: bytes) -> int:
    """The code of the ERR message that is all the server says."""
    assert said[:4] == b"ERRF", said
    return int(struct.unpack_from("<I", said, 8)[0])


async def cut_off(raw: Wire, code: int) -> None:
    """The connection ends; the error may be lost, for what was sent meanwhile resets it."""
    said = await raw.end()
    assert not said or error_code(said) == code


async def still_serves(running: Running) -> None:
    async with asyncio.timeout(WITHIN):
        assert await Client(running.url, timeout=WITHIN).connect_and_get_server_endpoints()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", StatusCodes.BadTcpMessageTypeInvalid),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 2**32 - 1), StatusCodes.BadTcpMessageTooLarge),
        (b"HELF" + struct.pack("<I", 0), StatusCodes.BadTcpMessageTypeInvalid),
        (b"HELF" + struct.pack("<I", 20) + b"\xff" * 12, StatusCodes.BadDecodingError),
        (b"OPNF" + struct.pack("<I", 16) + b"\x00" * 8, StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 24) + b"\x00" * 16, StatusCodes.BadTcpMessageTypeInvalid),
    ],
)
async def test_what_does_not_start_like_a_client_ends_with_an_error(
    strict: Running, data: bytes, code: int
) -> None:
    async with wire(strict) as raw:
        raw.writer.write(data)
        assert error_code(await raw.end()) == code
    await still_serves(strict)


@pytest.mark.parametrize(("receive", "send"), [(0, 65536), (65536, 0), (8191, 65536), (65536, 1)])
async def test_buffers_too_small_to_work_with_are_refused(strict: Running, receive: int, send: int) -> None:
    async with wire(strict) as raw:
        raw.hello(receive=receive, send=send)
        assert error_code(await raw.end()) == StatusCodes.BadConnectionRejected


async def test_a_second_hello_is_refused(strict: Running) -> None:
    async with wire(strict) as raw:
        raw.hello()
        await raw.chunk()
        raw.hello()
        assert error_code(await raw.end()) == StatusCodes.BadTcpMessageTypeInvalid


async def test_a_message_before_the_channel_is_refused(strict: Running) -> None:
    async with wire(strict) as raw:
        raw.hello()
        await raw.chunk()
        raw.message(b"\x00" * 20)
        assert error_code(await raw.end()) == StatusCodes.BadSecureChannelIdInvalid


@pytest.mark.parametrize(
    ("uri", "certificate", "code"),
    [
        (
            POLICY + b"Basic128Rsa15",
            b"",
            StatusCodes.BadSecurityPolicyRejected,
        ),
        (b"nonsense", b"", StatusCodes.BadSecurityPolicyRejected),
        (
            POLICY + b"Basic256Sha256",
            b"x",
            StatusCodes.BadSecurityChecksFailed,
        ),
        (
            POLICY + b"Basic256Sha256",
            b"",
            StatusCodes.BadSecurityChecksFailed,
        ),
    ],
)
async def test_a_channel_nobody_offers_or_is_trusted_for_is_refused(
    strict: Running, uri: bytes, certificate: bytes, code: int
) -> None:
    async with wire(strict) as raw:
        raw.hello()
        await raw.chunk()
        raw.ask_to_open(uri, certificate, bytes.fromhex(strict.bench.identity.thumbprint))
        assert error_code(await raw.end()) == code
    await still_serves(strict)


async def test_a_trusted_certificate_without_its_key_is_of_no_use(strict: Running) -> None:
    certificate = pki.application("Borrowed", private=pki.key(18))
    folder = strict.bench.data / "pki" / "trusted" / "certs"
    (folder / "borrowed.der").write_bytes(pki.der(certificate))
    async with wire(strict) as raw:
        raw.hello()
        await raw.chunk()
        uri = POLICY + b"Basic256Sha256"
        raw.ask_to_open(uri, pki.der(certificate), bytes.fromhex(strict.bench.identity.thumbprint))
        assert error_code(await raw.end()) == StatusCodes.BadSecurityChecksFailed


def request(kind: int, body: bytes, additional: bytes = b"\x00\x00\x00") -> bytes:
    """A request with its header; ``additional`` is the header's AdditionalHeader."""
    header = b"\x00\x00" + struct.pack("<qIIiI", 0, 99, 0, -1, 0) + additional
    return b"\x01\x00" + struct.pack("<H", kind) + header + body


ENDPOINTS = ObjectIds.GetEndpointsRequest_Encoding_DefaultBinary


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<iii", -1, 2**31 - 1, -4),
        struct.pack("<ii", -1, 2**31 - 1),
        struct.pack("<i", -7),
        struct.pack("<i", 2**31 - 1),
        b"",
    ],
)
async def test_lengths_that_cannot_be_are_answered_at_once(strict: Running, body: bytes) -> None:
    async with wire(strict) as raw:
        await raw.open()
        start = time.monotonic()
        raw.message(request(ENDPOINTS, body))
        answer = await raw.chunk()
        assert answer[:4] == b"MSGF"
        assert struct.pack("<I", StatusCodes.BadDecodingError) in answer
        assert time.monotonic() - start < WITHIN
        assert await raw.end() == b""  # over None, where nobody is known, that is the end
    await still_serves(strict)


async def test_on_a_channel_that_serves_more_a_senseless_request_costs_only_itself(served: Running) -> None:
    async with wire(served) as raw:
        await raw.open()
        raw.message(request(ENDPOINTS, struct.pack("<i", -7)))
        assert struct.pack("<I", StatusCodes.BadDecodingError) in await raw.chunk()
        raw.message(request(ENDPOINTS, struct.pack("<iii", -1, -1, -1)))
        assert struct.pack("<I", StatusCodes.BadDecodingError) not in await raw.chunk()


async def test_an_array_of_nothing_in_the_header_ends_the_connection(strict: Running) -> None:
    variant = bytes([0x80]) + struct.pack("<i", 2**31 - 1)
    number = ObjectIds.LiteralOperand_Encoding_DefaultBinary  # holds a Variant
    additional = b"\x01\x00" + struct.pack("<H", number) + b"\x01" + struct.pack("<i", len(variant)) + variant
    async with wire(strict) as raw:
        await raw.open()
        raw.message(request(ENDPOINTS, b"", additional))
        assert error_code(await raw.end()) == StatusCodes.BadDecodingError
    await still_serves(strict)


async def test_chunks_without_an_end_are_cut_off(strict: Running) -> None:
    async with wire(strict) as raw:
        await raw.open()
        for _ in range(MAX_EARLY_MESSAGE // 8000 + 2):
            raw.message(b"\x00" * 8000, b"MSGC")
        await cut_off(raw, StatusCodes.BadTcpMessageTooLarge)
    await still_serves(strict)


async def test_tiny_chunks_without_an_end_are_cut_off(strict: Running) -> None:
    async with wire(strict) as raw:
        await raw.open()
        for _ in range(2000):
            raw.message(b"\x00", b"MSGC")
        await cut_off(raw, StatusCodes.BadTcpMessageTooLarge)


async def test_a_repeated_sequence_number_ends_the_connection(strict: Running) -> None:
    async with wire(strict) as raw:
        await raw.open()
        raw.sequence -= 1
        raw.message(request(ENDPOINTS, struct.pack("<iii", -1, -1, -1)))
        assert error_code(await raw.end()) == StatusCodes.BadSecurityChecksFailed


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff" * 40, struct.pack("<BBH", 1, 0, 60000)])
async def test_a_message_without_a_header_ends_the_connection(strict: Running, body: bytes) -> None:
    async with wire(strict) as raw:
        await raw.open()
        raw.message(body)
        assert error_code(await raw.end()) == StatusCodes.BadDecodingError


async def test_a_service_nobody_knows_is_answered(served: Running) -> None:
    async with wire(served) as raw:
        await raw.open()
        raw.message(request(60_000, b""))
        answer = await raw.chunk()
        assert struct.pack("<I", StatusCodes.BadSessionIdInvalid) in answer


async def test_sessions_that_are_created_and_left_are_gone(served: Running) -> None:
    await until(lambda: not served.server.sessions)
    for _ in range(20):
        async with wire(served) as raw:
            await raw.open()
            body = struct_to_binary(ua.CreateSessionParameters())
            for _again in range(3):
                raw.message(request(ObjectIds.CreateSessionRequest_Encoding_DefaultBinary, body))
                assert (await raw.chunk())[:4] == b"MSGF"
            assert served.server.sessions <= 2
    await until(lambda: not served.server.sessions)


async def test_a_connection_that_comes_to_nothing_is_closed(
    served: Running, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(connection, "GRACE", 1.0)
    async with connect(served) as client, wire(served) as silent, wire(served) as talker:
        await talker.open()
        assert error_code(await silent.end()) == StatusCodes.BadTimeout
        assert error_code(await talker.end()) == StatusCodes.BadTimeout
        assert await client.get_node("i=2259").read_value() == 0


async def test_a_client_that_does_not_read_is_not_served_any_more(served: Running) -> None:
    async with wire(served) as raw:
        await raw.open()
        transport = raw.reader._transport  # type: ignore[attr-defined]  # has no other name
        transport.pause_reading()
        one = request(ENDPOINTS, struct.pack("<iii", -1, -1, -1))
        for _ in range(3000):
            raw.message(one)
        listener = served.server._listener
        assert listener is not None
        await until(lambda: any(not c._writable.is_set() for c in list(listener.open)))
        stuck = next(c for c in list(listener.open) if not c._writable.is_set())
        assert len(stuck._pending) < 5000
        await still_serves(served)
        transport.abort()


async def test_the_oldest_connection_without_a_session_makes_room(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = served.server._listener
    assert listener is not None
    await until(lambda: not listener.open)
    monkeypatch.setattr(listener, "limit", 2)
    async with wire(served) as one, wire(served) as two:
        await one.open()
        await two.open()
        async with wire(served) as three:
            await three.open()
            assert await one.end() == b""
    await until(lambda: not listener.open)
    await still_serves(served)


async def test_where_all_have_sessions_one_more_is_turned_away(
    served: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = served.server._listener
    assert listener is not None
    await until(lambda: not listener.open)
    monkeypatch.setattr(listener, "limit", 2)
    async with connect(served) as first, connect(served) as second:
        async with wire(served) as three:
            assert error_code(await three.end()) == StatusCodes.BadTcpServerTooBusy
        for client in (first, second):
            assert await client.get_namespace_array()
    await until(lambda: not listener.open)
    await still_serves(served)
