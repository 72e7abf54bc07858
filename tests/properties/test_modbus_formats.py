"""What is no plain number: what is written is read again, and no bytes do harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from support.modbus_tags import tag

from sources import clock
from sources.modbus.decode import Layout, ModbusTag, encode
from sources.modbus.encodings import Encoding, WordOrder
from sources.tag import Value, ValueType

ORDERS = st.sampled_from([order.value for order in WordOrder])
TIMES = st.sampled_from([e for e in Encoding if e.type is ValueType.DateTime])
OTHERS = st.sampled_from([e for e in Encoding if not e.is_plain and e is not Encoding.bool])
_GRAIN = {
    "unix32": timedelta(seconds=1),
    "unix64": timedelta(seconds=1),
    "s7_date": timedelta(days=1),
    "logo_clock": timedelta(seconds=1),
    "schneider_dt": timedelta(seconds=1),
    "omron_clock": timedelta(seconds=1),
    "mitsubishi_clock": timedelta(seconds=1),
}


def _one(its: ModbusTag, data: bytes) -> Value:
    (value,), _ = Layout(its.address.table, its.address.start, its.address.count, [its]).decode(data)
    return value


@given(TIMES, ORDERS, st.datetimes(datetime(2000, 1, 1), datetime(2068, 12, 31)))  # noqa: DTZ001
def test_times(encoding: Encoding, words: str, moment: datetime) -> None:
    grain = _GRAIN.get(encoding.value, timedelta(milliseconds=1))
    since = moment - datetime(2000, 1, 1)  # noqa: DTZ001
    whole = clock.from_datetime(datetime(2000, 1, 1, tzinfo=UTC) + since // grain * grain)
    its = tag("holding:0", encoding.value, words=words)
    raw = encode(its, whole)
    assert len(raw) == 2 * its.address.count
    assert _one(its, raw) == whole


@given(st.sampled_from(["string", "s7string", "lstring"]), st.text(max_size=60), ORDERS, st.integers(0, 9))
def test_text(kind: str, text: str, words: str, spare: int) -> None:
    text = text.replace("\0", "").encode("utf-8", "ignore").decode()
    its = tag("holding:0", f"{kind}({max(1, len(text.encode())) + spare})", words=words)
    assert _one(its, encode(its, text)) == text


@given(st.integers(0, 99_999_999), ORDERS)
def test_bcd(number: int, words: str) -> None:
    its = tag("holding:0", "bcd32", words=words)
    assert _one(its, encode(its, number)) == number


@given(OTHERS, ORDERS, st.data())
def test_whatever_a_device_holds(encoding: Encoding, words: str, data: st.DataObject) -> None:
    name = f"{encoding.value}(7)" if encoding.is_text else encoding.value
    its = tag("holding:0", name, words=words)
    raw = data.draw(st.binary(min_size=2 * its.address.count, max_size=2 * its.address.count))
    value = _one(its, raw)
    if value is not None and encoding.type is ValueType.DateTime:
        assert isinstance(value, int)
        clock.to_iso(value)
