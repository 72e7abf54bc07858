"""``isthmus sim``: a simulator in the place of every source of a configuration."""

from __future__ import annotations

import asyncio

import typer

from server.cli.errors import told
from server.cli.loop import run_until_stopped
from server.cli.run import PlantFile
from server.config import Configuration, load
from server.simulate import simulators


def sim(plant: PlantFile) -> None:
    """Run simulators for every source, on loopback, until Ctrl-C.

    A source whose host is this machine is simulated on its own port, so that `isthmus run`
    with the same file finds it; any other on a free port, which is printed.
    """
    with told():
        config = load(plant)
        run_until_stopped(lambda: _run(config))


async def _run(config: Configuration) -> None:
    async with simulators(config) as (devices, _):
        for name, device in devices.items():
            typer.echo(
                f"{name}: {device.kind} on {device.address}, faults by {device.control}, pid {device.pid}"
            )
        await asyncio.Event().wait()
