"""What a Read costs a server, Isthmus's and stock asyncua's side by side."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.plant import plant, registers
from bench.processes import BenchError, line, serve, start, tell
from bench.reader import Task

VARIABLES: Final = 10_000
PERIOD_MS: Final = 500
OURS: Final = ""
ASYNCUA: Final = "asyncua."

_SETTLE: Final = 2  # periods
_CHANGING_PERIODS: Final = 2
"""What a round takes: the work of a period that came late must not count for much."""
_READS_A_CHANGE: Final = 4
_MOST_CHANGED: Final = 0.9
_SINGLE_PER_S: Final = 2_000
"""Requests for a single value: the same for both servers, as waking up is most of their cost."""
_COLUMNS: Final = (
    "server CPU of a Read, µs a value",
    "Isthmus",
    "requests/s",
    "of a core",
    "asyncua",
    "requests/s",
    "of a core",
    "times less",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    name: str
    label: str
    task: Task
    changing: bool = False
    asyncua: bool = True
    """Whether asyncua's server is asked, too: not where its work is that of another row."""


def _polled(batch: int) -> float:
    """Requests a second of so many values that read every variable some times between two changes."""
    return _READS_A_CHANGE * VARIABLES / batch / (PERIOD_MS / 1000)


CASES: Final = (
    Case("1000.repeated", "1,000 values, the same list", Task(1000, "one")),
    Case("1000.hundred", "1,000 values, a hundred lists in rotation", Task(1000, "hundred")),
    Case("1000.fresh", "1,000 values, a new list each time", Task(1000, "fresh")),
    Case(
        "1000.repeated.in_order",
        "1,000 values, the same list, machine by machine",
        Task(1000, "one", in_order=True),
        asyncua=False,
    ),
    Case(
        "1000.fresh.in_order",
        "1,000 values, a new list each time, machine by machine",
        Task(1000, "fresh", in_order=True),
        asyncua=False,
    ),
    Case(
        "1000.repeated.source",
        "1,000 values, the same list, source time only",
        Task(1000, "one", times="source"),
        asyncua=False,
    ),
    Case("1000.registered", "1,000 values, the same list, registered", Task(1000, "one", registered=True)),
    Case("100.repeated", "100 values, the same list", Task(100, "one")),
    Case("100.fresh", "100 values, a new list each time", Task(100, "fresh")),
    Case("1", "1 value, the same", Task(1, "one", most_per_s=_SINGLE_PER_S)),
    Case("1.fresh", "1 value, another each time", Task(1, "fresh", most_per_s=_SINGLE_PER_S)),
    Case(
        "1000.changing",
        "1,000 changing values, ten lists that hold all in rotation",
        Task(1000, "ten", most_per_s=_polled(1000)),
        changing=True,
    ),
    Case(
        "1000.fresh.changing",
        "1,000 changing values, a new list each time",
        Task(1000, "fresh", most_per_s=_polled(1000)),
        changing=True,
    ),
)


class Subject:
    """A server that runs, and the client that polls it."""

    def __init__(self, stack: ExitStack, prefix: str, pid: int, url: str, variables: int) -> None:
        self.prefix = prefix
        self._client = start(stack, "bench.reader", url, str(pid), str(variables))

    def metrics(self, case: Case, task: Task) -> dict[str, float]:
        """One row's numbers."""
        tell(self._client, json.dumps(dataclasses.asdict(task)))
        result: dict[str, Any] = json.loads(line(self._client, "result "))
        name = f"{self.prefix}read.{case.name}"
        if not (result["changed"] > _MOST_CHANGED if case.changing else result["changed"] == 0):
            raise BenchError(f"{name}: {result['changed']:.0%} of the values changed")
        return {
            f"{name}.us": result["us_per_request"] / task.batch,
            f"{name}.per_s": result["per_s"],
            f"{name}.cpu_percent": result["cpu"] * 100,
            f"{name}.idle_percent": result["idle_cpu"] * 100,
        }


def measure(
    rounds: int,
    changing_rounds: int,
    *,
    variables: int = VARIABLES,
    period_ms: int = PERIOD_MS,
    cases: tuple[Case, ...] = CASES,
) -> dict[str, float]:
    """Run all cases, those of clean values first; the metrics by name, ``read.<case>.…``."""
    metrics: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
        device = start(stack, "bench.device", str(registers(variables)))
        peer = start(stack, "bench.asyncua_peer", str(variables))
        text = plant(variables, period_ms, device_port=int(line(device, "ready ")), kind="Double")
        server, url = serve(stack, folder, text)
        ours = Subject(stack, OURS, server.pid, url, variables)
        theirs = Subject(stack, ASYNCUA, peer.pid, line(peer, "ready "), variables)
        for changing, many, periods in ((False, rounds, 1), (True, changing_rounds, _CHANGING_PERIODS)):
            order = f"moving {period_ms} {variables}" if changing else "still"
            tell(device, order)
            tell(peer, order)
            time.sleep(_SETTLE * period_ms / 1000)
            for case in cases:
                if case.changing == changing:
                    task = dataclasses.replace(case.task, rounds=many, seconds=periods * period_ms / 1000)
                    metrics |= ours.metrics(case, task)
                    metrics |= theirs.metrics(case, task) if case.asyncua else {}
    return metrics


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table, a row a case."""
    lines = [
        "| " + " | ".join(_COLUMNS) + " |",
        "|---|" + "---:|" * (len(_COLUMNS) - 1),
    ]
    for case in CASES:
        ours, theirs = _cells(metrics, OURS, case), _cells(metrics, ASYNCUA, case)
        if not ours:
            continue
        ratio = ""
        if theirs:
            times = metrics[f"{ASYNCUA}read.{case.name}.us"] / metrics[f"read.{case.name}.us"]
            ratio = f"{times:.1f}" if times < 10 else f"{times:.0f}"
        label = case.label + (" (µs a request)" if case.task.batch == 1 else "")
        lines.append("| " + " | ".join([label, *ours, *(theirs or ["", "", ""]), ratio]) + " |")
    return "\n".join(lines)


def _cells(metrics: dict[str, float], prefix: str, case: Case) -> list[str]:
    name = f"{prefix}read.{case.name}"
    if f"{name}.us" not in metrics:
        return []
    us, per_s, percent = (metrics[f"{name}.{key}"] for key in ("us", "per_s", "cpu_percent"))
    return [f"{us:.2f}" if us < 10 else f"{us:.1f}", f"{per_s:,.0f}", f"{percent:.0f} %"]
