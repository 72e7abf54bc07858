"""What it costs the value store to take in a value, unchanged and changed.

Run as ``python -m bench.store VARIABLES SECONDS``; prints ``result`` and a JSON object. Values come
in blocks as a driver reads them, each with new objects; nobody listens, so that it is the store alone.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.plant import plant
from bench.processes import line, start
from server.config import load
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.quality import GOOD
from sources.tag import Tag, ValueType

VARIABLES: Final = 10_000
BLOCK: Final = 62
"""Float values of a Modbus block."""

_ROUNDS: Final = 5


def measure(seconds: float) -> dict[str, float]:
    """In a process of its own: ``store.unchanged.us`` and ``store.changed.us``, a value each."""
    with ExitStack() as stack:
        child = start(stack, "bench.store", str(VARIABLES), str(seconds))
        return {f"store.{name}.us": value for name, value in json.loads(line(child, "result ")).items()}


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table."""
    names = {"unchanged": "a value that did not change", "changed": "a value that changed"}
    lines = ["| the store takes in | µs |", "|---|---:|"]
    lines += [f"| {label} | {metrics[f'store.{name}.us']:.3f} |" for name, label in names.items()]
    return "\n".join(lines)


class Intake:
    """A store, and blocks of values for it."""

    def __init__(self, variables: int) -> None:
        with TemporaryDirectory(prefix="isthmus-bench-") as folder:
            file = Path(folder) / "plant.yaml"
            file.write_text(plant(variables, 1000, device_port=502, kind="Double"), encoding="utf-8")
            model = load(file).plant
        self.store = ValueStore(model)
        tags: list[Tag[Any]] = [
            prop.binding.tag
            for prop in model.properties()
            if prop.binding and prop.type.type is ValueType.Double
        ]
        self._blocks = [tuple(tags[at : at + BLOCK]) for at in range(0, len(tags), BLOCK)]
        self.values = len(tags)

    def batches(self, step: float) -> list[Batch]:
        """One of every block; all values differ from those of another step."""
        return [
            Batch(block, [index + step for index in range(len(block))], GOOD, None, now())
            for block in self._blocks
        ]


def per_value(intake: Intake, step: float, seconds: float) -> float:
    """CPU of this process, µs a value: the median of some rounds that last so long together.

    Values differ by that step from one round to the next.
    """
    found: list[float] = []
    number = 0
    end = time.monotonic() + seconds
    while len(found) < _ROUNDS or time.monotonic() < end:
        number += 1
        batches = intake.batches(number * step)
        begin = time.process_time()
        for batch in batches:
            intake.store.ingest(batch)
        found.append((time.process_time() - begin) / intake.values * 1e6)
    return statistics.median(found[1:])


def _main(variables: int, seconds: float) -> None:
    intake = Intake(variables)
    result = {
        "unchanged": per_value(intake, 0.0, seconds),
        "changed": per_value(intake, 1.0, seconds),
    }
    print("result", json.dumps(result), flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]))
