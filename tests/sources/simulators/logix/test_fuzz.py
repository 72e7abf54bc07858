"""Whatever comes, an answer or a documented refusal goes; nothing breaks."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.logix import (
    everything,
    forward_close,
    forward_open,
    instance,
    multiple,
    parse_reply,
    path,
    raw_client,
    read,
    serving,
    write,
)

from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.encapsulation import Frame
from sources.simulators.logix.epath import PathError, parse_path
from sources.simulators.logix.peer import Peer
from sources.simulators.logix.tagpath import parse_tag_path

SESSION = b"\xee\xdd\xcc\xbb"
"""Stands in a frame for the handle of the session that is open."""


@pytest.fixture(scope="module")
def controller() -> LogixController:
    return LogixController(everything())


GOOD = [
    read(path("Units[1].Several[2].Label"), 1),
    b"\x52" + path("Dints") + struct.pack("<HI", 1100, 400),
    write(path("Grid[1,2,3]"), 0xC3, 1, b"\1\0"),
    b"\x53" + path("Dints") + struct.pack("<HHI", 0xC4, 100, 40) + bytes(40),
    b"\x4e" + path("A_DINT") + struct.pack("<Hii", 4, 1, -1),
    b"\x55" + instance(0x6B, 0) + struct.pack("<8H", 7, 1, 2, 3, 5, 6, 8, 10),
    b"\x03" + instance(0x6C, 0x101) + struct.pack("<5H", 4, 4, 5, 2, 1),
    b"\x4c" + instance(0x6C, 0x101) + struct.pack("<IH", 0, 100),
    b"\x04" + instance(0x8B, 1) + struct.pack("<HHQ", 1, 6, 5),
    b"\x01" + instance(1, 1),
    forward_open(4000),
    forward_open(500),
    forward_close(),
    multiple(read(path("A_DINT")), write(path("A_INT"), 0xC3, 1, b"\1\0")),
]


@st.composite
def bent(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """A good message with some bytes changed, cut, put in or said twice."""
    message = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(message)))
        match draw(st.integers(0, 3)):
            case 0:
                message[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
            case 1:
                del message[at : at + draw(st.integers(1, 4))]
            case 2:
                message[at:at] = draw(st.binary(min_size=1, max_size=8))
            case _:
                message += message[at:]
    return bytes(message[:16_000])


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=300), bent(GOOD)), st.integers(16, 4000))
def test_every_request_gets_a_reply_that_fits(controller: LogixController, message: bytes, room: int) -> None:
    for connections in (None, controller._device.new_manager()):
        raw = controller._device.answer(message, room, connections)
        reply = parse_reply(raw)
        # An error has at most a status of two words and, in the connection manager, what it is about.
        assert len(raw) <= (room if reply.status in {0, 6, 0x0A, 0x1E} else 18)


def frames(messages: list[bytes]) -> list[bytes]:
    packets = [struct.pack("<IHHHHHH", 0, 10, 2, 0, 0, 0xB2, len(m)) + m for m in messages]
    data = [(0x6F, packet) for packet in packets]
    data += [(0x65, struct.pack("<HH", 1, 0)), (0x63, b""), (0x04, b""), (0x66, b"")]
    data += [(0x70, struct.pack("<IHHHHIHHH", 0, 0, 2, 0xA1, 4, 1, 0xB1, 4, 1) + b"\4\2")]
    return [struct.pack("<HH4sI8sI", c, len(d), SESSION, 0, bytes(8), 0) + d for c, d in data]


@settings(max_examples=300, deadline=None)
@given(st.lists(bent(frames(GOOD)), min_size=1, max_size=5))
def test_a_conversation_of_broken_frames_breaks_nothing(
    controller: LogixController, raw_frames: list[bytes]
) -> None:
    peer = Peer(controller._device, ("127.0.0.1", 44818))
    registered = peer.receive(Frame(0x65, 0, bytes(8), 0, struct.pack("<HH", 1, 0)))
    assert registered is not None
    session = registered[4:8]
    for raw in raw_frames:
        padded = raw.replace(SESSION, session).ljust(24, b"\0")
        command, _, handle, _, context, options = struct.unpack_from("<HHII8sI", padded)
        reply = peer.receive(Frame(command, handle, context, options, padded[24:]))
        if reply is not None:
            back, length, _, _, echoed, _ = struct.unpack_from("<HHII8sI", reply)
            assert (back, length, echoed) == (command, len(reply) - 24, context)


@given(st.binary(max_size=40))
def test_a_path_is_parsed_or_refused(raw: bytes) -> None:
    try:
        parse_path(raw)
    except PathError:
        return


@given(st.one_of(st.text(max_size=20), st.from_regex(r"[A-Za-z_.\[\],0-9:]{1,20}", fullmatch=True)))
def test_a_written_path_is_parsed_or_refused_with_advice(text: str) -> None:
    try:
        parsed = parse_tag_path(text)
    except ValueError as error:
        assert "not a tag path" in str(error)  # noqa: PT017  # most texts raise nothing
    else:
        assert parsed.parts


async def test_noise_on_sockets_never_ends_the_server() -> None:
    noise = random.Random(0x1756)
    wholes = frames(GOOD)
    async with serving() as serves:
        for _ in range(150):
            async with raw_client(serves.port) as client:
                raw = bytearray(noise.choice(wholes) if noise.random() < 0.7 else noise.randbytes(200))
                raw[4:8] = struct.pack("<I", client.session)
                for _ in range(noise.randrange(6)):
                    raw[noise.randrange(len(raw))] = noise.randrange(256)
                await client.send(bytes(raw))
                if noise.random() < 0.5:
                    client.writer.transport.abort()
        async with raw_client(serves.port) as client:
            assert (await client.unconnected(read(path("Many009")))).data == struct.pack("<Hi", 0xC4, 27)
