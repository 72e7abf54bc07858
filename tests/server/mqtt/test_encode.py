from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pubsub_schema import validate

from server.mqtt.encode import (
    DELTA_FRAME,
    KEEP_ALIVE,
    data_message,
    data_value,
    encoder,
    status_code,
    status_message,
)
from server.plant.model import Enumeration
from sources.clock import from_datetime
from sources.quality import BAD_NO_COMMUNICATION, GOOD, GOOD_CLAMPED, UNCERTAIN
from sources.tag import INTEGER_LIMITS, Value, ValueType

TIME = "2025-01-01T00:00:00.000000Z"
STATES = Enumeration("state", {2: "Stopped", 6: "Execute"})
SPECIAL: dict[str, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def decode(kind: ValueType, shown: Any) -> Any:
    """What a subscriber makes of the JSON, knowing the type from the metadata."""
    if kind in {ValueType.Int64, ValueType.UInt64}:
        assert isinstance(shown, str)
        return int(shown)
    if kind is ValueType.DateTime:
        return from_datetime(datetime.fromisoformat(shown))
    if kind in {ValueType.Float, ValueType.Double}:
        return SPECIAL[shown] if isinstance(shown, str) else float(shown)
    return shown


def values(kind: ValueType) -> st.SearchStrategy[Any]:
    if kind in INTEGER_LIMITS:
        return st.integers(*INTEGER_LIMITS[kind])
    others: dict[ValueType, Callable[[], st.SearchStrategy[Any]]] = {
        ValueType.Boolean: st.booleans,
        ValueType.Float: lambda: st.floats(width=32),
        ValueType.Double: st.floats,
        ValueType.String: lambda: st.text(st.characters(blacklist_categories=["Cs"])),
        ValueType.DateTime: lambda: st.datetimes(datetime(1601, 1, 1)).map(from_datetime),  # noqa: DTZ001
    }
    return others[kind]()


@given(st.sampled_from(list(ValueType)).flatmap(lambda kind: st.tuples(st.just(kind), values(kind))))
def test_every_value_survives_the_way_to_a_subscriber(case: tuple[ValueType, Value]) -> None:
    kind, value = case
    message = data_message(
        "p",
        DELTA_FRAME,
        writer_id=1,
        sequence=1,
        minor_version=1,
        time=0,
        payload={"F": data_value(encoder(kind), value, GOOD, TIME)},
    )
    body = json.loads(message)
    validate(body)
    back = decode(kind, body["Messages"][0]["Payload"]["F"]["Value"])
    if isinstance(value, float):
        width = ">f" if kind is ValueType.Float else ">d"
        both_nan = math.isnan(back) and math.isnan(value)
        assert both_nan or struct.pack(width, back) == struct.pack(width, value)
    else:
        assert back == value
        assert type(back) is type(value)


def test_a_float_is_the_shortest_number_of_its_32_bits() -> None:
    (single,) = struct.unpack("<f", struct.pack("<f", 12.3))
    assert encoder(ValueType.Float)(single) == 12.3
    assert encoder(ValueType.Double)(single) == single != 12.3
    assert encoder(ValueType.Float)(1e300) == 1e300


def test_integers_of_64_bits_are_text() -> None:
    assert encoder(ValueType.UInt64)(2**64 - 1) == "18446744073709551615"
    assert encoder(ValueType.Int64)(-1) == "-1"
    assert encoder(ValueType.UInt32)(7) == 7


def test_an_enumeration_shows_name_and_number_and_the_number_alone_where_it_has_no_name() -> None:
    assert encoder(ValueType.Int32, STATES)(6) == "Execute_6"
    assert encoder(ValueType.Int32, STATES)(7) == "7"


def test_text_that_utf_8_cannot_hold_does_not_stop_the_publisher() -> None:
    assert encoder(ValueType.String)("a\ud800b") == "a?b"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (UNCERTAIN, {"Code": 0x40000000, "Symbol": "Uncertain"}),
        (BAD_NO_COMMUNICATION, {"Code": 0x80310000, "Symbol": "BadNoCommunication"}),
        (GOOD_CLAMPED, {"Code": 0x00300000, "Symbol": "GoodClamped"}),
        (0x80FF0000, {"Code": 0x80FF0000}),
    ],
)
def test_a_status_has_code_and_symbol(status: int, expected: dict[str, Any]) -> None:
    assert status_code(status) == expected


def test_status_is_left_out_where_good_and_a_bad_value_is_null() -> None:
    plain = encoder(ValueType.Boolean)
    assert data_value(plain, value=True, status=GOOD, source_time=TIME) == {
        "Value": True,
        "SourceTimestamp": TIME,
    }
    bad = data_value(plain, None, BAD_NO_COMMUNICATION, TIME)
    assert bad["Value"] is None
    assert list(bad) == ["Value", "Status", "SourceTimestamp"]


def test_the_layout_is_json_networkmessage() -> None:
    body = json.loads(
        data_message(
            "acme", KEEP_ALIVE, writer_id=32_768, sequence=5, minor_version=9, time=133_801_632_000_000_000
        )
    )
    assert list(body) == ["MessageId", "MessageType", "PublisherId", "Messages"]
    assert body["Messages"] == [
        {
            "DataSetWriterId": 32_768,
            "SequenceNumber": 5,
            "MinorVersion": 9,
            "Timestamp": "2025-01-01T00:00:00.000000Z",
            "MessageType": "ua-keepalive",
        }
    ]


def test_messages_have_ids_of_their_own() -> None:
    assert len({json.loads(status_message("p", 2))["MessageId"] for _ in range(100)}) == 100


@given(
    st.sampled_from(list(ValueType)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(values(kind), max_size=4).map(tuple))
    )
)
def test_an_array_is_one_of_what_its_elements_are(case: tuple[ValueType, tuple[Any, ...]]) -> None:
    kind, held = case
    message = data_value(encoder(kind, array=True), held, GOOD, TIME)
    shown = json.loads(orjson.dumps(message))["Value"]
    assert isinstance(shown, list)
    one = encoder(kind)
    assert shown == [json.loads(orjson.dumps(one(element))) for element in held]


def test_floats_of_a_long_array_mean_the_same_bits() -> None:
    held = [struct.unpack("<f", struct.pack("<f", index / 7))[0] for index in range(2000)]
    shown: Any = encoder(ValueType.Float, array=True)((*held, math.nan, -math.inf))
    assert shown[-2:] == ["NaN", "-Infinity"]
    assert [struct.pack("<f", one) for one in shown[:-2]] == [struct.pack("<f", one) for one in held]


def test_an_array_of_states_tells_their_names() -> None:
    message = data_value(encoder(ValueType.Int32, STATES, array=True), (2, 6, 7), GOOD, TIME)
    assert message["Value"] == ["Stopped_2", "Execute_6", "7"]
    assert (
        data_value(encoder(ValueType.Int32, STATES, array=True), None, BAD_NO_COMMUNICATION, TIME)["Value"]
        is None
    )
