from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from support.pubsub_schema import validate
from support.small_plant import FILLER, FILLER_VALUES, feed, node_of, small_plant

from server.mqtt.dataset import ConfigurationVersion, datasets
from server.mqtt.state import WriterIdentity
from server.mqtt.writer import DataSetWriter
from server.plant.values import Point, ValueStore
from sources.quality import BAD_NO_COMMUNICATION, GOOD, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE

KEEP_ALIVE = 10.0


class Rig:
    """A writer whose clock stands where the test puts it: turn n is second n."""

    def __init__(self, key_frame_every: int = 5) -> None:
        plant = small_plant()
        dataset = next(d for d in datasets(plant, node_of(plant)) if d.name == FILLER)
        self.store = ValueStore(plant)
        points = [self.store.points[prop.key] for prop in dataset.properties]
        self.writer = DataSetWriter(
            dataset,
            WriterIdentity(0x8000, ConfigurationVersion(1, 2)),
            points,
            publisher_id="p",
            key_frame_every=key_frame_every,
        )

        def changed(those: Sequence[Point]) -> None:
            for point in those:
                self.writer.changed(points.index(point))

        self.store.listen(changed)

    def turn(self, number: int) -> dict[str, Any] | None:
        quiet_since = number + 1.0 - KEEP_ALIVE
        if not self.writer.due(number, quiet_since):
            return None
        draft = self.writer.draft(number, quiet_since, monotonic=float(number), time=0)
        if draft is None:
            return None
        message, _ = draft.encoded(1 << 20)
        body = json.loads(message)
        validate(body)
        (part,) = body["Messages"]
        assert isinstance(part, dict)
        return part

    def kinds(self, *turns: int) -> list[str]:
        found = (self.turn(number) for number in turns)
        return [part["MessageType"].removeprefix("ua-") if part else "" for part in found]


def test_the_first_message_is_a_key_frame_and_then_every_nth_turn() -> None:
    rig = Rig(key_frame_every=3)
    assert rig.kinds(*range(1, 8)) == ["keyframe", "", "", "keyframe", "", "", "keyframe"]


def test_a_key_frame_every_turn_where_the_count_is_one() -> None:
    rig = Rig(key_frame_every=1)
    feed(rig.store, FILLER_VALUES)
    assert rig.kinds(1, 2, 3) == ["keyframe"] * 3


def test_changes_between_key_frames_make_a_delta() -> None:
    rig = Rig()
    rig.turn(1)
    feed(rig.store, {f"{FILLER}.Speed": 1.0, f"{FILLER}.Running": True})
    delta = rig.turn(2)
    assert delta is not None
    assert list(delta["Payload"]) == ["Speed", "Running"]
    assert rig.turn(3) is None


def test_a_change_and_back_is_none() -> None:
    rig = Rig()
    feed(rig.store, FILLER_VALUES)
    rig.turn(1)
    feed(rig.store, {f"{FILLER}.Speed": 1.0})
    feed(rig.store, {f"{FILLER}.Speed": FILLER_VALUES[f"{FILLER}.Speed"]})
    assert rig.writer.due(2, -math.inf)
    assert rig.turn(2) is None
    assert not rig.writer.due(3, -math.inf)


def test_another_status_is_a_change_though_the_value_stays() -> None:
    rig = Rig()
    feed(rig.store, FILLER_VALUES)
    rig.turn(1)
    feed(rig.store, {f"{FILLER}.Speed": 412.5}, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
    delta = rig.turn(2)
    assert delta is not None
    assert delta["Payload"]["Speed"]["Value"] == 412.5
    assert delta["Payload"]["Speed"]["Status"]["Symbol"] == "UncertainNoCommunicationLastUsableValue"


def test_a_nan_after_a_nan_is_no_change() -> None:
    rig = Rig()
    feed(rig.store, {f"{FILLER}.Speed": float("nan")})
    rig.turn(1)
    feed(rig.store, {f"{FILLER}.Speed": float("nan")})
    assert rig.turn(2) is None
    feed(rig.store, {f"{FILLER}.Speed": 1.0})
    assert rig.turn(3) is not None


def test_a_delta_does_not_put_off_the_next_key_frame() -> None:
    rig = Rig(key_frame_every=3)
    kinds = []
    for number in range(1, 5):
        feed(rig.store, {f"{FILLER}.Speed": float(number)})
        kinds += rig.kinds(number)
    assert kinds == ["keyframe", "deltaframe", "deltaframe", "keyframe"]


def test_numbers_rise_by_one_and_a_keep_alive_names_the_next() -> None:
    rig = Rig(key_frame_every=1000)
    assert [p["SequenceNumber"] for n in range(1, 32) if (p := rig.turn(n))] == [1, 2, 2, 2]
    feed(rig.store, {f"{FILLER}.Speed": 1.0})
    delta = rig.turn(32)
    assert delta is not None
    assert (delta["MessageType"], delta["SequenceNumber"]) == ("ua-deltaframe", 2)


def test_a_keep_alive_comes_when_the_next_turn_would_be_too_late_and_only_then() -> None:
    rig = Rig(key_frame_every=1000)
    rig.turn(1)
    assert rig.kinds(*range(2, 24)).index("keepalive") == 9 - 1
    assert rig.kinds(24, 25) == ["", ""]


def test_the_sequence_number_starts_over_after_32_bits() -> None:
    rig = Rig(key_frame_every=1)
    rig.writer._sequence = 0xFFFFFFFF
    assert [p["SequenceNumber"] for n in (1, 2) if (p := rig.turn(n))] == [0xFFFFFFFF, 0]


def test_after_a_restart_the_key_frame_tells_all_and_nothing_is_left_to_tell() -> None:
    rig = Rig()
    rig.turn(1)
    feed(rig.store, FILLER_VALUES)
    assert rig.writer.forget()
    assert not rig.writer.forget()
    rig.writer.restart(2)
    frame = rig.turn(2)
    assert frame is not None
    assert frame["MessageType"] == "ua-keyframe"
    assert frame["Payload"]["Produced"]["Value"] == "18446744073709551615"
    assert rig.turn(3) is None


@pytest.mark.parametrize("quality", [GOOD, BAD_NO_COMMUNICATION])
def test_source_times_are_those_of_the_store(quality: int) -> None:
    rig = Rig()
    feed(rig.store, FILLER_VALUES, quality, time=133_801_632_001_234_560)
    frame = rig.turn(1)
    assert frame is not None
    assert {f["SourceTimestamp"] for f in frame["Payload"].values()} == {"2025-01-01T00:00:00.123456Z"}
