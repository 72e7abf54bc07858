"""The whole path: registers that all change every scan → one OPC UA subscriber and MQTT."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import cpu_seconds, rss_mb
from bench.plant import keys, plant, registers
from bench.processes import NAMESPACE, BenchError, line, serve, start, tell_all


@dataclass(frozen=True, slots=True)
class Scenario:
    """How many variables, read how often, measured how long."""

    variables: int
    period_ms: int
    seconds: float


def measure(scenario: Scenario) -> dict[str, float]:
    """Run one scenario; the metrics by name, ``path.<variables>.…``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
        device = start(stack, "bench.device", str(registers(scenario.variables)))
        sink = start(stack, "bench.sink")
        text = plant(
            scenario.variables,
            scenario.period_ms,
            device_port=int(line(device, "ready ")),
            mqtt_port=int(line(sink, "ready ")),
        )
        begin = time.monotonic()
        server, url = serve(stack, folder, text)
        start_s = time.monotonic() - begin
        client = start(
            stack, "bench.client", url, str(NAMESPACE), str(float(scenario.period_ms)), str(scenario.seconds)
        )
        tell_all(client, "\n".join(keys(scenario.variables)))
        line(client, "subscribed")
        before, moment = cpu_seconds(server.pid), time.monotonic()
        result = json.loads(line(client, "result "))
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
