"""Many variables, many sessions, large folders: start, memory, and how late the event loop gets."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.accounting import rss_mb
from bench.plant import plant, registers
from bench.processes import BenchError, line, serve, spawn, start, tell
from bench.subjects import INSTALL, PEERS, node
from server.observe.control import ask

_FEW: Final = 100
_PERIOD_MS: Final = 2_000
_WITHIN: Final = 60.0
_LOAD: Final = (
    "import sys, time; from pathlib import Path; from server.config import load; "
    "begin = time.perf_counter(); load(Path(sys.argv[1])); print(time.perf_counter() - begin)"
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How many variables, and who comes to look at them."""

    variables: int = 100_000
    sessions: int = 200
    items: int = 500
    """Of a session."""
    browse_s: float = 25.0
    """Seconds that node-opcua's client browses for at most."""
    folders: tuple[int, int] = (200, 20_000)
    """Variables of the folders that are compared."""


FULL: Final = Scale()
QUICK: Final = Scale(variables=20_000, sessions=40, browse_s=5.0)


def measure(scale: Scale) -> dict[str, float]:
    """The metrics by name, ``scale.<variables>.…`` and ``scale.…``."""
    found: dict[str, float] = {}
    name = f"scale.{scale.variables}"
    with ExitStack() as stack:
        base = rss_mb(_begin(stack, _FEW, found).server.pid)
    with ExitStack() as stack:
        started = _begin(stack, scale.variables, found)
        size = rss_mb(started.server.pid)
        found[f"{name}.rss_mb"] = size
        found[f"{name}.bytes_per_variable"] = (size - base) * 1e6 / (scale.variables - _FEW)
        found |= _crowd(stack, scale, started)
    return found | _folders(scale.folders)


@dataclass(frozen=True, slots=True)
class _Started:
    server: subprocess.Popen[str]
    url: str
    data: Path

    def status(self) -> dict[str, Any]:
        """What ``isthmus status`` shows."""
        found: dict[str, Any] = asyncio.run(ask(self.data, "status"))
        return found


