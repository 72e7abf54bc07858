from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.line import MACHINE, line

from server.plant.convert import Lookup
from server.plant.model import Plant
from server.plant.values import Point, ValueStore
from sources.batch import Batch
from sources.quality import (
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_SERVICE,
    BAD_TIMEOUT,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
)
from sources.tag import Tag, Value


class Plc:
    """A store, the tags that feed it, and what its listener heard."""

    def __init__(self) -> None:
        self.plant: Plant = line()
        self.store = ValueStore(self.plant, time=100)
        self.heard: list[list[str]] = []
        self.end = self.store.listen(self._hear)
        bindings = {p.name: p.binding for p in self.plant.properties() if p.binding is not None}
        self.tags: dict[str, Tag[Any]] = {name: binding.tag for name, binding in bindings.items()}
        self._blocks: dict[tuple[str, ...], tuple[Tag[Any], ...]] = {}

    def _hear(self, changed: Sequence[Point]) -> None:
        self.heard.append([point.property.name for point in changed])

    def __getitem__(self, name: str) -> Point:
        return self.store.points[f"{MACHINE}.{name}"]

    def send(
        self,
        names: Sequence[str],
        values: Sequence[Value] | None,
        at: int,
        quality: Quality | Sequence[Quality] = GOOD,
        times: Sequence[int] | None = None,
    ) -> None:
        block = self._blocks.setdefault(tuple(names), tuple(self.tags[name] for name in names))
        self.store.ingest(Batch(block, values, quality, times, at))


@pytest.fixture
def plc() -> Plc:
    return Plc()


def test_before_the_first_scan_nothing_is_good_but_constants(plc: Plc) -> None:
    assert (plc["Speed"].value, plc["Speed"].status) == (None, BAD_WAITING_FOR_INITIAL_DATA)
    assert (plc["Spare"].value, plc["Spare"].status) == (None, BAD_OUT_OF_SERVICE)
    assert (plc["Target"].value, plc["Target"].status) == (500, GOOD)


def test_a_value_comes_with_the_time_it_was_received(plc: Plc) -> None:
    plc.send(["Speed", "Count"], [1.5, 7], 200)
    assert (plc["Speed"].value, plc["Speed"].status, plc["Speed"].source_time) == (1.5, GOOD, 200)
    assert plc.heard == [["Speed", "Count"]]


def test_an_unchanged_value_is_not_told_but_its_server_time_advances(plc: Plc) -> None:
    plc.send(["Speed", "Count"], [1.5, 7], 200)
    plc.send(["Speed", "Count"], [1.5, 8], 300)
    assert plc.heard[1:] == [["Count"]]
    assert (plc["Speed"].source_time, plc["Speed"].server_time) == (200, 300)
    assert (plc["Count"].source_time, plc["Count"].server_time) == (300, 300)


def test_a_device_time_is_taken_as_it_is(plc: Plc) -> None:
    plc.send(["Speed"], [1.5], 200, times=[150])
    plc.send(["Speed"], [1.5], 300, times=[250])
    assert (plc["Speed"].source_time, plc["Speed"].server_time) == (250, 300)


def test_a_scaled_value_arrives_in_engineering_units(plc: Plc) -> None:
    plc.send(["Level"], [123], 200)
    assert plc["Level"].value == pytest.approx(12.3)


