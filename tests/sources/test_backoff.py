from __future__ import annotations

import itertools

from sources.backoff import delays


def test_doubles_up_to_the_limit() -> None:
    drawn = list(itertools.islice(delays(0.5, 30.0, jitter=lambda: 1.0), 9))
    assert drawn == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_stays_within_the_upper_half_of_each_step() -> None:
    lowest = list(itertools.islice(delays(0.5, 30.0, jitter=lambda: 0.0), 8))
    assert lowest == [0.25, 0.5, 1, 2, 4, 8, 15, 15]
    for delay, low in zip(delays(), lowest, strict=False):
        assert low <= delay <= 2 * low


def test_two_sources_do_not_dial_in_step() -> None:
    assert list(itertools.islice(delays(), 10)) != list(itertools.islice(delays(), 10))
