from __future__ import annotations

import struct

import pytest
from support.wire import hello

from server.opcua.transport.framing import TransportError
from server.opcua.transport.hello import greet
from server.opcua.transport.limits import LIMITS, Negotiated
from server.opcua.types import StatusCodes


def test_the_smaller_buffers_count_on_either_side() -> None:
    agreed, url, answer = greet(hello(receive=9000, send=8192, message=70_000, chunks=5, version=0), LIMITS)
    assert agreed == Negotiated(8192, 9000, 70_000, 5, 0)
    assert url == "opc.tcp://localhost"
    assert answer[:4] == b"ACKF"
    # Acknowledge: what we receive and send, and what a request may have (OPC 10000-6 §7.1.2.4).
    assert struct.unpack("<IIIIII", answer[4:]) == (28, 0, 8192, 9000, LIMITS.message, LIMITS.chunks)


def test_we_promise_no_larger_buffers_than_ours() -> None:
    agreed, _, _ = greet(hello(receive=2**32 - 1, send=2**32 - 1), LIMITS)
    assert (agreed.receive_chunk, agreed.send_chunk) == (65535, 65535)
    assert (agreed.max_response, agreed.max_response_chunks) == (0, 0)


def test_the_largest_request_fits_into_the_smallest_chunks() -> None:
    room = 8192 - 16 - 8 - 32 - 16  # headers, signature, padding
    assert LIMITS.chunks * room >= LIMITS.message


def test_a_newer_version_is_welcome_and_answered_with_ours() -> None:
    agreed, _, answer = greet(hello(version=3), LIMITS)
    assert agreed.version == 3
    assert struct.unpack_from("<I", answer, 8) == (0,)


@pytest.mark.parametrize(("receive", "send"), [(0, 65536), (65536, 0), (8191, 65536), (65536, 1)])
def test_buffers_too_small_to_work_with_are_refused(receive: int, send: int) -> None:
    with pytest.raises(TransportError) as caught:
        greet(hello(receive=receive, send=send), LIMITS)
    assert caught.value.code == StatusCodes.BadConnectionRejected


def test_an_endpoint_url_may_have_4096_bytes_and_no_more() -> None:
    assert greet(hello(url=b"u" * 4096), LIMITS)[1] == "u" * 4096
    with pytest.raises(TransportError) as caught:
        greet(hello(url=b"u" * 4097), LIMITS)
    assert caught.value.code == StatusCodes.BadTcpEndpointUrlInvalid


@pytest.mark.parametrize(
    "data",
    [
        b"HELF" + struct.pack("<I", 20) + b"\xff" * 12,
        hello()[:-1],
        hello(url=b"\xff"),
        hello()[:28] + struct.pack("<i", -2),
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(TransportError) as caught:
        greet(data, LIMITS)
    assert caught.value.code == StatusCodes.BadDecodingError


def test_a_null_url_is_an_empty_one() -> None:
    assert greet(hello()[:28] + struct.pack("<i", -1), LIMITS)[1] == ""
