"""Encoded Variants as JSON, from what asyncua encodes."""

from __future__ import annotations

import datetime as dt
import math
import struct
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.uaclient import ua

from server.mqtt.variants import MAX_BYTES, TooLarge, Unencodable, VariantEncoder
from server.opcua.wire import structs
from server.plant.mirrored import DataType, DataTypes, Form, StructureField

URIS = ("http://opcfoundation.org/UA/", "urn:server", "urn:maker;of 100%")
NAMED = "nsu=urn:maker%3Bof 100%25;"
STATE = DataType(f"{NAMED}s=State", f"{NAMED}State", Form.Enumeration, 6, "i=29", {0: "Idle", 1: "Running"})


def structure(name: str, form: Form, *fields: StructureField) -> DataType:
    return DataType(
        f"{NAMED}s={name}", f"{NAMED}{name}", form, 22, "i=22", {}, f"{NAMED}s={name}.Binary", fields
    )


POINT = structure("Point", Form.Structure, StructureField("X", "i=10", 10), StructureField("Y", "i=10", 10))
PATH = structure(
    "Path",
    Form.Structure,
    StructureField("State", STATE.id, 6),
    StructureField("Points", POINT.id, 22, rank=1),
    StructureField("Note", "i=12", 12),
)
MAYBE = structure(
    "Maybe",
    Form.Optional,
    StructureField("A", "i=6", 6, optional=True),
    StructureField("B", "i=8", 8, optional=True),
    StructureField("C", "i=1", 1),
)
EITHER = structure("Either", Form.Union, StructureField("N", "i=6", 6), StructureField("T", "i=12", 12))
KINDS = (POINT, PATH, MAYBE, EITHER, STATE)
TYPES = DataTypes({one.id: one for one in KINDS}, {one.encoding: one for one in KINDS if one.encoding})
ENCODER = VariantEncoder(TYPES, lambda index: URIS[index])


def said(value: Any, kind: int, data_type: str = "") -> Any:
    encoded = structs.encode_variant(ua.Variant(value, ua.VariantType(kind)))
    return ENCODER.value(encoded, kind, data_type or f"i={kind}")


def body(name: str, data: bytes) -> Any:
    return ua.ExtensionObject(ua.NodeId(f"{name}.Binary", 2), data)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (1, True, True),
        (2, -5, -5),
        (3, 200, 200),
        (8, -(2**63), "-9223372036854775808"),
        (9, 2**64 - 1, "18446744073709551615"),
        (10, 12.3, 12.3),
        (11, math.nan, "NaN"),
        (12, "Füller", "Füller"),
        (12, None, None),
        (13, dt.datetime(2025, 1, 1), "2025-01-01T00:00:00.000000Z"),  # noqa: DTZ001  # asyncua's are naive
        (14, UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (15, b"\x00\xff", "AP8="),
        (16, ua.XmlElement("<a/>"), "<a/>"),
        (17, ua.NodeId("Filler", 2), f"{NAMED}s=Filler"),
        (17, ua.NodeId(85), "i=85"),
        (17, ua.NodeId(70000, 2), f"{NAMED}i=70000"),
        (17, ua.NodeId(UUID(int=1), 2), f"{NAMED}g=00000000-0000-0000-0000-000000000001"),
        (17, ua.NodeId(b"\x01", 2), f"{NAMED}b=AQ=="),
        (18, ua.ExpandedNodeId("A", 0, ua.NodeIdType.String, "urn:x", 0), "nsu=urn:x;s=A"),
        (19, ua.StatusCode(0x80050000), {"Code": 0x80050000, "Symbol": "BadCommunicationError"}),
        (19, ua.StatusCode(0), {}),
        (20, ua.QualifiedName("Cap", 2), f"{NAMED}Cap"),
        (20, ua.QualifiedName("Server", 0), "Server"),
        (21, ua.LocalizedText("Hallo", "de"), {"Locale": "de", "Text": "Hallo"}),
        (11, [1.5, 2.5], [1.5, 2.5]),
        (12, [], []),
        (24, [ua.Variant(1, ua.VariantType.Byte)], [{"UaType": 3, "Value": 1}]),
    ],
)
def test_each_built_in_type(kind: int, value: Any, expected: Any) -> None:
    assert said(value, kind) == {"Value": expected}


