from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.small_plant import FILLER, LINE, NAMESPACES, machine, node_of, small_plant

from server.mqtt.dataset import DataSet, datasets
from server.mqtt.errors import MqttStateError
from server.mqtt.state import WriterBook, WriterIdentity
from server.plant.model import Equipment, Plant, PropertyType
from sources.clock import TICKS_PER_SECOND, from_datetime, now
from sources.tag import ValueType

START = now()
MORE = PropertyType("More", ValueType.Double)


def sets(plant: Plant) -> list[DataSet]:
    return datasets(plant, node_of(plant))


def enrol(
    folder: Path, plant: Plant, later: int = 0, uris: tuple[str, ...] = NAMESPACES
) -> dict[str, WriterIdentity]:
    """As at the start of a server that many seconds later."""
    return WriterBook(folder).enrol(sets(plant), uris, START + later * TICKS_PER_SECOND)


def filler(**changes: Any) -> Plant:
    return small_plant(filler=replace(machine(FILLER), **changes))


def test_ids_are_in_the_range_a_publisher_gives_itself_and_versions_are_the_moment(tmp_path: Path) -> None:
    found = enrol(tmp_path, small_plant())
    assert [identity.id for identity in found.values()] == [0x8000, 0x8001]
    version = found[FILLER].version
    assert version.major == version.minor > 800_000_000, "seconds since 2000"


def test_nothing_changes_where_nothing_changed(tmp_path: Path) -> None:
    before = enrol(tmp_path, small_plant())
    written = (tmp_path / "mqtt-writers.json").stat()
    assert enrol(tmp_path, small_plant(), 100) == before
    assert (tmp_path / "mqtt-writers.json").stat().st_mtime_ns == written.st_mtime_ns


def test_a_property_appended_raises_minor_alone(tmp_path: Path) -> None:
    before = enrol(tmp_path, small_plant())[FILLER]
    after = enrol(tmp_path, small_plant(filler=machine(FILLER, MORE)), 100)[FILLER]
    assert after.id == before.id
    assert after.version.major == before.version.major
    assert after.version.minor == before.version.minor + 100


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(filler(properties=machine(FILLER).properties[:-1]), id="removed"),
        pytest.param(filler(properties=machine(FILLER).properties[::-1]), id="reordered"),
        pytest.param(
            filler(properties=(machine(FILLER, MORE).properties[-1], *machine(FILLER).properties)),
            id="inserted",
        ),
        pytest.param(
            filler(
                properties=(
                    *machine(FILLER).properties[:-1],
                    replace(
                        machine(FILLER).properties[-1],
                        type=replace(machine(FILLER).properties[-1].type, type=ValueType.Byte),
                    ),
                )
            ),
            id="another type",
        ),
        pytest.param(filler(description="Another one"), id="another description"),
    ],
)
def test_any_other_change_raises_major_and_minor_to_the_same(tmp_path: Path, plant: Plant) -> None:
    before = enrol(tmp_path, small_plant())
    after = enrol(tmp_path, plant, 100)
    assert after[FILLER].version.major == after[FILLER].version.minor == before[FILLER].version.major + 100
    assert after[LINE] == before[LINE]


def test_another_namespace_array_is_a_major_change_for_all(tmp_path: Path) -> None:
    before = enrol(tmp_path, small_plant())
    after = enrol(tmp_path, small_plant(), 100, (*NAMESPACES, "urn:more"))
    for key, identity in after.items():
        assert identity.version.major == identity.version.minor > before[key].version.minor


def test_versions_rise_though_the_clock_goes_back(tmp_path: Path) -> None:
    before = enrol(tmp_path, small_plant())[FILLER].version
    longer = enrol(tmp_path, small_plant(filler=machine(FILLER, MORE)), -1000)[FILLER].version
    assert longer.minor == before.minor + 1
    again = enrol(tmp_path, small_plant(), -1000)[FILLER].version
    assert again.major == again.minor == longer.minor + 1


def test_an_id_is_not_given_to_another_and_comes_back_to_its_own(tmp_path: Path) -> None:
    capper, washer = f"{LINE}/Capper", f"{LINE}/Washer"
    first = enrol(tmp_path, small_plant(machine(capper)))
    without = enrol(tmp_path, small_plant(machine(washer)), 10)
    assert capper not in without
    assert without[washer].id not in {identity.id for identity in first.values()}
    back = enrol(tmp_path, small_plant(machine(washer), machine(capper)), 20)
    assert back[capper] == first[capper]
    assert back[washer] == without[washer]


def test_when_the_range_is_used_up_the_longest_removed_gives_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mqtt.state._LAST_ID", 0x8003)

    def with_machine(name: str, later: int) -> int:
        path = f"{LINE}/{name}"
        return enrol(tmp_path, small_plant(machine(path)), later)[path].id

    assert [with_machine(name, 10 * n) for n, name in enumerate("ABCDA")] == [
        0x8002,
        0x8003,
        0x8002,
        0x8003,
        0x8002,
    ]
    crowd: list[Equipment] = [machine(f"{LINE}/{name}") for name in "VWXYZ"]
    with pytest.raises(MqttStateError, match="divide the plant"):
        enrol(tmp_path, small_plant(*crowd), 100)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "not a list of writers"),
        ('{"format": 2, "writers": {}}', "its format is 2, this version of Isthmus knows 1"),
        ('{"format": 1, "writers": {"A": {"id": 1}}}', "the entry of A has not the keys"),
        (None, "the id of A is outside"),
    ],
)
def test_a_broken_file_is_an_error_and_stays_as_it_is(tmp_path: Path, content: str | None, why: str) -> None:
    entry = {"id": 70_000, "major": 1, "minor": 1, "fields": 1, "digest": "", "retired": 0}
    text = content or json.dumps({"format": 1, "writers": {"A": entry}})
    path = tmp_path / "mqtt-writers.json"
    path.write_text(text)
    with pytest.raises(MqttStateError) as caught:
        enrol(tmp_path, small_plant())
    told = str(caught.value)
    assert str(path) in told
    assert why in told
    assert "restore the file from a backup" in told
    assert path.read_text() == text


def test_one_id_for_two_writers_is_refused(tmp_path: Path) -> None:
    entry = {"id": 1, "major": 1, "minor": 1, "fields": 1, "digest": "", "retired": 0}
    (tmp_path / "mqtt-writers.json").write_text(
        json.dumps({"format": 1, "writers": {"A": entry, "B": entry}})
    )
    with pytest.raises(MqttStateError, match="one id stands for two writers"):
        WriterBook(tmp_path)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    book = WriterBook(tmp_path / "state")
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(MqttStateError) as caught:
        book.enrol(sets(small_plant()), NAMESPACES, START)
    assert f"{tmp_path}/state/mqtt-writers.json: the DataSetWriterIds cannot be written" in str(caught.value)


def test_nothing_but_the_file_is_left_behind(tmp_path: Path) -> None:
    enrol(tmp_path, small_plant())
    enrol(tmp_path, small_plant(machine(f"{LINE}/Capper")))
    assert [path.name for path in tmp_path.iterdir()] == ["mqtt-writers.json"]


def test_a_clock_before_2000_gives_versions_that_can_be_read_again(tmp_path: Path) -> None:
    long_ago = from_datetime(datetime(1985, 1, 1, tzinfo=UTC))
    WriterBook(tmp_path).enrol(sets(small_plant()), NAMESPACES, long_ago)
    assert enrol(tmp_path, small_plant())[FILLER].version.major == 1
