from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.opcua.framing import MAX_CHUNK, Frames, TransportError, error_message
from server.opcua.types import StatusCodes


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + b"F" + struct.pack("<I", 8 + len(body)) + body


bodies = st.binary(min_size=4, max_size=300)
chunks = st.lists(st.builds(chunk, st.sampled_from([b"HEL", b"OPN", b"MSG", b"CLO"]), bodies), max_size=8)


@given(chunks, st.lists(st.integers(0, 2500), max_size=20))
def test_chunks_come_out_whole_however_they_arrive(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    frames = Frames()
    found: list[bytes] = []
    for start, stop in pairwise(edges):
        found += frames.feed(stream[start:stop])
    assert found == sent


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"GET / HT", StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 0xFFFFFFFF), StatusCodes.BadTcpMessageTooLarge),
        (b"MSGF" + struct.pack("<I", MAX_CHUNK + 1), StatusCodes.BadTcpMessageTooLarge),
        (b"HELF" + struct.pack("<I", 7), StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 11), StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 0), StatusCodes.BadTcpMessageTypeInvalid),
    ],
)
def test_a_header_no_client_may_send_ends_it_at_once(header: bytes, code: int) -> None:
    with pytest.raises(TransportError) as caught:
        Frames().feed(header)
    assert caught.value.code == code


def test_seven_bytes_say_nothing_yet() -> None:
    assert Frames().feed(b"\xff" * 7) == []


def test_an_error_message_tells_the_code_and_nothing_else() -> None:
    message = error_message(StatusCodes.BadSecurityChecksFailed)
    assert message[:4] == b"ERRF"
    assert struct.unpack("<IIi", message[4:]) == (16, StatusCodes.BadSecurityChecksFailed, -1)
