from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from asyncua import ua
from support.subscribing import Change, Client, Stage, data_filter, make, wanted

from server.opcua.types import AttributeIds
from server.opcua.wire.writer import int32, variant
from sources.quality import BAD_TIMEOUT, GOOD, UNCERTAIN
from sources.tag import Value, ValueType

PLANT = {
    "double": (ValueType.Double, 0.1),
    "float": (ValueType.Float, 0.1),
    "int": (ValueType.Int32, 0.1),
    "byte": (ValueType.Byte, 0.1),
    "huge": (ValueType.UInt64, 0.1),
    "flag": (ValueType.Boolean, 0.1),
    "text": (ValueType.String, 0.1),
}


@pytest.fixture
def stage() -> Stage:
    return Stage(PLANT)


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.session()


def code(client: Client, item: Any) -> str:
    (result,) = client.create(client.subscribe(), item)
    return str(result.StatusCode.name)


def passed(stage: Stage, client: Client, name: str, wanted_filter: Any, values: list[Value]) -> list[Value]:
    """Which of the values are told, the first of all aside."""
    subscription = client.subscribe()
    stage.set(name, values[0])
    client.watch(subscription, name, queue=100, filter=wanted_filter)
    for value in values[1:]:
        stage.set(name, value)
    client.publish()
    stage.sleep(0.1)
    (heard,) = client.heard()
    return [change.value for change in heard][1:]  # type: ignore[union-attr]


def test_a_slow_drift_is_told_when_it_has_gone_far_enough(stage: Stage, client: Client) -> None:
    ramp: list[Value] = [step * 0.5 for step in range(21)]
    assert passed(stage, client, "double", data_filter(1, 1, 1.0), ramp) == [1.5, 3.0, 4.5, 6.0, 7.5, 9.0]


def test_where_the_status_alone_counts_no_deadband_does(stage: Stage, client: Client) -> None:
    """A trigger of Status looks at no value, however far it goes (OPC 10000-4 §7.22.2)."""
    subscription = client.subscribe()
    client.watch(subscription, "double", filter=data_filter(0, 1, 1.0), queue=10)
    stage.set("double", 0.0)
    client.publish()
    stage.sleep(0.1)
    client.heard()
    client.publish()
    stage.set("double", 50.0)
    stage.set("double", 50.0, UNCERTAIN)
    stage.set("double", 99.0, UNCERTAIN)
    stage.sleep(0.1)
    assert client.heard() == [[Change(1, 50.0, UNCERTAIN)]]


def test_a_change_has_to_be_greater_than_the_deadband(stage: Stage, client: Client) -> None:
    assert passed(stage, client, "int", data_filter(1, 1, 2.0), [0, 2, -2, 3, 1, 0]) == [3, 0]


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("float", [0.0, 1.0, 2.5], [2.5]),
        ("byte", [0, 1, 3], [3]),
        ("huge", [2**63, 2**63 + 1, 2**63 + 3], [2**63 + 3]),
    ],
)
def test_every_number_has_a_deadband(
    stage: Stage, client: Client, name: str, values: list[Value], told: list[Value]
) -> None:
    assert passed(stage, client, name, data_filter(1, 1, 1.0), values) == told


def test_not_a_number_is_far_from_every_number_and_near_itself(stage: Stage, client: Client) -> None:
    values: list[Value] = [0.0, math.nan, math.nan, 0.5, math.inf, -math.inf]
    told = passed(stage, client, "double", data_filter(1, 1, 5.0), values)
    assert [str(value) for value in told] == ["nan", "0.5", "inf", "-inf"]


