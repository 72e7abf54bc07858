"""Notifications as our decoder reads them: as the stack does, and nothing but Malformed for what is none."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sources.clock import from_datetime
from sources.opcua import wire
from sources.opcua.mapping import Mapper, Unmappable
from sources.opcua.stack import decode_variant, encode, encode_variant, ua

KINDS = ua.VariantType
moments = st.one_of(
    st.none(), st.integers(0, 10**10).map(lambda seconds: datetime.fromtimestamp(seconds / 2.5, UTC))
)
values = st.one_of(
    st.booleans().map(lambda v: ua.Variant(v, KINDS.Boolean)),
    st.integers(-(2**31), 2**31 - 1).map(lambda v: ua.Variant(v, KINDS.Int32)),
    st.integers(0, 2**64 - 1).map(lambda v: ua.Variant(v, KINDS.UInt64)),
    st.floats(allow_nan=False).map(lambda v: ua.Variant(v, KINDS.Double)),
    st.integers(0, 10**9).map(lambda v: ua.Variant(datetime.fromtimestamp(v, UTC), KINDS.DateTime)),
    st.text(max_size=20).map(lambda v: ua.Variant(v, KINDS.String)),
    st.lists(st.integers(0, 255), min_size=1, max_size=5).map(lambda v: ua.Variant(v, KINDS.Int16)),
    st.text(max_size=9).map(lambda v: ua.Variant(ua.LocalizedText(v, "en"), KINDS.LocalizedText)),
    st.integers(0, 2**32 - 1).map(lambda v: ua.Variant(ua.NodeId(v, 3), KINDS.NodeId)),
    st.just(ua.Variant(ua.EUInformation("urn:u", 1, ua.LocalizedText("mm")), KINDS.ExtensionObject)),
    st.just(ua.Variant([ua.Variant(1, KINDS.Byte), ua.Variant("x")], KINDS.Variant)),
)
items = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), values, st.sampled_from([0, 0x40000000, 0x480]), moments, moments),
    max_size=6,
)


def notification(entries: list[Any]) -> bytes:
    return encode(
        ua.DataChangeNotification(
            MonitoredItems=[
                ua.MonitoredItemNotification(
                    ClientHandle=handle,
                    Value=ua.DataValue(
                        value, ua.StatusCode(status), SourceTimestamp=source, ServerTimestamp=server
                    ),
                )
                for handle, value, status, source, server in entries
            ]
        )
    )


@settings(max_examples=30)
@given(items)
def test_a_notification_is_read_as_the_stack_wrote_it(entries: list[Any]) -> None:
    body = notification(entries)
    found = wire.changes(body)
    raw = wire.raw_changes(body)
    assert found.handles == [entry[0] for entry in entries] == [handle for handle, _ in raw]
    assert found.statuses == [entry[2] for entry in entries] == [one.status for _, one in raw]
    times = [0 if entry[3] is None else from_datetime(entry[3]) for entry in entries]
    assert found.times == times == [one.time for _, one in raw]
    for (_, value, *_rest), kind, got, (_, one) in zip(entries, found.kinds, found.values, raw, strict=True):
        assert one.variant == encode_variant(value)
        assert kind & 0x3F == value.VariantType.value
        if isinstance(got, bytes):
            assert decode_variant(got) == value
        else:
            plain = value.Value
            assert got == (from_datetime(plain) if isinstance(plain, datetime) else plain)


@given(items, st.integers(0, 400), st.integers(0, 255), st.integers(0, 400))
def test_what_is_spoilt_is_malformed_or_read_and_nothing_else(
    entries: list[Any], at: int, byte: int, end: int
) -> None:
    spoilt = bytearray(notification(entries))
    if spoilt:
        spoilt[at % len(spoilt)] = byte
    cut = bytes(spoilt[: end or len(spoilt)])
    decoders: tuple[Callable[[bytes], object], ...] = (
        wire.changes,
        wire.raw_changes,
        wire.publish,
        partial(wire.read_results, most=1000),
        wire.republished,
    )
    for read in decoders:
        with contextlib.suppress(wire.Malformed):
            read(cut)
    for _, value in _readable(cut):
        with contextlib.suppress(Unmappable):
            Mapper(lambda there: there + 1, {}).variant(value.variant)


def _readable(data: bytes) -> list[tuple[int, wire.Raw]]:
    try:
        return wire.raw_changes(data)
    except wire.Malformed:
        return []


@given(st.binary(max_size=60))
def test_a_count_that_is_a_lie_costs_nothing(tail: bytes) -> None:
    for read in (wire.changes, wire.raw_changes):
        with contextlib.suppress(wire.Malformed):
            read(struct.pack("<i", 2**31 - 1) + tail)
