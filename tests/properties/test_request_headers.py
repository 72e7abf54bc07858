"""The quick way through a RequestHeader and the plain one come to the same."""

from __future__ import annotations

import struct
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.opcua import dispatcher
from server.opcua.dispatcher import Dispatcher
from server.opcua.requests import Needs, Service
from server.opcua.wire.nodeid import key, numeric
from server.opcua.wire.reader import DecodingError
from server.opcua.wire.writer import string

READ = Service("Read", numeric(631), numeric(634), cast("Any", None), Needs.Session)
TOKEN = key(bytes(range(32)))
NOTHING = b"\x00\x00\x00"

kinds = st.sampled_from(
    [READ.request, numeric(1), numeric(70_000), b"\x02\x00\x00\x77\x02\x00\x00", b"\x01\x01\x77\x02"]
)
tokens = st.sampled_from([TOKEN, key(b"x" * 31), key("x" * 32), numeric(7), key(bytes(32), 1)])
entries = st.sampled_from([None, "", "order 7"])
more = st.sampled_from([NOTHING, b"\x00\x00\x01\xff\xff\xff\xff", b"\x01\x00\x05\x00\x01\x01\x00\x00\x00x"])
numbers = st.integers(0, 0xFFFFFFFF)


def body(kind: bytes, token: bytes, handle: int, entry: str | None, hint: int, extra: bytes) -> bytes:
    return kind + token + struct.pack("<qII", 5, handle, 9) + string(entry) + struct.pack("<I", hint) + extra


def taken(data: bytes, *, quick: bool) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatcher, "time", type("Clock", (), {"monotonic": staticmethod(lambda: 100.0)}))
        if not quick:
            patch.setattr(dispatcher, "_OUR_TOKEN", b"none")
        try:
            made = Dispatcher([READ]).request(cast("Any", None), 3, data)
        except DecodingError as error:
            return error.code
        return made.service.name, made.service.request, made.token, made.handle, made.deadline, made.reader.at


@given(kinds, tokens, numbers, entries, numbers, more, st.binary(max_size=9))
@example(READ.request, TOKEN, 7, None, 5000, NOTHING, b"rest")
def test_both_ways_come_to_the_same(  # each is a field of the header
    kind: bytes, token: bytes, handle: int, entry: str | None, hint: int, extra: bytes, rest: bytes
) -> None:
    data = body(kind, token, handle, entry, hint, extra) + rest
    assert taken(data, quick=True) == taken(data, quick=False)


@given(st.binary(max_size=90), st.integers(0, 90))
def test_any_bytes_come_to_the_same(noise: bytes, cut: int) -> None:
    whole = body(READ.request, TOKEN, 7, None, 5000, NOTHING)
    for data in (noise, whole[:cut], whole[:cut] + noise, TOKEN[:cut] + noise):
        assert taken(data, quick=True) == taken(data, quick=False)


def test_the_usual_header_goes_the_quick_way() -> None:
    data = body(READ.request, TOKEN, 7, None, 5000, NOTHING) + b"rest"
    name, _, token, handle, deadline, at = cast("Any", taken(data, quick=True))
    assert (name, token, handle, deadline) == ("Read", TOKEN, 7, 105.0)
    assert data[at:] == b"rest"
