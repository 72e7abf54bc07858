from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulator import point

from sources.simulators.modbus import registers
from sources.simulators.spec import ModbusAddress

ORDERS = ("ABCD", "BADC", "CDAB", "DCBA")
patient = settings(deadline=None)
INTEGERS = ("int16", "uint16", "int32", "uint32", "int64", "uint64")


def address(encoding: str, words: str = "ABCD", bit: int | None = None) -> ModbusAddress:
    return point("X", "holding", 0, encoding, words=words, bit=bit).address


@pytest.mark.parametrize(
    ("words", "wire"),
    [
        ("ABCD", "0102 0304 0506 0708"),
        ("BADC", "0201 0403 0605 0807"),
        ("CDAB", "0708 0506 0304 0102"),
        ("DCBA", "0807 0605 0403 0201"),
    ],
)
def test_eight_bytes_stand_in_their_order(words: str, wire: str) -> None:
    at = address("uint64", words)
    expected = [int(word, 16) for word in wire.split()]
    assert registers.encode(at, 0x0102030405060708) == expected
    assert registers.decode(at, expected) == 0x0102030405060708


@pytest.mark.parametrize(
    ("encoding", "words", "raw", "wire"),
    [
        ("int16", "ABCD", -2, [0xFFFE]),
        ("int16", "CDAB", 0x0102, [0x0102]),
        ("int16", "BADC", 0x0102, [0x0201]),
        ("int16", "DCBA", 0x0102, [0x0201]),
        ("float32", "ABCD", 600.0, [0x4416, 0x0000]),
        ("float32", "CDAB", 600.0, [0x0000, 0x4416]),
        ("string(5)", "ABCD", "Cola", [0x436F, 0x6C61, 0]),
        ("string(4)", "CDAB", "Cola", [0x436F, 0x6C61]),
        ("string(4)", "DCBA", "Cola", [0x6F43, 0x616C]),
    ],
)
def test_values_stand_as_the_field_expects(
    encoding: str, words: str, raw: float | str, wire: list[int]
) -> None:
    assert registers.encode(address(encoding, words), raw) == wire
    assert registers.decode(address(encoding, words), wire) == raw


@patient
@given(data=st.data(), words=st.sampled_from(ORDERS), encoding=st.sampled_from(INTEGERS))
def test_integers_survive(data: st.DataObject, words: str, encoding: str) -> None:
    at = address(encoding, words)
    raw = data.draw(st.integers(int(at.raw_type.low), int(at.raw_type.high)))
    assert registers.decode(at, registers.encode(at, raw)) == raw


@patient
@given(
    raw=st.floats(width=32), words=st.sampled_from(ORDERS), encoding=st.sampled_from(("float32", "float64"))
)
def test_floats_survive(raw: float, words: str, encoding: str) -> None:
    at = address(encoding, words)
    back = registers.decode(at, registers.encode(at, raw))
    assert isinstance(back, float)
    assert struct.pack(">d", back) == struct.pack(">d", raw) or (math.isnan(back) and math.isnan(raw))


@patient
@given(
    raw=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=5),
    words=st.sampled_from(ORDERS),
)
def test_text_survives(raw: str, words: str) -> None:
    at = address("string(21)", words)
    assert registers.decode(at, registers.encode(at, raw)) == raw


def test_text_that_is_no_text_is_shown_all_the_same() -> None:
    assert registers.decode(address("string(4)"), [0xFFFE, 0x4100]) == "\N{REPLACEMENT CHARACTER}" * 2 + "A"


@pytest.mark.parametrize(
    ("words", "bit", "mask"), [("ABCD", 0, 1), ("CDAB", 15, 0x8000), ("BADC", 0, 0x100), ("DCBA", 9, 2)]
)
def test_a_bit_swaps_with_its_byte(words: str, bit: int, mask: int) -> None:
    assert registers.mask(address("bool", words, bit)) == mask
