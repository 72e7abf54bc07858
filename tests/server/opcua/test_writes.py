"""Who may write what, and what a client is told otherwise."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from support.opcua import BASIC256SHA256, OBSERVER, OBSERVER_PASSWORD, OPERATOR, Connect, Running

from server.opcua.types import AttributeIds, StatusCodes
from sources.quality import BAD_DEVICE_FAILURE, GOOD

DOUBLE = ua.VariantType.Double


async def write(
    client: Client,
    node: str,
    variant: ua.Variant,
    *,
    attribute: AttributeIds = AttributeIds.Value,
    index_range: str | None = None,
    **more: Any,
) -> int:
    one = ua.WriteValue(
        NodeId=ua.NodeId.from_string(node),
        AttributeId=attribute,
        IndexRange=index_range,
        Value=ua.DataValue(variant, **more),
    )
    (code,) = await client.uaclient.write(ua.WriteParameters(NodesToWrite=[one]))
    return code.value


async def test_an_operators_write_reaches_the_device_and_is_audited(
    connect: Connect, served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(served, user=OPERATOR) as client:
        with caplog.at_level(logging.INFO, "isthmus.audit"):
            assert await write(client, served.bench.node("SpeedSP"), ua.Variant(432.0, DOUBLE)) == GOOD
    assert served.bench.device.held["SpeedSP"] == 432.0
    (entry,) = [r for r in caplog.records if getattr(r, "event", "") == "write"]
    assert (entry.__dict__["user"], entry.__dict__["new"]) == (OPERATOR, 432.0)
    assert entry.__dict__["client"].startswith("127.0.0.1:")


async def test_the_source_timestamp_of_a_write_is_taken(connect: Connect, served: Running) -> None:
    when = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    async with connect(served, user=OPERATOR) as client:
        node = served.bench.node("SpeedSP")
        assert await write(client, node, ua.Variant(433.0, DOUBLE), SourceTimestamp=when) == GOOD
        value = await client.get_node(node).read_data_value()
        assert value.SourceTimestamp is not None
        assert value.SourceTimestamp.replace(tzinfo=UTC) == when


async def test_a_constant_is_written_and_kept(connect: Connect, served: Running) -> None:
    async with connect(served, user=OPERATOR) as client:
        target = served.bench.node("Target")
        assert await write(client, target, ua.Variant(77, ua.VariantType.UInt16)) == GOOD
        assert await client.get_node(target).read_value() == 77
    assert 77 in served.bench.kept.values()


@pytest.mark.parametrize(
    ("name", "variant", "more", "expected"),
    [
        ("SpeedSP", ua.Variant(1.0, ua.VariantType.Float), {}, StatusCodes.BadTypeMismatch),
        ("SpeedSP", ua.Variant(1, ua.VariantType.Int64), {}, StatusCodes.BadTypeMismatch),
        ("SpeedSP", ua.Variant([1.0], DOUBLE), {}, StatusCodes.BadTypeMismatch),
        ("SpeedSP", ua.Variant(), {}, StatusCodes.BadTypeMismatch),
        ("SpeedSP", ua.Variant("1", ua.VariantType.String), {}, StatusCodes.BadTypeMismatch),
        ("Target", ua.Variant(1, ua.VariantType.Int16), {}, StatusCodes.BadTypeMismatch),
        ("Recipe", ua.Variant(None, ua.VariantType.String), {}, StatusCodes.BadTypeMismatch),
        ("SpeedSP", ua.Variant(801.0, DOUBLE), {}, StatusCodes.BadOutOfRange),
        ("SpeedSP", ua.Variant(float("nan"), DOUBLE), {}, StatusCodes.BadOutOfRange),
        ("Mode", ua.Variant(3, ua.VariantType.Int32), {}, StatusCodes.BadOutOfRange),
        ("Speed", ua.Variant(1.0, DOUBLE), {}, StatusCodes.BadNotWritable),
        ("SpeedSP.EURange", ua.Variant(1.0, DOUBLE), {}, StatusCodes.BadNotWritable),
        ("Nothing", ua.Variant(1.0, DOUBLE), {}, StatusCodes.BadNodeIdUnknown),
        ("SpeedSP", ua.Variant(1.0, DOUBLE), {"index_range": "0"}, StatusCodes.BadWriteNotSupported),
        (
            "SpeedSP",
            ua.Variant(1.0, DOUBLE),
            {"ServerTimestamp": datetime.now(UTC)},
            StatusCodes.BadWriteNotSupported,
        ),
        (
            "SpeedSP",
            ua.Variant(1.0, DOUBLE),
            {"StatusCode": ua.StatusCode(StatusCodes.Uncertain)},  # type: ignore[arg-type]  # asyncua's UInt32 is an int
            StatusCodes.BadWriteNotSupported,
        ),
        (
            "SpeedSP",
            ua.Variant(ua.LocalizedText("Other"), ua.VariantType.LocalizedText),
            {"attribute": AttributeIds.DisplayName},
            StatusCodes.BadNotWritable,
        ),
        (
            "SpeedSP",
            ua.Variant(1.0, DOUBLE),
            {"attribute": AttributeIds.Symmetric},
            StatusCodes.BadAttributeIdInvalid,
        ),
    ],
)
async def test_what_is_not_right_is_refused_and_nothing_is_written(  # a table's columns
    connect: Connect,
    served: Running,
    name: str,
    variant: ua.Variant,
    more: dict[str, Any],
    expected: int,
) -> None:
    before = dict(served.bench.device.held)
    async with connect(served, user=OPERATOR) as client:
        assert await write(client, served.bench.node(name), variant, **more) == expected
    assert served.bench.device.held == before


@pytest.mark.parametrize("node", ["i=2255", "i=2256", "i=2267"])
async def test_the_standard_nodes_are_read_only(connect: Connect, served: Running, node: str) -> None:
    async with connect(served, user=OPERATOR) as client:
        assert await write(client, node, ua.Variant(1, ua.VariantType.Byte)) == StatusCodes.BadNotWritable
        level = await client.get_node(node).read_attribute(AttributeIds.AccessLevel)
        assert level.Value is not None
        assert level.Value.Value & 2 == 0


async def levels(client: Client, node: str) -> tuple[int, int]:
    found = await client.get_node(node).read_attributes(
        [AttributeIds.AccessLevel, AttributeIds.UserAccessLevel]
    )
    first, second = (v.Value.Value for v in found if v.Value is not None)
    return first, second


async def test_access_levels_are_the_callers_own(connect: Connect, served: Running) -> None:
    set_point, speed = served.bench.node("SpeedSP"), served.bench.node("Speed")
    async with connect(served, user=OPERATOR) as client:
        assert await levels(client, set_point) == (0x43, 0x43)
        assert await levels(client, speed) == (1, 1)
    async with connect(served, user=OBSERVER, password=OBSERVER_PASSWORD) as client:
        assert await levels(client, set_point) == (0x43, 1)
        code = await write(client, set_point, ua.Variant(1.0, DOUBLE))
        assert code == StatusCodes.BadUserAccessDenied
    async with connect(served) as client:
        assert await levels(client, set_point) == (0x43, 1)
        code = await write(client, set_point, ua.Variant(1.0, DOUBLE))
        assert code == StatusCodes.BadUserAccessDenied


async def test_without_the_line_nobody_writes(connect: Connect, strict: Running) -> None:
    set_point = strict.bench.node("SpeedSP")
    async with connect(strict, user=OPERATOR, policy=BASIC256SHA256) as client:
        assert await levels(client, set_point) == (1, 1)
        assert await write(client, set_point, ua.Variant(1.0, DOUBLE)) == StatusCodes.BadNotWritable


async def test_several_writes_of_one_call_are_answered_one_by_one(connect: Connect, served: Running) -> None:
    async with connect(served, user=OPERATOR) as client:
        wanted = [("SpeedSP", 10.0), ("Speed", 10.0), ("SpeedSP", 20.0)]
        request = ua.WriteParameters(
            NodesToWrite=[
                ua.WriteValue(
                    NodeId=ua.NodeId.from_string(served.bench.node(name)),
                    AttributeId=AttributeIds.Value,
                    Value=ua.DataValue(ua.Variant(number, DOUBLE)),
                )
                for name, number in wanted
            ]
        )
        codes = [code.value for code in await client.uaclient.write(request)]
    assert codes == [GOOD, StatusCodes.BadNotWritable, GOOD]
    assert served.bench.device.held["SpeedSP"] == 20.0


async def test_the_devices_own_refusal_is_passed_on(connect: Connect, served: Running) -> None:
    served.bench.device.answer = BAD_DEVICE_FAILURE
    try:
        async with connect(served, user=OPERATOR) as client:
            code = await write(client, served.bench.node("SpeedSP"), ua.Variant(5.0, DOUBLE))
    finally:
        served.bench.device.answer = GOOD
    assert code == BAD_DEVICE_FAILURE


async def test_a_write_is_carried_out_though_its_client_leaves(connect: Connect, served: Running) -> None:
    served.bench.device.delay = 0.5
    try:
        async with connect(served, user=OPERATOR) as client:
            pending = asyncio.create_task(
                write(client, served.bench.node("SpeedSP"), ua.Variant(99.0, DOUBLE))
            )
            await asyncio.sleep(0.1)  # the request is on its way
            client.uaclient.disconnect_socket()
            with pytest.raises((ConnectionError, ua.uaerrors.UaError, asyncio.CancelledError)):
                await pending
        end = time.monotonic() + 20
        while served.bench.device.held.get("SpeedSP") != 99.0:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
    finally:
        served.bench.device.delay = 0.0
