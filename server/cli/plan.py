"""``isthmus plan``: which requests a configuration makes, what they cost, and what spoils it."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.output import console, counted, quiet, table
from server.cli.run import PlantFile
from server.cli.waiting import bar
from server.config import Configuration, load
from server.config.errors import did_you_mean
from server.tools.errors import ToolError
from server.tools.planning import SourcePlan, plans
from sources.forecast import NETWORK_ROUND_TRIP, Forecast, ForecastBlock, Pace
from sources.settings import parse_duration


def plan(
    plant: PlantFile,
    *,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only this one; may be given several times.")
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Ask Logix controllers and SLCs what they have, to plan by it.")
    ] = False,
    round_trip: Annotated[
        str | None,
        typer.Option(
            "--round-trip",
            metavar="TIME",
            help=f"How long a request takes there and back; {NETWORK_ROUND_TRIP * 1000:g}ms unless you know.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print each source's requests, the cycle time to be expected, and what spoils it.

    No device is touched without --connect. Times are estimates: a round trip for each
    request, and 100 Mbit/s for its bytes.
    """
    with told():
        quiet()
        with bar() as progress:
            config = load(plant, progress=progress)
        pace = _pace(round_trip)
        found = asyncio.run(plans(config, names=_names(config, source), connect=connect, pace=pace))
        if as_json:
            typer.echo(json.dumps([_as_json(each) for each in found], indent=1, ensure_ascii=False))
        for index, each in enumerate(() if as_json else found):
            if index:
                typer.echo()
            _print(each)
        if failures := [each.failure for each in found if each.failure]:
            raise ExceptionGroup("devices did not answer", [ToolError(each) for each in failures])


def _pace(round_trip: str | None) -> Pace | None:
    if round_trip is None:
        return None
    try:
        return Pace(parse_duration(round_trip))
    except ValueError as error:
        fail(f"--round-trip: {error}", BAD_CONFIGURATION)


def _names(config: Configuration, wanted: list[str] | None) -> list[str]:
    known = [entry.name for entry in config.sources]
    for name in wanted or ():
        if name not in known:
            fail(f"there is no source {name!r}; {did_you_mean(name, known)}".rstrip("; "), BAD_CONFIGURATION)
    return wanted or []


def _print(plan: SourcePlan) -> None:
    out = console()
    entry, made = plan.entry, plan.forecast
    head = f"{entry.name} ({entry.driver.kind}, {plan.address})"
    if made is None:
        out.print(f"{head}: {plan.why}", soft_wrap=True)
        return
    requests = sum(each.requests for each in plan.classes)
    tags, asked = counted(len(entry.tags), "tag"), counted(requests, "request")
    out.print(f"{head}: {tags}, {asked} a scan", soft_wrap=True)
    if made.blocks:
        _print_blocks(plan, made)
    for sentence in plan.spoils():
        out.print(f"spoils: {sentence}", soft_wrap=True)
    if plan.failure:
        out.print("note: planned without the device, which did not answer", soft_wrap=True)
    for note in made.notes:
        out.print(f"note: {note}", soft_wrap=True)


def _print_blocks(plan: SourcePlan, made: Forecast) -> None:
    out = console()
    rows = table("Class", "Block", "Size", "Points", "Takes", "Ends")
    for each in made.blocks:
        block, takes = each.block, _time(each.takes(made.pace))
        rows.add_row(block.scan, block.label, block.size, str(block.points), takes, block.reason)
    out.print(rows)
    rows = table("Class", "Period", "Requests", "Points", "Takes", "Cycle expected", "Of the line")
    for cost in plan.classes:
        rows.add_row(
            *(cost.scan.name, _time(cost.scan.period), str(cost.requests), str(cost.points)),
            *(_time(cost.takes), _time(max(cost.cycle, cost.scan.period * plan.stretch))),
            f"{cost.takes / cost.scan.period:.1%}",
        )
    out.print(rows)


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _as_json(plan: SourcePlan) -> dict[str, Any]:
    made = plan.forecast
    return {
        "source": plan.entry.name,
        "driver": plan.entry.driver.kind,
        "address": plan.address,
        "tags": len(plan.entry.tags),
        "planned": made is not None,
        "why": plan.why,
        "failure": plan.failure,
        "load": plan.load,
        "blocks": [_block(each, made.pace) for each in made.blocks] if made is not None else [],
        "classes": [
            {
                "class": cost.scan.name,
                "period": cost.scan.period,
                "requests": cost.requests,
                "points": cost.points,
                "takes": cost.takes,
                "cycle": max(cost.cycle, cost.scan.period * plan.stretch),
            }
            for cost in plan.classes
        ],
        "spoils": list(plan.spoils()),
        "notes": list(made.notes) if made is not None else [],
    }


def _block(each: ForecastBlock, pace: Pace) -> dict[str, Any]:
    return {
        "class": each.block.scan,
        "block": each.block.label,
        "size": each.block.size,
        "points": each.block.points,
        "requests": each.requests,
        "bytes": each.size,
        "takes": each.takes(pace),
        "ends": each.block.reason,
    }
