"""Arrays of registers and of bits: one value each, in one request."""

from __future__ import annotations

import math
import struct

import pytest
from support.modbus_peer import modbus_peer
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import NORMAL, SLOW, scanning

from sources.errors import AddressError
from sources.modbus.decode import Layout, encode
from sources.modbus.driver import ModbusSource
from sources.modbus.formats import Unencodable
from sources.modbus.tables import Table
from sources.quality import BAD_DECODING_ERROR, BAD_TYPE_MISMATCH, GOOD
from sources.tag import Part, Value, ValueType


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ("ABCD", "01020304 05060708"),
        ("BADC", "02010403 06050807"),
        ("CDAB", "03040102 07080506"),
        ("DCBA", "04030201 08070605"),
    ],
)
def test_the_order_of_bytes_is_that_of_each_element(words: str, data: str) -> None:
    its = tag("holding:4", "uint32", words=words, length=2)
    raw = bytes.fromhex(data)
    values, quality = Layout(Table.holding, 4, 4, [its]).decode(raw)
    assert (list(values), quality) == ([(0x01020304, 0x05060708)], GOOD)
    assert encode(its, (0x01020304, 0x05060708)) == raw


@pytest.mark.parametrize(
    ("encoding", "words", "data", "value"),
    [
        ("bcd32", "CDAB", "56781234 00420000", (12345678, 42)),
        ("string(4)", "BADC", "484b0053 0041 0000", ("KHS", "A")),
        ("unix32", "ABCD", "00000001 00000002", (116444736010000000, 116444736020000000)),
        ("float32", "ABCD", "7f800000 bf800000", (math.inf, -1.0)),
    ],
)
def test_whatever_a_register_holds_has_arrays(encoding: str, words: str, data: str, value: Value) -> None:
    its = tag("holding:0", encoding, words=words, length=2)
    raw = bytes.fromhex(data)
    assert list(Layout(Table.holding, 0, 4, [its]).decode(raw)[0]) == [value]
    if encoding != "string(4)":
        assert encode(its, value) == raw


def test_an_element_that_is_none_spoils_its_array_and_no_other_tag() -> None:
    digits, number = tag("holding:0", "bcd16", length=3), tag("holding:3")
    layout = Layout(Table.holding, 0, 4, [digits, number])
    assert layout.decode(bytes.fromhex("0001 00fa 0003 0007")) == ([7, None], [GOOD, BAD_DECODING_ERROR])
    assert layout.decode(bytes.fromhex("0001 0002 0003 0007")) == ([7, (1, 2, 3)], GOOD)


def test_bits_of_a_table_come_from_where_they_begin() -> None:
    early, late = tag("coil:3", length=9), tag("coil:13", length=2)
    layout = Layout(Table.coil, 3, 12, [late, early])
    raw = bytes((0b1000_0001, 0b0000_1101))
    values, _ = layout.decode(raw)
    assert dict(zip([its.name for its in layout.tags], values, strict=True)) == {
        "coil:3": (True, False, False, False, False, False, False, True, True),
        "coil:13": (True, True),
    }


@pytest.mark.parametrize(("words", "data"), [("ABCD", "9002 0003"), ("BADC", "0290 0300")])
def test_bits_of_registers_run_on_in_the_next_one(words: str, data: str) -> None:
    its = tag("holding:7.12", words=words, length=6)
    assert (its.address.start, its.address.count, its.type) == (7, 2, ValueType.Boolean)
    values, _ = Layout(Table.holding, 7, 2, [its]).decode(bytes.fromhex(data))
    assert list(values) == [(True, False, False, True, True, True)]


def test_plain_scalars_beside_an_array_are_still_one_unpack() -> None:
    tags = [tag("holding:0", "float32"), tag("holding:2", "int16", length=3), tag("holding:5", "int16")]
    layout = Layout(Table.holding, 0, 6, tags)
    values, _ = layout.decode(struct.pack(">f4h", 1.5, 1, -2, 3, 4))
    assert dict(zip([its.name for its in layout.tags], values, strict=True)) == {
        "holding:0": 1.5,
        "holding:2": (1, -2, 3),
        "holding:5": 4,
    }


