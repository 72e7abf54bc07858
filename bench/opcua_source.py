"""What a value of a downstream OPC UA server costs: received, decoded, and taken into the store.

The server is stock asyncua in a process of its own. What is measured is the CPU of the process
that subscribes, over a while in which values change, less what it takes when none do.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.plant import PLANT_URI, plant
from bench.processes import BenchError, line, start, tell
from bench.subjects import ASYNCUA, begin
from server.config import load
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.opcua import wire
from sources.opcua.address import NodeAddress
from sources.opcua.config import DownstreamSettings
from sources.opcua.driver import OpcUaSource
from sources.opcua.stack import decode, encode, ua
from sources.tag import ScanClass, Tag, ValueType

PERIOD_MS: Final = 500
_NOTIFICATION: Final = 1_000
_ROUNDS: Final = 5
_START_WITHIN: Final = 60.0


def measure(variables: int, seconds: float) -> dict[str, float]:
    """Subscribe to so many variables, all of which change every half second."""
    with ExitStack() as stack:
        subject = begin(stack, ASYNCUA, variables, PERIOD_MS)
        reader = start(stack, "bench.opcua_source", subject.url, str(variables), str(seconds))
        line(reader, "ready")
        tell(subject.mover, f"moving {PERIOD_MS} {variables}")
        tell(reader, "go")
        found: dict[str, float] = json.loads(line(reader, "result "))
        if found["values"] < variables:
            raise BenchError("hardly any value of the downstream server arrived")
        tell(subject.mover, "still")
    return {f"opcua_source.{name}.us": value for name, value in found.items() if name != "values"}


def table(metrics: dict[str, float]) -> str:
    """As Markdown."""
    names = {
        "whole": "received, decoded and stored, with framing and publishing",
        "decode": "decoded from a notification",
        "stack": "decoded by asyncua's codec",
    }
    lines = ["| a value of a downstream OPC UA server is | µs CPU |", "|---|---:|"]
    lines += [f"| {label} | {metrics[f'opcua_source.{name}.us']:.2f} |" for name, label in names.items()]
    return "\n".join(lines)


def decoding() -> dict[str, float]:
    """CPU µs a value of our decoder and of the stack's, on one notification."""
    moment = datetime.now(UTC)
    items = [
        ua.MonitoredItemNotification(
            ClientHandle=handle,
            Value=ua.DataValue(ua.Variant(float(handle), ua.VariantType.Double), SourceTimestamp=moment),
        )
        for handle in range(_NOTIFICATION)
    ]
    body = encode(ua.DataChangeNotification(MonitoredItems=items))
    ways: dict[str, Callable[[], object]] = {
        "decode": lambda: wire.changes(body),
        "stack": lambda: decode(ua.DataChangeNotification, body),
    }
    found = {}
    for name, way in ways.items():
        rounds = []
        for _ in range(_ROUNDS):
            began = time.process_time()
            way()
            rounds.append((time.process_time() - began) / _NOTIFICATION * 1e6)
        found[name] = statistics.median(rounds)
    return found


def _tags(variables: int) -> tuple[ValueStore, list[Tag[Any]]]:
    """A store, and its tags with the addresses of the peer's variables."""
    with TemporaryDirectory(prefix="isthmus-bench-") as folder:
        file = Path(folder) / "plant.yaml"
        file.write_text(plant(variables, PERIOD_MS, device_port=502, kind="Double"), encoding="utf-8")
        model = load(file).plant
    scan = ScanClass("bench", PERIOD_MS / 1000)
    store = ValueStore(model)
    tags = []
    for prop in model.properties():
        if prop.binding and prop.type.type is ValueType.Double:
            tag: Tag[Any] = Tag(prop.key, NodeAddress(PLANT_URI, prop.key), ValueType.Double, scan)
            store._by_tag[id(tag)] = store.points[prop.key]  # noqa: SLF001  # as if the plant had named it so
            tags.append(tag)
    return store, tags


async def _run(url: str, variables: int, seconds: float) -> dict[str, float]:
    store, tags = _tags(variables)
    source = OpcUaSource("Bench", DownstreamSettings(url=url, security="none"), tags)
    seen = 0
    all_there = asyncio.Event()

    def take(batch: Batch) -> None:
        nonlocal seen
        store.ingest(batch)
        seen += len(batch.places or ())
        if seen >= variables:
            all_there.set()

    async with source.connect() as session:
        scan = asyncio.create_task(session.scan(take))
        async with asyncio.timeout(_START_WITHIN):
            await all_there.wait()
        idle = await _cpu(seconds / 2)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.sleep(2 * PERIOD_MS / 1000)
        before = seen
        busy = await _cpu(seconds)
        values = seen - before
        scan.cancel()
        await asyncio.wait((scan,))
    whole = (busy - idle * 2) / max(values, 1) * 1e6
    return {"whole": whole, "values": values} | decoding()


async def _cpu(seconds: float) -> float:
    began = time.process_time()
    await asyncio.sleep(seconds)
    return time.process_time() - began


if __name__ == "__main__":
    result = asyncio.run(_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    print("result", json.dumps(result), flush=True)
