from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.opcua.transport.framing import Frames, TransportError, error_message
from server.opcua.types import StatusCodes

LIMIT = 65535


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", 8 + len(body)) + body


def opened() -> Frames:
    frames = Frames()
    frames.open(LIMIT)
    return frames


def cut(frames: Frames, data: bytes) -> list[bytes]:
    """All the chunks that ``data`` completes."""
    frames.feed(data)
    found = []
    while (one := frames.next()) is not None:
        found.append(one)
    return found


bodies = st.binary(min_size=4, max_size=300)
chunks = st.lists(
    st.builds(chunk, st.sampled_from([b"OPNF", b"MSGF", b"MSGC", b"MSGA", b"CLOF"]), bodies), max_size=8
)


@given(chunks, st.lists(st.integers(0, 2500), max_size=20), st.booleans())
def test_chunks_come_out_whole_however_they_arrive(sent: list[bytes], cuts: list[int], lazy: bool) -> None:
    stream = b"".join(sent)
    edges = sorted({0, len(stream), *(at for at in cuts if at < len(stream))})
    frames, found = opened(), []
    for start, end in pairwise(edges):
        if lazy:
            frames.feed(stream[start:end])
        else:
            found += cut(frames, stream[start:end])
    found += cut(frames, b"")
    assert found == sent
    assert not frames.begun
    assert not frames.waiting


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_chunks_or_an_error(data: bytes, hello: bool) -> None:
    frames = Frames() if hello else opened()
    try:
        found = cut(frames, data)
    except TransportError:
        return
    assert data.startswith(b"".join(found))


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"GET / HT", StatusCodes.BadTcpMessageTypeInvalid),
        (b"ACKF" + struct.pack("<I", 28), StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGX" + struct.pack("<I", 28), StatusCodes.BadTcpMessageTypeInvalid),
        (b"OPNC" + struct.pack("<I", 28), StatusCodes.BadTcpMessageTypeInvalid),
        (b"CLOA" + struct.pack("<I", 28), StatusCodes.BadTcpMessageTypeInvalid),
        (b"HELF" + struct.pack("<I", 32), StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 0xFFFFFFFF), StatusCodes.BadTcpMessageTooLarge),
        (b"MSGF" + struct.pack("<I", LIMIT + 1), StatusCodes.BadTcpMessageTooLarge),
        (b"MSGF" + struct.pack("<I", 11), StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 0), StatusCodes.BadTcpMessageTypeInvalid),
    ],
)
def test_a_header_no_client_may_send_ends_it_at_once(header: bytes, code: int) -> None:
    for split in (0, 3, 7):
        frames = opened()
        cut(frames, header[:split])
        with pytest.raises(TransportError) as caught:
            cut(frames, header[split:])
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"MSGF" + struct.pack("<I", 24), StatusCodes.BadTcpMessageTypeInvalid),
        (b"OPNF" + struct.pack("<I", 132), StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 0xFFFFFFFF), StatusCodes.BadTcpMessageTooLarge),
        (b"HELF" + struct.pack("<I", 65535), StatusCodes.BadTcpMessageTooLarge),
        (b"HELF" + struct.pack("<I", 7), StatusCodes.BadTcpMessageTypeInvalid),
    ],
)
def test_first_comes_hello_and_it_is_small(header: bytes, code: int) -> None:
    with pytest.raises(TransportError) as caught:
        cut(Frames(), header)
    assert caught.value.code == code


def test_the_largest_chunk_is_taken() -> None:
    largest = chunk(b"MSGF", b"x" * (LIMIT - 8))
    assert cut(opened(), largest) == [largest]


def test_seven_bytes_say_nothing_yet() -> None:
    frames = Frames()
    assert cut(frames, b"\xff" * 7) == []
    assert frames.begun


def test_a_whole_chunk_is_not_copied() -> None:
    one = chunk(b"MSGF", b"x" * 1000)
    assert cut(opened(), one)[0] is one


def test_a_large_chunk_in_small_pieces_is_kept_in_one_place() -> None:
    frames = opened()
    one = chunk(b"MSGF", bytes(range(256)) * 200)
    cut(frames, one[:9])
    kept = frames._part
    for at in range(9, len(one) - 1):
        assert cut(frames, one[at : at + 1]) == []
        assert frames._part is kept
    assert cut(frames, one[-1:]) == [one]
    assert not frames.begun


def test_an_error_message_tells_the_code_and_nothing_else() -> None:
    message = error_message(StatusCodes.BadSecurityChecksFailed)
    assert message[:4] == b"ERRF"
    assert struct.unpack("<IIi", message[4:]) == (16, StatusCodes.BadSecurityChecksFailed, -1)


def test_an_error_message_may_have_a_reason_of_4096_bytes() -> None:
    message = error_message(StatusCodes.BadTimeout, "ü" * 5000)
    assert struct.unpack("<IIi", message[4:16]) == (16 + 4096, StatusCodes.BadTimeout, 4096)
    assert len(message) == 16 + 4096
