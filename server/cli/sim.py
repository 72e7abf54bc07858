"""``isthmus sim``: a simulator in the place of every source of a configuration."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.loop import run_until_stopped
from server.cli.run import PlantFile
from server.config import Configuration, load
from server.simulate import is_simulated, simulators


def sim(
    plant: PlantFile,
    *,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only this one; may be given several times.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the one source; 0 picks a free one.")
    ] = None,
) -> None:
    """Run simulators for every PLC of a configuration, on loopback, until Ctrl-C.

    A source whose host is this machine is simulated on its own port, so that `isthmus run`
    with the same file finds it; any other on a free port, which is printed.
    """
    with told():
        config = load(plant)
        chosen = _chosen(config, source)
        if port is not None and len(chosen.sources) != 1:
            fail("--port is for one source; choose it with --source", BAD_CONFIGURATION)
        if not any(map(is_simulated, chosen.sources)):
            kinds = ", ".join(sorted({entry.driver.kind for entry in chosen.sources})) or "none"
            fail(f"{plant}: nothing to simulate: no simulator for driver: {kinds}", BAD_CONFIGURATION)
        run_until_stopped(lambda: _run(chosen, port))


def _chosen(config: Configuration, names: list[str] | None) -> Configuration:
    known = {entry.name for entry in config.sources}
    for name in names or ():
        if name not in known:
            fail(f"there is no source {name!r}; there are {', '.join(sorted(known))}", BAD_CONFIGURATION)
    chosen = tuple(entry for entry in config.sources if not names or entry.name in names)
    return dataclasses.replace(config, sources=chosen)


async def _run(config: Configuration, port: int | None) -> None:
    async with simulators(config, port=port) as (devices, _):
        for name, device in devices.items():
            typer.echo(
                f"{name}: {device.kind} on {device.address}, faults by {device.control}, pid {device.pid}"
            )
        await asyncio.Event().wait()
