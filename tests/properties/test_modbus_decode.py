"""Whatever is encoded is decoded again: every type, every word order, every place."""

from __future__ import annotations

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.modbus_tags import settings, tag

from sources.modbus.decode import Layout, ModbusTag, encode, register_mask, swap_bytes
from sources.modbus.encodings import Encoding, WordOrder
from sources.modbus.plan import Limits, plan
from sources.modbus.tables import Table
from sources.quality import BAD_DECODING_ERROR, GOOD
from sources.tag import INTEGER_LIMITS, Value

ORDERS = st.sampled_from([order.value for order in WordOrder])
INTEGERS = [e for e in Encoding if e.is_plain and e.type in INTEGER_LIMITS]
NUMBERS = st.sampled_from([*INTEGERS, Encoding.float32, Encoding.float64])


def _values(encoding: Encoding) -> st.SearchStrategy[Value]:
    if encoding in INTEGERS:
        return st.integers(*INTEGER_LIMITS[encoding.type])
    return st.floats(width=32 if encoding is Encoding.float32 else 64, allow_nan=False)


def _decode_one(its: ModbusTag, data: bytes) -> Value:
    values, qualities = Layout(its.address.table, its.address.start, its.address.count, [its]).decode(data)
    assert qualities in (GOOD, [GOOD])
    return values[0]


@given(st.data(), NUMBERS, ORDERS)
def test_numbers(data: st.DataObject, encoding: Encoding, words: str) -> None:
    value = data.draw(_values(encoding))
    its = tag("holding:0", encoding.value, words=words)
    raw = encode(its, value)
    assert len(raw) == 2 * its.address.count
    decoded = _decode_one(its, raw)
    assert decoded == value
    assert type(decoded) is type(value)


@given(st.data(), NUMBERS, ORDERS)
def test_every_pattern_of_bits_is_a_value_that_encodes_back(
    data: st.DataObject, encoding: Encoding, words: str
) -> None:
    its = tag("holding:0", encoding.value, words=words)
    raw = data.draw(st.binary(min_size=2 * its.address.count, max_size=2 * its.address.count))
    value = _decode_one(its, raw)
    assume(value == value)  # noqa: PLR0124 - a NaN's payload may change on the way
    assert encode(its, value) == raw


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")), ORDERS, st.integers(0, 5))
def test_text(text: str, words: str, spare: int) -> None:
    length = len(text.encode()) + spare
    assume(0 < length <= 246)
    its = tag("holding:0", f"string({length})", words=words)
    assert _decode_one(its, encode(its, text)) == text


@given(st.integers(0, 65535), st.integers(0, 15), ORDERS)
def test_bits_of_a_register_are_those_of_the_number_read_there(register: int, bit: int, words: str) -> None:
    raw = encode(tag("holding:0", "uint16", words=words), register)
    its = tag(f"holding:0.{bit}", words=words)
    assert _decode_one(its, raw) is bool(register >> bit & 1)
    assert bool(int.from_bytes(raw, "big") & register_mask(its.address)) is bool(register >> bit & 1)