def test_the_quality_is_never_suppressed(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("double", 1.0)
    client.watch(subscription, "double", queue=10, filter=data_filter(1, 1, 100.0))
    for quality in (UNCERTAIN, GOOD, BAD_TIMEOUT, GOOD):
        stage.set("double", 1.0, quality)
    client.publish()
    stage.sleep(0.1)
    assert client.heard() == [
        [
            Change(1, 1.0),
            Change(1, 1.0, UNCERTAIN),
            Change(1, 1.0),
            Change(1, None, BAD_TIMEOUT),
            Change(1, 1.0),
        ]
    ]


def test_a_percentage_is_one_of_the_eu_range(stage: Stage, client: Client) -> None:
    stage.eu_range("double", -50.0, 150.0)
    assert passed(stage, client, "double", data_filter(1, 2, 5.0), [0.0, 10.0, 10.5, 1.0, 0.4]) == [10.5, 0.4]


@pytest.mark.parametrize(
    ("name", "filter_", "expected"),
    [
        ("text", data_filter(1, 1, 1.0), "BadFilterNotAllowed"),
        ("flag", data_filter(1, 1, 1.0), "BadFilterNotAllowed"),
        ("flag", data_filter(1, 2, 1.0), "BadFilterNotAllowed"),
        ("double", data_filter(1, 1, -1.0), "BadDeadbandFilterInvalid"),
        ("double", data_filter(1, 1, math.nan), "BadDeadbandFilterInvalid"),
        ("double", data_filter(1, 2, 100.1), "BadDeadbandFilterInvalid"),
        ("double", data_filter(1, 2, 10.0), "BadMonitoredItemFilterUnsupported"),
        ("double", data_filter(1, 3, 10.0), "BadDeadbandFilterInvalid"),
        ("text", data_filter(0), "Good"),
        ("text", data_filter(2), "Good"),
    ],
)
def test_filters_that_do_not_fit_are_refused(client: Client, name: str, filter_: Any, expected: str) -> None:
    assert code(client, client.stage_item(name, filter=filter_)) == expected


def test_a_percentage_of_no_range_is_refused(stage: Stage, client: Client) -> None:
    stage.eu_range("double", 5.0, 5.0)
    assert code(client, client.stage_item("double", filter=data_filter(1, 2, 1.0))) == (
        "BadMonitoredItemFilterUnsupported"
    )


def test_filters_are_for_values(stage: Stage, client: Client) -> None:
    name = wanted(stage.nodes["double"], attribute=int(AttributeIds.BrowseName), filter=data_filter(0))
    assert code(client, name) == "BadFilterNotAllowed"
    assert code(client, client.stage_item("double", filter=make(ua.EventFilter))) == "BadFilterNotAllowed"
    aggregate = make(ua.AggregateFilter)
    assert code(client, client.stage_item("double", filter=aggregate)) == "BadMonitoredItemFilterUnsupported"
    other = make(ua.Range, 1.0, 2.0)
    assert code(client, client.stage_item("double", filter=other)) == "BadMonitoredItemFilterInvalid"


def test_a_trigger_nobody_knows_is_refused(stage: Stage, client: Client) -> None:
    body = struct.pack("<iId", 3, 0, 0.0)
    wrong: Any = ua.ExtensionObject(ua.NodeId(724), body)  # type: ignore[arg-type]
    assert code(client, client.stage_item("double", filter=wrong)) == "BadMonitoredItemFilterInvalid"
    short: Any = ua.ExtensionObject(ua.NodeId(724), body[:7])  # type: ignore[arg-type]
    assert code(client, client.stage_item("double", filter=short)) == "BadMonitoredItemFilterInvalid"
    assert not stage.engine.monitored_items


def test_by_status_only_the_status_counts(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("double", 1.0)
    client.watch(subscription, "double", queue=10, filter=data_filter(0, 1, 5.0))
    for value, quality in ((2.0, GOOD), (3.0, UNCERTAIN), (4.0, UNCERTAIN), (5.0, GOOD)):
        stage.set("double", value, quality)
    client.publish()
    stage.sleep(0.1)
    assert client.heard() == [[Change(1, 1.0), Change(1, 3.0, UNCERTAIN), Change(1, 5.0)]]


def test_by_timestamp_the_device_s_time_counts_too(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(200.0)
    stage.set("double", 1.0, time=1000)
    client.watch(subscription, "double", queue=10, filter=data_filter(2), handle=1)
    client.watch(subscription, "double", queue=10, handle=2)
    stage.set("double", 1.0, time=2000)
    stage.sleep(0.15)
    stage.set("double", 1.0, time=3000)
    client.publish()
    stage.sleep(0.3)
    (heard,) = client.heard()
    assert heard == [Change(1, 1.0), Change(1, 1.0), Change(1, 1.0), Change(2, 1.0)]
    client.publish()
    stage.sleep(0.5)
    assert client.heard() == []


def array(*values: float) -> bytes:
    return b"\x8b" + int32(len(values)) + struct.pack(f"<{len(values)}d", *values)


def test_of_an_array_one_element_is_enough(stage: Stage, client: Client) -> None:
    value = stage.stored("array", array(1.0, 2.0), 11)
    subscription = client.subscribe()
    client.watch(subscription, "array", queue=10, filter=data_filter(1, 1, 1.0))
    for values in ((1.5, 2.5), (1.5, 3.5), (2.0, 3.0), (2.0,), (2.5,), ()):
        value.set(array(*values))
    client.publish()
    stage.sleep(0.1)
    (heard,) = client.heard()
    assert [change.value for change in heard] == [[1.0, 2.0], [1.5, 3.5], [2.0], []]  # type: ignore[union-attr]


def test_two_dimensions_of_the_same_length_are_another_shape(stage: Stage, client: Client) -> None:
    def shaped(*dimensions: int) -> bytes:
        return (
            b"\xcb" + int32(4) + struct.pack("<4d", 1, 2, 3, 4)
            + int32(len(dimensions)) + b"".join(map(int32, dimensions))
        )  # fmt: skip

    value = stage.stored("matrix", shaped(2, 2), 11)
    subscription = client.subscribe()
    client.watch(subscription, "matrix", queue=10, filter=data_filter(1, 1, 1.0))
    value.set(shaped(2, 2))
    value.set(shaped(4, 1))
    client.publish()
    stage.sleep(0.1)
    (heard,) = client.heard()
    assert len(heard) == 2


def test_a_value_that_becomes_null_is_told(stage: Stage, client: Client) -> None:
    value = stage.stored("maybe", variant(11, struct.pack("<d", 1.0)), 11)
    subscription = client.subscribe()
    client.watch(subscription, "maybe", queue=10, filter=data_filter(1, 1, 1.0))
    value.set(b"\x00")
    value.set(variant(11, struct.pack("<d", 1.0)))
    client.publish()
    stage.sleep(0.1)
    (heard,) = client.heard()
    assert [change.value for change in heard] == [1.0, None, 1.0]  # type: ignore[union-attr]


def test_a_deadband_of_an_abstract_number(stage: Stage, client: Client) -> None:
    stage.stored("number", variant(6, int32(1)), 26)
    stage.stored("anything", variant(6, int32(1)), 24)
    assert code(client, client.stage_item("number", filter=data_filter(1, 1, 1.0))) == "Good"
    assert code(client, client.stage_item("anything", filter=data_filter(1, 1, 1.0))) == "BadFilterNotAllowed"