@pytest.mark.parametrize("value", [(1, 2), (1, 2, 3, 4), 7, None, (1, 2, True), (1, 2, 3.0)])
def test_what_is_no_such_array_is_not_written(value: Value) -> None:
    with pytest.raises(Unencodable) as caught:
        encode(tag("holding:0", "int16", length=3), value)
    assert caught.value.quality == BAD_TYPE_MISMATCH


@pytest.mark.parametrize(
    ("address", "encoding", "length", "writable", "words"),
    [
        ("holding:0", "float32", 63, False, "126 registers; one request reads 125"),
        ("coil:0", None, 2001, False, "2001 bits; one request reads 2000"),
        ("holding:65535", "int16", 2, False, "runs past holding:65535"),
        ("holding:0", "int16", 124, True, "one request writes at most 123"),
        ("holding:0.3", None, 4, True, "bits of registers are written one at a time"),
        ("holding:0", "int16", 0, False, "say how many there are, as in array: 8"),
    ],
)
def test_an_array_that_no_request_takes_whole_is_an_error(
    address: str, encoding: str | None, length: int, writable: bool, words: str
) -> None:
    with pytest.raises(AddressError) as caught:
        tag(address, encoding, length=length, writable=writable)
    assert words in str(caught.value)


async def test_arrays_are_read_whole_and_written_whole_or_in_part() -> None:
    levels = tag("holding:10", "int32", SLOW, words="CDAB", length=4, writable=True)
    lamps = tag("coil:20", scan=SLOW, length=10, writable=True)
    speed = tag("holding:18", "uint16", NORMAL)
    async with modbus_peer() as peer:
        peer.registers[10:18] = [1, 0, 2, 0, 3, 0, 4, 0]
        source = ModbusSource("PLC", settings(peer.port), [levels, lamps, speed])
        async with scanning(source) as it:
            await it.good(levels, lamps, speed)
            assert it.listener.value(levels) == (1, 2, 3, 4)
            assert it.listener.value(lamps) == (False,) * 10
            peer.requests.clear()
            assert await it.session.write([(levels, (5, -6, 7, 70_000))]) == [GOOD]
            assert peer.registers[10:18] == [5, 0, 0xFFFA, 0xFFFF, 7, 0, 4464, 1]
            peer.registers[10] = 99
            assert await it.session.write([(levels, Part(2, (8, 9)))]) == [GOOD]
            assert peer.registers[10:18] == [99, 0, 0xFFFA, 0xFFFF, 8, 0, 9, 0]
            assert await it.session.write([(lamps, Part(1, (True, True))), (lamps, Part(9, (True,)))]) == [
                GOOD,
                GOOD,
            ]
            written = [request for request in peer.requests if request[0] in {15, 16}]
            assert [request.hex() for request in written[1:]] == [
                "10000e0004080008000000090000",
                "0f001500020103",
                "0f001d00010101",
            ]
            batch = await it.session.read([lamps, levels])
            assert batch.values == [
                (False, True, True, *[False] * 6, True),
                (99, -6, 8, 9),
            ]
            assert await it.session.write([(levels, (1, 2, 3))]) == [BAD_TYPE_MISMATCH]


async def test_an_array_may_become_another_while_it_is_read() -> None:
    before = tag("holding:10", "int16", NORMAL, length=4)
    shorter = tag("holding:10", "int16", NORMAL, length=2)
    longer = tag("holding:9", "int16", NORMAL, length=6, name="longer")
    async with modbus_peer() as peer:
        peer.registers[9:15] = [9, 10, 11, 12, 13, 14]
        source = ModbusSource("PLC", settings(peer.port), [before])
        async with scanning(source) as it:
            await it.good(before)
            assert it.listener.value(before) == (10, 11, 12, 13)
            source.retag([shorter, longer])
            await it.good(shorter, longer)
            await until(lambda: it.listener.value(shorter) == (10, 11))
            assert it.listener.value(longer) == (9, 10, 11, 12, 13, 14)
        assert peer.accepted == 1
