"""Structures as they are decoded: what asyncua encodes comes back, and no bytes get beyond the bounds."""

from __future__ import annotations

import random
import struct
import tracemalloc
from contextlib import suppress
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from support.fuzz.instances import Maker

from server.opcua.types import StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.decode import MAX_NESTING, variant
from server.opcua.wire.reader import MAX_DECODED, DecodingError, Reader

_ua = cast("Any", ua)
_KINDS = sorted(set(ua.extension_objects_by_typeid.values()), key=lambda kind: kind.__name__)
_UNCLEAR = {
    "AliasCategoryUpdateDataType",  # the stack has no annotations that hold for these
    "AliasUpdateDataType",
    "LogRecord",
    "LogRecordsDataType",
    "SessionSecurityDiagnosticsDataType",
}
_LISTS_OF_SUBTYPES = {  # the stack does not read back what it wrote
    "DatagramConnectionTransport2DataType",
    "DatagramDataSetReaderTransportDataType",
    "DatagramWriterGroupTransport2DataType",
}


def read(data: bytes) -> ua.Variant:
    return structs.decode_variant(data)


def i32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def refused(data: bytes, code: int = StatusCodes.BadDecodingError) -> str:
    with pytest.raises(DecodingError) as caught:
        read(data)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize("kind", [k for k in _KINDS if k.__name__ not in _UNCLEAR], ids=lambda k: k.__name__)
def test_what_the_stack_encodes_is_decoded_as_the_stack_does(kind: type) -> None:
    for seed in range(12):
        data = structs.encode(Maker(random.Random(seed)).make(kind))
        reader = Reader(data)
        found: Any = structs.decode(kind, reader)
        assert reader.left == 0
        if kind.__name__ not in _LISTS_OF_SUBTYPES:
            assert structs.encode(found) == structs.encode(ua_binary.struct_from_binary(kind, Buffer(data)))


def test_a_type_that_is_not_clear_stays_as_it_came() -> None:
    kind = ua.typeid_by_extension_objects[ua.LogRecord]
    found = read(b"\x16" + ua_binary.nodeid_to_binary(kind) + b"\x01" + i32(2) + b"ab")
    assert found.Value == _ua.ExtensionObject(kind, b"ab")


# --- What the stack does otherwise than OPC 10000-6


def test_picoseconds_stand_behind_their_time() -> None:
    value = b"\x3d" + b"\x03\x07" + struct.pack("<qHqH", 10, 111, 20, 222)
    found = cast("Any", read(b"\x17" + value).Value)
    assert (found.SourcePicoseconds, found.ServerPicoseconds) == (111, 222)
    assert found.ServerTimestamp == ua.win_epoch_to_datetime(20)
    assert structs.encode_variant(_ua.Variant(found, ua.VariantType.DataValue)) == (
        b"\x17\x3f\x03\x07" + i32(0) + value[3:]
    )


def test_a_diagnostic_info_has_its_locale_before_its_text_and_others_within() -> None:
    data = b"\x19\x6c" + i32(1, 2, 3) + b"\x01" + i32(9)
    found = cast("Any", read(data).Value)
    assert (found.Locale, found.LocalizedText, found.InnerStatusCode.value) == (1, 2, 3)
    assert found.InnerDiagnosticInfo.SymbolicId == 9
    assert structs.encode_variant(_ua.Variant(found, ua.VariantType.DiagnosticInfo)) == data


def test_a_namespace_index_may_be_any() -> None:
    data = b"\x14" + struct.pack("<H", 65535) + i32(-1)
    assert structs.encode_variant(read(data)) == data


def test_a_structure_without_fields_has_a_body_without_bytes() -> None:
    encoded = structs.encode_variant(_ua.Variant(_ua.QosDataType(), ua.VariantType.ExtensionObject))
    assert encoded.endswith(b"\x01" + i32(0))
    assert read(encoded).Value == _ua.QosDataType()


# --- NodeIds, Strings


@pytest.mark.parametrize("flag", [0x40, 0x80, 0xC0])
def test_the_flags_of_an_expanded_node_id_are_none_of_a_node_ids(flag: int) -> None:
    refused(bytes((17, flag, 1)))
    expanded = (
        bytes((18, flag, 1)) + (i32(1) + b"x" if flag & 0x80 else b"") + (i32(1) if flag & 0x40 else b"")
    )
    assert cast("Any", read(expanded).Value).Identifier == 1


@pytest.mark.parametrize("encoding", [6, 7, 0x3F])
def test_a_node_id_has_one_of_six_encodings(encoding: int) -> None:
    refused(bytes((17, encoding)) + bytes(20))


def test_a_null_identifier_is_an_empty_one() -> None:
    assert cast("Any", read(b"\x11\x03\x01\x00" + i32(-1)).Value).Identifier == ""
    assert cast("Any", read(b"\x11\x05\x01\x00" + i32(-1)).Value).Identifier == b""


def test_text_is_utf8() -> None:
    refused(b"\x0c" + i32(1) + b"\xff")
    refused(b"\x11\x03\x00\x00" + i32(1) + b"\xff")


@pytest.mark.parametrize("length", [-2, -(2**31), 2**31 - 1, 4])
def test_a_length_that_cannot_be(length: int) -> None:
    refused(b"\x0c" + i32(length) + b"abc")
    refused(b"\x8c" + i32(length) + b"abc")
    refused(b"\x83" + i32(length) + b"abc")
    refused(b"\x16\x01\x00\x77\x03\x01" + i32(length) + b"abc")


# --- ExtensionObjects


