from __future__ import annotations

import pytest
from support.clock import Clock
from support.simulator import FILLER, filler, point

from sources.simulators.simulation import Simulation


@pytest.fixture
def clock() -> Clock:
    return Clock()


def speed(simulation: Simulation) -> float:
    value = simulation.value((FILLER, "Speed"))
    assert isinstance(value, float)
    return value


def test_nothing_moves_within_a_tick(clock: Clock) -> None:
    simulation = Simulation(filler().points, clock)
    clock.now += 0.05
    assert not simulation.advance(FILLER)
    clock.now += 0.06
    assert simulation.advance(FILLER)
    assert not simulation.advance(FILLER)
    with pytest.raises(KeyError):
        simulation.advance("Acme")


def test_the_course_is_the_same_every_time(clock: Clock) -> None:
    one, other = Simulation(filler().points, clock), Simulation(filler().points, clock)
    for _ in range(100):
        clock.now += 0.1
        one.advance(FILLER)
        other.advance(FILLER)
        assert [one.value(p.key) for p in filler().points] == [other.value(p.key) for p in filler().points]
    assert speed(one) > 0


def test_time_that_nobody_watched_has_passed_but_never_more_than_five_minutes(clock: Clock) -> None:
    simulation = Simulation(filler().points, clock)
    clock.now += 60
    simulation.advance(FILLER)
    after_a_minute = simulation.value((FILLER, "InCount"))
    assert isinstance(after_a_minute, int)
    assert after_a_minute > 300
    clock.now += 1e7
    simulation.advance(FILLER)
    after_a_year = simulation.value((FILLER, "InCount"))
    assert isinstance(after_a_year, int)
    assert after_a_minute < after_a_year <= after_a_minute + 5 * 620


def test_a_frozen_point_stands_and_then_moves_again(clock: Clock) -> None:
    simulation = Simulation(filler().points, clock)
    simulation.freeze((FILLER, "Speed"), 5.0)
    clock.now += 10
    simulation.advance(FILLER)
    assert speed(simulation) == 5.0
    simulation.freeze((FILLER, "Speed"), None)
    assert speed(simulation) > 100
    with pytest.raises(KeyError):
        simulation.freeze((FILLER, "Nothing"), 1)


def test_what_is_written_to_a_frozen_point_shows_once_it_is_let_go(clock: Clock) -> None:
    simulation = Simulation(filler().points, clock)
    key = (FILLER, "SpeedSP")
    simulation.freeze(key, 5.0)
    simulation.write(key, 400.0)
    assert simulation.value(key) == 5.0
    simulation.freeze(key, None)
    assert simulation.value(key) == 400.0


def test_machines_of_one_device_go_their_own_ways(clock: Clock) -> None:
    simulation = Simulation(
        [point("State", "holding", i, "int16", machine=f"Acme/Line1/M{i}") for i in range(8)], clock
    )
    courses: list[list[object]] = [[] for _ in range(8)]
    for _ in range(600):
        clock.now += 1
        for i, course in enumerate(courses):
            simulation.advance(f"Acme/Line1/M{i}")
            course.append(simulation.value((f"Acme/Line1/M{i}", "State")))
    assert len({tuple(course) for course in courses}) == 8
