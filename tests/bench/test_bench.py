"""That the bench measures what it says; how fast anything is, no test asks."""

from __future__ import annotations

import asyncio

import pytest
from asyncua.ua import ua_binary
from support.uaclient import ua

from bench import devices, opcua_source
from bench.__main__ import table
from bench.client import Count, count
from bench.path import Scenario, measure
from bench.plant import keys, plant

NAMES = {
    "changes_per_s",
    "cpu_us_per_change",
    "cpu_percent",
    "latency_p50_ms",
    "latency_p99_ms",
    "rss_mb",
    "start_s",
}


async def test_the_whole_path_is_measured() -> None:
    metrics = await asyncio.to_thread(measure, Scenario(100, 200, 2.0))
    assert set(metrics) == {f"path.100.{name}" for name in NAMES}
    assert all(value > 0 for value in metrics.values())
    # 100 values and the clock, five times a second, all of which change; a slow machine may skip scans.
    assert 50 < metrics["path.100.changes_per_s"] <= 101 * 5 * 1.2
    assert metrics["path.100.latency_p50_ms"] <= metrics["path.100.latency_p99_ms"]
    assert "100 variables" in table(metrics)


async def test_many_devices_are_measured() -> None:
    metrics = await asyncio.to_thread(devices.measure, devices.Devices(devices=3, tags=200, seconds=2.0))
    found = {name.removeprefix("devices.3."): value for name, value in metrics.items()}
    # 600 values and the clock; a slow machine may skip scans, and two seconds may hold three.
    assert 100 < found["values_per_s"] <= 601 * 1.6
    assert found["good_percent"] == 100
    assert found["cpu_percent"] > 0
    assert found["lag_p50_ms"] <= found["lag_p99_ms"]
    assert "3 devices" in devices.table(metrics)


def test_the_plant_has_a_variable_for_every_key() -> None:
    assert len(keys(300)) == 301
    assert plant(300, 500, device_port=1, mqtt_port=2).count("as: float32") == 100


def test_a_publish_response_is_counted_without_decoding_it() -> None:
    items = [
        ua.MonitoredItemNotification(
            ClientHandle=handle, Value=ua.DataValue(ua.Variant(1.5, ua.VariantType.Float))
        )
        for handle in range(7)
    ]
    stamp = ua.DataValue(ua.Variant(1_000_000, ua.VariantType.Int64))
    items.append(ua.MonitoredItemNotification(ClientHandle=0x5354414D, Value=stamp))
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 5
    response.Parameters.AvailableSequenceNumbers = [1, 2, 3]
    response.Parameters.NotificationMessage.SequenceNumber = 3
    response.Parameters.NotificationMessage.NotificationData = [
        ua.DataChangeNotification(MonitoredItems=items)
    ]
    seen = Count()
    assert count(ua_binary.struct_to_binary(response), seen, 3_000_000) == (5, 3)
    assert seen.notifications == 8
    assert seen.latencies == [pytest.approx(2.0)]


def test_our_decoder_of_notifications_is_measured_beside_the_stack_s() -> None:
    found = opcua_source.decoding()
    assert found["stack"] > found["decode"] > 0
    metrics = {f"opcua_source.{name}.us": value for name, value in found.items()}
    assert f"{found['decode']:.2f}" in opcua_source.table(metrics | {"opcua_source.whole.us": 1.0})
