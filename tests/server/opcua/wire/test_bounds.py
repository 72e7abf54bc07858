"""Messages that must end in an error, soon and without memory. Each is built as the defect it met."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from server.opcua.wire import bounds

bounds.install()


def string_of(length: int) -> bytes:
    return struct.pack("<i", length)


def test_the_bounds_are_put_in_place_once() -> None:
    before = Buffer.read
    bounds.install()
    assert Buffer.read is before


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        # A string whose negative length would wind the buffer back, as an element of a list.
        ("GetEndpointsParameters", string_of(-1) + string_of(2**31 - 1) + string_of(-4)),
        ("GetEndpointsParameters", string_of(-5)),
        # Lists that claim more than the message has.
        ("GetEndpointsParameters", string_of(-1) + string_of(2**31 - 1)),
        ("ReadParameters", struct.pack("<di", 0, 0) + string_of(1000) + b"\0" * 100),
        # Arrays of nothing.
        ("Variant", bytes([0x80]) + string_of(2**31 - 1)),
        ("Variant", bytes([0x80]) + string_of(3) + b"abc"),
        ("Variant", bytes([0x80 | 11]) + string_of(2**31 - 1)),
        ("Variant", bytes([0x80 | 12]) + string_of(3) + string_of(-1)),
        # Dimensions that are not the array's.
        ("Variant", bytes([0xC0 | 3]) + string_of(1) + b"x" + string_of(2) + struct.pack("<ii", 1000, 1000)),
        ("Variant", bytes([0xC0 | 3]) + string_of(1) + b"x" + string_of(2) + struct.pack("<ii", -1, -1)),
        ("Variant", bytes([0xC0 | 3]) + string_of(1) + b"x" + string_of(1) + struct.pack("<i", 999_999)),
    ],
)
def test_lengths_that_cannot_be_end_in_an_error(kind: str, data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ua.uaerrors.UaError):
            read(kind, data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def read(kind: str, data: bytes) -> object:
    if kind == "Variant":
        return ua_binary.variant_from_binary(Buffer(data))
    return ua_binary.struct_from_binary(getattr(ua, kind), Buffer(data))


VALUES = [
    ua.Variant([1, 2, 3], ua.VariantType.Int32),
    ua.Variant([], ua.VariantType.Int32, is_array=True),
    ua.Variant(["a", None, ""], ua.VariantType.String),
    ua.Variant([[1, 2], [3, 4], [5, 6]], ua.VariantType.Byte),
    ua.Variant([[[1, 2]], [[3, 4]]], ua.VariantType.Double),
    ua.Variant([ua.LocalizedText("a", "en")], ua.VariantType.LocalizedText),
    ua.Variant(5.0, ua.VariantType.Double),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_what_an_encoder_makes_is_read_as_before(value: ua.Variant) -> None:
    found = ua_binary.variant_from_binary(Buffer(ua_binary.variant_to_binary(value)))
    assert found == value
    assert found.Dimensions == value.Dimensions


def test_a_null_list_and_an_empty_one_are_read() -> None:
    null = ua_binary.struct_from_binary(ua.GetEndpointsParameters, Buffer(string_of(-1) * 3))
    assert null.ProfileUris in ([], None)
    browse = ua.BrowseParameters(NodesToBrowse=[ua.BrowseDescription()])
    again = ua_binary.struct_from_binary(ua.BrowseParameters, Buffer(ua_binary.struct_to_binary(browse)))
    assert again == browse


@settings(max_examples=300, deadline=2000)
@given(
    st.sampled_from([ua.ReadParameters, ua.WriteParameters, ua.CreateSessionParameters, ua.BrowseParameters]),
    st.binary(max_size=400),
)
def test_any_bytes_are_read_or_refused_soon(kind: type, data: bytes) -> None:
    buffer = Buffer(data)
    try:
        ua_binary.struct_from_binary(kind, buffer)
    except (ua.uaerrors.UaError, ValueError, struct.error, TypeError, OverflowError):
        return
    assert len(buffer) <= len(data)
