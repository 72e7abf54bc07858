"""A PLC that dies, hangs, answers late or half, or comes back as another: the others do not notice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from support.mosquitto import Mosquitto
from support.mqtt_observer import observe
from support.net import until
from support.pubsub_schema import validate
from support.twoplcs import Rig, rig
from support.uaclient import ua

AWAY = ("UncertainNoCommunicationLastUsableValue", "BadNoCommunication", "BadNotConnected", "BadTimeout")
# Two scans or 2 s, whichever is longer, and a second for a busy machine.
PROMISE = 3.0


class _Watch:
    """Counts what a subscription to the other PLC brings, and whether any of it is not Good."""

    def __init__(self) -> None:
        self.good = 0
        self.other: list[str] = []

    def datachange_notification(self, _node: object, _value: object, data: Any) -> None:
        status = data.monitored_item.Value.StatusCode
        if status.is_good():
            self.good += 1
        else:
            self.other.append(status.name)


async def _watched(plant: Rig) -> _Watch:
    watch = _Watch()
    subscription = await plant.client.create_subscription(200, watch)
    await subscription.subscribe_data_change(
        [await plant.node("Acme/B.Speed"), await plant.node("Acme/B.Count")]
    )
    return watch


async def test_a_plc_that_dies_and_returns(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        mqtt = f'mqtt: {{broker: "{broker.url}", publisher_id: acme, publishing_interval: 200ms}}'
        async with rig(tmp_path, mqtt) as plant, observe(broker.port, "opcua/#") as seen:
            watch = await _watched(plant)
            await seen.first("ua-keyframe", "A")
            before, count = len(seen.seen), watch.good
            await plant.a.kill()
            assert await plant.are("A", *AWAY) < PROMISE
            uncertain = await plant.values("A")
            if uncertain[0].StatusCode.name == AWAY[0]:
                assert uncertain[0].Value.Value is not None, "Uncertain keeps the last value"
            await plant.are("A", "BadNoCommunication", "BadNotConnected")
            assert [value.Value.Value for value in await plant.values("A")] == [None, None, None]

            def bad(message: Any) -> bool:
                field = message.part["Payload"].get("Speed", {})
                return field.get("Value") is None and "Status" in field

            frame = await seen.first("ua-deltaframe", "A", where=bad, after=before)
            validate(frame.body)
            await plant.a.restart()
            await plant.are("A", "Good", within=40)
            first = (await plant.values("A"))[0]
            assert first.SourceTimestamp is not None
            await seen.first("ua-deltaframe", "A", where=lambda m: not bad(m), after=before)
            assert await plant.status("B") == {"Good"}
            assert watch.other == []
            assert watch.good > count
            gone = plant.log_lines(r"(?i)\bwarning\b.*\bA\b.*127\.0\.0\.1")
            back = [line for line in plant.log_lines(r"\bA\b.*connected") if "WARNING" not in line]
            assert len(gone) == 1, gone
            assert len(back) == 2, back  # at the start, and when it returned


async def test_a_plc_that_hangs(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        watch = await _watched(plant)
        await plant.a.control(mute=True)
        assert await plant.are("A", *AWAY) < PROMISE
        assert watch.other == []
        await plant.a.control(mute=False)
        await plant.are("A", "Good", within=40)


async def test_a_late_reply_is_never_taken_for_another(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        await plant.a.set("SpeedSP", 111.0, "Acme/A")
        await plant.a.set("Count", 222, "Acme/A")

        async def frozen() -> bool:
            return [value.Value.Value for value in (await plant.values("A"))[1:]] == [111.0, 222]

        await until(frozen, what="the frozen values")
        for _ in range(3):
            await plant.a.control(delay_once=0.9)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                _, set_point, count = await plant.values("A")
                assert set_point.Value.Value in {None, 111.0}
                assert count.Value.Value in {None, 222}
                await asyncio.sleep(0.05)
            await plant.are("A", "Good", within=40)


async def test_half_a_reply_is_no_reply(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        await plant.a.control(short_reply=True)
        await plant.are("A", *AWAY, "BadCommunicationError")
        assert await plant.status("B") == {"Good"}
        await plant.a.control(short_reply=False)
        await plant.are("A", "Good", within=40)


async def test_a_point_the_plc_refuses_is_alone_in_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        await plant.a.control(exception={"table": "holding", "offset": 20, "code": 2})

        async def only_count() -> bool:
            return [v.StatusCode.name for v in await plant.values("A")] == [
                "Good",
                "Good",
                "BadConfigurationError",
            ]

        await until(only_count, what="Count BadConfigurationError, the others Good")


@pytest.mark.parametrize("how", ["cut", "delay", "refuse"])
async def test_the_network_between(tmp_path: Path, how: str) -> None:
    async with rig(tmp_path) as plant:
        watch = await _watched(plant)
        if how == "delay":
            plant.proxy.delay = 1.5
        else:
            plant.proxy.open = how != "refuse"
            plant.proxy.cut()
        if how != "cut":
            assert await plant.are("A", *AWAY) < PROMISE + 1.0
        plant.proxy.delay, plant.proxy.open = 0.0, True
        await plant.are("A", "Good", within=40)
        assert watch.other == []


async def test_a_write_to_a_plc_that_is_away_says_so_and_is_not_made_up_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        await plant.a.kill()
        await plant.are("A", *AWAY)
        async with await plant.as_operator() as client:
            index = await client.get_namespace_index("urn:acme:plant")
            node = client.get_node(ua.NodeId("Acme/A.SpeedSP", index))
            with pytest.raises(ua.UaStatusCodeError) as refused:
                await node.write_value(123.0, ua.VariantType.Double)
            assert refused.value.code in {ua.StatusCodes.BadNotConnected, ua.StatusCodes.BadConnectionClosed}
        await plant.a.restart()
        await plant.are("A", "Good", within=40)
        assert await plant.a.get("SpeedSP", "Acme/A") != 123.0
