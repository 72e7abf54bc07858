"""Who answers at the port is no OPC UA server, or a broken one."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.contract.opcua import OpcUaCase
from support.contract.proxy import frame_proxy
from support.downstream import named, settings, source
from support.large import serving_large, text
from support.net import until
from support.opcua import serving
from support.turns import counting_turns

from sources.errors import ConnectionLost, Unreachable
from sources.opcua.connection import connect
from sources.opcua.reading import read_raw
from sources.opcua.security import Surroundings
from sources.opcua.stack import ua


@asynccontextmanager
async def stranger(*answers: bytes, hangs_up: bool = False) -> AsyncIterator[int]:
    """Gives each thing it is sent the next answer, then says no more."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        for answer in answers:
            if not await reader.read(65_536):
                break
            writer.write(answer)
        if hangs_up:
            writer.close()
        else:
            await reader.read()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


def acknowledge(size: int = 65_535) -> bytes:
    return b"ACKF" + struct.pack("<IIIIII", 28, 0, size, size, 0, 0)


def error(code: int, reason: bytes) -> bytes:
    return b"ERRF" + struct.pack("<IIi", 16 + len(reason), code, len(reason)) + reason


@pytest.mark.parametrize(
    ("answers", "hangs_up", "told"),
    [
        ((), False, "no OPC UA server answers there within 0.5 s"),
        ((), True, "connection"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), False, "cannot be read"),
        ((b"ACKF\xff\xff\xff\xff",), False, "cannot be read: a chunk of 4294967295 bytes"),
        ((error(0x80830000, b"no such endpoint"),), False, "BadTcpEndpointUrlInvalid no such endpoint"),
        ((error(0x80830000, b"no \xff such"),), False, "BadTcpEndpointUrlInvalid no \ufffd such"),
        ((acknowledge(),), False, "within 0.5 s"),
        ((acknowledge(), b"OPNF\x20\x00\x00\x00" + b"\x00" * 24), False, "cannot be read"),
        ((acknowledge(), b"MSGF\x20\x00\x00\x00" + b"\xff" * 24), False, "cannot be read"),
    ],
)
async def test_it_is_unreachable_and_says_why(answers: tuple[bytes, ...], hangs_up: bool, told: str) -> None:
    async with stranger(*answers, hangs_up=hangs_up) as port:
        device = source(port, [named("Speed")], timeout="500ms")
        with pytest.raises(Unreachable) as found:
            async with device.connect():
                pass
    assert told in str(found.value)


async def test_an_answer_of_another_kind_is_none(tmp_path: Path) -> None:
    speed = named("Speed")
    read, write = bytes.fromhex("01007a02"), bytes.fromhex("0100a402")
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        there.feed("Speed", 7.0)
        async with frame_proxy(lambda: there.port, OpcUaCase.framing) as between:
            async with source(between.port, [speed]).connect() as session:
                assert (await session.read([speed])).values == (7.0,)
                between.spoil = lambda frame: (frame.replace(read, write),)
                with pytest.raises(ConnectionLost, match="the answer to Read is of another kind"):
                    await session.read([speed])
            await until(lambda: between.open == 0)


async def test_to_be_cancelled_while_dialling_leaves_nothing() -> None:
    async with stranger() as port:
        device = source(port, [named("Speed")], timeout="30s")

        async def dial() -> None:
            async with device.connect():
                pass

        for turns in range(12):
            task = asyncio.create_task(dial())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,), timeout=10)
            assert task.cancelled()


def cut(frame: bytes, size: int) -> list[bytes]:
    """The message of one chunk in chunks of so many bytes."""
    head, sequence, body = frame[8:16], int.from_bytes(frame[16:20], "little"), frame[24:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    kinds = [b"C"] * (len(parts) - 1) + [b"F"]
    return [
        b"MSG"
        + kind
        + struct.pack("<I", 24 + len(part))
        + head
        + struct.pack("<I", sequence + number)
        + frame[20:24]
        + part
        for number, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    ]


async def test_thousands_of_tiny_chunks_at_once_let_others_have_their_turns(tmp_path: Path) -> None:
    with serving_large(tmp_path, {"V": text(3_500)}) as there:
        async with frame_proxy(lambda: there.running.port, OpcUaCase.framing) as between:
            connection = await connect(settings(between.port), Surroundings())
            try:
                between.spoil = lambda frame: (b"".join(cut(frame, 1)),)
                async with counting_turns() as turns:
                    (raw,) = await read_raw(connection, [(ua.NodeId("Large.V", 1), 13)])
                assert raw.variant == text(3_500)
                assert turns.count > 15
            finally:
                await connection.channel.gone()


async def test_who_answers_more_than_was_asked_is_hung_up_on(tmp_path: Path) -> None:
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        async with frame_proxy(lambda: there.port, OpcUaCase.framing) as between:
            async with source(between.port, [speed := named("Speed")]).connect() as session:

                def spoil(frame: bytes) -> tuple[bytes, ...]:
                    start = int.from_bytes(frame[16:20], "little")
                    return tuple(
                        frame[:16] + struct.pack("<II", start + number, 5_000 + number) + frame[24:]
                        for number in range(500)
                    )

                between.spoil = spoil
                with pytest.raises(ConnectionLost, match="more answers than there were requests"):
                    await session.read([speed])
            await until(lambda: between.open == 0)
