"""What it costs to read a Logix controller, by this driver and by pycomm3 used plainly.

Run as ``python -m bench.eip PORT SECONDS ROUNDS``; prints ``result`` and a JSON object. The controller
is a cheap one, in a process of its own (`bench.logix_device`); what counts is the CPU of the
process that reads, event loop, sockets and system calls included. pycomm3 reads as fast as it
can; the driver does so too, and once at the pace of a plant.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pycomm3 import LogixDriver

from bench.processes import BenchError, line, start
from sources.batch import Batch
from sources.ethernetip.config import LogixSettings, parse_tag
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.driver import LogixSource
from sources.quality import GOOD
from sources.simulators.logix.spec import LogixSpec, TagSpec
from sources.spec import TagSpec as Binding
from sources.tag import ScanClass, ValueType

TAGS: Final = 1_000
ELEMENTS: Final = 990
"""pycomm3 fails to read 999 or 1,000 at once: they fit by its own count, and not by the controller's."""
_FLAT_OUT: Final = ScanClass("flat out", 0.001)
"""No controller keeps it: each scan begins when the last has ended."""
_PACED: Final = ScanClass("paced", 0.1)
_LABELS: Final = {
    "scalar.isthmus": "a tag of its own: Isthmus",
    "scalar.paced": "… each 100 ms",
    "scalar.pycomm3": "a tag of its own: pycomm3",
    "element.isthmus": "an element of an array of 990: Isthmus",
    "element.pycomm3": "an element of an array of 990: pycomm3",
}


def measure(seconds: float, rounds: int = 3) -> dict[str, float]:
    """``eip.scalar.isthmus.us`` and so on: µs of CPU a value, medians of some rounds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="isthmus-bench-")))
        spec = folder / "spec.json"
        spec.write_text(_spec().model_dump_json(), encoding="utf-8")
        port = line(start(stack, "bench.logix_device", str(spec)), "ready ")
        child = start(stack, "bench.eip", port, str(seconds), str(rounds))
        return {f"eip.{name}.us": value for name, value in json.loads(line(child, "result ")).items()}


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table."""
    lines = ["| reading a Logix controller, CPU | µs |", "|---|---:|"]
    lines += [f"| {label} | {metrics[f'eip.{name}.us']:.2f} |" for name, label in _LABELS.items()]
    return "\n".join(lines)


def _names() -> list[str]:
    return [f"Tag_{number:05}" for number in range(TAGS)]


def _spec() -> LogixSpec:
    tags = [TagSpec(name=name, type="DINT") for name in _names()]
    values = {name: number for number, name in enumerate(_names())}
    return LogixSpec(
        name="Bench",
        tags=(*tags, TagSpec(name="Block", type=f"DINT[{ELEMENTS}]")),
        values=values | {"Block": list(range(ELEMENTS))},
    )


async def _scan(port: int, addresses: Sequence[str], scan: ScanClass, seconds: float) -> float:
    """µs of this process a value, while the driver scans for so long."""
    settings = LogixSettings.model_validate(
        {"driver": "logix", "host": "127.0.0.1", "port": port, "timeout": "10s"}
    )
    tags: list[LogixTag] = [
        parse_tag(Binding(address, address, ValueType.Int32, scan), settings) for address in addresses
    ]
    right = {tag.name: number for number, tag in enumerate(tags)}
    counted = 0
    seen: dict[int, Batch] = {}
    complete = asyncio.Event()

    def take(batch: Batch) -> None:
        nonlocal counted
        counted += len(batch.tags)
        if seen.setdefault(id(batch.tags), batch) is batch and _count(seen) == len(tags):
            complete.set()
        seen[id(batch.tags)] = batch

    async with LogixSource("bench", settings, tags).connect() as session:
        task = asyncio.create_task(session.scan(take))
        try:
            await asyncio.wait_for(complete.wait(), 30)
            counted, began = 0, time.process_time()
            await asyncio.sleep(seconds)
            if not counted:
                raise BenchError(f"nothing was read within {seconds} s")
            used = time.process_time() - began
        finally:
            task.cancel()
            await asyncio.wait((task,))
    for batch in seen.values():
        assert batch.values is not None
        assert batch.qualities == GOOD
        assert list(batch.values) == [right[tag.name] for tag in batch.tags]
    return used / counted * 1e6


def _count(batches: dict[int, Batch]) -> int:
    return sum(len(batch.tags) for batch in batches.values())


def _plainly(port: int, names: Sequence[str], values: int, seconds: float) -> float:
    """The same of pycomm3, as its documentation has it: open, read, read, read."""
    with LogixDriver(f"127.0.0.1:{port}") as driver:
        found = driver.read(*names)
        times, began = 0, time.process_time()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = driver.read(*names)
            times += 1
        used = time.process_time() - began
    got = [tag.value for tag in found] if isinstance(found, list) else found.value
    assert got == list(range(values))
    return used / (times * values) * 1e6


def _main(port: int, seconds: float, rounds: int) -> None:
    logging.getLogger("pycomm3").setLevel(logging.CRITICAL)
    elements = [f"Block[{number}]" for number in range(ELEMENTS)]
    subjects: dict[str, Callable[[], float]] = {
        "scalar.isthmus": lambda: asyncio.run(_scan(port, _names(), _FLAT_OUT, seconds)),
        "scalar.paced": lambda: asyncio.run(_scan(port, _names(), _PACED, seconds)),
        "scalar.pycomm3": lambda: _plainly(port, _names(), TAGS, seconds),
        "element.isthmus": lambda: asyncio.run(_scan(port, elements, _FLAT_OUT, seconds)),
        "element.pycomm3": lambda: _plainly(port, [f"Block{{{ELEMENTS}}}"], ELEMENTS, seconds),
    }
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, take in subjects.items():
            found[name].append(take())
    print("result", json.dumps({name: statistics.median(times) for name, times in found.items()}), flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
