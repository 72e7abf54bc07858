from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError
from support.modbus_tags import settings, tag
from support.scanning import FAST

from sources.errors import AddressError
from sources.modbus.config import ModbusAddress, ModbusSettings
from sources.modbus.encodings import Encoding, WordOrder
from sources.modbus.plan import Limits
from sources.modbus.tables import Table
from sources.tag import ValueType


def test_settings_have_the_defaults_of_the_field() -> None:
    its = ModbusSettings.model_validate({"driver": "modbus", "host": "10.20.1.11"})
    assert (its.port, its.unit, its.words, its.timeout) == (502, 1, "ABCD", 1.0)
    assert Limits.of(its) == (125, 125, 2000)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", ""),
        ("host", "plc..local"),
        ("host", "10.0.0.1 "),
        ("host", "tcp://10.0.0.1"),
        ("host", "x" * 64),
        ("port", 0),
        ("port", 65536),
        ("port", "502"),
        ("unit", 256),
        ("unit", -1),
        ("words", "AB"),
        ("max_gap", 126),
        ("max_registers", 126),
        ("max_registers", 0),
        ("max_bits", 2001),
        ("timeout", 1),
        ("timeout", "0s"),
        ("retries", 3),
        ("driver", "s7"),
    ],
)
def test_settings_the_protocol_cannot_mean_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**{key: value}) if key != "port" else settings(value)
    assert [error["loc"][0] for error in caught.value.errors()] == [key]


@pytest.mark.parametrize("host", ["10.20.1.11", "fe80::1", "plc1", "plc1.acme.example", "füller-1.local"])
def test_hosts_are_names_or_addresses(host: str) -> None:
    assert settings(host=host).host == host


@pytest.mark.parametrize(
    ("text", "encoding", "address", "kind"),
    [
        ("holding:0", "uint16", ModbusAddress(Table.holding, 0, 1, Encoding.uint16), ValueType.UInt16),
        ("holding:0", "float32", ModbusAddress(Table.holding, 0, 2, Encoding.float32), ValueType.Float),
        ("input:65532", "int64", ModbusAddress(Table.input, 65532, 4, Encoding.int64), ValueType.Int64),
        ("input:7", "float64", ModbusAddress(Table.input, 7, 4, Encoding.float64), ValueType.Double),
        ("coil:5", None, ModbusAddress(Table.coil, 5, 1, Encoding.bool), ValueType.Boolean),
        ("discrete:65535", "bool", ModbusAddress(Table.discrete, 65535, 1, Encoding.bool), ValueType.Boolean),
        ("holding:10.3", None, ModbusAddress(Table.holding, 10, 1, Encoding.bool, bit=3), ValueType.Boolean),
        ("input:10.15", "bool", ModbusAddress(Table.input, 10, 1, Encoding.bool, bit=15), ValueType.Boolean),
        (
            "holding:8",
            "string(5)",
            ModbusAddress(Table.holding, 8, 3, Encoding.string, length=5),
            ValueType.String,
        ),
    ],
)
def test_addresses(text: str, encoding: str | None, address: ModbusAddress, kind: ValueType) -> None:
    its = tag(text, encoding)
    assert (its.address, its.type, its.scan, its.writable) == (address, kind, FAST, False)


@pytest.mark.parametrize(
    ("natural", "encoding"),
    [
        (ValueType.Double, Encoding.float64),
        (ValueType.Float, Encoding.float32),
        (ValueType.Int16, Encoding.int16),
        (ValueType.UInt16, Encoding.uint16),
        (ValueType.Int32, Encoding.int32),
        (ValueType.UInt32, Encoding.uint32),
        (ValueType.Int64, Encoding.int64),
        (ValueType.UInt64, Encoding.uint64),
    ],
)
def test_without_an_encoding_the_property_s_type_says_it(natural: ValueType, encoding: Encoding) -> None:
    its = tag("holding:0", natural=natural)
    assert (its.address.encoding, its.type) == (encoding, natural)


def test_the_word_order_is_the_source_s_unless_the_tag_has_its_own() -> None:
    source = settings(words="CDAB")
    assert tag("holding:0", "int32", of=source).address.order is WordOrder.CDAB
    assert tag("holding:0", "int32", of=source, words="DCBA").address.order is WordOrder.DCBA