def test_uncertain_keeps_the_last_value_and_bad_drops_it(plc: Plc) -> None:
    plc.send(["Speed", "Count"], [1.5, 7], 200)
    plc.send(["Speed", "Count"], None, 300, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
    assert (plc["Speed"].value, plc["Speed"].status) == (1.5, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
    assert (plc["Speed"].source_time, plc["Speed"].server_time) == (300, 200)
    plc.send(["Speed", "Count"], None, 400, BAD_NO_COMMUNICATION)
    assert (plc["Speed"].value, plc["Speed"].status) == (None, BAD_NO_COMMUNICATION)


def test_the_same_value_after_an_outage_is_a_change(plc: Plc) -> None:
    plc.send(["Speed"], [1.5], 200)
    for mark in (UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, BAD_TIMEOUT):
        plc.send(["Speed"], None, 300, mark)
        plc.heard.clear()
        plc.send(["Speed"], [1.5], 400)
        assert plc.heard == [["Speed"]]
        assert (plc["Speed"].value, plc["Speed"].status) == (1.5, GOOD)


def test_uncertain_without_a_last_value_has_no_communication(plc: Plc) -> None:
    plc.send(["Speed"], None, 300, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
    assert (plc["Speed"].value, plc["Speed"].status) == (None, BAD_NO_COMMUNICATION)


def test_one_bad_point_of_a_block_leaves_the_others_good(plc: Plc) -> None:
    plc.send(["Speed", "Count"], [1.5, None], 200, [GOOD, BAD_TIMEOUT])
    assert plc["Speed"].status == GOOD
    assert (plc["Count"].value, plc["Count"].status) == (None, BAD_TIMEOUT)


def test_a_raw_value_without_counterpart_is_a_decoding_error_until_one_comes(
    plc: Plc, caplog: pytest.LogCaptureFixture
) -> None:
    plc["State"].conversion = Lookup.of({0: 2})
    for at in (200, 300):
        plc.send(["State"], [9], at)
    assert (plc["State"].value, plc["State"].status) == (None, BAD_DECODING_ERROR)
    assert len(caplog.records) == 1
    plc.send(["State"], [0], 400)
    assert (plc["State"].value, plc["State"].status) == (2, GOOD)


def test_true_and_one_are_different_values(plc: Plc) -> None:
    plc.send(["Count"], [1], 200)
    plc.send(["Count"], [True], 300)
    assert plc.heard == [["Count"], ["Count"]]


def test_a_constant_set_to_another_value_is_told_once(plc: Plc) -> None:
    key = f"{MACHINE}.Target"
    plc.store.set(key, 501, 200)
    plc.store.set(key, 501, 300)
    assert plc.heard == [["Target"]]
    assert (plc["Target"].value, plc["Target"].source_time, plc["Target"].server_time) == (501, 200, 300)


def test_a_listener_that_ended_hears_no_more(plc: Plc) -> None:
    plc.end()
    plc.send(["Speed"], [1.5], 200)
    assert plc.heard == []


def test_blocks_of_forgotten_plans_do_not_pile_up(plc: Plc) -> None:
    for at in range(5_000):
        plc.store.ingest(Batch((plc.tags["Speed"],), [float(at)], GOOD, None, at))
    assert len(plc.store._blocks) < 200
    assert plc["Speed"].value == 4_999.0


def test_nan_that_stays_is_no_change(plc: Plc) -> None:
    nan = float("nan")
    plc.send(["Speed"], [nan], 200)
    plc.send(["Speed"], [float("nan")], 300)
    assert plc.heard == [["Speed"]]


def test_what_a_device_reports_of_some_of_its_tags_leaves_the_others(plc: Plc) -> None:
    names = ("Speed", "SpeedSP", "State")
    block = tuple(plc.tags[name] for name in names)
    plc.store.ingest(Batch(block, [1.0, 2.0, 1], GOOD, None, 200))
    plc.heard.clear()
    plc.store.ingest(Batch(block, [3.0, 2], [GOOD, 0x40A40000], [290, 0], 300, (1, 2)))
    assert plc.heard == [["SpeedSP", "State"]]
    assert [(plc[n].value, plc[n].status, plc[n].source_time) for n in names] == [
        (1.0, GOOD, 200),
        (3.0, GOOD, 290),
        (2, 0x40A40000, 300),
    ]
    assert {plc[n].server_time for n in names} == {300}


def test_a_device_with_nothing_to_report_is_alive(plc: Plc) -> None:
    block = (plc.tags["Speed"], plc.tags["SpeedSP"])
    plc.store.ingest(Batch(block, [1.0, 2.0], GOOD, None, 200))
    # A read past the scan has moved one of them.
    plc.send(["Speed"], [1.0], 250)
    plc.store.ingest(Batch(block, (), GOOD, None, 400, ()))
    assert (plc["Speed"].server_time, plc["SpeedSP"].server_time) == (400, 400)
    assert (plc["Speed"].value, plc["Speed"].source_time) == (1.0, 200)


def test_a_report_without_values_marks_those_it_is_of(plc: Plc) -> None:
    block = (plc.tags["Speed"], plc.tags["SpeedSP"])
    plc.store.ingest(Batch(block, [1.0, 2.0], GOOD, None, 200))
    plc.store.ingest(Batch(block, None, BAD_TIMEOUT, None, 300, (1,)))
    assert (plc["Speed"].status, plc["SpeedSP"].status) == (GOOD, BAD_TIMEOUT)
    assert (plc["Speed"].server_time, plc["SpeedSP"].server_time) == (200, 200)
    # A whole block afterwards is compared with what the points hold, not with what it was before.
    plc.store.ingest(Batch(block, [1.0, 2.0], GOOD, None, 400))
    assert (plc["SpeedSP"].value, plc["SpeedSP"].status) == (2.0, GOOD)


def test_what_comes_for_tags_that_are_no_more_moves_no_point() -> None:
    """Two blocks with such tags must not take a point from one another for ever: each time costs all."""
    plc = Plc()
    here, there = plc.tags["Speed"], plc.tags["Level"]
    gone = [Tag(f"gone{number}", None, here.type, here.scan) for number in range(2)]
    blocks = [(here, gone[0], gone[1]), (there, gone[1], gone[0])]

    def told(at: int) -> None:
        for tags in blocks:
            plc.store.ingest(Batch(tags, [float(at)], GOOD, None, at, (0,)))

    told(1)
    told(2)
    layout = plc.store.layout
    told(3)
    assert plc.store.layout == layout
    assert plc["Speed"].value == 3.0
