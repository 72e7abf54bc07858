"""What monitored items cost: to create, to delete, to clear away after their session, and in memory."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from bench.processes import line, start, tell
from bench.subjects import ASYNCUA, NAMES, NODE_OPCUA, OURS, begin, node
from bench.subscriber import ItemsTask

FULL: Final = ((OURS, 10_000), (OURS, 100_000), (ASYNCUA, 10_000), (NODE_OPCUA, 10_000))
QUICK: Final = ((OURS, 10_000),)

_PERIOD_MS: Final = 60_000
"""So seldom that reading the device is not to be noticed."""
_SETTLE: Final = 5.0
_COLUMNS: Final = (
    "monitored items",
    "create (µs an item)",
    "delete (µs an item)",
    "dropped with their session (µs an item)",
    "the same, all (s)",
    "memory (bytes an item)",
)


def measure(runs: Sequence[tuple[str, int]]) -> dict[str, float]:
    """A server and a number of items at a time, nothing changing meanwhile; ``items.<number>.…``.

    What ours take at the largest size is ``items.create.us`` and so on as well.
    """
    found: dict[str, float] = {}
    for prefix, items in runs:
        if prefix == NODE_OPCUA and node() is None:
            continue
        with ExitStack() as stack:
            subject = begin(stack, prefix, items, _PERIOD_MS)
            tell(subject.mover, "still")
            time.sleep(_SETTLE)
            pid = str(subject.process.pid)
            client = start(stack, "bench.subscriber", subject.url, pid, str(items))
            tell(client, json.dumps(dataclasses.asdict(ItemsTask(items))))
            result: dict[str, Any] = json.loads(line(client, "result "))
        of = {
            "create.us": result["create_us"],
            "delete.us": result["delete_us"],
            "drop.us": result["drop_us"],
            "drop.s": result["drop_us"] * items / 1e6,
            "bytes": result["bytes"],
        }
        found |= {f"{prefix}items.{items}.{key}": value for key, value in of.items()}
        found |= {f"{prefix}items.{key}": value for key, value in of.items()}
    return found


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table, a row a server and a number."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---|" + "---:|" * (len(_COLUMNS) - 1)]
    for prefix, server in NAMES.items():
        start_of = f"{prefix}items."
        sizes = {name[len(start_of) :].split(".")[0] for name in metrics if name.startswith(start_of)}
        for items in sorted(int(size) for size in sizes if size.isdigit()):
            name = f"{prefix}items.{items}"
            cells = [f"{metrics[f'{name}.{key}']:.1f}" for key in ("create.us", "delete.us", "drop.us")]
            cells += [f"{metrics[f'{name}.drop.s']:.2f}", f"{metrics[f'{name}.bytes']:,.0f}"]
            lines.append(f"| {server}, {items:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
