"""What a Read costs a server: Isthmus's, stock asyncua's and node-opcua's side by side."""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from bench.processes import BenchError, line, start, tell
from bench.reader import Task
from bench.subjects import ASYNCUA, INSTALL, NAMES, NODE_OPCUA, OURS, begin, node

VARIABLES: Final = 10_000
PERIOD_MS: Final = 500

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
    "node-opcua",
    "requests/s",
    "times less than node-opcua",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    name: str
    label: str
    task: Task
    changing: bool = False
    peers: bool = True
    """Whether the peers are asked, too: not where their work is that of another row."""


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
        peers=False,
    ),
    Case(
        "1000.fresh.in_order",
        "1,000 values, a new list each time, machine by machine",
        Task(1000, "fresh", in_order=True),
        peers=False,
    ),
    Case(
        "1000.repeated.source",
        "1,000 values, the same list, source time only",
        Task(1000, "one", times="source"),
        peers=False,
    ),
    Case("1000.registered", "1,000 values, the same list, registered", Task(1000, "one", registered=True)),
    Case("100.repeated", "100 values, the same list", Task(100, "one")),
    Case("100.fresh", "100 values, a new list each time", Task(100, "fresh")),
    Case("1", "1 value, the same", Task(1, "one", most_per_s=_SINGLE_PER_S)),
    Case("1.fresh", "1 value, another each time", Task(1, "fresh", most_per_s=_SINGLE_PER_S)),
    Case("1.ten", "1 value, ten requests at a time", Task(1, "one", together=10)),
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


class Polled:
    """A server that runs, and the client that polls it."""

    def __init__(self, stack: ExitStack, prefix: str, variables: int, period_ms: int) -> None:
        self.prefix = prefix
        self._subject = begin(stack, prefix, variables, period_ms)
        pid = str(self._subject.process.pid)
        self._client = start(stack, "bench.reader", self._subject.url, pid, str(variables))

    def order(self, order: str) -> None:
        """Have its values change, or stand still."""
        tell(self._subject.mover, order)

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
        prefixes = [OURS]
        if any(case.peers for case in cases):
            prefixes += [ASYNCUA, NODE_OPCUA] if node() else [ASYNCUA]
        servers = [Polled(stack, prefix, variables, period_ms) for prefix in prefixes]
        for changing, many, periods in ((False, rounds, 1), (True, changing_rounds, _CHANGING_PERIODS)):
            for server in servers:
                server.order(f"moving {period_ms} {variables}" if changing else "still")
            time.sleep(_SETTLE * period_ms / 1000)
            for case in cases:
                if case.changing == changing:
                    task = dataclasses.replace(case.task, rounds=many, seconds=periods * period_ms / 1000)
                    for server in servers if case.peers else servers[:1]:
                        metrics |= server.metrics(case, task)
    return metrics


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table, a row a case, and what was left out."""
    lines = [
        "| " + " | ".join(_COLUMNS) + " |",
        "|---|" + "---:|" * (len(_COLUMNS) - 1),
    ]
    for case in CASES:
        cells = [_cells(metrics, prefix, case) for prefix in NAMES]
        if not cells[0]:
            continue
        cells[1:] = [of[:2] or ["", ""] for of in cells[1:]]
        ratio = ""
        if theirs := metrics.get(f"{NODE_OPCUA}read.{case.name}.us"):
            times = theirs / metrics[f"read.{case.name}.us"]
            ratio = f"{times:.1f}" if times < 10 else f"{times:.0f}"
        label = case.label + (" (µs a request)" if case.task.batch == 1 else "")
        lines.append("| " + " | ".join([label, *(cell for of in cells for cell in of), ratio]) + " |")
    if node() is None:
        lines.append(f"\nnode-opcua is not measured: it is not here. It comes with `{INSTALL}`.")
    return "\n".join(lines)


def _cells(metrics: dict[str, float], prefix: str, case: Case) -> list[str]:
    name = f"{prefix}read.{case.name}"
    if f"{name}.us" not in metrics:
        return []
    us, per_s, percent = (metrics[f"{name}.{key}"] for key in ("us", "per_s", "cpu_percent"))
    return [f"{us:.2f}" if us < 10 else f"{us:.1f}", f"{per_s:,.0f}", f"{percent:.0f} %"]
