"""What it costs to read a Modbus device, by this driver and by pymodbus's client used plainly.

Run as ``python -m bench.modbus PORT SECONDS ROUNDS``; prints ``result`` and a JSON object. The
device answers from prerendered images, in a process of its own (`bench.device`); what counts
is the CPU of the process that reads, event loop, sockets, system calls and decoding included,
on uvloop where it is installed. Blocks are of 62 float32.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient

from bench.processes import BenchError, line, start
from sources.batch import Batch
from sources.modbus.config import ModbusSettings, parse_tag
from sources.modbus.driver import ModbusSource
from sources.quality import GOOD
from sources.spec import TagSpec
from sources.tag import ScanClass, ValueType

BLOCK: Final = 62
BLOCKS: Final = 160
_FLAT_OUT: Final = 0.001
"""No device keeps it: each block is read again as soon as its turn comes."""
_PACED: Final = 0.1
_LABELS: Final = {
    "isthmus": "flat out: Isthmus",
    "isthmus4": "… four requests in flight",
    "pymodbus": "flat out: pymodbus",
    "paced": "100,000 values a second: Isthmus",
    "paced_pymodbus": "… pymodbus",
}


def measure(seconds: float, rounds: int = 3) -> dict[str, float]:
    """``modbus.isthmus.us`` and so on: µs of CPU a value, medians of some rounds."""
    with ExitStack() as stack:
        port = line(start(stack, "bench.device", str(2 * BLOCK * BLOCKS)), "ready ")
        child = start(stack, "bench.modbus", port, str(seconds), str(rounds))
        return {f"modbus.{name}.us": value for name, value in json.loads(line(child, "result ")).items()}


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table."""
    lines = ["| reading a Modbus device in blocks of 62 Float32, CPU a value | µs |", "|---|---:|"]
    lines += [f"| {label} | {metrics[f'modbus.{name}.us']:.2f} |" for name, label in _LABELS.items()]
    return "\n".join(lines)


async def _scan(port: int, period: float, pipeline: int, seconds: float) -> float:
    """µs of this process a value, while the driver scans for so long."""
    settings = ModbusSettings.model_validate(
        {
            "driver": "modbus",
            "host": "127.0.0.1",
            "port": port,
            "max_registers": 2 * BLOCK,
            "pipeline": pipeline,
            "timeout": "10s",
        }
    )
    scan = ScanClass("bench", period)
    tags = [
        parse_tag(TagSpec(f"V{at}", f"holding:{2 * at}", ValueType.Float, scan), settings)
        for at in range(BLOCK * BLOCKS)
    ]
    counted = 0

    def take(batch: Batch) -> None:
        nonlocal counted
        if batch.qualities != GOOD or batch.values is None:
            raise BenchError(f"a block was read with {batch.qualities}")
        counted += len(batch.values)

    source = ModbusSource("Bench", settings, tags)
    async with source.connect() as session:
        task = asyncio.create_task(session.scan(take))
        try:
            while counted < len(tags):
                await asyncio.sleep(0.01)
                if task.done():
                    await task
            return await _watched(seconds, lambda: counted)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _pymodbus(port: int, pause: float, seconds: float) -> float:
    """The same, reading block after block and converting as its documentation shows."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=10)
    counted, enough = 0, False

    async def read() -> None:
        nonlocal counted
        block = 0
        while not enough:
            reply = await client.read_holding_registers(2 * BLOCK * block, count=2 * BLOCK)
            values = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32)
            if not isinstance(values, list) or len(values) != BLOCK:
                raise BenchError("pymodbus read something else")
            counted += BLOCK
            block = (block + 1) % BLOCKS
            if pause:
                await asyncio.sleep(pause)

    if not await client.connect():
        raise BenchError("pymodbus found no device")
    task = asyncio.create_task(read())
    try:
        return await _watched(seconds, lambda: counted)
    finally:
        enough = True  # not cancelled: pymodbus may lose a cancellation that comes with a reply
        await task
        client.close()


async def _watched(seconds: float, count: Callable[[], int]) -> float:
    await asyncio.sleep(0.2)
    before, used = count(), time.process_time()
    await asyncio.sleep(seconds)
    used, read = time.process_time() - used, count() - before
    if not read:
        raise BenchError("nothing was read")
    return used / read * 1e6


async def _measure(port: int, seconds: float, rounds: int) -> dict[str, float]:
    ways: dict[str, Callable[[], Coroutine[Any, Any, float]]] = {
        "isthmus": lambda: _scan(port, _FLAT_OUT, 1, seconds),
        "isthmus4": lambda: _scan(port, _FLAT_OUT, 4, seconds),
        "pymodbus": lambda: _pymodbus(port, 0.0, seconds),
        "paced": lambda: _scan(port, _PACED, 1, seconds),
        "paced_pymodbus": lambda: _pymodbus(port, _PACED / BLOCKS, seconds),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(await way())
    return {name: statistics.median(values) for name, values in found.items()}


def _main() -> None:
    port, seconds, rounds = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    run: Callable[[Coroutine[Any, Any, dict[str, float]]], dict[str, float]] = asyncio.run
    with contextlib.suppress(ImportError):
        run = importlib.import_module("uvloop").run
    print("result", json.dumps(run(_measure(port, seconds, rounds))), flush=True)


if __name__ == "__main__":
    _main()
