from __future__ import annotations

import math
import struct

import pytest
from support.logix_tags import BY_NAME, STRING, tag, text_type

from sources.ethernetip.decode import Layout, Leaf, Unencodable, encode, split_type, to_bool, type_code
from sources.ethernetip.symbols import BOOL, DWORD
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import Value


def test_numbers_bits_and_text_come_out_of_one_block() -> None:
    text = (5).to_bytes(4, "little") + b"hello" + bytes(STRING.size - 9)
    data = struct.pack("<BxhiffI", 0b10, -3, 70000, 1.5, 2.5, 1 << 31) + text
    fields = [
        (tag("text", "string"), Leaf(20, STRING)),
        (tag("flag", "bool"), Leaf(0, BOOL, 1)),
        (tag("off", "bool"), Leaf(0, BOOL, 0)),
        (tag("real2", "real"), Leaf(12, BY_NAME["REAL"])),
        (tag("real", "real"), Leaf(8, BY_NAME["REAL"])),
        (tag("int", "int"), Leaf(2, BY_NAME["INT"])),
        (tag("dint", "dint"), Leaf(4, BY_NAME["DINT"])),
        (tag("high", "bool"), Leaf(16, DWORD, 31)),
    ]
    layout = Layout(len(data), fields)
    values, qualities = layout.decode(data)
    assert qualities == [GOOD] * len(fields)
    assert dict(zip((its.name for its in layout.tags), values, strict=True)) == {
        "text": "hello",
        "flag": True,
        "off": False,
        "real": 1.5,
        "real2": 2.5,
        "int": -3,
        "dint": 70000,
        "high": True,
    }


def test_a_value_and_its_bits_may_be_asked_for_together_and_twice() -> None:
    fields = [
        (tag("word", "int"), Leaf(0, BY_NAME["INT"])),
        (tag("again", "int"), Leaf(0, BY_NAME["INT"])),
        (tag("bit", "bool"), Leaf(0, BY_NAME["INT"], 15)),
    ]
    layout = Layout(2, fields)
    values, qualities = layout.decode(b"\xfe\xff")
    assert qualities == GOOD
    assert dict(zip((its.name for its in layout.tags), values, strict=True)) == {
        "word": -2,
        "again": -2,
        "bit": True,
    }


@pytest.mark.parametrize("byte", [1, 0xFF, 0x80])
def test_any_byte_but_zero_is_a_true_bool(byte: int) -> None:
    layout = Layout(1, [(tag("b", "bool"), Leaf(0, BOOL))])
    assert layout.decode(bytes((byte,))) == ([True], GOOD)
    assert layout.decode(b"\0") == ([False], GOOD)


@pytest.mark.parametrize("length", [-1, 83, 2**31 - 1])
def test_a_text_longer_than_its_room_is_not_decoded(length: int) -> None:
    layout = Layout(STRING.size, [(tag("t", "string"), Leaf(0, STRING))])
    values, qualities = layout.decode(struct.pack("<i", length) + bytes(STRING.size - 4))
    assert (values, qualities) == ([None], [BAD_DECODING_ERROR])


def test_every_byte_is_a_character() -> None:
    every = bytes(range(1, 83))
    layout = Layout(STRING.size, [(tag("t", "string"), Leaf(0, STRING))])
    values, _ = layout.decode(struct.pack("<i", 82) + every + bytes(2))
    assert values == [every.decode("latin-1")]


def test_a_type_is_named_as_on_the_wire() -> None:
    assert type_code(BY_NAME["DINT"]) == b"\xc4\0"
    assert type_code(STRING) == b"\xa0\x02\xce\x0f"
    assert split_type(b"\xc4\0\x01\0\0\0") == (b"\xc4\0", b"\x01\0\0\0")
    assert split_type(b"\xa0\x02\xce\x0fxyz") == (b"\xa0\x02\xce\x0f", b"xyz")


@pytest.mark.parametrize("data", [b"", b"\xc4", b"\xa0\x02\xce"])
def test_a_value_needs_its_type(data: bytes) -> None:
    with pytest.raises(ValueError, match="without its type"):
        split_type(data)


@pytest.mark.parametrize(
    ("encoding", "value", "data"),
    [
        ("bool", True, b"\x01"),
        ("bool", False, b"\x00"),
        ("sint", -128, b"\x80"),
        ("int", -2, b"\xfe\xff"),
        ("dint", 1, b"\x01\0\0\0"),
        ("udint", 2**32 - 1, b"\xff" * 4),
        ("lint", -1, b"\xff" * 8),
        ("real", 1, b"\0\0\x80\x3f"),
        ("real", 1.0, b"\0\0\x80\x3f"),
        ("lreal", 1.0, struct.pack("<d", 1.0)),
    ],
)
def test_a_value_becomes_the_bytes_of_its_type(encoding: str, value: Value, data: bytes) -> None:
    assert encode(tag("x", encoding), BY_NAME[encoding.upper()], value) == data


def test_a_text_fills_its_structure() -> None:
    data = encode(tag("x", "string"), STRING, "höh")
    assert len(data) == STRING.size
    assert data[:8] == b"\x03\0\0\0h\xf6h\0"


@pytest.mark.parametrize(
    ("encoding", "value", "quality"),
    [
        ("bool", 1, BAD_TYPE_MISMATCH),
        ("dint", True, BAD_TYPE_MISMATCH),
        ("dint", 1.0, BAD_TYPE_MISMATCH),
        ("dint", "1", BAD_TYPE_MISMATCH),
        ("dint", None, BAD_TYPE_MISMATCH),
        ("dint", 2**31, BAD_OUT_OF_RANGE),
        ("usint", -1, BAD_OUT_OF_RANGE),
        ("real", True, BAD_TYPE_MISMATCH),
        ("real", 1e39, BAD_OUT_OF_RANGE),
        ("real", 10**400, BAD_OUT_OF_RANGE),
        ("string", 5, BAD_TYPE_MISMATCH),
        ("string", "x" * 83, BAD_OUT_OF_RANGE),
        ("string", "日本", BAD_OUT_OF_RANGE),
    ],
)
def test_what_a_type_cannot_carry_is_refused(encoding: str, value: Value, quality: Quality) -> None:
    kind = STRING if encoding == "string" else BY_NAME[encoding.upper()]
    with pytest.raises(Unencodable) as error:
        encode(tag("x", encoding), kind, value)
    assert error.value.quality == quality


def test_a_bit_takes_only_a_bool() -> None:
    assert to_bool(tag("Word.3"), True) is True
    with pytest.raises(Unencodable):
        to_bool(tag("Word.3"), 1)


def test_a_text_type_of_another_length_has_its_own_room() -> None:
    short = text_type("STRING_20", 20, 0x2222)
    assert len(encode(tag("x", "string"), short, "x" * 20)) == 24
    with pytest.raises(Unencodable):
        encode(tag("x", "string"), short, "x" * 21)


def test_infinities_are_values_of_a_real() -> None:
    data = encode(tag("x", "real"), BY_NAME["REAL"], math.inf)
    layout = Layout(4, [(tag("x", "real"), Leaf(0, BY_NAME["REAL"]))])
    assert layout.decode(data) == ([math.inf], GOOD)
