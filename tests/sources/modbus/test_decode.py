from __future__ import annotations

import math

import pytest
from support.modbus_tags import tag

from sources.modbus.decode import Layout, encode, register_mask, to_bool
from sources.modbus.formats import Unencodable
from sources.modbus.tables import Table
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import Value


@pytest.mark.parametrize(
    ("words", "data"),
    [("ABCD", "0102 0304"), ("BADC", "0201 0403"), ("CDAB", "0304 0102"), ("DCBA", "0403 0201")],
)
def test_the_four_orders_of_32_bits(words: str, data: str) -> None:
    its = tag("holding:0", "uint32", words=words)
    raw = bytes.fromhex(data)
    assert Layout(Table.holding, 0, 2, [its]).decode(raw) == ((0x01020304,), GOOD) or words in {
        "BADC",
        "CDAB",
    }
    assert list(Layout(Table.holding, 0, 2, [its]).decode(raw)[0]) == [0x01020304]
    assert encode(its, 0x01020304) == raw


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ("ABCD", "0102 0304 0506 0708"),
        ("BADC", "0201 0403 0605 0807"),
        ("CDAB", "0708 0506 0304 0102"),
        ("DCBA", "0807 0605 0403 0201"),
    ],
)
def test_the_four_orders_of_64_bits(words: str, data: str) -> None:
    its = tag("holding:0", "uint64", words=words)
    raw = bytes.fromhex(data)
    assert list(Layout(Table.holding, 0, 4, [its]).decode(raw)[0]) == [0x0102030405060708]
    assert encode(its, 0x0102030405060708) == raw


@pytest.mark.parametrize(
    ("words", "data"), [("ABCD", "0102"), ("CDAB", "0102"), ("BADC", "0201"), ("DCBA", "0201")]
)
def test_one_register_knows_only_the_swap_of_its_bytes(words: str, data: str) -> None:
    its = tag("holding:0", "uint16", words=words)
    raw = bytes.fromhex(data)
    assert list(Layout(Table.holding, 0, 1, [its]).decode(raw)[0]) == [0x0102]
    assert encode(its, 0x0102) == raw
    bits = [tag(f"holding:0.{bit}", words=words) for bit in range(16)]
    assert list(Layout(Table.holding, 0, 1, bits).decode(raw)[0]) == [
        bool(0x0102 >> bit & 1) for bit in range(16)
    ]


@pytest.mark.parametrize("words", ["ABCD", "BADC"])
def test_a_bit_s_mask_is_that_of_the_register_on_the_wire(words: str) -> None:
    for bit in range(16):
        its = tag(f"holding:0.{bit}", words=words)
        on_the_wire = register_mask(its.address).to_bytes(2, "big")
        assert list(Layout(Table.holding, 0, 1, [its]).decode(on_the_wire)[0]) == [True]


def test_text_runs_up_the_registers_and_ends_at_a_nul() -> None:
    plain = tag("holding:0", "string(6)", words="CDAB")
    swapped = tag("holding:3", "string(5)", words="DCBA")
    layout = Layout(Table.holding, 0, 6, [plain, swapped])
    assert layout.decode(b"KHS\0xxHK7S!?") == (["KHS", "KHS7?"], GOOD)
    assert encode(plain, "KHS") == b"KHS\0\0\0"
    assert encode(swapped, "KHS7?") == b"HK7S\0?"


def test_text_that_is_not_utf8_spoils_its_own_tag_alone() -> None:
    number, good, bad = tag("holding:0"), tag("holding:1", "string(2)"), tag("holding:2", "string(2)")
    layout = Layout(Table.holding, 0, 3, [bad, number, good])
    assert layout.tags == (number, good, bad)
    assert layout.decode(b"\0\7\xc3\xa9\xff\xff") == ([7, "é", None], [GOOD, GOOD, BAD_DECODING_ERROR])


def test_a_block_with_everything_in_it() -> None:
    tags = [
        tag("holding:10", "float32"),
        tag("holding:10", "uint16", name="high half"),
        tag("holding:12", "int16", words="BADC"),
        tag("holding:13.0"),
        tag("holding:13.15"),
        tag("holding:14", "int32", words="CDAB"),
        tag("holding:20", "string(4)"),
    ]
    layout = Layout(Table.holding, 10, 12, tags)
    data = bytes.fromhex("3fc0 0000 feff 8001 0001 ffff 0000 0000 0000 0000 4162 6364")
    values, qualities = layout.decode(data)
    found = {its.name: value for its, value in zip(layout.tags, values, strict=True)}
    assert found == {
        "holding:10": 1.5,
        "high half": 0x3FC0,
        "holding:12": -2,
        "holding:13.0": True,
        "holding:13.15": True,
        "holding:14": -65535,
        "holding:20": "Abcd",
    }
    assert sorted(layout.tags, key=id) == sorted(tags, key=id)
    assert qualities == GOOD


def test_coils_lie_least_significant_bit_first() -> None:
    tags = [tag(f"coil:{address}") for address in (100, 101, 107, 108, 117)]
    layout = Layout(Table.coil, 100, 18, tags)
    assert layout.size == 3
    assert layout.decode(bytes((0b1000_0001, 0b0000_0001, 0b0000_0010))) == (
        [True, False, True, True, True],
        GOOD,
    )


@pytest.mark.parametrize(("data", "check"), [("7fc00000", math.isnan), ("7f800000", math.isinf)])
def test_floats_that_are_no_finite_number_are_values(data: str, check: object) -> None:
    values, quality = Layout(Table.input, 0, 2, [tag("input:0", "float32")]).decode(bytes.fromhex(data))
    assert isinstance(values[0], float)
    assert callable(check)
    assert check(values[0])
    assert quality == GOOD


@pytest.mark.parametrize(
    ("encoding", "value", "quality"),
    [
        ("int16", 32768, BAD_OUT_OF_RANGE),
        ("uint16", -1, BAD_OUT_OF_RANGE),
        ("uint64", 2**64, BAD_OUT_OF_RANGE),
        ("float32", 3.5e38, BAD_OUT_OF_RANGE),
        ("float64", 10**400, BAD_OUT_OF_RANGE),
        ("string(4)", "Füll", BAD_OUT_OF_RANGE),
        ("string(4)", "a\0b", BAD_OUT_OF_RANGE),
        ("string(4)", "\ud800", BAD_OUT_OF_RANGE),
        ("int16", 1.0, BAD_TYPE_MISMATCH),
        ("int16", True, BAD_TYPE_MISMATCH),
        ("float32", False, BAD_TYPE_MISMATCH),
        ("float32", "1", BAD_TYPE_MISMATCH),
        ("int32", None, BAD_TYPE_MISMATCH),
        ("string(4)", 7, BAD_TYPE_MISMATCH),
    ],
)
def test_what_an_encoding_cannot_carry_is_refused(encoding: str, value: Value, quality: Quality) -> None:
    with pytest.raises(Unencodable) as caught:
        encode(tag("holding:0", encoding), value)
    assert caught.value.quality == quality
    assert "holding:0" in str(caught.value)


@pytest.mark.parametrize("value", [1, 0, "true", None, 1.0])
def test_only_a_bool_is_written_to_a_bit(value: Value) -> None:
    with pytest.raises(Unencodable):
        to_bool(tag("coil:0"), value)
    assert to_bool(tag("coil:0"), True) is True
