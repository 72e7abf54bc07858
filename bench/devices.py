"""Many devices at once: what they cost the server, how late its event loop gets, and whether all is Good."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.accounting import cpu_seconds, rss_mb
from bench.plant import plant, registers
from bench.processes import BenchError, line, serve, start
from server.observe.control import ask

_PERIOD_MS: Final = 1_000
_WITHIN: Final = 60.0
_LOOK_EVERY: Final = 5.0
"""To take a status is work for the server, too."""
_NAP: Final = 0.1
"""As the server's own meter takes."""


@dataclass(frozen=True, slots=True)
class Devices:
    """How many, with how many tags each, read every second, and looked at for how long.

    The server's lag is that of the last minute: of a shorter run it has the start in it.
    """

    devices: int = 50
    tags: int = 1_000
    seconds: float = 65.0


FULL: Final = Devices()
QUICK: Final = Devices(devices=20)


def measure(scale: Devices) -> dict[str, float]:
    """The metrics by name, ``devices.<devices>.…``."""
    tags = scale.devices * scale.tags
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
        device = start(stack, "bench.device", str(registers(tags)))
        port = int(line(device, "ready "))
        text = plant(tags, _PERIOD_MS, device_port=port, per_unit=scale.tags)
        server, _ = serve(stack, folder, text)
        data = folder / "data"
        end = time.monotonic() + _WITHIN
        while _status(data)["not_good"]:
            if time.monotonic() > end:
                raise BenchError("the values did not become good")
            time.sleep(0.1)
        first, used, begin = _status(data), cpu_seconds(server.pid), time.monotonic()
        good, idle = 1.0, []
        while time.monotonic() < begin + scale.seconds:
            idle += _lateness(min(_LOOK_EVERY, scale.seconds))
            now = _status(data)
            good = min(good, 1 - now["not_good"] / now["points"])
        used, lasted = cpu_seconds(server.pid) - used, time.monotonic() - begin
        last = _status(data)
        read = _sum(last, "values") - _sum(first, "values")
        reads = _sum(last, "reads") - _sum(first, "reads")
        found = {
            "values_per_s": read / lasted,
            "cpu_percent": used / lasted * 100,
            "cpu_us_per_value": used / read * 1e6,
            "values_per_read": read / reads,
            "lag_p50_ms": last["lag_p50"] * 1000,
            "lag_p99_ms": last["lag_p99"] * 1000,
            "machine_lag_p99_ms": sorted(idle)[int(len(idle) * 0.99)] * 1000,
            "good_percent": good * 100,
            "overruns": _overruns(last) - _overruns(first),
            "rss_mb": rss_mb(server.pid),
        }
    return {f"devices.{scale.devices}.{name}": value for name, value in found.items()}


def _status(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = asyncio.run(ask(data, "status"))
    return found


def _lateness(seconds: float) -> list[float]:
    """How late this process, which has nothing to do, wakes up: what the machine adds to any lag."""
    found: list[float] = []
    for _ in range(round(seconds / _NAP)):
        begin = time.monotonic()
        time.sleep(_NAP)
        found.append(max(0.0, time.monotonic() - begin - _NAP))
    return found


def _sum(status: dict[str, Any], name: str) -> int:
    return sum(int(source[name]) for source in status["sources"])


def _overruns(status: dict[str, Any]) -> int:
    return sum(int(scan["overruns"]) for source in status["sources"] for scan in source["scans"].values())


_ROWS: Final = {
    "values_per_s": ("values a second", "{:,.0f}"),
    "values_per_read": ("values a request", "{:.0f}"),
    "cpu_percent": ("server CPU (% of a core)", "{:.0f}"),
    "cpu_us_per_value": ("server CPU a value, all of which change (µs)", "{:.2f}"),
    "lag_p50_ms": ("event loop lag, p50 (ms)", "{:.1f}"),
    "lag_p99_ms": ("event loop lag, p99 (ms)", "{:.1f}"),
    "machine_lag_p99_ms": ("… of a process that only sleeps, meanwhile", "{:.1f}"),
    "good_percent": ("values good, at the worst moment (%)", "{:.2f}"),
    "overruns": ("requests skipped because they came too late", "{:,.0f}"),
    "rss_mb": ("resident memory (MB)", "{:.0f}"),
}


def table(metrics: dict[str, float]) -> str:
    """As a Markdown table."""
    count = next(name.split(".")[1] for name in metrics if name.startswith("devices."))
    lines = [f"| {count} devices, every second | |", "|---|---:|"]
    lines += [
        f"| {label} | {form.format(metrics[f'devices.{count}.{key}'])} |"
        for key, (label, form) in _ROWS.items()
    ]
    return "\n".join(lines)