@given(st.lists(st.booleans(), min_size=1, max_size=2000), st.integers(0, 63000))
def test_coils(bits: list[bool], start: int) -> None:
    packed = sum(bit << index for index, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    tags = [tag(f"coil:{start + index}") for index in range(0, len(bits), 7)]
    values, _ = Layout(Table.coil, start, len(bits), tags).decode(packed)
    assert list(values) == bits[::7]


@st.composite
def _points(draw: st.DrawFn) -> ModbusTag:
    start = draw(st.integers(0, 110))
    kind = draw(st.sampled_from(["number", "bit", "text", "array", "bits"]))
    name = draw(st.uuids()).hex
    words = draw(ORDERS)
    if kind == "bit":
        return tag(f"holding:{start}.{draw(st.integers(0, 15))}", words=words, name=name)
    if kind == "text":
        return tag(f"holding:{start}", f"string({draw(st.integers(1, 12))})", words=words, name=name)
    if kind == "array":
        length = draw(st.integers(1, 3))
        return tag(f"holding:{start}", draw(NUMBERS).value, words=words, name=name, length=length)
    if kind == "bits":
        bit, length = draw(st.integers(0, 15)), draw(st.integers(1, 70))
        return tag(f"holding:{start}.{bit}", words=words, name=name, length=length)
    return tag(f"holding:{start}", draw(NUMBERS).value, words=words, name=name)


@given(
    st.sampled_from([*(e.value for e in Encoding if not e.is_text and e is not Encoding.bool), "string(3)"]),
    ORDERS,
    st.integers(1, 8),
    st.data(),
)
def test_an_array_is_what_its_elements_are_alone(
    encoding: str, words: str, length: int, data: st.DataObject
) -> None:
    its = tag("holding:0", encoding, words=words, length=length)
    size = 2 * its.address.count
    raw = data.draw(st.binary(min_size=size, max_size=size))
    each = its.address.each
    elements = [
        Layout(Table.holding, 0, each, [tag("holding:0", encoding, words=words)]).decode(
            raw[at : at + 2 * each]
        )
        for at in range(0, size, 2 * each)
    ]
    alone = [_comparable(values[0]) for values, _ in elements]
    (value,), qualities = Layout(Table.holding, 0, its.address.count, [its]).decode(raw)
    if None in alone:
        assert (value, qualities) == (None, [BAD_DECODING_ERROR])
    else:
        assert isinstance(value, tuple)
        assert ([_comparable(one) for one in value], qualities) == (alone, GOOD)


@given(st.integers(0, 15), st.integers(1, 90), ORDERS, st.data())
def test_an_array_of_bits_is_what_each_bit_is_alone(
    first: int, length: int, words: str, data: st.DataObject
) -> None:
    its = tag(f"holding:0.{first}", words=words, length=length)
    size = 2 * its.address.count
    raw = data.draw(st.binary(min_size=size, max_size=size))
    places = [divmod(first + index, 16) for index in range(length)]
    alone = [
        _decode_one(tag(f"holding:0.{bit}", words=words), raw[2 * at : 2 * at + 2]) for at, bit in places
    ]
    assert _decode_one(its, raw) == tuple(alone)


def _comparable(value: Value) -> object:
    """NaN is not equal to itself, its bytes are."""
    if isinstance(value, tuple):
        return tuple(map(_comparable, value))
    return struct.pack(">d", value) if isinstance(value, float) else value


@given(st.lists(_points(), min_size=1, max_size=60), st.binary(min_size=250, max_size=250))
def test_a_whole_block_yields_what_each_tag_alone_would(tags: list[ModbusTag], image: bytes) -> None:
    for block in plan(tags, Limits.of(settings())):
        layout = Layout(block.table, block.start, block.count, block.tags)
        values, qualities = layout.decode(image[2 * block.start : 2 * block.end])
        assert sorted(map(id, layout.tags)) == sorted(map(id, block.tags))
        for index, its in enumerate(layout.tags):
            alone = Layout(its.address.table, its.address.start, its.address.count, [its])
            piece = image[2 * its.address.start : 2 * its.address.end]
            (value,), quality = alone.decode(piece)
            assert _comparable(values[index]) == _comparable(value)
            together = qualities if isinstance(qualities, int) else qualities[index]
            assert together == (quality if isinstance(quality, int) else quality[0])


@given(st.binary(max_size=250).filter(lambda data: len(data) % 2 == 0))
def test_swapping_twice_changes_nothing(data: bytes) -> None:
    assert swap_bytes(swap_bytes(data)) == data


@pytest.mark.parametrize("encoding", [e.value for e in INTEGERS])
def test_the_limits_of_each_integer_are_carried(encoding: str) -> None:
    its = tag("holding:0", encoding)
    for value in INTEGER_LIMITS[its.type]:
        assert _decode_one(its, encode(its, value)) == value
