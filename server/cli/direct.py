"""``isthmus read`` and ``isthmus write``: single values on the device itself."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from server.app import surroundings_of
from server.cli.errors import BAD_CONFIGURATION, RUNTIME_FAILURE, fail, told
from server.cli.output import console, quiet, seen, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.config import load
from server.datadir import DataDirectory
from server.tools.direct import Place, Reading, check_step, described, of_plant, of_url, order, write
from server.tools.direct import read as read_places
from server.tools.surroundings import surroundings
from server.tools.target import is_url, parse_target
from sources.clock import to_iso
from sources.quality import GOOD_COMPLETES_ASYNCHRONOUSLY, is_bad, is_good, quality_name

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DEVICE|PLANT.yaml",
        help="modbus://HOST:502?unit=1, eip://HOST/1,0, opc.tcp://HOST:4840, or a configuration.",
    ),
]


def read(
    target: TargetArgument,
    tags: Annotated[
        list[str], typer.Argument(metavar="TAG...", help="ADDRESS[:TYPE] of a device, or EQUIPMENT.PROPERTY.")
    ],
    *,
    data: DataOption = DEFAULT_DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Read values from the device itself; no server is needed."""
    with told():
        quiet()
        readings = asyncio.run(read_places(_places(target, tags, data)))
        if as_json:
            typer.echo(json.dumps([_as_json(reading) for reading in readings], indent=1, ensure_ascii=False))
        else:
            rows = table("Tag", "Value", "Quality", "Raw", "Address")
            for reading in readings:
                raw = "" if reading.raw is None else str(_listed(reading.raw))
                value = "" if is_bad(reading.quality) else described(reading)
                address = str(reading.tag.address)
                rows.add_row(reading.place.name, value, quality_name(reading.quality), raw, address)
            console().print(rows)
            for reading in readings:
                if reading.reason:
                    typer.echo(seen(f"{reading.place.name}: {reading.reason}"), err=True)
        if any(is_bad(reading.quality) for reading in readings):
            raise typer.Exit(RUNTIME_FAILURE)


def write_value(
    target: TargetArgument,
    tag: Annotated[str, typer.Argument(metavar="TAG", help="ADDRESS[:TYPE], or EQUIPMENT.PROPERTY.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Of a property: in engineering units.")],
    *,
    data: DataOption = DEFAULT_DATA,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Write one value to the device itself, past the server, and read it back.

    No server is asked: no role, interlock or rate limit holds, and no audit log hears of it.
    Of a property of a plant file its access: rw, type and limits hold.
    """
    with told():
        quiet()
        (place,) = _places(target, [tag], data, writable=True)
        if place.property is not None:
            order(place, place.tags[0], value)  # what makes no sense is told before a device is dialled
        (before,) = asyncio.run(read_places([place]))
        wanted = order(place, before.tag, value)
        check_step(before, wanted)
        if not yes:
            _ask(before, wanted.value)
        quality = asyncio.run(write(wanted))
        if not is_good(quality):
            fail(f"{tag}: the device did not take it: {quality_name(quality)}")
        (after,) = asyncio.run(read_places([place]))
        accepted = " (accepted, not yet done)" if quality == GOOD_COMPLETES_ASYNCHRONOUSLY else ""
        typer.echo(f"{tag}: was {described(before)}, written{accepted}, reads {described(after)}")


def _ask(before: Reading, value: Any) -> None:
    place = before.place
    where = str(before.tag.address)
    typer.echo(
        f"{place.name} ({where}) is {described(before)} and shall become {_listed(value)!r}.", err=True
    )
    typer.echo(
        "This goes to the device itself, past the server: no role, interlock or rate limit is asked, "
        "and no audit log hears of it.",
        err=True,
    )
    if not sys.stdin.isatty():
        fail("nobody is there to ask; say --yes", BAD_CONFIGURATION)
    typer.confirm("Write it?", abort=True, err=True)


def _listed(value: Any) -> Any:
    """An array as it is written: in square brackets."""
    return list(value) if isinstance(value, tuple) else value


def _places(target: str, tags: list[str], data: Path, *, writable: bool = False) -> list[Place]:
    if is_url(target):
        device = parse_target(target)
        lent = surroundings(data)
        return [of_url(device, tag, writable=writable, lent=lent) for tag in tags]
    config = load(Path(target))
    lent = surroundings_of(config, DataDirectory(data))
    return [of_plant(config, tag, lent) for tag in tags]


def _as_json(reading: Reading) -> dict[str, Any]:
    return {
        "tag": reading.place.name,
        "address": str(reading.tag.address),
        "source": reading.place.source,
        "value": reading.value,
        "raw": reading.raw,
        "unit": reading.unit,
        "quality": quality_name(reading.quality),
        "device_time": None if reading.device_time is None else to_iso(reading.device_time),
        "received": to_iso(reading.received),
    }