@pytest.mark.parametrize("text", ["holding:0 as float32", "coil:5", "holding:10.3", "input:2 as string(9)"])
def test_an_address_is_written_as_the_configuration_has_it(text: str) -> None:
    address, _, encoding = text.partition(" as ")
    assert str(tag(address, encoding or None).address) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("40001", "40001 in 5-digit notation is holding:0"),
        ("40011.3", "40011 in 5-digit notation is holding:10.3"),
        ("30007", "is input:6"),
        ("10001", "is discrete:0"),
        ("00005", "is coil:4"),
        ("400001", "400001 in 6-digit notation is holding:0"),
        ("465536", "is holding:65535"),
        ("465537", "does not say which table"),
        ("40000", "does not say which table"),
        ("12", "does not say which table"),
        ("holdings:3", "did you mean holding:3?"),
        ("Holding:3", "did you mean holding:3?"),
        ("coils:3", "did you mean coil:3?"),
        ("holding: 3.2", "did you mean holding:3.2?"),
        ("HR5", "did you mean holding:5?"),
        ("%MW100", "did you mean holding:100?"),
        ("di:4", "did you mean discrete:4?"),
        ("input register 9", "did you mean input:9?"),
        ("holding:0x10", "did you mean holding:16?"),
        ("holding:-1", "write holding:0"),
        ("holding", "write holding:0"),
        ("", "write holding:0"),
        ("DB1.DBW0", "write holding:0"),
        ("holding:65536", "from 0 to 65535"),
        ("coil:5.1", "write coil:5"),
        ("holding:5.16", "0 (least significant) to 15"),
    ],
)
def test_what_is_no_address_is_refused_with_the_right_form(text: str, advice: str) -> None:
    with pytest.raises(AddressError, match=re.escape(advice)) as caught:
        tag(text, "bool" if "." in text else "uint16")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "encoding", "natural", "advice"),
    [
        ("holding:0", "real", ValueType.Float, "did you mean float32?"),
        ("holding:0", "DINT", ValueType.Float, "did you mean int32?"),
        ("holding:0", "uint-16", ValueType.Float, "did you mean uint16?"),
        ("holding:0", "bcd", ValueType.Float, "there are bool, int16"),
        ("holding:0", "string", ValueType.String, "string(16)"),
        ("holding:0", "string(0)", ValueType.String, "string(16)"),
        ("holding:0", "bool", ValueType.Boolean, "holding:0.0 is the least significant"),
        ("holding:0", None, ValueType.Boolean, "holding:0.0 is the least significant"),
        ("holding:0", None, ValueType.String, "string(16)"),
        ("holding:0", None, ValueType.Byte, "as: uint16"),
        ("holding:0", None, ValueType.SByte, "as: int16"),
        ("coil:0", "uint16", ValueType.Boolean, "it can only be bool"),
        ("holding:0.1", "uint16", ValueType.Boolean, "it can only be bool"),
        ("holding:65535", "uint32", ValueType.UInt32, "runs past holding:65535"),
        ("holding:65500", "string(100)", ValueType.String, "runs past holding:65535"),
        ("holding:0", "string(251)", ValueType.String, "one request reads 125"),
    ],
)
def test_what_is_no_encoding_is_refused_with_the_right_one(
    text: str, encoding: str | None, natural: ValueType, advice: str
) -> None:
    with pytest.raises(AddressError, match=re.escape(advice)):
        tag(text, encoding, natural=natural)


def test_a_value_wider_than_the_device_s_requests_is_refused() -> None:
    with pytest.raises(AddressError, match="max_registers"):
        tag("holding:0", "float64", of=settings(max_registers=3))


@pytest.mark.parametrize("words", ["abcd", "AB", "big"])
def test_a_word_order_there_is_not_is_refused(words: str) -> None:
    with pytest.raises(AddressError, match="there are ABCD, BADC, CDAB, DCBA"):
        tag("holding:0", "int32", words=words)


def test_a_coil_has_no_word_order() -> None:
    with pytest.raises(AddressError, match="leave words out"):
        tag("coil:0", words="CDAB")


@pytest.mark.parametrize(
    ("text", "other"), [("input:0", "holding"), ("discrete:0", "coil"), ("input:0.1", "holding")]
)
def test_what_the_protocol_cannot_write_is_not_writable(text: str, other: str) -> None:
    with pytest.raises(AddressError, match=f"use its {other}"):
        tag(text, writable=True)


def test_a_text_too_long_for_one_write_is_not_writable() -> None:
    assert tag("holding:0", "string(246)", writable=True).writable
    with pytest.raises(AddressError, match="writes at most 123"):
        tag("holding:0", "string(248)", writable=True)


@pytest.mark.parametrize(
    ("addressing", "text", "table", "start"),
    [
        ("0-based", "holding:0", Table.holding, 0),
        ("1-based", "holding:1", Table.holding, 0),
        ("1-based", "input:65536", Table.input, 65535),
        ("5-digit", "40001", Table.holding, 0),
        ("5-digit", "49999", Table.holding, 9998),
        ("5-digit", "30010", Table.input, 9),
        ("5-digit", "10001", Table.discrete, 0),
        ("5-digit", "00001", Table.coil, 0),
        ("6-digit", "400001", Table.holding, 0),
        ("6-digit", "465536", Table.holding, 65535),
        ("6-digit", "000017", Table.coil, 16),
    ],
)
def test_each_way_of_counting(addressing: str, text: str, table: Table, start: int) -> None:
    its = tag(text, None if table.is_bits else "uint16", of=settings(addressing=addressing))
    assert (its.address.table, its.address.start) == (table, start)
    assert str(its.address).startswith(text)


def test_a_bit_in_digits() -> None:
    its = tag("40011.3", of=settings(addressing="5-digit"))
    assert (its.address.start, its.address.bit, str(its.address)) == (10, 3, "40011.3")


