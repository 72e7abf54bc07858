from __future__ import annotations

import itertools
import math
import random

import pytest
from support.simulator import PACKML_LUT, filler, point

from sources.simulators.machine import Machine
from sources.simulators.spec import PointSpec


def machine(*points: PointSpec, seed: int = 1) -> Machine:
    return Machine(points or filler().points, random.Random(seed))


def run(it: Machine, seconds: float, step: float = 0.1) -> None:
    for _ in range(round(seconds / step)):
        it.step(step)


def number(it: Machine, name: str) -> float:
    value = it.value(name)
    assert not isinstance(value, str)
    return value


def test_counters_only_rise_and_nothing_leaves_that_did_not_enter() -> None:
    it = machine()
    before = (0.0, 0.0, 0.0)
    for _ in range(20_000):
        it.step(0.1)
        now = (number(it, "InCount"), number(it, "GoodCount"), number(it, "RejectCount"))
        assert all(new >= old for new, old in zip(now, before, strict=True))
        assert now[0] >= now[1] + now[2]
        before = now
    assert before[0] == pytest.approx(20_000 / 60 * 0.1 * 600, rel=0.35)
    assert 0.005 < before[2] / before[0] < 0.03


def test_speed_follows_the_set_point_in_execute_and_is_zero_elsewhere() -> None:
    it = machine()
    seen = set()
    standing = 0.0
    for _ in range(10_000):
        it.step(0.1)
        seen.add(it.value("State"))
        standing = 0.0 if it.value("State") == 6 else standing + 0.1
        assert 0 <= number(it, "Speed") <= 900
        if standing > 3.2:
            assert it.value("Speed") == 0
    assert len(seen) > 2
    it.write("SpeedSP", 300.0)
    speeds = set()
    for _ in range(3000):
        it.step(0.1)
        if it.value("State") == 6:
            speeds.add(round(number(it, "Speed") / 10) * 10)
    assert 300 in speeds
    assert it.value("SpeedSP") == 300.0


def test_the_first_set_point_is_three_quarters_of_its_range() -> None:
    assert machine().value("SpeedSP") == 600.0


@pytest.mark.parametrize("written", [math.nan, math.inf, -5.0, 0])
def test_a_senseless_set_point_is_held_and_stops_the_machine(written: float) -> None:
    it = machine()
    run(it, 10)
    it.write("SpeedSP", written)
    run(it, 10)
    assert it.value("SpeedSP") is written
    assert it.value("Speed") == 0


def test_a_set_point_above_the_top_runs_at_the_top() -> None:
    it = machine()
    it.write("SpeedSP", 1e6)
    run(it, 10)
    assert 890 <= number(it, "Speed") <= 900


def test_levels_and_temperatures_stay_in_range_and_move() -> None:
    it = machine()
    levels, temperatures = [], []
    for _ in range(5000):
        it.step(0.2)
        levels.append(number(it, "BowlLevel"))
        temperatures.append(number(it, "ProductTemp"))
    assert 0 <= min(levels) < 60 < max(levels) <= 100
    assert 15 < min(temperatures) < max(temperatures) < 21
    assert max(abs(b - a) for a, b in itertools.pairwise(temperatures)) < 0.5


def test_a_level_bounded_by_its_register_stays_in_that() -> None:
    it = machine(point("TankLevel", "input", 0, "int16", gain=0.001, low=30, high=100))
    for _ in range(2000):
        it.step(0.5)
        assert 30 <= number(it, "TankLevel") <= 32.767


@pytest.mark.parametrize(
    ("name", "encoding", "more"),
    [("Pump", "bool", {"bit": 0}), ("Program", "uint16", {"members": (4, 5, 9)})],
)
def test_what_has_no_name_toggles_among_its_values(name: str, encoding: str, more: dict[str, object]) -> None:
    it = machine(point(name, "holding", 0, encoding, **more))
    seen = set()
    for _ in range(2000):
        it.step(0.5)
        seen.add(it.value(name))
    assert seen == set(more.get("members", (False, True)))  # type: ignore[call-overload]  # a tuple of ints


def test_a_writable_point_stays_until_written_and_then_holds() -> None:
    it = machine(
        point("Weight", "holding", 0, "float32", writable=True, low=10, high=20),
        point("Recipe", "holding", 2, "string(8)", writable=True),
        point("Pump", "holding", 6, "bool", bit=0, writable=True),
    )
    run(it, 30)
    assert (it.value("Weight"), it.value("Recipe"), it.value("Pump")) == (15, "Recipe 1", False)
    for name, value in (("Weight", 12.5), ("Recipe", "Cola"), ("Pump", True)):
        it.write(name, value)
    run(it, 30)
    assert (it.value("Weight"), it.value("Recipe"), it.value("Pump")) == (12.5, "Cola", True)


def test_a_writable_counter_counts_on_from_what_was_written() -> None:
    it = machine(point("Caps", "holding", 0, "uint32", kind="counter", writable=True))
    run(it, 10)
    it.write("Caps", 100_000)
    assert it.value("Caps") == 100_000
    run(it, 10)
    assert 100_050 < number(it, "Caps") < 100_150
    it.write("Caps", math.nan)
    assert number(it, "Caps") > 100_050


def test_what_is_not_writable_refuses() -> None:
    it = machine(point("BowlLevel", "input", 0, "uint16"))
    with pytest.raises(TypeError, match="BowlLevel"):
        it.write("BowlLevel", 1)
    with pytest.raises(KeyError):
        it.write("Nothing", 1)


def test_states_of_its_own_are_visited_where_they_are_not_packmls() -> None:
    it = machine(
        point("State", "holding", 0, "int16", members=(0, 1)), point("Speed", "holding", 1, "float32")
    )
    seen = set()
    for _ in range(2000):
        it.step(0.5)
        seen.add(it.value("State"))
    assert seen == {0, 1}


def test_a_lookup_table_and_an_enumeration_both_bound_the_states() -> None:
    it = machine(point("StateCurrent", "holding", 0, "int16", lut=PACKML_LUT, members=(2, 6, 7)))
    seen = set()
    for _ in range(20_000):
        it.step(0.5)
        seen.add(it.value("StateCurrent"))
    assert seen == {2, 6, 7}


@pytest.mark.parametrize(
    ("name", "value"),
    [("UnitModeCurrent", 1), ("MachSpeed", 675.0), ("ProdDefectiveCount", 0), ("Template", 50.0)],
)
def test_packml_names_are_known(name: str, value: float) -> None:
    assert machine(point(name, "holding", 0, "float32")).value(name) == value
