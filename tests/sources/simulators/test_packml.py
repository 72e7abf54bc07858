from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from sources.simulators.packml import State, StateMachine


def course(machine: StateMachine, seconds: float, step: float = 0.1) -> list[State]:
    states = [machine.state]
    for _ in range(round(seconds / step)):
        machine.advance(step)
        states.append(machine.state)
    return states


@pytest.mark.parametrize("seed", range(20))
def test_it_executes_within_two_seconds_and_by_way_of_starting(seed: int) -> None:
    states = course(StateMachine(random.Random(seed)), 2.0)
    assert list(dict.fromkeys(states)) == [
        State.Stopped,
        State.Resetting,
        State.Idle,
        State.Starting,
        State.Execute,
    ]


def test_it_mostly_executes_and_comes_by_every_state() -> None:
    states = course(StateMachine(random.Random(1)), 100_000, step=0.5)
    times = Counter(states)
    assert set(times) == set(State)
    assert times[State.Execute] > 0.75 * len(states)
    assert times[State.Suspended] > times[State.Aborted]


def test_it_visits_no_state_but_the_allowed() -> None:
    allowed = {2, 3, 6, 7, 9, 11}
    states = course(StateMachine(random.Random(2), allowed), 50_000, step=0.5)
    assert set(states) == allowed


def test_held_comes_from_holding_and_ends_in_unholding() -> None:
    states = course(StateMachine(random.Random(3)), 20_000)
    ways = list(itertools.pairwise(states))
    assert {before for before, after in ways if after is State.Held} == {State.Holding, State.Held}
    assert {after for before, after in ways if before is State.Held} == {State.Held, State.Unholding}


def test_one_long_step_ends_where_many_short_ones_do() -> None:
    long, short = StateMachine(random.Random(4)), StateMachine(random.Random(4))
    for _ in range(1024):
        short.advance(0.5)
    long.advance(512)
    assert long.state is short.state


def test_without_execute_there_is_no_packml_machine() -> None:
    with pytest.raises(ValueError, match="Execute"):
        StateMachine(random.Random(5), {1, 2})
