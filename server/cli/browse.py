"""``isthmus browse``: what a device is and has."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from server.cli.errors import RUNTIME_FAILURE, fail, told
from server.cli.imports import Filter, MaxArray, Output, SourceName, Under, put
from server.cli.output import console, counted, quiet, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.cli.waiting import bar
from server.tools.discover import Discovery, Wishes, discover
from server.tools.fragment import fragment
from server.tools.inventory import Instance, Inventory, Leaf
from server.tools.names import source_name, under_path
from server.tools.surroundings import surroundings
from server.tools.survey import parse_span
from server.tools.target import parse_target


def browse(  # noqa: PLR0913  # a command has the options it has
    device: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="modbus://HOST:502?unit=1, eip://HOST/1,0, slc://HOST or opc.tcp://HOST:4840.",
        ),
    ],
    *,
    pattern: Filter = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print configuration, ready to include.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    source: SourceName = "PLC",
    under: Under = "",
    max_array: MaxArray = None,
    spans: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="TABLE:FROM..TO", help="Of a Modbus device; several times."),
    ] = None,
    below: Annotated[
        str, typer.Option("--below", metavar="NODE", help="Of an OPC UA server: only what stands below.")
    ] = "",
    data: DataOption = DEFAULT_DATA,
    output: Output = None,
) -> None:
    """List what a device is and has: its identity, its tags with their types.

    A Modbus device has no list of tags: its addresses are tried, the first thousand of each
    table unless --range says others. Nothing is ever written.
    """
    with told():
        quiet()
        target = parse_target(device)
        name, place = source_name(source), under_path(under)
        wishes = Wishes([parse_span(text) for text in spans or ()], max_array, below, surroundings(data))
        with bar(shown_from=1) as progress:
            found = asyncio.run(discover(target, wishes, progress))
        inventory = found.inventory.matching(pattern)
        if as_json:
            text = json.dumps(_as_json(inventory), indent=1, ensure_ascii=False) + "\n"
            put(text, output)
        elif as_yaml:
            if not inventory.values:
                fail(f"{device}: there is nothing to configure", RUNTIME_FAILURE)
            put(fragment(inventory, name, settings=target.given, under=place), output)
        else:
            _print(inventory, found, pattern)


def _print(inventory: Inventory, found: Discovery, pattern: str | None) -> None:
    out = console()
    for key, value in inventory.identity.items():
        out.print(f"{key}: {value}", soft_wrap=True)
    if found.spans and pattern is None:
        rows = table("Table", "From", "To", "Addresses")
        for span in found.spans:
            rows.add_row(span.table, str(span.first), str(span.last), str(span.count))
        out.print(rows)
        return
    if found.files and pattern is None:
        _print_files(inventory, found)
        return
    rows = table("Tag", "Type", "Values", "Description")
    for single in inventory.singles:
        rows.add_row(single.leaf.address, _type(single.leaf), "1", single.leaf.description)
    for each in inventory.instances:
        rows.add_row(
            _sized(each), each.shape.name, str(each.count * len(each.shape.leaves)), each.description
        )
    out.print(rows)
    for left in inventory.left_out:
        out.print(f"left out: {left.label}: {left.reason}", soft_wrap=True)
    typer.echo(counted(inventory.values, "value"), err=True)


def _print_files(inventory: Inventory, found: Discovery) -> None:
    """The data files of an SLC: its tags are their elements, all alike."""
    out = console()
    left = {each.label: each.reason for each in inventory.left_out}
    rows = table("File", "Elements", "Addresses")
    for file in found.files:
        last = max(file.elements - 1, 0)
        addresses = left.get(file.name) or f"{file.name}:0 to {file.name}:{last}"
        rows.add_row(file.name, str(file.elements), addresses)
    out.print(rows)
    typer.echo(counted(inventory.values, "value"), err=True)


def _type(leaf: Leaf) -> str:
    kind = leaf.encoding or leaf.type.name
    return kind if leaf.length is None else f"{kind}[{leaf.length or ''}]"


def _sized(instance: Instance) -> str:
    return (
        f"{instance.label}[{','.join(map(str, instance.dimensions))}]"
        if instance.dimensions
        else instance.label
    )


def _as_json(inventory: Inventory) -> dict[str, Any]:
    shapes = {each.shape.name: each.shape for each in inventory.instances}
    return {
        "identity": dict(inventory.identity),
        "types": {
            name: {".".join(leaf.path): {"address": leaf.address, "as": _type(leaf)} for leaf in shape.leaves}
            for name, shape in shapes.items()
        },
        "tags": [
            {"address": each.leaf.address, "as": _type(each.leaf), "description": each.leaf.description}
            for each in inventory.singles
        ]
        + [
            {
                "address": each.label,
                "type": each.shape.name,
                "dimensions": list(each.dimensions),
                "description": each.description,
            }
            for each in inventory.instances
        ],
        "left_out": {left.label: left.reason for left in inventory.left_out},
    }
