"""What a downstream server sends, spoiled: decoded, or refused by the error meant for it, and soon."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import Any

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz.budget import INPUTS, budget
from support.fuzz.instances import Known, Maker
from support.fuzz.mutate import mutated

from sources.opcua import wire
from sources.opcua.assembly import Assembly
from sources.opcua.mapping import Mapper, Unmappable
from sources.opcua.stack import encode
from sources.opcua.watch import ua_strings

SEED = st.integers(0, 2**63)
SPOILED = 12
"""Inputs made of each valid one."""
SOON = 2.0
"""Seconds of processor time."""
A_BYTE = 60
"""Bytes of memory that a byte may become: a value of five takes a place in each of five columns."""
_ANY: Any = ua


def of(kind: str, rng: random.Random) -> bytes:
    """A valid message."""
    maker = Maker(rng, Known())
    made = maker.make(getattr(_ANY, kind))
    if kind.endswith("Response"):
        made.TypeId = getattr(_ANY, kind)().TypeId
        made.ResponseHeader = _ANY.ResponseHeader(ServiceResult=_ANY.StatusCode(0))
    holder = getattr(made, "Parameters", made)
    message = getattr(holder, "NotificationMessage", None)
    if message is not None:
        kinds: Any = (ua.DataChangeNotification, ua.EventNotificationList, ua.StatusChangeNotification)
        message.NotificationData = [maker.make(one) for one in rng.choices(kinds, k=2)]
    return encode(made)


def values(data: bytes) -> None:
    """A notification's values, both ways, and what becomes of them."""
    wire.changes(data)
    for _, raw in wire.raw_changes(data):
        if raw.variant:
            moved(raw.variant)


def moved(variant: bytes) -> None:
    kind, value, end = wire.variant(variant, 0)
    assert end == len(variant)
    if kind == wire.LOCALIZED and isinstance(value, bytes):
        wire.text_of(value)
    if kind == wire.ARRAY | 12 and isinstance(value, bytes):
        with suppress(wire.Malformed):  # a matrix of them
            ua_strings(value)
    try:
        Mapper(lambda there: there + 1 if there < 100 else None, {}).variant(variant)
    except Unmappable:
        return


def published(data: bytes) -> None:
    for notification in wire.publish(data).notifications:
        if wire.is_data_change(notification):
            wire.value_count(notification.body)
            values(notification.body)
        wire.status_change(notification)


def read(data: bytes) -> None:
    for raw in wire.read_results(data, 1000)[1]:
        if raw.variant:
            moved(raw.variant)


def republished(data: bytes) -> None:
    for notification in wire.republished(data).notifications:
        if wire.is_data_change(notification):
            values(notification.body)


DECODERS: dict[str, Callable[[bytes], None]] = {
    "PublishResponse": published,
    "RepublishResponse": republished,
    "ReadResponse": read,
    "DataChangeNotification": values,
}


def meets(kind: str, data: bytes) -> bool:
    """Whether it can be decoded. Raises AssertionError for another error, and for what takes too long."""
    INPUTS[f"a downstream server's {kind}"] += 1
    began = time.process_time()
    try:
        DECODERS[kind](data)
    except wire.Malformed:
        return False
    except Exception as error:
        raise AssertionError(f"{kind} {data.hex()}") from error
    finally:
        assert time.process_time() - began < SOON, f"{kind} {data.hex()}"
    return True


@pytest.mark.parametrize("kind", DECODERS)
def test_valid_messages_are_decoded_and_spoiled_ones_decoded_or_malformed(kind: str) -> None:
    found = {True: 0, False: 0}

    @budget(150, shrink=False)
    @given(SEED)
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        valid, other = of(kind, rng), of(kind, rng)
        assert meets(kind, valid)
        for _ in range(SPOILED):
            found[meets(kind, mutated(rng, valid, (other,)))] += 1

    spoil()
    assert min(found.values()) > 100, "some are still read, and some are not"


def test_what_holds_a_lie_at_every_place_is_malformed_or_read() -> None:
    """The largest counts and lengths there are, wherever one may stand."""
    rng = random.Random(7)
    for kind in DECODERS:
        valid = next(data for data in map(of, repeat(kind), repeat(rng)) if 100 < len(data) < 1500)
        for at in range(len(valid) - 3):
            for lie in (-1, 2**31 - 1, -(2**31), 1 << 20):
                meets(kind, valid[:at] + struct.pack("<i", lie) + valid[at + 4 :])


_HEAD = b"\x01\x00\x7a\x02" + bytes(8) + struct.pack("<II", 1, 0) + b"\x00" + b"\xff" * 4 + bytes(3)
_SIZE = 1 << 17


def counted(head: bytes, piece: bytes) -> bytes:
    count = (_SIZE - len(head)) // len(piece)
    return head + struct.pack("<i", count) + piece * count


LARGE: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "values of nothing": (partial(wire.read_results, most=1000), counted(_HEAD, b"\0")),
    "changes of nothing": (wire.raw_changes, counted(b"", b"\0" * 5)),
    "changes of nothing, in columns": (wire.changes, counted(b"", b"\0" * 5)),
    "changes of Booleans": (wire.changes, counted(b"", b"\0\0\0\0\x01\x01\x01")),
    "texts of nothing": (wire.raw_changes, counted(b"\1\0\0\0\0\0\0\0\x01\x8c", b"\xff" * 4)),
    "Variants in Variants": (wire.raw_changes, b"\1\0\0\0\0\0\0\0\x01" + b"\x98\1\0\0\0" * (_SIZE // 5)),
    "Variants of nothing": (wire.raw_changes, counted(b"\1\0\0\0\0\0\0\0\x01\x98", b"\0")),
    "sequence numbers": (wire.publish, counted(_HEAD.replace(b"\x7a\x02", b"\x3d\x03") + bytes(4), bytes(4))),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_message_stays_within_memory(name: str) -> None:
    decode, data = LARGE[name]
    tracemalloc.start()
    began = time.process_time()
    try:
        decode(data)
    except wire.Malformed:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < A_BYTE * len(data)
    assert time.process_time() - began < 10.0  # while memory is traced


@budget(400)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"C", b"C", b"F", b"A", b"X"]), st.integers(1, 2), st.binary(max_size=40)),
        max_size=60,
    )
)
def test_chunks_in_any_order_are_messages_or_refused(chunks: list[tuple[bytes, int, bytes]]) -> None:
    INPUTS["a downstream server's chunks"] += 1
    most, held = 100, 0
    assembly = Assembly(most)
    for kind, request, body in chunks:
        try:
            found = assembly.add(kind, request, body)
        except ValueError:
            return
        held = sum(map(len, assembly._parts))
        assert held <= most
        if found is not None:
            assert found.request == request
            assert len(found.body) <= most
            assert not (found.body and found.refused)


def test_a_message_without_end_is_passed_over_so_far_and_no_further() -> None:
    assembly = Assembly(1 << 20)
    assert assembly.add(b"C", 1, bytes(1 << 20)) is None
    refused = assembly.add(b"C", 1, b"1")
    assert refused is not None
    assert refused.refused == 0x80B90000
    assert not assembly._parts
    with pytest.raises(ValueError, match="more than"):  # noqa: PT012  # which of them is one of many
        for _ in range(10 << 20):
            assert assembly.add(b"C", 1, b"") is None
