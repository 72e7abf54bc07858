from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.schedule import Schedule, phase


def test_an_empty_schedule_has_nothing_due() -> None:
    schedule: Schedule[str] = Schedule()
    assert (len(schedule), schedule.due) == (0, None)


def test_what_is_due_first_comes_first_and_among_equals_what_was_added_first() -> None:
    schedule: Schedule[str] = Schedule()
    for item, due in (("b", 2.0), ("a", 1.0), ("a2", 1.0)):
        schedule.add(item, 10.0, due)
    seen = []
    for _ in range(3):
        seen.append(schedule.first)
        schedule.done(2.0)
    assert seen == ["a", "a2", "b"]
    assert schedule.due == 11.0


def test_deadlines_are_absolute_so_that_work_does_not_shift_them() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 1.0, 5.0)
    dues = []
    for worked in (0.3, 0.9, 0.0):
        assert schedule.due is not None
        assert schedule.done(schedule.due + worked) == 0
        dues.append(schedule.due)
    assert dues == [6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("finished", "skipped", "due"),
    [(5.99, 0, 6.0), (6.0, 1, 7.0), (6.5, 1, 7.0), (7.0, 2, 8.0), (15.2, 10, 16.0)],
)
def test_deadlines_that_have_passed_are_skipped_and_counted(
    finished: float, skipped: int, due: float
) -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 1.0, 5.0)
    assert schedule.done(finished) == skipped
    assert schedule.due == due


def test_a_first_deadline_of_its_own_starts_the_rhythm() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 1.0, 0.0)
    schedule.done(0.1, again=0.25)
    assert schedule.due == 0.25
    schedule.done(0.3)
    assert schedule.due == 1.25


def test_under_overload_each_item_gets_its_turn() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("fast", 0.1, 0.0)
    schedule.add("slow", 5.0, 0.0)
    now, served = 0.0, {"fast": 0, "slow": 0}
    while now < 100.0:
        now = max(now, schedule.due or 0.0) + 0.5  # five times as long as the fast one's period
        served[schedule.first] += 1
        schedule.done(now)
    assert served["slow"] == 20
    assert served["fast"] > 150


def test_removed_items_come_no_more() -> None:
    schedule: Schedule[str] = Schedule()
    for item in "abc":
        schedule.add(item, 1.0, 0.0)
    schedule.remove({"a", "c"})
    assert (len(schedule), schedule.first) == (1, "b")


@given(st.integers(1, 200), st.floats(0.01, 100), st.floats(0.01, 1))
def test_phases_spread_a_class_evenly_over_one_period(count: int, period: float, offset: float) -> None:
    phases = [phase(index, count, period, offset) for index in range(count)]
    assert all(0 < p <= period * 1.000001 for p in phases)
    gaps = [b - a for a, b in itertools.pairwise(phases)]
    assert all(gap == pytest.approx(period / count) for gap in gaps)
