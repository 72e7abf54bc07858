"""What a delivered notification costs a server: Isthmus's, stock asyncua's and node-opcua's."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from bench.processes import BenchError, line, start, tell
from bench.subjects import ASYNCUA, INSTALL, NAMES, NODE_OPCUA, OURS, Subject, begin, node
from bench.subscriber import Task

MOST: Final = 0.70
"""Of a core: no server passes that while it is measured."""

_CASES: Final = {
    "q1": ("a queue of one", Task()),
    "q10": ("a queue of ten", Task(queue=10)),
    "q1.x5": ("a queue of one, five subscribers", Task(sessions=5)),
}
_ENCRYPTED: Final = "encrypted"
_VALUES_A_PUBLISH: Final = 4
"""In a queue of ten."""
_SLOWER: Final = 1.7
_TRIES: Final = 4
_WINDOW_MS: Final = 1_500
_LONGEST_MS: Final = 12_000
"""That all windows of a case take together, about."""
_ALTERNATIONS: Final = 4
_LEAST, _OVER = 0.4, 1.15
"""Of what changes: a busy machine may deliver less, and none more but for a round that ends late."""
_COLUMNS: Final = (
    "server CPU a notification",
    "µs",
    "notifications/s",
    "a message",
    "values that change",
    "of a core",
    "without subscriber",
)


@dataclass(frozen=True, slots=True)
class Run:
    """A server at a size: which variables change how often, and how long that is looked at."""

    prefix: str
    variables: int
    period_ms: int
    changing: int
    """Variables that change each period."""
    cases: tuple[str, ...] = tuple(_CASES)
    times: int = 4
    """Over which the median is taken."""
    warm: float = 0.0
    slow: tuple[tuple[str, float], ...] = ()
    """Cases for which the period is so many times as long."""


def _asyncua(variables: int, *cases: str) -> Run:
    cases = cases or (*_CASES, _ENCRYPTED)
    return Run(
        ASYNCUA, variables, 125, 1_000, cases, times=1, warm=2.0, slow=(("q1.x5", 4.0), (_ENCRYPTED, 12.0))
    )


def _node_opcua(variables: int, *cases: str) -> Run:
    cases = cases or (*_CASES, _ENCRYPTED)
    return Run(
        NODE_OPCUA, variables, 100, 1_000, cases, times=1, warm=2.0, slow=(("q1.x5", 2.5), (_ENCRYPTED, 5.0))
    )


FULL: Final = (
    Run(OURS, 1_000, 100, 1_000, times=3),
    _asyncua(1_000, "q1"),
    # It has compiled what little it does for so few only after some time.
    dataclasses.replace(_node_opcua(1_000, "q1"), warm=8.0, times=2),
    Run(OURS, 10_000, 500, 10_000, (*_CASES, _ENCRYPTED)),
    _asyncua(10_000),
    _node_opcua(10_000),
    Run(OURS, 100_000, 2_000, 100_000, times=3),
    _asyncua(100_000, "q1"),
    _node_opcua(100_000, "q1"),
)
QUICK: Final = (
    Run(OURS, 10_000, 500, 10_000, (*_CASES, _ENCRYPTED), times=2),
    _asyncua(1_000, "q1"),
    _node_opcua(1_000, "q1"),
)


class Measuring:
    """A server that runs, and the client that subscribes to it."""

    def __init__(self, stack: ExitStack, run: Run) -> None:
        self._run = run
        self._subject: Subject = begin(stack, run.prefix, run.variables, run.period_ms)
        pid = str(self._subject.process.pid)
        self._client = start(stack, "bench.subscriber", self._subject.url, pid, str(run.variables))

    def metrics(self) -> dict[str, float]:
        """All its cases."""
        found: dict[str, float] = {}
        for case in self._run.cases:
            name = f"{self._run.prefix}notify.{self._run.variables}"
            if case == _ENCRYPTED:
                found[f"{name}.encrypted_added_us"] = self._added()
            else:
                found |= {f"{name}.{case}.{key}": value for key, value in self._case(case).items()}
        return found

    def _case(self, case: str) -> dict[str, float]:
        run = self._run
        period = run.period_ms * dict(run.slow).get(case, 1.0)
        for _ in range(_TRIES):
            result = self._task(_CASES[case][1], period)
            if result["cpu"] <= MOST:
                return {
                    "us": result["us_per_notification"],
                    "per_s": result["per_s"],
                    "per_message": result["per_message"],
                    "period_ms": period,
                    "changing": run.changing,
                    "cpu_percent": result["cpu"] * 100,
                    "idle_percent": result["idle_cpu"] * 100,
                }
            if run.prefix == OURS:
                break  # the period is of its configuration
            period *= _SLOWER
        raise BenchError(f"{NAMES[run.prefix]} takes more than {MOST:.0%} of a core at every {period:.0f} ms")

    def _added(self) -> float:
        """What SignAndEncrypt adds to five subscribers, where it is not lost in what else goes on."""
        task, identity = _CASES["q1.x5"][1], self._subject.identity
        period = self._run.period_ms * dict(self._run.slow).get(_ENCRYPTED, 1.0)
        plain: list[float] = []
        encrypted: list[float] = []
        for _ in range(_ALTERNATIONS):
            for results, pem in ((plain, ""), (encrypted, identity)):
                task = dataclasses.replace(task, identity=pem, times=1)
                found = self._task(task, period)
                results.append(found["us_per_notification"])
        return statistics.median(encrypted) - statistics.median(plain)

    def _task(self, task: Task, period: float) -> dict[str, Any]:
        run = self._run
        publishing = period * (_VALUES_A_PUBLISH if task.queue > 1 else 1)
        cycles = max(1, round(_WINDOW_MS / publishing))
        times = min(task.times, run.times, max(1, int(_LONGEST_MS / publishing)))
        tell(self._subject.mover, f"moving {period:.0f} {run.changing}")
        task = dataclasses.replace(task, publishing=publishing, cycles=cycles, times=times, warm=run.warm)
        tell(self._client, json.dumps(dataclasses.asdict(task)))
        result: dict[str, Any] = json.loads(line(self._client, "result "))
        most = task.sessions * run.changing / period * 1000
        if not _LEAST * most < result["per_s"] < _OVER * most:
            came = f"{result['per_s']:,.0f} of {most:,.0f} notifications a second came"
            raise BenchError(f"{NAMES[run.prefix]}, {run.variables:,} variables: {came}")
        return result


def measure(runs: Sequence[Run]) -> dict[str, float]:
    """All of them, one server at a time; the metrics by name, ``notify.<variables>.<case>.…``."""
    found: dict[str, float] = {}
    for run in runs:
        if run.prefix == NODE_OPCUA and node() is None:
            continue
        with ExitStack() as stack:
            found |= Measuring(stack, run).metrics()
    return found


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table, a row a server and a case, and what was left out."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---|" + "---:|" * (len(_COLUMNS) - 1)]
    sizes = sorted({int(name.split("notify.")[1].split(".")[0]) for name in metrics if "notify." in name})
    for variables in sizes:
        for case, (label, _) in _CASES.items():
            for prefix, server in NAMES.items():
                name = f"{prefix}notify.{variables}.{case}"
                if f"{name}.us" in metrics:
                    cells = _cells({key: metrics[f"{name}.{key}"] for key in _KEYS})
                    lines.append(f"| {variables:,} variables, {label}: {server} | {cells} |")
        for prefix, server in NAMES.items():
            added = metrics.get(f"{prefix}notify.{variables}.encrypted_added_us")
            if added is not None:
                label = f"{variables:,} variables, SignAndEncrypt adds: {server}"
                lines.append(f"| {label} | {added:.2f} | | | | | |")
    if node() is None:
        lines.append(f"\nnode-opcua is not measured: it is not here. It comes with `{INSTALL}`.")
    return "\n".join(lines)


_KEYS: Final = ("us", "per_s", "per_message", "changing", "period_ms", "cpu_percent", "idle_percent")


def _cells(of: dict[str, float]) -> str:
    us = of["us"]
    return " | ".join(
        (
            f"{us:.2f}" if us < 10 else f"{us:.1f}",
            f"{of['per_s']:,.0f}",
            f"{of['per_message']:,.0f}",
            f"{of['changing']:,.0f} each {of['period_ms']:,.0f} ms",
            f"{of['cpu_percent']:.0f} %",
            f"{of['idle_percent']:.1f} %",
        )
    )