def _begin(stack: ExitStack, variables: int, found: dict[str, float]) -> _Started:
    """A server over its device, once every value is good; notes how long all took."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
    device = start(stack, "bench.device", str(registers(variables)))
    port = int(line(device, "ready "))
    text = plant(variables, _PERIOD_MS, device_port=port, kind="Double", unit=True, sessions=400)
    file = folder / "read.yaml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(file)], capture_output=True, text=True, check=True
    )
    begin = time.monotonic()
    started = _Started(*serve(stack, folder, text), folder / "data")
    ready = time.monotonic() - begin
    first = _until(lambda: started.status()["not_good"] < started.status()["points"], begin)
    whole = _until(lambda: started.status()["not_good"] == 0, begin)
    times = {"config_s": float(done.stdout), "ready_s": ready, "start_s": first, "all_good_s": whole}
    found |= {f"scale.{variables}.{key}": value for key, value in times.items()}
    return started


def _until(done: Callable[[], bool], begin: float) -> float:
    """How long after ``begin`` that was so. Raises BenchError when it never is."""
    while not done():
        if time.monotonic() > begin + _WITHIN:
            raise BenchError("the values did not become good")
        time.sleep(0.05)
    return time.monotonic() - begin


def _crowd(stack: ExitStack, scale: Scale, started: _Started) -> dict[str, float]:
    """Sessions that subscribe while node-opcua browses all there is; how late the loop was meanwhile."""
    arguments = (started.url, str(scale.variables), str(scale.sessions), str(scale.items), "1000")
    crowd = start(stack, "bench.crowd", *arguments)
    line(crowd, "subscribed")
    browsed: dict[str, Any] = {}
    program = node()
    if program is not None:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
            script = str(PEERS / "browser.js")
            browser = spawn(stack, [program, script, started.url, str(scale.browse_s)], errors)
            browsed = json.loads(line(browser, "result "))
    else:
        time.sleep(scale.browse_s)
    status = started.status()
    tell(crowd, "end")
    result: dict[str, Any] = json.loads(line(crowd, "result "))
    found = {
        "scale.sessions": float(status["opcua"]["sessions"]),
        "scale.monitored_items": float(status["opcua"]["monitored_items"]),
        "scale.notifications_per_s": result["per_s"],
        "scale.loop_lag_p50_ms": status["lag_p50"] * 1000,
        "scale.loop_lag_p99_ms": status["lag_p99"] * 1000,
    }
    if browsed:
        found["scale.browse.references"] = browsed["references"]
        found["scale.browse.nodes_left"] = browsed["left"]
        found["scale.browse.references_per_s"] = browsed["references"] / browsed["seconds"]
    return found


def _folders(sizes: tuple[int, int]) -> dict[str, float]:
    """What a reference costs to browse, by how many there are in a folder."""
    found: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-bench-")))
        server, url = serve(stack, folder, _constants(sizes))
        for size in sizes:
            rounds = max(sizes) // size
            arguments = (url, str(server.pid), f"Bench/Folder{size}", str(rounds))
            result = json.loads(line(start(stack, "bench.browsing", *arguments), "result "))
            if result["references"] < size:
                raise BenchError(f"{result['references']} references were found where {size} are")
            found[f"scale.folder.{size}.us"] = result["us"]
    return found


def _constants(sizes: tuple[int, int]) -> str:
    """A plant with folders of some sizes, constants in them."""
    lines = [
        "model: 1",
        'namespaces: {plant: "urn:bench:plant", types: "urn:bench:types"}',
        "opcua: {port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true}",
        "equipment:",
        "  Bench: {level: Enterprise}",
    ]
    for size in sizes:
        lines += [f"  Bench/Folder{size}:", "    level: WorkUnit", "    properties:"]
        lines += [f"      V{index}: {{value: 0}}" for index in range(size)]
    return "\n".join(lines) + "\n"


_ROWS: Final = {
    "config_s": ("to read the configuration (s)", "{:.1f}"),
    "ready_s": ("from the start of the process until clients may connect (s)", "{:.1f}"),
    "start_s": ("… until the first value is good (s)", "{:.1f}"),
    "all_good_s": ("… until every value is good (s)", "{:.1f}"),
    "bytes_per_variable": (f"memory a variable, beyond a server with {_FEW} (bytes)", "{:,.0f}"),
}
_MORE: Final = {
    "sessions": ("sessions", "{:,.0f}"),
    "monitored_items": ("monitored items", "{:,.0f}"),
    "notifications_per_s": ("notifications a second", "{:,.0f}"),
    "browse.references": ("references node-opcua's client browsed meanwhile", "{:,.0f}"),
    "browse.nodes_left": ("nodes it left unbrowsed", "{:,.0f}"),
    "loop_lag_p50_ms": ("event loop lag, p50 (ms)", "{:.1f}"),
    "loop_lag_p99_ms": ("event loop lag, p99 (ms)", "{:.1f}"),
    "folder.200.us": ("a reference browsed in a folder of 200 (µs)", "{:.2f}"),
    "folder.20000.us": ("a reference browsed in a folder of 20,000 (µs)", "{:.2f}"),
}


def table(metrics: dict[str, float]) -> str:
    """The metrics as a Markdown table."""
    size = max(int(name.split(".")[1]) for name in metrics if name.endswith("bytes_per_variable"))
    lines = [f"| {size:,} variables with EngineeringUnits and EURange | |", "|---|---:|"]
    for prefix, rows in ((f"scale.{size}", _ROWS), ("scale", _MORE)):
        for key, (label, form) in rows.items():
            if f"{prefix}.{key}" in metrics:
                lines.append(f"| {label} | {form.format(metrics[f'{prefix}.{key}'])} |")
    if node() is None:
        lines.append(f"\nNobody browsed: node-opcua is not here. It comes with `{INSTALL}`.")
    return "\n".join(lines)