def test_a_body_is_as_long_as_its_structure() -> None:
    range_ = ua_binary.nodeid_to_binary(ua.typeid_by_extension_objects[ua.Range])
    body = struct.pack("<dd", 1, 2)
    assert read(b"\x16" + range_ + b"\x01" + i32(16) + body).Value == _ua.Range(1.0, 2.0)
    assert "too many" in refused(b"\x16" + range_ + b"\x01" + i32(17) + body + b"x")
    refused(b"\x16" + range_ + b"\x01" + i32(15) + body)
    # A body without a length reads nothing of what follows it.
    assert read(b"\x16" + range_ + b"\x01" + i32(-1) + body).Value == _ua.ExtensionObject(
        ua.typeid_by_extension_objects[ua.Range]
    )


def test_an_xml_body_is_passed_over() -> None:
    data = b"\x97" + i32(2) + (b"\x01\x16\x01\x04\x01\x00\x02" + i32(3) + b"<a>") * 2
    first, second = cast("Any", read(data).Value)
    assert first == second
    refused(b"\x16\x01\x04\x01\x00\x03" + i32(3) + b"<a>")


# --- Variants


def test_a_variant_directly_in_a_variant_is_none() -> None:
    refused(b"\x18\x01\x01")
    assert cast("Any", read(b"\x98" + i32(1) + b"\x01\x01").Value)[0].Value is True


def test_types_to_come_are_byte_strings_and_no_more_of_them() -> None:
    assert read(b"\x1a" + i32(2) + b"ab").Value == b"ab"
    assert read(b"\x9f" + i32(1) + i32(-1)).Value == [b""]
    refused(b"\x20\x00")


def test_an_array_of_nothing_is_none() -> None:
    refused(b"\x80" + i32(3))


@pytest.mark.parametrize(
    "dimensions",
    [(3,), (2, 2, 2), (-1, -4), (2**31 - 1, 2**31 - 1, 0), (1,) * 101],
)
def test_dimensions_that_are_not_the_arrays(dimensions: tuple[int, ...]) -> None:
    many = len(dimensions) > 100
    refused(
        b"\xc3" + i32(4) + b"abcd" + i32(len(dimensions), *dimensions),
        StatusCodes.BadEncodingLimitsExceeded if many else StatusCodes.BadDecodingError,
    )


def test_dimensions_make_lists_of_lists() -> None:
    found = read(b"\xc3" + i32(8) + bytes(range(8)) + i32(3, 2, 2, 2))
    assert found.Value == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert read(b"\xc3" + i32(0) + i32(2, 0, 2**31 - 1)).Value == []
    refused(b"\x43\x01" + i32(1, 1))


# --- Bounds


def nested(kind: str, levels: int) -> bytes:
    """A Variant in which things are nested so deep, each in the one before."""
    match kind:
        case "Variant":
            return (b"\x98" + i32(1)) * levels + b"\x01\x01"
        case "DataValue":
            return b"\x17\x01" * levels + b"\x01\x01"
        case "DiagnosticInfo":
            return b"\x19" + b"\x40" * levels + b"\x00"
    body = b"\x00"
    for _ in range(levels):  # a LiteralOperand in the Variant of a LiteralOperand
        body = b"\x16\x01\x00\x55\x02\x01" + i32(len(body)) + body
    return body


@pytest.mark.parametrize("kind", ["Variant", "DataValue", "DiagnosticInfo", "ExtensionObject"])
def test_nesting_ends_at_a_bound(kind: str) -> None:
    each = 2 if kind != "DiagnosticInfo" else 1
    structs.encode_variant(read(nested(kind, MAX_NESTING // each - 2)))
    for levels in (MAX_NESTING + 1, 5_000):
        assert "nesting" in refused(nested(kind, levels), StatusCodes.BadEncodingLimitsExceeded)


def test_nesting_is_of_what_is_within_not_of_what_is_beside() -> None:
    inner = nested("Variant", 40)
    assert len(cast("Any", read(b"\x98" + i32(50) + inner * 50).Value)) == 50


@pytest.mark.parametrize(
    "element",
    [
        b"\x96" + i32(-7) + b"\x00\x00\x00",
        b"\x98" + i32(-7) + b"\x00",
        b"\x97" + i32(-7) + b"\x00",
        b"\x99" + i32(-7) + b"\x00",
        b"\x95" + i32(-7) + b"\x00",
        b"\x91" + i32(-7) + b"\x00\x00",
        b"\x8c" + i32(-7) + i32(-1),
        b"\x94" + i32(-7) + b"\x00\x00" + i32(-1),
        b"\x8d" + i32(-7) + b"\x01" * 8,
        b"\x84" + i32(-7) + b"\x01\x33",
        b"\x81" + i32(-7) + b"\x01",
        b"\x98" + i32(-7) + b"\x11\x00\x01",
        b"\x98" + i32(-7) + b"\x97" + i32(1) + b"\x00",
        b"\x98" + i32(-7) + b"\x19\x40\x00",
    ],
)
def test_small_elements_do_not_become_large_in_memory(element: bytes) -> None:
    room, size = MAX_DECODED >> 4, 128 << 10
    head, piece = element[:1], element[5:]
    count = size // len(piece)
    data = head + i32(count) + piece * count
    tracemalloc.start()
    try:
        with suppress(DecodingError):
            variant(Reader(data, room=room))
        assert tracemalloc.get_traced_memory()[1] < room * 1.25
    finally:
        tracemalloc.stop()


def test_memory_is_counted_over_the_whole_message() -> None:
    piece = structs.encode(_ua.CallMethodRequest(InputArguments=[_ua.Variant([True] * 1000)]))
    reader = Reader(piece * 3, room=30_000)
    structs.decode(ua.CallMethodRequest, reader)
    with pytest.raises(DecodingError, match="memory"):
        structs.decode(ua.CallMethodRequest, reader)
