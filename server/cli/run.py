"""``isthmus run``: the server itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from server import app
from server.cli.errors import told
from server.cli.loop import run_until_stopped
from server.config import load
from server.datadir import DataDirectory

log = logging.getLogger(__name__)

PlantFile = Annotated[Path, typer.Argument(metavar="PLANT.yaml", help="The configuration.")]
DataOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Where certificates, users and state are kept.")
]
DEFAULT_DATA = Path("isthmus-data")


def run(plant: PlantFile, data: DataOption = DEFAULT_DATA) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    with told():
        config = load(plant)
        for warning in config.warnings:
            log.warning("%s", warning)
        directory = DataDirectory(data)
        directory.prepare()
        with directory.lock():
            run_until_stopped(lambda: app.run(config, directory, _ready))


def _ready(running: app.Running) -> None:
    for url in dict.fromkeys(endpoint.url for endpoint in running.server.endpoints):
        log.info("OPC UA at %s", url)
    if running.publisher is not None:
        log.info("MQTT to %s", running.publisher.status.broker)
