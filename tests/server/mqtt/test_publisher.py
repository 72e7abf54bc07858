from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
from support import publishing as script
from support.mosquitto import Mosquitto
from support.mqtt_observer import Seen, observe
from support.net import until
from support.publishing import (
    CONNECTION,
    FILLER_DATA,
    FILLER_METADATA,
    LINE_DATA,
    LINE_METADATA,
    PUBLISHER,
    STATUS,
    publishing,
    settings,
)
from support.pubsub_schema import validate, validate_data
from support.small_plant import FILLER, FILLER_VALUES, LINE, feed, machine, small_plant

import server
from server.plant.model import PropertyType
from sources.quality import BAD_NO_COMMUNICATION
from sources.tag import ValueType

pytestmark = pytest.mark.interop


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def sequence(seen: Seen) -> int:
    return int(seen.part["SequenceNumber"])


async def test_metadata_and_status_come_before_any_data(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        observe(broker.port) as observer,
        publishing(settings(broker.url), tmp_path),
    ):
        await observer.first("ua-keyframe", FILLER_DATA)
        await observer.first("ua-keyframe", LINE_DATA)
        order = [seen.topic for seen in observer.seen]
        first_data = next(i for i, topic in enumerate(order) if "/data/" in topic)
        assert {FILLER_METADATA, LINE_METADATA, CONNECTION, STATUS} == set(order[:first_data])
        (operational,) = [
            s for s in observer.seen[:first_data] if s.topic == STATUS and s.body["Status"] == 2
        ]
        assert order.index(FILLER_METADATA) < observer.seen.index(operational)


