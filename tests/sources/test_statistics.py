from __future__ import annotations

import pytest
from support.clock import Clock

from sources.statistics import Durations, Pace, Rates, ScanStatistics


@pytest.mark.parametrize("longest", [2e-5, 0.003, 0.7, 60.0])
def test_a_quantile_is_right_within_its_grain(longest: float) -> None:
    durations = Durations(Clock())
    for number in range(1, 1001):
        durations.add(longest * number / 1000)
    for share in (0.5, 0.99, 1.0):
        assert longest * share * 0.999 <= durations.quantile(share) <= max(longest * share * 1.1, 1.1e-5)


def test_what_is_out_of_bounds_is_counted_at_the_bound() -> None:
    durations = Durations(Clock())
    durations.add(0.0)
    assert 0 < durations.quantile(0.99) <= 1e-5
    durations.add(1e9)
    assert durations.quantile(1.0) < 7200


def test_old_durations_are_let_go() -> None:
    clock = Clock()
    durations = Durations(clock)
    assert durations.quantile(0.99) == 0.0
    durations.add(1.0)
    clock.now += 301
    durations.add(0.001)
    assert durations.quantile(1.0) >= 1.0
    clock.now += 301
    assert durations.quantile(1.0) < 0.01
    clock.now += 10_000
    assert durations.quantile(1.0) == 0.0


def test_a_scan_is_all_its_last_requests_together() -> None:
    scan = ScanStatistics(1.0)
    scan.took(0.1, 0.0)
    scan.took(0.2, 0.0)
    scan.took(0.4, 0.1)
    figures = scan.snapshot()
    assert figures.measured == pytest.approx(0.6)
    assert 0.6 <= figures.p99 <= 0.66
    assert (figures.planned, figures.reads) == (1.0, 0)


def test_rates_are_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.rates == Rates()
    for second in range(20):
        pace.look(float(second), (10 * second, second, 100 * second, 200 * second))
        pace.look(second + 0.5, (0, 0, 0, 0))  # too soon: not taken
    assert pace.rates == Rates(10.0, 1.0, 100.0, 200.0)
    for second in range(20, 30):
        pace.look(float(second), (190, 19, 1900, 3800))
    assert pace.rates == Rates()
