"""A publisher takes another state of the plant while subscribers listen."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.mosquitto import Mosquitto
from support.mqtt_observer import Observer, Seen, observe
from support.net import until
from support.proxy import proxy_to
from support.publishing import (
    FILLER_DATA,
    FILLER_METADATA,
    LINE_DATA,
    LINE_METADATA,
    Rig,
    publishing,
    settings,
)
from support.pubsub_schema import validate
from support.small_plant import FILLER, FILLER_VALUES, feed, machine, node_of, small_plant

from server.mqtt.change import Outline
from server.plant.difference import difference, reconcile
from server.plant.model import Plant, PropertyType
from server.plant.values import Point
from sources.tag import ValueType

pytestmark = pytest.mark.interop

PACKER_METADATA = FILLER_METADATA.replace("Filler", "Packer")
PACKER_DATA = FILLER_DATA.replace("Filler", "Packer")
MORE = PropertyType("Rejects", ValueType.UInt32)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


class Changed:
    """A plant that was published, and how it becomes another."""

    def __init__(self, rig: Rig, plant: Plant) -> None:
        self.rig = rig
        self.plant = plant

    def change(self, wanted: Plant) -> Outline:
        store = self.rig.store
        new = reconcile(self.plant, wanted).plant
        found = difference(self.plant, new)
        made = {point.property.key: point for point in store.make(found.added)}
        points: Mapping[str, Point] = ChainMap(made, store.points)  # type: ignore[arg-type]  # only read
        outline = self.rig.publisher.outline(new, node_of(new))
        ready = self.rig.publisher.prepare(new, node_of(new), points)
        store.change(removed=found.removed, changed=found.changed, added=made.values())
        self.rig.publisher.change(ready)
        self.plant = new
        return outline


def version(seen: Seen) -> tuple[int, int]:
    found: dict[str, Any] = seen.body["MetaData"]["ConfigurationVersion"]
    return found["MajorVersion"], found["MinorVersion"]


def sequence(observer: Observer, topic: str) -> list[int]:
    parts = [s.part for s in observer.seen if s.topic == topic and s.body]
    return [part["SequenceNumber"] for part in parts if part["MessageType"] != "ua-keepalive"]


async def test_only_what_changed_is_told_anew(broker: Mosquitto, tmp_path: Path) -> None:
    first = small_plant()
    async with (
        observe(broker.port) as observer,
        publishing(settings(broker.url), tmp_path, first) as rig,
    ):
        plant = Changed(rig, first)
        before = await observer.first("ua-metadata", FILLER_METADATA)
        await observer.first("ua-keyframe", FILLER_DATA)
        await observer.first("ua-keyframe", LINE_DATA)
        mark = len(observer.seen)

        wider = small_plant(machine(FILLER.replace("Filler", "Packer")), filler=machine(FILLER, MORE))
        outline = plant.change(wider)
        assert outline == Outline([FILLER.replace("Filler", "Packer")], [], [FILLER])
        feed(rig.store, {**FILLER_VALUES, f"{FILLER}.Rejects": 7})
        after = await observer.first("ua-metadata", FILLER_METADATA, after=mark)
        validate(after.body)
        assert after.body["DataSetWriterId"] == before.body["DataSetWriterId"]
        assert version(after)[0] == version(before)[0]
        assert version(after)[1] > version(before)[1]
        told = await observer.first(
            "ua-keyframe", FILLER_DATA, where=lambda s: "Rejects" in s.part["Payload"], after=mark
        )
        assert observer.seen.index(after) < observer.seen.index(told)
        assert told.part["MinorVersion"] == version(after)[1]
        await observer.first("ua-metadata", PACKER_METADATA)
        await observer.first("ua-keyframe", PACKER_DATA)
        order = [s.topic for s in observer.seen]
        assert order.index(PACKER_METADATA) < order.index(PACKER_DATA)
        for topic in (FILLER_DATA, LINE_DATA):
            numbers = sequence(observer, topic)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert not [s for s in observer.seen[mark:] if s.topic == LINE_METADATA]

        mark = len(observer.seen)
        plant.change(small_plant(filler=machine(FILLER, MORE)))
        await until(
            lambda: any(s.topic == PACKER_METADATA and s.body is None for s in observer.seen[mark:]),
            what="the packer's metadata to be cleared",
        )
        (cleared,) = [s for s in observer.seen[mark:] if s.topic == PACKER_METADATA]
        at = observer.seen.index(cleared, mark)
        await observer.first("ua-keyframe", FILLER_DATA, after=at)
        assert not [s for s in observer.seen[at:] if s.topic == PACKER_DATA]
        assert not [s for s in observer.seen[mark:] if s.topic in {FILLER_METADATA, LINE_METADATA}]


async def test_what_changed_while_the_broker_was_away_is_told_on_return(
    broker: Mosquitto, tmp_path: Path
) -> None:
    first = small_plant(machine(FILLER.replace("Filler", "Packer")))
    async with (
        proxy_to(broker.port) as proxy,
        observe(broker.port) as observer,
        publishing(settings(f"mqtt://127.0.0.1:{proxy.port}"), tmp_path, first) as rig,
    ):
        plant = Changed(rig, first)
        await observer.first("ua-keyframe", PACKER_DATA)
        proxy.open = False
        proxy.cut()
        await until(lambda: not rig.publisher.status.connected, what="the broker to be missed")
        plant.change(small_plant(filler=machine(FILLER, MORE)))
        proxy.open = True
        await observer.first("ua-keyframe", FILLER_DATA, where=lambda s: "Rejects" in s.part["Payload"])
        async with observe(broker.port, "opcua/json/metadata/#") as late:
            await until(lambda: len(late.seen) > 1, what="what is retained")
            assert {s.topic for s in late.seen} == {FILLER_METADATA, LINE_METADATA}


async def test_a_change_subscribers_are_told_nothing_of_keeps_every_writer(
    broker: Mosquitto, tmp_path: Path
) -> None:
    first = small_plant()
    async with observe(broker.port) as observer, publishing(settings(broker.url), tmp_path, first) as rig:
        plant = Changed(rig, first)
        await observer.first("ua-keyframe", FILLER_DATA)
        other = small_plant()
        *above, filler = other.equipment
        made = tuple(
            replace(prop, binding=prop.binding and replace(prop.binding, source="Other"))
            for prop in filler.properties
        )
        mark = len(observer.seen)
        outline = plant.change(replace(other, equipment=(*above, replace(filler, properties=made))))
        assert outline == Outline([], [], [])
        feed(rig.store, FILLER_VALUES)
        seen = await observer.first("ua-deltaframe", FILLER_DATA, after=mark)
        assert seen.part["Payload"]["Speed"]["Value"] == FILLER_VALUES[f"{FILLER}.Speed"]
        assert not [s for s in observer.seen[mark:] if "metadata" in s.topic]
