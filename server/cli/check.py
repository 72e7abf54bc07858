"""``isthmus check``: everything that can be known of a configuration without running it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from nodesets import isa95
from server.app import settle, surroundings_of, weak_lines
from server.cli.errors import RUNTIME_FAILURE, told
from server.cli.output import console, counted, table
from server.cli.run import DEFAULT_DATA, DataOption, PlantFile
from server.cli.waiting import bar
from server.config import Configuration, SourceEntry, load
from server.datadir import DataDirectory
from server.plant.build import build_nodes
from sources.asking import ActsFor
from sources.errors import SourceError
from sources.opcua.security import Surroundings
from sources.quality import is_good

_WITHIN: Final = 30.0


def check(
    plant: PlantFile,
    *,
    connect: Annotated[
        bool,
        typer.Option("--connect", help="Also dial every source, in every name, and read its tags once."),
    ] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Validate a configuration without touching a device."""
    with told():
        with bar() as progress:
            config = load(plant, progress=progress)
        nodes = len(isa95.load().nodes) + len(build_nodes(config.plant))
        out = console()
        for warning in config.warnings:
            typer.echo(f"warning: {warning}", err=True)
        for line in weak_lines(config):
            typer.echo(f"allowed: {line}", err=True)
        properties = config.plant.properties()
        out.print(
            f"{plant}: fine. {len(config.plant.equipment)} equipment, {len(properties)} properties, "
            f"{counted(len(config.sources), 'source')}, {nodes} nodes.",
            soft_wrap=True,
        )
        if connect:
            surroundings = surroundings_of(config, DataDirectory(data))
            if not asyncio.run(_dial(config, surroundings, out)):
                raise typer.Exit(RUNTIME_FAILURE)


async def _dial(config: Configuration, surroundings: Surroundings, out: Console) -> bool:
    """Dial every enabled source at once and print how it went; whether all answered."""
    async with asyncio.TaskGroup() as group:
        calls = {e.name: group.create_task(_answer(e, surroundings)) for e in config.sources if e.enabled}
    out.print(_table(config.sources, {name: call.result() for name, call in calls.items()}))
    return all(call.result() is None for call in calls.values())


def _table(sources: Sequence[SourceEntry], answers: dict[str, str | None]) -> Table:
    rows = table("Source", "Driver", "Address", "Tags", "Answer")
    for entry in sources:
        source = entry.driver.source(entry.name, entry.settings, entry.tags)
        answer = (answers[entry.name] or "connected") if entry.enabled else "disabled"
        rows.add_row(entry.name, entry.driver.kind, source.address, str(len(entry.tags)), answer)
    return rows


async def _answer(entry: SourceEntry, surroundings: Surroundings) -> str | None:
    source = entry.driver.source(entry.name, entry.settings, entry.tags)
    settle(source, surroundings)
    try:
        async with asyncio.timeout(_WITHIN), source.connect() as session:
            batch = await session.read(entry.tags)
            kept_out = await source.try_names() if isinstance(source, ActsFor) else []
    except TimeoutError:
        return f"no answer within {_WITHIN:g} s"
    except SourceError as error:
        return str(error)
    if isinstance(batch.qualities, int):
        qualities = [batch.qualities] * len(entry.tags)
    else:
        qualities = list(batch.qualities)
    if kept_out:
        more = f"; and {len(kept_out) - 1} more" if len(kept_out) > 1 else ""
        return f"connected, but {kept_out[0]}{more}"
    bad = [tag.name for tag, quality in zip(entry.tags, qualities, strict=True) if not is_good(quality)]
    if not bad:
        return None
    return f"connected, but {len(bad)} of {len(entry.tags)} tags cannot be read, {bad[0]} the first"
