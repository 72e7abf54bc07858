from __future__ import annotations

import threading

import pytest
from support.sessions import FakePeer, request

from server.opcua.services.decoding import MUCH, Decoding
from server.opcua.wire.reader import DecodingError, Reader


def reader_thread(reader: Reader) -> threading.Thread:
    reader.take(reader.left)
    return threading.current_thread()


async def test_what_is_small_is_read_at_once_and_what_is_large_beside_the_loop() -> None:
    decoding, here = Decoding(), threading.current_thread()
    small, large = request(FakePeer(), b"x" * MUCH), request(FakePeer(), b"x" * (MUCH + 1))
    assert await decoding.read(small, reader_thread) is here
    assert await decoding.read(large, reader_thread) is not here
    assert small.reader.left == large.reader.left == 0


@pytest.mark.parametrize("size", [10, MUCH + 10])
async def test_what_cannot_be_read_is_told_the_same_way(size: int) -> None:
    def fail(reader: Reader) -> bytes:
        return reader.take(size + 1)

    with pytest.raises(DecodingError):
        await Decoding().read(request(FakePeer(), b"x" * size), fail)
