"""``isthmus run``: the server itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from server import app
from server.cli.errors import told
from server.cli.loop import on_hangup, run_until_stopped
from server.cli.ready import ready_file as ready_file_only_while_up
from server.cli.ready import write_ready_file
from server.cli.record import DEFAULT_LIMIT, LimitOption, RecordOption, recorders
from server.cli.waiting import bar
from server.config import Configuration, load
from server.datadir import DataDirectory
from server.observe.observer import Running
from sources.replay.recorder import Recorder

log = logging.getLogger(__name__)

PlantFile = Annotated[Path, typer.Argument(metavar="PLANT.yaml", help="The configuration.")]
DataOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Where certificates, users and state are kept.")
]
DEFAULT_DATA = Path("isthmus-data")


ReadyOption = Annotated[
    Path | None, typer.Option("--ready-file", metavar="FILE", help="Write a JSON file here once all is up.")
]


def run(
    plant: PlantFile,
    data: DataOption = DEFAULT_DATA,
    ready_file: ReadyOption = None,
    record: RecordOption = None,
    record_limit: LimitOption = DEFAULT_LIMIT,
) -> None:
    """Run the server until Ctrl-C or SIGTERM. SIGHUP applies the file anew (see `apply`)."""
    with told():
        with bar() as progress:
            config = load(plant, progress=progress)
        for warning in config.warnings:
            log.warning("%s", warning)
        recorded = recorders(config, record, record_limit)
        directory = DataDirectory(data)
        directory.prepare()
        with directory.lock(), ready_file_only_while_up(ready_file):
            run_until_stopped(lambda: _serve(config, directory, ready_file, recorded))


async def _serve(
    config: Configuration, data: DataDirectory, ready_file: Path | None, recorded: Mapping[str, Recorder]
) -> None:
    up: list[Running] = []
    # Until all is up the file is being read anyway.
    on_hangup(lambda: up[0].reload() if up else None)
    with ExitStack() as shown:
        progress = shown.enter_context(bar())

        def ready(running: Running) -> None:
            shown.close()
            _ready(running, data, ready_file)
            up.append(running)

        await app.run(config, data, ready, progress, recorded)


def _ready(running: Running, data: DataDirectory, ready_file: Path | None) -> None:
    if ready_file is not None:
        write_ready_file(ready_file, running, data)
    for url in dict.fromkeys(endpoint.url for endpoint in running.server.endpoints):
        log.info("OPC UA at %s", url)
    if running.publisher is not None:
        log.info("MQTT to %s", running.publisher.status.broker)
