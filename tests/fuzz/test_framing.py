"""Any bytes, cut anywhere, are chunks or a TransportError, and the cuts make no difference."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from support.fuzz.budget import INPUTS, budget
from support.wire import chunk, hello

from server.opcua.transport.framing import Frames, TransportError
from server.opcua.transport.hello import greet
from server.opcua.transport.limits import LIMITS

LIMIT = 8192
KINDS = st.sampled_from([b"MSGF", b"MSGC", b"MSGA", b"OPNF", b"CLOF", b"HELF", b"ACKF", b"MSGX", b"\0\0\0\0"])
SIZES = st.sampled_from([0, 7, 8, 11, 12, 13, 100, LIMIT, LIMIT + 1, 2**31 - 1, 2**32 - 1])
BODY = st.binary(max_size=40)
CHUNK = st.builds(chunk, KINDS, BODY)
LIE = st.builds(lambda kind, size, body: kind + struct.pack("<I", size) + body, KINDS, SIZES, BODY)
STREAM = st.lists(CHUNK | CHUNK | CHUNK | LIE | BODY, max_size=6).map(b"".join)
CUTS = st.lists(st.integers(0, 300), max_size=12)


def outcome(pieces: list[bytes], *, opened: bool) -> tuple[list[bytes], int | None]:
    """The chunks that come out, and the code of the error that ends them."""
    frames, found = Frames(), []
    if opened:
        frames.open(LIMIT)
    for piece in pieces:
        frames.feed(piece)
        try:
            while (whole := frames.next()) is not None:
                found.append(whole)
        except TransportError as error:
            return found, error.code
        assert len(frames._part) + len(frames._data) <= LIMIT + len(piece)
    return found, None


@budget(1000)
@given(STREAM, CUTS, st.booleans())
def test_cuts_make_no_difference(stream: bytes, cuts: list[int], opened: bool) -> None:
    INPUTS["framing"] += 1
    places = sorted({min(cut, len(stream)) for cut in cuts})
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    whole = outcome([stream], opened=opened)
    assert outcome(pieces, opened=opened) == whole
    assert outcome([bytes((byte,)) for byte in stream], opened=opened) == whole


@budget(800)
@given(
    st.binary(max_size=80).map(lambda body: chunk(b"HELF", body))
    | st.builds(
        hello,
        receive=st.integers(0, 2**32 - 1),
        send=st.integers(0, 2**32 - 1),
        message=st.integers(0, 2**32 - 1),
        url=st.binary(max_size=5000),
    )
)
def test_a_hello_is_acknowledged_or_refused(data: bytes) -> None:
    INPUTS["hello"] += 1
    try:
        agreed, _, answer = greet(data, LIMITS)
    except TransportError:
        return
    assert len(answer) == 28
    assert 8192 <= agreed.receive_chunk <= LIMITS.chunk
    assert 8192 <= agreed.send_chunk <= LIMITS.chunk