async def test_a_late_subscriber_finds_metadata_connection_and_status_retained(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with publishing(settings(broker.url), tmp_path) as rig:
        await until(lambda: rig.publisher.status.connected)
        async with observe(broker.port) as observer:
            await observer.first("ua-keyframe", FILLER_DATA)
            retained = {seen.topic for seen in observer.seen if seen.retain}
            assert retained == {FILLER_METADATA, LINE_METADATA, CONNECTION, STATUS}
            assert not [s for s in observer.of("ua-data") if s.retain]


async def test_every_message_fits_the_schema_and_its_metadata(broker: Mosquitto, tmp_path: Path) -> None:
    wanted = settings(broker.url, key_frame_every=3)
    async with observe(broker.port) as observer, publishing(wanted, tmp_path) as rig:
        await observer.first("ua-keyframe", FILLER_DATA)
        feed(rig.store, FILLER_VALUES)
        await observer.first("ua-deltaframe", FILLER_DATA)
        feed(rig.store, {f"{FILLER}.Speed": float("nan"), f"{FILLER}.State": 7})
        await observer.first("ua-keyframe", FILLER_DATA, after=len(observer.seen) + 1)
        feed(rig.store, dict.fromkeys(FILLER_VALUES), BAD_NO_COMMUNICATION)
        await observer.first("ua-keyframe", FILLER_DATA, after=len(observer.seen) + 1)
        metadata = {s.body["DataSetWriterId"]: s.body for s in observer.of("ua-metadata")}
        for seen in observer.seen:
            validate(seen.body)
        data = observer.of("ua-data")
        for seen in data:
            validate_data(seen.body, metadata[seen.part["DataSetWriterId"]])
        assert {s.part["MessageType"] for s in data} == {"ua-keyframe", "ua-deltaframe"}


async def test_a_delta_holds_only_what_changed_and_only_when_it_did(
    broker: Mosquitto, tmp_path: Path
) -> None:
    wanted = settings(broker.url, key_frame_every=1000)
    async with observe(broker.port, FILLER_DATA) as observer, publishing(wanted, tmp_path) as rig:
        await observer.first("ua-keyframe")
        feed(rig.store, FILLER_VALUES)
        whole = await observer.first("ua-deltaframe")
        assert list(whole.part["Payload"]) == ["Speed", "State", "Produced", "Balance", "Recipe", "Running"]
        # There and back within one interval is no change.
        feed(rig.store, {f"{FILLER}.Speed": 1.0})
        feed(rig.store, {f"{FILLER}.Speed": 412.5})
        await asyncio.sleep(0.3)
        feed(rig.store, {f"{FILLER}.State": 9})
        feed(rig.store, {f"{FILLER}.State": 2, f"{FILLER}.Balance": 5})
        last = await observer.first("ua-deltaframe", after=2)
        assert [s.part["MessageType"] for s in observer.seen] == [
            "ua-keyframe",
            "ua-deltaframe",
            "ua-deltaframe",
        ]
        values = {name: field["Value"] for name, field in last.part["Payload"].items()}
        assert values == {"State": "Stopped_2", "Balance": "5"}


async def test_values_are_written_by_type_with_status_and_source_time(
    broker: Mosquitto, tmp_path: Path
) -> None:
    wanted = settings(broker.url, key_frame_every=1)
    async with observe(broker.port, FILLER_DATA) as observer, publishing(wanted, tmp_path) as rig:
        first = await observer.first("ua-keyframe")
        waiting = first.part["Payload"]["Speed"]
        assert waiting["Value"] is None
        assert waiting["Status"] == {"Code": 0x80320000, "Symbol": "BadWaitingForInitialData"}
        feed(rig.store, FILLER_VALUES, time=133_801_632_000_000_000)
        good = await observer.first(
            "ua-keyframe", where=lambda s: s.part["Payload"]["Speed"]["Value"] is not None
        )
        assert {name: field["Value"] for name, field in good.part["Payload"].items()} == {
            "Speed": 412.5,
            "State": "Execute_6",
            "Produced": "18446744073709551615",
            "Balance": "-9007199254740993",
            "Recipe": "Orange 0,5 l",
            "Running": True,
        }
        assert good.part["Payload"]["Speed"].keys() == {"Value", "SourceTimestamp"}
        assert good.part["Payload"]["Speed"]["SourceTimestamp"] == "2025-01-01T00:00:00.000000Z"


async def test_key_frames_come_again_though_nothing_changes_and_no_number_is_skipped(
    broker: Mosquitto, tmp_path: Path
) -> None:
    wanted = settings(broker.url, key_frame_every=3)
    async with observe(broker.port, LINE_DATA) as observer, publishing(wanted, tmp_path):
        await until(lambda: len(observer.seen) >= 3)
        assert {s.part["MessageType"] for s in observer.seen} == {"ua-keyframe"}
        numbers = [sequence(seen) for seen in observer.seen]
        assert numbers == list(range(1, len(numbers) + 1))
        assert observer.seen[0].part["Payload"]["PBT"]["Value"] == 28_800.0


async def test_silence_is_broken_by_keep_alives_that_name_the_next_number(
    broker: Mosquitto, tmp_path: Path
) -> None:
    wanted = settings(broker.url, key_frame_every=1000, keep_alive="300ms")
    async with observe(broker.port, FILLER_DATA) as observer, publishing(wanted, tmp_path) as rig:
        await observer.first("ua-keyframe")
        await until(lambda: len(observer.of("ua-keepalive")) >= 2)
        for seen in observer.of("ua-keepalive"):
            validate(seen.body)
            assert sequence(seen) == 2
            assert "Payload" not in seen.part
        feed(rig.store, {f"{FILLER}.Speed": 10.0})
        assert sequence(await observer.first("ua-deltaframe")) == 2


async def test_a_clean_end_says_disabled_and_keeps_it(broker: Mosquitto, tmp_path: Path) -> None:
    async with observe(broker.port, STATUS) as observer, publishing(settings(broker.url), tmp_path) as rig:
        await observer.first("ua-status", where=lambda s: s.body["Status"] == 2)
        await rig.stop()
        await observer.first("ua-status", where=lambda s: s.body["Status"] == 0)
        assert not rig.publisher.status.connected
    async with observe(broker.port, STATUS) as late:
        assert (await late.first("ua-status")).body["Status"] == 0


async def test_the_will_says_error_when_the_process_is_killed(broker: Mosquitto, tmp_path: Path) -> None:
    root = Path(server.__file__).parents[1]
    path = os.pathsep.join([str(root), str(root / "tests")])
    command = [sys.executable, "-P", "-m", script.__name__, broker.url, str(tmp_path / "state")]
    async with observe(broker.port) as observer:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PYTHONPATH": path})
        try:
            await observer.first("ua-keyframe", FILLER_DATA)
        finally:
            process.kill()
            await process.wait()
        will = await observer.first("ua-status", where=lambda s: s.body["Status"] == 3)
        validate(will.body)
        assert will.body["IsCyclic"] is False
        assert (will.properties.ContentType, will.properties.UserProperty) == (
            "application/json",
            [("UAMessageType", "ua-status")],
        )
    async with observe(broker.port, STATUS) as late:
        assert (await late.first("ua-status")).body["Status"] == 3


async def test_a_broker_that_returns_gets_metadata_status_and_a_key_frame(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server.mqtt")
    async with publishing(settings(broker.url, key_frame_every=1000), tmp_path) as rig:
        async with observe(broker.port, FILLER_DATA) as observer:
            before = sequence(await observer.first("ua-keyframe"))
        broker.kill()
        await until(lambda: not rig.publisher.status.connected)
        assert rig.publisher.status.last_error
        feed(rig.store, FILLER_VALUES)
        await until(lambda: rig.publisher.status.dropped > 0)
        broker.start()
        async with observe(broker.port) as observer:
            frame = await observer.first("ua-keyframe", FILLER_DATA)
            assert frame.part["Payload"]["Recipe"]["Value"] == "Orange 0,5 l"
            assert sequence(frame) > before
            topics = [s.topic for s in observer.seen[: observer.seen.index(frame)]]
            assert {FILLER_METADATA, LINE_METADATA, STATUS} <= set(topics)
            # What happened meanwhile is told once, by the key frame.
            feed(rig.store, {f"{FILLER}.Speed": 10.0})
            delta = await observer.first("ua-deltaframe", FILLER_DATA)
            assert sequence(delta) == sequence(frame) + 1
        status = rig.publisher.status
        assert status.connected
        assert not status.last_error
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    assert len([line for line in told if "connection lost" in line]) == 1
    assert any("messages did not go out meanwhile" in line for line in told)


async def test_a_broker_that_is_not_there_is_told_once_and_dialled_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = Mosquitto(tmp_path / "broker")
    caplog.set_level(logging.WARNING, "server.mqtt")
    async with publishing(settings(late.url), tmp_path) as rig:
        await until(lambda: "refused" in rig.publisher.status.last_error)
        await asyncio.sleep(0.3)
        with late:
            await until(lambda: rig.publisher.status.connected)
            assert [r.getMessage().split("; trying")[0] for r in caplog.records] == [
                f"MQTT: {late.url}: not connected: Connection refused"
            ]


async def test_metadata_of_removed_equipment_is_cleared(broker: Mosquitto, tmp_path: Path) -> None:
    stray = f"opcua/json/metadata/{PUBLISHER}/plant/Acme__Lyon__Line1__Capper"
    elsewhere = "opcua/json/metadata/another/plant/Capper"
    async with aiomqtt.Client("127.0.0.1", broker.port) as other:
        await other.publish(stray, b"{}", qos=1, retain=True)
        await other.publish(elsewhere, b"{}", qos=1, retain=True)
    async with observe(broker.port) as observer, publishing(settings(broker.url), tmp_path):
        await observer.first("ua-keyframe", FILLER_DATA)
        assert [s for s in observer.seen if s.topic == stray and s.body is None]
    async with observe(broker.port, "opcua/json/metadata/#") as late:
        await until(lambda: len(late.seen) >= 3)
        assert {s.topic for s in late.seen} == {FILLER_METADATA, LINE_METADATA, elsewhere}


async def test_writers_keep_id_and_version_over_restarts_and_when_others_come(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async def learn(plant_name: str) -> dict[str, Seen]:
        plant = plants[plant_name]
        async with observe(broker.port) as observer, publishing(settings(broker.url), tmp_path, plant):
            await observer.first("ua-keyframe", FILLER_DATA)
            return {s.body["DataSetWriterName"]: s for s in observer.of("ua-metadata")}

    def ids(seen: dict[str, Seen]) -> dict[str, int]:
        return {name: s.body["DataSetWriterId"] for name, s in seen.items()}

    def version(seen: Seen) -> dict[str, int]:
        found = seen.body["MetaData"]["ConfigurationVersion"]
        assert isinstance(found, dict)
        return found

    more = PropertyType("Torque", ValueType.Double)
    plants = {
        "first": small_plant(),
        "with a capper": small_plant(machine(f"{LINE}/Capper")),
        "with a property more": small_plant(filler=machine(FILLER, more)),
    }
    name = "Acme__Lyon__Line1__Filler"
    first = await learn("first")
    again = await learn("first")
    assert ids(first) == ids(again)
    assert version(first[name]) == version(again[name])
    capper = await learn("with a capper")
    assert ids(first).items() <= ids(capper).items()
    assert len(set(ids(capper).values())) == 3
    assert version(capper[name]) == version(first[name])
    longer = await learn("with a property more")
    assert version(longer[name])["MajorVersion"] == version(first[name])["MajorVersion"]
    assert version(longer[name])["MinorVersion"] > version(first[name])["MinorVersion"]
    assert ids(first).items() <= ids(longer).items()


async def test_mqtt_5_properties_say_what_a_message_is_and_when_it_expires(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with observe(broker.port) as observer, publishing(settings(broker.url), tmp_path):
        await observer.first("ua-keyframe", FILLER_DATA)
        for kind in ("ua-data", "ua-metadata", "ua-connection", "ua-status"):
            for seen in observer.of(kind):
                assert seen.properties.ContentType == "application/json"
                assert seen.properties.UserProperty == [("UAMessageType", kind)]
        expiries = {
            kind: {getattr(s.properties, "MessageExpiryInterval", None) for s in observer.of(kind)}
            for kind in ("ua-data", "ua-metadata", "ua-connection", "ua-status")
        }
        assert expiries["ua-data"] == {None}
        for kind in ("ua-metadata", "ua-connection", "ua-status"):
            (seconds,) = expiries[kind]
            assert seconds is not None
            assert 86_000 < seconds <= 86_400


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_data_goes_out_with_the_qos_of_the_settings(
    broker: Mosquitto, tmp_path: Path, qos: int
) -> None:
    async with (
        observe(broker.port) as observer,
        publishing(settings(broker.url, qos=qos, key_frame_every=1), tmp_path),
    ):
        await until(lambda: len(observer.of("ua-keyframe", FILLER_DATA)) >= 5)
        # The observer asks for QoS 1 at most.
        assert {s.qos for s in observer.of("ua-data")} == {min(qos, 1)}
        assert {s.qos for s in observer.of("ua-metadata")} == {1}
        numbers = [sequence(s) for s in observer.of("ua-keyframe", FILLER_DATA)]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_the_connection_message_names_every_topic(broker: Mosquitto, tmp_path: Path) -> None:
    async with observe(broker.port) as observer, publishing(settings(broker.url), tmp_path):
        connection = await observer.first("ua-connection")
        validate(connection.body)
        (group,) = connection.body["Connection"]["WriterGroups"]
        queues = {
            writer["TransportSettings"]["QueueName"]: writer["TransportSettings"]["MetaDataQueueName"]
            for writer in group["DataSetWriters"]
        }
        assert queues == {FILLER_DATA: FILLER_METADATA, LINE_DATA: LINE_METADATA}
        assert group["MessageSettings"]["NetworkMessageContentMask"] == 0xB
        masks = {w["MessageSettings"]["DataSetMessageContentMask"] for w in group["DataSetWriters"]}
        assert masks == {0xC3D}


async def test_nothing_is_published_for_a_plant_without_properties(broker: Mosquitto, tmp_path: Path) -> None:
    whole = small_plant()
    bare = type(whole)(whole.plant_uri, whole.types_uri, whole.equipment[:2])
    async with observe(broker.port) as observer, publishing(settings(broker.url), tmp_path, bare):
        await observer.first("ua-status", where=lambda s: s.body["Status"] == 2)
        assert {s.topic for s in observer.seen} == {STATUS, CONNECTION}


async def test_a_crowd_of_equipment_all_gets_through_without_blocking_the_loop(
    broker: Mosquitto, tmp_path: Path
) -> None:
    crowd = small_plant(*(machine(f"{LINE}/Machine{n}") for n in range(400)))
    wanted = settings(broker.url, publishing_interval="1s", queue_limit=100)
    longest = 0.0

    async def feel() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()  # of this thread alone: other programs may take what they like
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    async with observe(broker.port) as observer, publishing(wanted, tmp_path, crowd) as rig:
        feeling = asyncio.create_task(feel())
        await until(lambda: len({s.topic for s in observer.of("ua-keyframe")}) == 402, within=60)
        feeling.cancel()
        await asyncio.wait({feeling})
        await until(lambda: rig.publisher.status.published >= 402 * 2, what="the broker's word for all of it")
        assert longest < 0.5, "something held the loop"
        assert json.loads((tmp_path / "mqtt-writers.json").read_text())["format"] == 1
