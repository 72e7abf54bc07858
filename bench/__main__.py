"""``python -m bench``: measure the real path and print the table of docs/performance.md."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

from bench import path, read
from bench.accounting import Machine
from bench.path import Scenario
from bench.processes import BenchError

FULL: Final = (Scenario(1_000, 500, 15.0), Scenario(10_000, 2_000, 30.0))
QUICK: Final = (Scenario(1_000, 500, 5.0), Scenario(10_000, 2_000, 8.0))
READ_ROUNDS: Final = (5, 5)
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


def main() -> int:
    """Run; 0 when every scenario gave its numbers, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, within 90 seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and metrics here too")
    options = parser.parse_args()
    metrics: dict[str, float] = {}
    try:
        for scenario in QUICK if options.quick else FULL:
            metrics |= path.measure(scenario)
        metrics |= read.measure(*(QUICK_READ_ROUNDS if options.quick else READ_ROUNDS))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine = Machine.here()
    if options.json:
        content = {"machine": dataclasses.asdict(machine), "metrics": metrics}
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    print(f"{machine.cpu}, {machine.cores} cores, {machine.python}, {machine.system}\n")
    print(table(metrics), read.table(metrics), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