def test_a_value_that_is_of_another_type_than_its_field_says_so() -> None:
    encoded = structs.encode_variant(ua.Variant(7, ua.VariantType.Int16))
    assert ENCODER.value(encoded, 11, "i=11") == {"UaType": 4, "Value": 7}
    assert ENCODER.value(encoded, 24, "i=26") == {"UaType": 4, "Value": 7}
    assert ENCODER.value(b"\x00", 11, "i=11") == {"Value": None}


def test_a_matrix_has_its_dimensions() -> None:
    matrix = ua.Variant([[1, 2, 3], [4, 5, 6]], ua.VariantType.Int32)
    found = ENCODER.value(structs.encode_variant(matrix), 6, "i=6")
    assert found == {"Value": [1, 2, 3, 4, 5, 6], "Dimensions": [2, 3]}


def test_states_have_names() -> None:
    assert said([0, 1, 5], 6, STATE.id) == {"Value": ["Idle_0", "Running_1", "5"]}


def test_structures_are_objects() -> None:
    point = struct.pack("<ff", 1.5, 2.5)
    path = struct.pack("<ii", 1, 2) + point + point + struct.pack("<i", -1)
    expected = {"X": 1.5, "Y": 2.5}
    assert said(body("Point", point), 22) == {"Value": {"UaTypeId": POINT.id, **expected}}
    assert said(body("Path", path), 22, PATH.id)["Value"] == {
        "UaTypeId": PATH.id,
        "State": "Running_1",
        "Points": [expected, expected],
        "Note": None,
    }
    maybe = struct.pack("<Iq?", 2, 77, True)
    assert said(body("Maybe", maybe), 22)["Value"] == {"UaTypeId": MAYBE.id, "B": "77", "C": True}
    text = struct.pack("<Ii", 2, 2) + b"hi"
    assert said(body("Either", text), 22)["Value"] == {"UaTypeId": EITHER.id, "T": "hi"}
    assert said(body("Either", bytes(4)), 22)["Value"] == {"UaTypeId": EITHER.id}


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("Unknown", b"\x01", "definition is not known"),
        ("Point", bytes(9), "longer than its definition"),
        ("Point", bytes(7), "cannot be read"),
        ("Either", struct.pack("<I", 3), "a field it does not have"),
        ("Path", struct.pack("<ii", 1, 2**31 - 1), "cannot be read"),
    ],
)
def test_what_cannot_be_said_is_refused(name: str, data: bytes, why: str) -> None:
    with pytest.raises(Unencodable, match=why):
        said(body(name, data), 22)


def test_what_is_too_large_is_refused_unread() -> None:
    with pytest.raises(TooLarge, match="256 kB"):
        ENCODER.value(b"\x0f" + bytes(MAX_BYTES), 15, "i=15")


def test_a_value_nested_without_end_is_refused() -> None:
    with pytest.raises(Unencodable, match="nested"):
        ENCODER.value(b"\x98\x01\x00\x00\x00" * 60 + b"\x00", 24, "i=24")


@given(st.binary(max_size=200), st.integers(0, 25))
def test_whatever_comes_is_said_or_refused(data: bytes, kind: int) -> None:
    try:
        found = ENCODER.value(bytes((kind,)) + data, 24, "i=24")
    except Unencodable:
        return
    assert "Value" in found


@given(st.binary(max_size=100), st.sampled_from([one for one in KINDS if one.encoding]), st.booleans())
def test_whatever_a_structure_holds_is_said_or_refused(data: bytes, kind: DataType, many: bool) -> None:
    name = kind.id.partition("s=")[2]
    value = body(name, data)
    try:
        found = said([value] if many else value, 22)
    except Unencodable:
        return
    assert "Value" in found
