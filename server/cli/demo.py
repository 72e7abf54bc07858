"""``isthmus demo``: a bottling line on this machine, in one command."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from server import app
from server import log as logs
from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.loop import run_until_stopped
from server.cli.ready import ready_file as ready_file_only_while_up
from server.cli.ready import write_ready_file
from server.config import Configuration, load
from server.datadir import DataDirectory
from server.observe.observer import Running
from server.opcua.endpoints import EndpointInfo
from server.opcua.users import UserStore
from server.plant.model import Role
from server.plant.values import Point, ValueStore
from server.simulate import simulators
from sources.quality import is_good, quality_name

log = logging.getLogger(__name__)

OPERATOR: Final = "operator"
_SHOWN: Final = ("State", "Speed", "SpeedSP", "GoodCount", "BowlLevel", "ProductTemp")
_UP_WITHIN: Final = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Screen:
    """What the demo shows: set once, its values live."""

    running: Running
    data: Path
    log_file: Path
    plant_uri: str
    password: str
    mqtt: str

    @property
    def opcua(self) -> str:
        return self.running.server.endpoints[0].url


def demo(
    *,
    opcua_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 4840,
    mqtt_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 1883,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where the demo keeps its state.")] = Path(
        "demo-data"
    ),
    ready_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JSON file here once all is up.")
    ] = None,
) -> None:
    """Run a bottling line: a simulated PLC, an MQTT broker, and the server, all on this machine."""
    with told(), resources.as_file(resources.files("server") / "demo" / "plant.yaml") as path:
        config = load(path)
        if config.mqtt is None:
            fail(f"{path}: the demo needs an mqtt section", BAD_CONFIGURATION)
        config = dataclasses.replace(
            config,
            opcua=config.opcua.model_copy(update={"port": opcua_port}),
            mqtt=config.mqtt.model_copy(update={"embedded_port": mqtt_port}),
        )
        directory = DataDirectory(data)
        directory.prepare()
        with (
            directory.lock(),
            ready_file_only_while_up(ready_file),
            _log_to(data / "demo.log") as log_file,
        ):
            run_until_stopped(lambda: _demo(config, directory, log_file, ready_file))
    Console(stderr=True).print("The line has stopped.", highlight=False)


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[Path]:
    """Keep the screen calm: the log goes to a file."""
    with path.open("a", encoding="utf-8") as file:
        logs.configure(logging.INFO, file, "json")
        try:
            yield path
        finally:
            logs.configure()


async def _demo(
    config: Configuration, directory: DataDirectory, log_file: Path, ready_file: Path | None
) -> None:
    password = secrets.token_urlsafe(9)
    await UserStore(directory.users).add(OPERATOR, password, frozenset({Role.Operator}))
    async with simulators(config, any_port=True) as (devices, redirected):
        up: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            group.create_task(app.run(redirected, directory, up.set_result), name="server")
            running = await up
            mqtt = running.publisher.status.broker if running.publisher else ""
            screen = _Screen(running, directory.root, log_file, config.plant.plant_uri, password, mqtt)
            points = [point for point in running.store.points.values() if point.property.name in _SHOWN]
            await _all_up(running, points)
            if ready_file is not None:
                pids = {name: device.pid for name, device in devices.items()}
                await asyncio.to_thread(write_ready_file, ready_file, running, directory, pids)
            await _show(screen, points)


async def _show(screen: _Screen, points: list[Point]) -> None:
    """Print the screen; on a terminal keep its values moving."""
    console = Console(highlight=False)
    for line in _about(screen):
        console.print(line, soft_wrap=True)
    if not console.is_terminal:
        console.print(_values(points))
        sys.stdout.flush()
        return
    with Live(_values(points), console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(1)
            live.update(_values(points), refresh=True)


async def _all_up(running: Running, points: list[Point]) -> None:
    """Wait until the shown values are Good and the broker has us, but not for long."""
    try:
        async with asyncio.timeout(_UP_WITHIN):
            await _first_values(running.store, points)
            while running.publisher is not None and not running.publisher.status.connected:  # noqa: ASYNC110 - it tells nobody when it is
                await asyncio.sleep(0.05)
    except TimeoutError:
        log.warning("not everything of the demo is up yet")


async def _first_values(store: ValueStore, points: list[Point]) -> None:
    """Wait until every point is Good."""
    there = asyncio.Event()

    def look(_: Sequence[Point]) -> None:
        if all(is_good(point.status) for point in points):
            there.set()

    end = store.listen(look)
    try:
        look(points)
        await there.wait()
    finally:
        end()


def _about(screen: _Screen) -> list[Text]:
    """What stands still: where everything is, and what to try."""
    modes: dict[str, list[str]] = {}
    for endpoint in screen.running.server.endpoints:
        modes.setdefault(endpoint.url, []).append(_offer(endpoint))
    lines = [Text("Isthmus: a bottling line on this machine. Ctrl-C ends it.", style="bold"), Text()]
    for url, offered in modes.items():
        lines.append(Text.assemble(("OPC UA    ", "bold"), url))
        lines.append(Text("          " + ", ".join(offered), style="dim"))
    lines.append(
        Text("          reads: anonymous; writes: user ").append(f"{OPERATOR}, password {screen.password}")
    )
    if screen.running.publisher is not None:
        lines.append(Text.assemble(("MQTT      ", "bold"), screen.mqtt))
        lines += [Text(f"          {topic}") for topic in screen.running.publisher.topics]
    lines.append(Text.assemble(("Certs     ", "bold"), str(screen.data / "pki")))
    lines.append(Text.assemble(("Log       ", "bold"), str(screen.log_file)))
    lines += [Text(), Text("Try next, in another terminal:", style="bold")]
    lines += [Text(f"  {command}") for command in _next_commands(screen)]
    return [*lines, Text()]


def _offer(endpoint: EndpointInfo) -> str:
    return endpoint.policy if endpoint.policy == endpoint.mode else f"{endpoint.policy} {endpoint.mode}"


def _values(points: list[Point]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    for point in points:
        kind = point.property.type
        value = (
            ""
            if point.value is None
            else f"{point.value:.1f}"
            if isinstance(point.value, float)
            else str(point.value)
        )
        if kind.enumeration is not None and isinstance(point.value, int):
            value = kind.enumeration.members.get(point.value, value)
        unit = kind.unit.symbol if kind.unit else ""
        colour = "green" if is_good(point.status) else "red"
        table.add_row(point.property.key, value, unit, Text(quality_name(point.status), style=colour))
    return table


def _next_commands(screen: _Screen) -> list[str]:
    bin_dir = Path(sys.executable).parent
    with contextlib.suppress(ValueError):
        bin_dir = bin_dir.relative_to(Path.cwd())
    subscribe = bin_dir / "uasubscribe"
    port = screen.mqtt.rpartition(":")[2]
    speed = next(p for p in screen.running.store.points.values() if p.property.name == "Speed")
    node = f"ns={screen.running.server.namespace_index(screen.plant_uri)};s={speed.property.key}"
    return [
        f"{subscribe} -u {screen.opcua} -n {shlex.quote(node)}",
        f"mosquitto_sub -p {port} -t 'opcua/#' -v",
    ]