@pytest.mark.parametrize(
    ("addressing", "text", "advice"),
    [
        ("1-based", "holding:0", "addresses run from 1 to 65536 (addressing: 1-based)"),
        ("1-based", "holding:65537", "addresses run from 1 to 65536"),
        ("1-based", "40001", "40001 in 5-digit notation is holding:1; write that, or give the source"),
        ("0-based", "40001", "or give the source addressing: 5-digit"),
        ("5-digit", "holding:0", "whose addressing is 5-digit; write 40001"),
        ("5-digit", "400001", "whose addressing is 5-digit"),
        ("5-digit", "20001", "whose addressing is 5-digit"),
        ("5-digit", "40000", "addresses run from 1 to 9999"),
        ("6-digit", "40001", "whose addressing is 6-digit; write 400001"),
        ("6-digit", "465537", "addresses run from 1 to 65536"),
        ("5-digit", "00001.3", "a coil is one bit already; write 00001"),
        ("5-digit", "40001.16", "0 (least significant) to 15"),
    ],
)
def test_ways_of_counting_do_not_mix(addressing: str, text: str, advice: str) -> None:
    with pytest.raises(AddressError, match=re.escape(advice)):
        tag(text, "uint16", of=settings(addressing=addressing))


def test_the_last_address_is_told_as_the_source_counts() -> None:
    with pytest.raises(AddressError, match="past 465536"):
        tag("465536", "uint32", of=settings(addressing="6-digit"))


@pytest.mark.parametrize(
    ("addressing", "text", "span"),
    [
        ("0-based", "holding:100..120", (Table.holding, 100, 121)),
        ("0-based", "holding:7", (Table.holding, 7, 8)),
        ("1-based", "input:1..2", (Table.input, 0, 2)),
        ("5-digit", "40101..40121", (Table.holding, 100, 121)),
    ],
)
def test_forbidden_ranges(addressing: str, text: str, span: object) -> None:
    assert settings(addressing=addressing, forbidden=(text,)).forbidden_spans == [span]


@pytest.mark.parametrize(
    "text", ["100..120", "holding:120..100", "holding:1..coil:2", "holding:1.2..3", "holding:1..", "40001"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="forbidden: "):
        settings(forbidden=(text,))


def test_a_point_in_a_forbidden_range_is_refused() -> None:
    source = settings(forbidden=("holding:100..120",))
    for text, encoding in (("holding:120", "uint16"), ("holding:99", "float32"), ("holding:105.3", "bool")):
        with pytest.raises(AddressError, match="in holding:100 to holding:120, which is forbidden"):
            tag(text, encoding, of=source)
    tag("holding:98", "float32", of=source)
    tag("input:105", "uint16", of=source)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"transport": "rtu"}, "'device' is missing"),
        ({"transport": "rtu", "device": "/dev/ttyS0", "host": "plc"}, "host has no meaning"),
        ({"transport": "rtu", "device": "/dev/ttyS0", "pipeline": 2}, "one request at a time"),
        ({"transport": "rtu", "device": "/dev/ttyS0", "unit": 0}, "units there are 1 to 247"),
        ({"transport": "rtu", "device": "/dev/ttyS0", "data_bits": 7}, "8 data bits"),
        ({"transport": "rtu-over-tcp", "host": "plc", "connections": 2}, "one request at a time"),
        ({"transport": "rtu-over-tcp", "host": "plc", "baud": 9600}, "baud has no meaning"),
        ({}, "'host' is missing"),
        ({"host": "plc", "ca": "ca.pem"}, "ca needs TLS"),
        ({"transport": "tls", "host": "plc", "certificate": "a.pem"}, "go together"),
        ({"transport": "tls", "host": "plc", "key_password": "env:X"}, "without a key"),
        ({"transport": "tls", "host": "plc", "key_password": "secret"}, "never stands in this file"),
        ({"host": "plc", "timezone": "Europe/Pariss"}, "is no time zone"),
    ],
)
def test_what_does_not_belong_to_a_transport_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        ModbusSettings.model_validate({"driver": "modbus"} | given)


def test_tls_has_a_port_of_its_own() -> None:
    tls = {"driver": "modbus", "host": "plc", "transport": "tls"}
    assert ModbusSettings.model_validate(tls).port == 802
    assert ModbusSettings.model_validate(tls | {"port": 8802}).port == 8802


@pytest.mark.parametrize(
    ("given", "gap"),
    [
        ({"host": "plc"}, 125),
        ({"host": "plc", "transport": "udp"}, 125),
        ({"host": "plc", "transport": "rtu-over-tcp"}, 14),
        ({"transport": "rtu", "device": "/dev/ttyS0", "baud": 9600}, 14),
        ({"transport": "rtu", "device": "/dev/ttyS0", "baud": 115200}, 62),
        ({"transport": "ascii", "device": "/dev/ttyS0", "baud": 9600}, 10),
        ({"transport": "rtu", "device": "/dev/ttyS0", "max_gap": 3}, 3),
    ],
)
def test_the_gap_that_is_read_along_follows_from_the_line(given: dict[str, Any], gap: int) -> None:
    assert Limits.of(ModbusSettings.model_validate({"driver": "modbus"} | given)).max_gap == gap
