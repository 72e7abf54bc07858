from __future__ import annotations

import math

import pytest

from server.opcua.subscriptions.settings import revise
from server.opcua.subscriptions.terms import revise_event_queue, revise_queue, revise_sampling


@pytest.mark.parametrize("interval", [0.0, -1.0, -math.inf, math.nan, 1e-9, 19.9])
def test_an_interval_too_short_is_the_shortest_there_is(interval: float) -> None:
    assert revise(interval, 30, 10, 0, 0).interval == 20.0


@pytest.mark.parametrize("interval", [math.inf, 1e300])
def test_an_interval_too_long_is_the_longest_there_is(interval: float) -> None:
    settings = revise(interval, 30, 10, 0, 0)
    assert settings.interval == 3_600_000.0
    assert settings.lifetime_count >= 3 * settings.keep_alive_count >= 3


def test_a_lifetime_is_three_keep_alives_or_more() -> None:
    settings = revise(1000.0, 1, 10, 0, 0)
    assert (settings.lifetime_count, settings.keep_alive_count) == (30, 10)
    assert revise(1000.0, 31, 10, 0, 0).lifetime_count == 31


def test_counts_of_zero_are_the_smallest() -> None:
    settings = revise(1000.0, 0, 0, 0, 0)
    assert (settings.lifetime_count, settings.keep_alive_count) == (3, 1)


def test_counts_are_bounded_by_the_time_they_mean() -> None:
    settings = revise(1000.0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0)
    assert settings.keep_alive_count * settings.interval <= 3_600_000.0
    assert settings.lifetime_count * settings.interval <= 6 * 3_600_000.0


@pytest.mark.parametrize(
    ("requested", "publishing", "floor", "revised"),
    [
        (0.0, 1000.0, 0.0, 0.0),
        (0.0, 1000.0, 200.0, 200.0),
        (50.0, 1000.0, 200.0, 200.0),
        (250.0, 1000.0, 200.0, 250.0),
        (-1.0, 500.0, 200.0, 500.0),
        (-1.0, 100.0, 200.0, 200.0),
        (-7.5, 500.0, 200.0, 500.0),
        (math.nan, 500.0, 0.0, 500.0),
        (333.0, 1000.0, 0.0, 340.0),
        (1234.0, 1000.0, 0.0, 1300.0),
        (math.inf, 1000.0, 0.0, 3_600_000.0),
    ],
)
def test_sampling_intervals(requested: float, publishing: float, floor: float, revised: float) -> None:
    assert revise_sampling(requested, publishing, floor) == revised


def test_queue_sizes() -> None:
    assert [revise_queue(size) for size in (0, 1, 10, 0xFFFFFFFF)] == [1, 1, 10, 1000]
    assert [revise_event_queue(size) for size in (0, 1, 10, 0xFFFFFFFF)] == [1000, 1, 10, 10_000]
