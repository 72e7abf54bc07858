"""The whole path: registers that all change every scan → one OPC UA subscriber and MQTT."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from bench.accounting import cpu_seconds, rss_mb
from bench.device import STAMP_REGISTERS
from bench.plant import keys, plant

_START_WITHIN: Final = 60.0
# ns 0, the server's own, ISA-95, the plant's types, the plant.
_NAMESPACE: Final = 4


@dataclass(frozen=True, slots=True)
class Scenario:
    """How many variables, read how often, measured how long."""

    variables: int
    period_ms: int
    seconds: float


class BenchError(Exception):
    """A part of the bench did not do what it should; the text says which."""


def measure(scenario: Scenario) -> dict[str, float]:
    """Run one scenario; the metrics by name, ``path.<variables>.…``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
        device = _start(stack, "bench.device", str(2 * scenario.variables + STAMP_REGISTERS))
        sink = _start(stack, "bench.sink")
        text = plant(
            scenario.variables,
            scenario.period_ms,
            device_port=int(_line(device, "ready ")),
            mqtt_port=int(_line(sink, "ready ")),
        )
        (folder / "plant.yaml").write_text(text, encoding="utf-8")
        begin = time.monotonic()
        server, url = _serve(stack, folder)
        start_s = time.monotonic() - begin
        client = _start(
            stack, "bench.client", url, str(_NAMESPACE), str(float(scenario.period_ms)), str(scenario.seconds)
        )
        _write(client, "\n".join(keys(scenario.variables)))
        _line(client, "subscribed")
        before, moment = cpu_seconds(server.pid), time.monotonic()
        result = json.loads(_line(client, "result "))
        used, wall = cpu_seconds(server.pid) - before, time.monotonic() - moment
        rss = rss_mb(server.pid)
    changes = result["notifications"]
    if not changes or not result["latencies"]:
        raise BenchError(f"{scenario.variables} variables: no notification arrived")
    latencies = sorted(result["latencies"])
    return {
        f"path.{scenario.variables}.{name}": value
        for name, value in {
            "changes_per_s": changes / result["seconds"],
            "cpu_us_per_change": used / changes * 1e6,
            "cpu_percent": used / wall * 100,
            "latency_p50_ms": statistics.median(latencies),
            "latency_p99_ms": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
            "rss_mb": rss,
            "start_s": start_s,
        }.items()
    }


def _serve(stack: ExitStack, folder: Path) -> tuple[subprocess.Popen[str], str]:
    log = stack.enter_context((folder / "server.log").open("w+", encoding="utf-8"))
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "server.cli", "--log-format", "text", "run", str(folder / "plant.yaml")]
    server = subprocess.Popen(
        [*command, "--data", str(folder / "data"), "--ready-file", str(ready)], stderr=log, text=True
    )
    stack.callback(_end, server)
    end = time.monotonic() + _START_WITHIN
    while not ready.exists():
        if server.poll() is not None or time.monotonic() > end:
            raise BenchError(
                f"the server did not start:\n{(folder / 'server.log').read_text(encoding='utf-8')}"
            )
        time.sleep(0.02)
    url = str(json.loads(ready.read_text(encoding="utf-8"))["opcua"])
    if not re.match(r"opc\.tcp://", url):
        raise BenchError(f"the server gave no endpoint but {url!r}")
    return server, url


def _start(stack: ExitStack, module: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _write(process: subprocess.Popen[str], text: str) -> None:
    _stream(process.stdin).write(text)
    _stream(process.stdin).close()
    process.stdin = None


def _line(process: subprocess.Popen[str], prefix: str) -> str:
    for line in _stream(process.stdout):
        if line.startswith(prefix):
            return line[len(prefix) :].strip()
    raise BenchError(f"{process.args!r} ended before it said {prefix!r}")


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise BenchError("a process has no pipe")
    return stream
