"""``isthmus apply``: another configuration for the running server, without a restart."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.output import console
from server.cli.run import DEFAULT_DATA, DataOption, PlantFile
from server.config import Problem, format_problems
from server.observe.control import PATIENCE, ask

_SHOWN = 50


def apply(
    plant: PlantFile,
    data: DataOption = DEFAULT_DATA,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would change; touch nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Have the running server take another configuration, and print the difference.

    The server reads and checks the file; a file it rejects changes nothing.
    """
    with told():
        file = str(plant.absolute())
        found = asyncio.run(ask(data, "apply", within=PATIENCE, file=file, dry_run=dry_run))
        if as_json:
            typer.echo(json.dumps(found, indent=1))
        if found["outcome"] == "busy":
            fail(f"{data}: {found['failure']}")
        problems = _problems(found["problems"], plant)
        warnings = _problems(found["warnings"], plant)
        if not as_json:
            for warning in warnings:
                typer.echo(f"warning: {warning}", err=True)
        if found["outcome"] == "rejected":
            _explain(found, problems)
            raise typer.Exit(BAD_CONFIGURATION)
        if not as_json:
            _print(found, plant)


def _problems(given: list[dict[str, Any]], plant: Path) -> list[Problem]:
    """As `isthmus check` would tell of them: their files by the way to the plant file that was typed."""
    there, typed = plant.absolute().parent, plant.parent
    found = []
    for one in given:
        problem = Problem(**one)
        file = Path(problem.file)
        if file.is_relative_to(there):
            problem = replace(problem, file=str(typed / file.relative_to(there)))
        found.append(problem)
    return found


def _explain(found: dict[str, Any], problems: list[Problem]) -> None:
    if problems:
        typer.echo(format_problems(problems), err=True)
    if found["restart"]:
        typer.echo("This needs a restart of the server:", err=True)
        for line in found["restart"]:
            typer.echo(f"    {line}", err=True)
    if found["failure"]:
        typer.echo(f"isthmus: {found['failure']}", err=True)
    typer.echo("Rejected: nothing was changed.", err=True)


def _print(found: dict[str, Any], plant: Path) -> None:
    out = console()

    def say(text: str) -> None:
        out.print(text, soft_wrap=True, markup=False)

    nodes = found["nodes"]
    for sign in "+-~":
        lines = [line for line in nodes["lines"] if line.startswith(sign)]
        for line in lines[:_SHOWN]:
            say(line)
        if len(lines) > _SHOWN:
            say(f"{sign} and more")
    say(f"Nodes    {nodes['added']} added, {nodes['removed']} removed, {nodes['changed']} changed")
    _names(say, "Sources  ", found["sources"])
    imports = found["imports"]
    if any(imports.values()):
        _names(say, "Imports  ", imports)
    if found["datasets"] is not None:
        _names(say, "MQTT     ", found["datasets"])
    say(_verdict(found, plant))


def _names(say: Any, heading: str, found: dict[str, Any]) -> None:
    for sign, names in (("+", found["added"]), ("-", found["removed"])):
        for name in names[:_SHOWN]:
            say(f"{heading}{sign} {name}")
    for name, what in list(found["changed"].items())[:_SHOWN]:
        say(f"{heading}~ {name}: {what}")
    say(f"{heading}{found['untouched']} untouched")


def _verdict(found: dict[str, Any], plant: Path) -> str:
    match found["outcome"]:
        case "applied":
            switch = f"{found['switch_seconds']:.3f} s of it the switch"
            return f"{plant}: applied in {found['seconds']:.2f} s, {switch}."
        case "unchanged":
            return f"{plant}: nothing differs from what runs."
        case _:
            return f"{plant}: can be applied. Nothing was changed."
