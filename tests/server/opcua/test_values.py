"""Values as read and as subscribed to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from support.net import until
from support.opcua import Connect, Running

from server.opcua.types import AttributeIds, StatusCodes
from sources.clock import from_datetime, now, to_datetime
from sources.quality import (
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_SERVICE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
)


async def read(
    client: Client,
    node: str,
    *,
    attribute: AttributeIds = AttributeIds.Value,
    timestamps: ua.TimestampsToReturn = ua.TimestampsToReturn.Both,
    **more: Any,
) -> ua.DataValue:
    wanted = ua.ReadValueId(NodeId=ua.NodeId.from_string(node), AttributeId=attribute, **more)
    request = ua.ReadParameters(TimestampsToReturn=timestamps, NodesToRead=[wanted])
    (found,) = await client.uaclient.read(request)
    return found


def code(found: ua.DataValue) -> int:
    assert found.StatusCode is not None
    return found.StatusCode.value


def value(found: ua.DataValue) -> Any:
    assert found.Value is not None
    return found.Value.Value


class Notes:
    """What a subscription brought."""

    def __init__(self) -> None:
        self.values: list[ua.DataValue] = []

    def datachange_notification(self, _node: Any, _value: Any, data: Any) -> None:
        self.values.append(data.monitored_item.Value)


async def test_before_the_first_scan_there_is_no_value_and_never_good(
    connect: Connect, served: Running
) -> None:
    async with connect(served) as client:
        for name, expected in (("Recipe", BAD_WAITING_FOR_INITIAL_DATA), ("Spare", BAD_OUT_OF_SERVICE)):
            found = await read(client, served.bench.node(name))
            assert (code(found), value(found)) == (expected, None)
            assert found.SourceTimestamp is not None


async def test_a_poll_that_changes_nothing_advances_the_server_time_only(
    connect: Connect, served: Running
) -> None:
    node, start = served.bench.node("Speed"), now()
    async with connect(served) as client:
        served.feed("Speed", 7.5, received=start)
        first = await read(client, node)
        served.feed("Speed", 7.5, received=start + 20_000_000)
        second = await read(client, node)
    assert (value(first), value(second)) == (7.5, 7.5)
    assert first.SourceTimestamp == second.SourceTimestamp == to_datetime(start)
    assert first.ServerTimestamp is not None
    assert second.ServerTimestamp is not None
    assert second.ServerTimestamp - first.ServerTimestamp == timedelta(seconds=2)


async def test_a_bad_status_has_no_value_and_an_uncertain_one_keeps_the_last(
    connect: Connect, served: Running
) -> None:
    node = served.bench.node("Speed")
    async with connect(served) as client:
        served.feed("Speed", 8.0)
        served.do(lambda: served.bench.lose("Speed", UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE))
        found = await read(client, node)
        assert (code(found), value(found)) == (UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, 8.0)
        served.do(lambda: served.bench.lose("Speed", BAD_NO_COMMUNICATION))
        found = await read(client, node)
        assert (code(found), value(found)) == (BAD_NO_COMMUNICATION, None)
        served.feed("Speed", 9.0)
        assert code(await read(client, node)) == GOOD


@pytest.mark.parametrize(
    ("timestamps", "has_source", "has_server"),
    [
        (ua.TimestampsToReturn.Source, True, False),
        (ua.TimestampsToReturn.Server, False, True),
        (ua.TimestampsToReturn.Both, True, True),
        (ua.TimestampsToReturn.Neither, False, False),
    ],
)
async def test_only_the_timestamps_asked_for_are_returned(
    connect: Connect,
    served: Running,
    timestamps: ua.TimestampsToReturn,
    has_source: bool,
    has_server: bool,
) -> None:
    async with connect(served) as client:
        found = await read(client, served.bench.node("Make"), timestamps=timestamps)
        assert (found.SourceTimestamp is not None, found.ServerTimestamp is not None) == (
            has_source,
            has_server,
        )
        name = await read(
            client, served.bench.node("Make"), timestamps=timestamps, attribute=AttributeIds.BrowseName
        )
        assert (name.SourceTimestamp is not None, name.ServerTimestamp is not None) == (False, has_server)


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"node": "ns=4;s=Nowhere"}, StatusCodes.BadNodeIdUnknown),
        ({"attribute": AttributeIds.InverseName}, StatusCodes.BadAttributeIdInvalid),
        ({"IndexRange": "0"}, StatusCodes.BadIndexRangeNoData),
        ({"IndexRange": "2:1"}, StatusCodes.BadIndexRangeInvalid),
        ({"IndexRange": "x"}, StatusCodes.BadIndexRangeInvalid),
        ({"DataEncoding": ua.QualifiedName("Default XML")}, StatusCodes.BadDataEncodingUnsupported),
        (
            {"DataEncoding": ua.QualifiedName("Default Binary"), "attribute": AttributeIds.BrowseName},
            StatusCodes.BadDataEncodingInvalid,
        ),
    ],
)
async def test_senseless_reading_says_why(
    connect: Connect, served: Running, wishes: dict[str, Any], expected: int
) -> None:
    async with connect(served) as client:
        asked = {"node": served.bench.node("Target")} | wishes
        assert code(await read(client, **asked)) == expected


async def test_a_range_of_an_array_is_the_range(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        found = await read(client, "i=2255", IndexRange="1:2")
        assert value(found) == list(served.bench.namespace_array[1:3])
        assert value(await read(client, served.bench.node("Make"), IndexRange="0:1")) == "KH"


async def test_calls_that_make_no_sense_fail_as_a_whole(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        with pytest.raises(ua.uaerrors.BadNothingToDo):
            await client.uaclient.read(ua.ReadParameters())
        one = ua.ReadValueId(NodeId=ua.NodeId.from_string("i=2259"), AttributeId=AttributeIds.Value)
        with pytest.raises(ua.uaerrors.BadTooManyOperations):
            await client.uaclient.read(ua.ReadParameters(NodesToRead=[one] * 10_001))
        with pytest.raises(ua.uaerrors.BadMaxAgeInvalid):
            await client.uaclient.read(ua.ReadParameters(MaxAge=-1, NodesToRead=[one]))


async def test_a_subscription_brings_the_first_value_and_every_change(
    connect: Connect, served: Running
) -> None:
    served.feed("Count", 1)
    notes = Notes()
    async with connect(served) as client:
        subscription = await client.create_subscription(100, notes)
        await subscription.subscribe_data_change(client.get_node(served.bench.node("Count")), queuesize=10)
        await until(lambda: len(notes.values) == 1)
        for count in (2, 3, 3, 4):
            served.feed("Count", count)
        await until(lambda: len(notes.values) == 4)
        served.do(lambda: served.bench.lose("Count", BAD_NO_COMMUNICATION))
        await until(lambda: len(notes.values) == 5)
        await subscription.delete()
    assert [value(v) for v in notes.values] == [1, 2, 3, 4, None]
    assert [code(v) for v in notes.values] == [GOOD] * 4 + [BAD_NO_COMMUNICATION]
    assert all(v.Value is not None and v.Value.VariantType == ua.VariantType.UInt32 for v in notes.values[:4])
    assert all(v.SourceTimestamp is not None and v.ServerTimestamp is not None for v in notes.values)


async def test_the_servers_clock_can_be_subscribed_to(connect: Connect, served: Running) -> None:
    notes = Notes()
    async with connect(served) as client:
        subscription = await client.create_subscription(100, notes)
        await subscription.subscribe_data_change(client.get_node("i=2258"))
        await until(lambda: len(notes.values) >= 2)
        await subscription.delete()
    assert value(notes.values[1]) > value(notes.values[0])
    assert abs(from_datetime(value(notes.values[1])) - now()) < 60 * 10_000_000


async def test_a_deadband_counts_from_what_was_told_last(connect: Connect, served: Running) -> None:
    """A slow drift is told once it is far enough, however small its steps (OPC 10000-4 §7.22.2)."""
    served.feed("Speed", 100.0)
    async with connect(served) as client:
        notes = Notes()
        subscription = await client.create_subscription(50, notes)
        node: Any = client.get_node(served.bench.node("Speed"))
        limit: Any = 1.0
        await subscription.deadband_monitor(node, limit)
        await until(lambda: len(notes.values) == 1)
        for step in range(1, 6):
            served.feed("Speed", 100.0 + 0.3 * step)
            await asyncio.sleep(0.1)
        await until(lambda: len(notes.values) == 2)
        assert value(notes.values[-1]) == pytest.approx(101.2)
        await subscription.delete()


async def test_a_subscription_is_its_sessions_own(connect: Connect, served: Running) -> None:
    async with connect(served) as one, connect(served) as other:
        subscription = await one.create_subscription(100, Notes())
        number = subscription.subscription_id
        assert number is not None
        (refused,) = await other.uaclient.delete_subscriptions([number])
        assert refused.value == StatusCodes.BadSubscriptionIdInvalid
        request = ua.CreateMonitoredItemsParameters(
            SubscriptionId=number, ItemsToCreate=[ua.MonitoredItemCreateRequest()]
        )
        with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
            await other.uaclient.create_monitored_items(request)
        await subscription.delete()


async def test_many_changes_at_once_all_arrive(connect: Connect, served: Running) -> None:
    notes = Notes()
    served.feed("Count", 0)
    async with connect(served) as client:
        subscription = await client.create_subscription(100, notes)
        await subscription.subscribe_data_change(client.get_node(served.bench.node("Count")), queuesize=1000)

        def burst() -> None:
            for count in range(1, 501):
                served.bench.feed("Count", count)

        await asyncio.to_thread(served.do, burst)
        await until(lambda: len(notes.values) == 501)
        await subscription.delete()
    assert [value(v) for v in notes.values] == list(range(501))
