"""Each layout against bytes written by hand from its maker's manual."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

import pytest
from support.modbus_tags import settings, tag

from sources import clock
from sources.modbus.decode import Layout, ModbusTag, encode
from sources.modbus.encodings import Encoding
from sources.modbus.formats import Unencodable, format_of
from sources.quality import BAD_DECODING_ERROR, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import Value, ValueType

AT = datetime(2025, 11, 30, 23, 58, 59, 123_000, tzinfo=UTC)  # a Sunday
WHOLE = AT.replace(microsecond=0)

TIMES: list[tuple[str, str, datetime]] = [
    ("unix32", "692cda43", WHOLE),
    ("unix32", "ffffffff", datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC)),
    ("unix64", "00000000692cda43", WHOLE),
    ("unix64", "ffffffffffffffff", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ("unix64ms", "0000019ad7349633", AT),
    ("unix64us", "000644d8a56ab738", AT),
    ("unix64ns", "187cee4628dbb2c0", AT),
    ("filetime", "01dc62554b69a830", AT),
    ("ole_date", "40e674fffa3a5b7e", AT),
    ("s7_date", "333d", datetime(2025, 11, 30, tzinfo=UTC)),
    ("s7_dt", "25 11 30 23 58 59 12 31", AT),
    ("s7_dt", "90 01 01 00 00 00 00 02", datetime(1990, 1, 1, tzinfo=UTC)),
    ("s7_dtl", "07e9 0b 1e 01 17 3a 3b 0754d4c0", AT),
    ("logo_clock", "19 0b 1e 17 3a 3b", WHOLE),
    ("schneider_dt", "5900 2358 1130 2025", WHOLE),
    ("schneider_meter", "0019 0bfe 173a e6f3", AT),
    ("systemtime", "07e9 000b 0000 001e 0017 003a 003b 007b", AT),
    ("omron_clock", "5859 3023 2511 0000", WHOLE),
    ("mitsubishi_clock", "2511 3023 5859 0000", WHOLE),
]


def _read(its: ModbusTag, data: bytes) -> tuple[Value, Quality]:
    layout = Layout(its.address.table, its.address.start, its.address.count, [its])
    (value,), qualities = layout.decode(data)
    return value, qualities if isinstance(qualities, int) else qualities[0]


@pytest.mark.parametrize(("encoding", "data", "moment"), TIMES)
def test_times(encoding: str, data: str, moment: datetime) -> None:
    its = tag("holding:0", encoding, writable=True)
    raw = bytes.fromhex(data)
    assert its.type is ValueType.DateTime
    assert _read(its, raw) == (clock.from_datetime(moment), GOOD)
    assert encode(its, clock.from_datetime(moment)) == raw


def test_every_format_of_time_is_tried() -> None:
    assert {name for name, _, _ in TIMES} == {e.value for e in Encoding if e.type is ValueType.DateTime}


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("bcd16", "12a4"),
        ("bcd32", "1234567f"),
        ("s5time", "2a00"),
        ("unix64", "7fffffffffffffff"),
        ("unix64", "8000000000000000"),
        ("filetime", "ffffffffffffffff"),
        ("ole_date", "7ff8000000000000"),
        ("ole_date", "7e37e43c8800759c"),
        ("s7_dt", "00" * 8),
        ("s7_dt", "25 13 30 23 58 59 12 31"),
        ("s7_dt", "25 11 30 23 58 59 12 f1"),
        ("s7_dt", "25 11 30 2f 58 59 12 31"),
        ("s7_dtl", "07e9 02 1e 01 17 3a 3b 00000000"),
        ("s7_dtl", "07e9 01 1e 01 17 3a 3b ffffffff"),
        ("s7_dtl", "0001 01 01 01 00 00 00 00000000"),  # before 1601
        ("logo_clock", "64 0b 1e 17 3a 3b"),
        ("schneider_dt", "5900 2460 1130 2025"),
        ("schneider_meter", "0019 0bfe 173a ffff"),
        ("systemtime", "07e9 0000 0000 001e 0017 003a 003b 007b"),
        ("omron_clock", "58f9 3023 2511 0000"),
        ("mitsubishi_clock", "2511 3224 5859 0000"),
        ("s7string(4)", "0405 41424344"),
        ("s7string(4)", "0402 ffff0000"),
        ("lstring(4)", "0005 41424344"),
    ],
)
def test_what_is_no_such_value_is_bad(encoding: str, data: str) -> None:
    assert _read(tag("holding:0", encoding), bytes.fromhex(data)) == (None, BAD_DECODING_ERROR)


@pytest.mark.parametrize(
    ("encoding", "data", "value"),
    [
        ("bcd16", "1234", 1234),
        ("bcd32", "00012345", 12345),
        ("s5time", "0127", 1.27),
        ("s5time", "1999", 99.9),
        ("s5time", "2999", 999.0),
        ("s5time", "3999", 9990.0),
        ("s7string(5)", "0503 414243 0000 00", "ABC"),
        ("s7string(4)", "0404 c3bc c3b6", "üö"),
        ("lstring(3)", "0003 414243 00", "ABC"),
        ("string(3)", "414243 00", "ABC"),
    ],
)
def test_other_values(encoding: str, data: str, value: Value) -> None:
    its = tag("holding:0", encoding, writable=True)
    raw = bytes.fromhex(data)
    assert _read(its, raw) == (value, GOOD)
    assert encode(its, value) == raw


@pytest.mark.parametrize(
    ("words", "data"),
    [("ABCD", "12345678"), ("BADC", "34127856"), ("CDAB", "56781234"), ("DCBA", "78563412")],
)
def test_one_number_has_both_swaps(words: str, data: str) -> None:
    its = tag("holding:0", "bcd32", words=words)
    assert _read(its, bytes.fromhex(data)) == (12345678, GOOD)
    assert encode(its, 12345678) == bytes.fromhex(data)


@pytest.mark.parametrize(("words", "data"), [("CDAB", "190b 1e17 3a3b"), ("DCBA", "0b19 171e 3b3a")])
def test_fields_swap_their_bytes_only(words: str, data: str) -> None:
    its = tag("holding:0", "logo_clock", words=words)
    assert _read(its, bytes.fromhex(data)) == (clock.from_datetime(WHOLE), GOOD)


def test_a_device_s_calendar_is_where_the_source_says() -> None:
    its = tag("holding:0", "systemtime", of=settings(timezone="Europe/Paris"))
    moment = datetime(2025, 7, 14, 12, 0, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))
    raw = bytes.fromhex("07e9 0007 0001 000e 000c 0000 0000 0000")
    assert _read(its, raw) == (clock.from_datetime(moment), GOOD)
    assert encode(its, clock.from_datetime(moment)) == raw


@pytest.mark.parametrize(
    ("encoding", "value", "quality"),
    [
        ("bcd16", 10_000, BAD_OUT_OF_RANGE),
        ("bcd16", -1, BAD_OUT_OF_RANGE),
        ("bcd16", 1.0, BAD_TYPE_MISMATCH),
        ("bcd16", True, BAD_TYPE_MISMATCH),
        ("s5time", 9996.0, BAD_OUT_OF_RANGE),
        ("s5time", -0.1, BAD_OUT_OF_RANGE),
        ("s5time", float("nan"), BAD_OUT_OF_RANGE),
        ("s5time", "1s", BAD_TYPE_MISMATCH),
        ("unix32", 0, BAD_OUT_OF_RANGE),
        ("unix64", -1, BAD_OUT_OF_RANGE),
        ("unix64", 2**63, BAD_OUT_OF_RANGE),
        ("unix64", "now", BAD_TYPE_MISMATCH),
        ("s7_dt", 0, BAD_OUT_OF_RANGE),
        ("s7_date", 0, BAD_OUT_OF_RANGE),
        ("logo_clock", 0, BAD_OUT_OF_RANGE),
        ("schneider_meter", 0, BAD_OUT_OF_RANGE),
        ("omron_clock", 0, BAD_OUT_OF_RANGE),
        ("s7string(2)", "ABC", BAD_OUT_OF_RANGE),
        ("lstring(2)", "üü", BAD_OUT_OF_RANGE),
        ("lstring(2)", 5, BAD_TYPE_MISMATCH),
    ],
)
def test_what_a_format_has_not_is_not_written(encoding: str, value: Value, quality: Quality) -> None:
    with pytest.raises(Unencodable, match=r"^holding:0: ") as caught:
        encode(tag("holding:0", encoding, writable=True), value)
    assert caught.value.quality == quality


def test_every_encoding_that_is_no_plain_number_has_a_format_of_its_size() -> None:
    for encoding in Encoding:
        if encoding.is_plain or encoding is Encoding.bool:
            continue
        value: Value = "A" if encoding.is_text else clock.from_datetime(WHOLE)
        if encoding.type not in {ValueType.String, ValueType.DateTime}:
            value = 7
        raw = format_of(encoding, 8, UTC).encode(value)
        assert len(raw) == 2 * encoding.registers(8), encoding
