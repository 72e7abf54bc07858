"""``python -m bench``: measure, and print the tables of docs/performance.md."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from bench import devices, eip, items, modbus, notify, opcua_source, path, read, scale, store
from bench.accounting import Machine
from bench.path import Scenario
from bench.processes import BenchError

FULL: Final = (Scenario(1_000, 500, 10.0), Scenario(10_000, 2_000, 20.0))
QUICK: Final = (Scenario(1_000, 500, 5.0), Scenario(10_000, 2_000, 8.0))
READ_ROUNDS: Final = (3, 5)
QUICK_READ_ROUNDS: Final = (1, 1)
"""Of clean and of changing values."""

_ROWS: Final = {
    "changes_per_s": ("changes a second", "{:,.0f}"),
    "cpu_us_per_change": ("server CPU a change (µs)", "{:.1f}"),
    "cpu_percent": ("server CPU (% of a core)", "{:.0f}"),
    "latency_p50_ms": ("latency PLC → client, p50 (ms)", "{:.0f}"),
    "latency_p99_ms": ("latency PLC → client, p99 (ms)", "{:.0f}"),
    "rss_mb": ("resident memory (MB)", "{:.0f}"),
    "start_s": ("start-up (s)", "{:.1f}"),
}


_Metrics: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the benches: how it measures, in full or quick, and how it shows what it found."""

    full: Callable[[], _Metrics]
    quick: Callable[[], _Metrics]
    table: Callable[[_Metrics], str]


def table(metrics: dict[str, float]) -> str:
    """The whole path as a Markdown table, a column a number of variables."""
    sizes = sorted({int(name.split(".")[1]) for name in metrics if name.startswith("path.")})
    lines = [
        "| " + " | ".join(["", *(f"{size:,} variables" for size in sizes)]) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for key, (label, form) in _ROWS.items():
        cells = [form.format(metrics[f"path.{size}.{key}"]) for size in sizes]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines)


def _paths(scenarios: tuple[Scenario, ...]) -> _Metrics:
    return {name: value for scenario in scenarios for name, value in path.measure(scenario).items()}


PARTS: Final = {
    "path": Part(lambda: _paths(FULL), lambda: _paths(QUICK), table),
    "store": Part(lambda: store.measure(2.0), lambda: store.measure(1.0), store.table),
    "read": Part(lambda: read.measure(*READ_ROUNDS), lambda: read.measure(*QUICK_READ_ROUNDS), read.table),
    "notify": Part(lambda: notify.measure(notify.FULL), lambda: notify.measure(notify.QUICK), notify.table),
    "opcua_source": Part(
        lambda: opcua_source.measure(2_000, 10.0),
        lambda: opcua_source.measure(1_000, 4.0),
        opcua_source.table,
    ),
    "items": Part(lambda: items.measure(items.FULL), lambda: items.measure(items.QUICK), items.table),
    "modbus": Part(lambda: modbus.measure(2.0), lambda: modbus.measure(1.0), modbus.table),
    "eip": Part(lambda: eip.measure(2.0), lambda: eip.measure(1.0), eip.table),
    "devices": Part(
        lambda: devices.measure(devices.FULL), lambda: devices.measure(devices.QUICK), devices.table
    ),
    "scale": Part(lambda: scale.measure(scale.FULL), lambda: scale.measure(scale.QUICK), scale.table),
}


def _chosen(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    return names


def main() -> int:
    """Run; 0 when every part gave its numbers, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, some three minutes")
    parser.add_argument(
        "--only", type=_chosen, default=list(PARTS), metavar="PART,…", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and metrics here too")
    options = parser.parse_args()
    machine = Machine.here()
    print(f"{machine.cpu}, {machine.cores} cores, {machine.python}, {machine.system}", flush=True)
    metrics: _Metrics = {}
    try:
        for name in options.only:
            part = PARTS[name]
            found = part.quick() if options.quick else part.full()
            print("", part.table(found), sep="\n", flush=True)
            metrics |= found
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        content = {"machine": dataclasses.asdict(machine), "metrics": metrics}
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
