"""That ``make soak`` finds what it is there to find; a run of its full length is no test's business."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.contract.modbus import ModbusPlc
from support.contract.plc import DEVICE
from support.soak import plant
from support.soak.report import Report
from support.soak.run import Soak
from support.soak.samples import Sample, growths
from support.soak.watch import why_wrong


async def test_a_short_soak_ends_with_every_value_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One driver is enough to see that all its parts work together.
    monkeypatch.setattr(plant, "CASES", plant.CASES[:1])
    report = await Soak(tmp_path, seed=1, seconds=8.0, each=2).run()
    assert report.well, report.text()
    assert report.compared == report.tags == 40
    assert report.faults.total() > 0
    assert report.generations > 2
    assert report.messages > 0
    assert report.writes["Good"] > 0
    assert len(report.samples) > 3
    assert report.text().endswith("all is well")


def well() -> Report:
    steady = [Sample(100.0 + number % 3, 30, 25, 9) for number in range(30)]
    return Report(
        1, 60.0, compared=5, exit_code=0, qualities=Counter({"Good": 5}), samples=steady, recovered=1.0
    )


def test_a_steady_run_is_well() -> None:
    assert well().problems == []


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("wrong", 1, "1 wrong values"),
        ("differences", ["A T1: 5, not 6"], "1 of 5 values are not the devices'"),
        ("compared", 0, "0 of 0"),
        ("uneasy", Counter({"BadTimeout": 1}), "without a fault left Good"),
        ("qualities", Counter({"BadTimeout": 1}), "no Good value"),
        ("tracebacks", 2, "2 tracebacks"),
        ("exit_code", 1, "ended with 1"),
        ("exit_code", None, "ended with None"),
    ],
)
def test_what_is_not_well_is_told(name: str, value: Any, complaint: str) -> None:
    report = well()
    setattr(report, name, value)
    (problem,) = report.problems
    assert complaint in problem
    assert "NOT WELL" in report.text()


@pytest.mark.parametrize("name", ["memory", "tasks", "files", "threads"])
def test_what_grows_is_found(name: str) -> None:
    dice = random.Random(5)
    samples = []
    for number in range(60):
        figures: dict[str, Any] = {"memory": 100.0, "tasks": 30, "files": 25, "threads": 9}
        figures[name] += number // 3 + dice.randint(0, 2)
        samples.append(Sample(**figures))
    assert [growth.name for growth in growths(samples) if growth.grows] == [name]


def test_what_comes_and_goes_does_not_grow() -> None:
    samples = [Sample(100.0, 60 if number % 4 == 0 else 30, 25, 9) for number in range(60)]
    assert not any(growth.grows for growth in growths(samples))


def test_a_wrong_value_is_found() -> None:
    plc = ModbusPlc(DEVICE)
    plc.generation = 3
    device: Any = SimpleNamespace(plc=plc)
    right = plc.value("T5")
    assert why_wrong(device, "T5", right, good=True, bad=False) == ""
    assert why_wrong(device, "T5", right - 1, good=True, bad=False) == "", "it may be late"
    assert "yet to come" in why_wrong(device, "T5", right + 1, good=True, bad=False)
    assert "another tag's" in why_wrong(device, "T5", plc.value("T6"), good=True, bad=False)
    assert "another tag's" in why_wrong(device, "T5", ModbusPlc().value("T5"), good=True, bad=False)
    assert why_wrong(device, "T5", right, good=False, bad=True)
    assert why_wrong(device, "T5", None, good=False, bad=True) == ""
    assert why_wrong(device, "T5", None, good=True, bad=False) == "no value"
