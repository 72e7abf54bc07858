"""``isthmus import``: a tag list as configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.errors import BAD_CONFIGURATION, RUNTIME_FAILURE, fail, told
from server.tools.errors import ImportProblem
from server.tools.fragment import fragment
from server.tools.inventory import Inventory
from server.tools.l5x import read_l5x
from server.tools.logix import inventory
from server.tools.names import source_name, under_path
from server.tools.studio_csv import is_studio_csv, read_studio_csv
from server.tools.taglist import read_taglist
from server.tools.target import Target, default_target, parse_target

SourceName = Annotated[
    str, typer.Option("--source", metavar="NAME", help="What the source is called in the plant file.")
]
Filter = Annotated[
    str | None, typer.Option("--filter", metavar="GLOB", help="Only tags with such names: 'Pump*'.")
]
Under = Annotated[
    str, typer.Option("--under", metavar="PATH", help="The equipment that is to contain it: Acme/Lyon.")
]
MaxArray = Annotated[
    int | None,
    typer.Option(
        "--max-array",
        min=1,
        max=10_000,
        help="Longer arrays of plain values are left out; by default 1000, of several dimensions 16.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it here.")]


def import_tags(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="L5X, Studio 5000 tag CSV, or a CSV tag list.")
    ],
    *,
    source: SourceName = "PLC",
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="URL", help="Write the source's stanza too: eip://10.20.1.12/1,0."),
    ] = None,
    under: Under = "",
    pattern: Filter = None,
    max_array: MaxArray = None,
    output: Output = None,
) -> None:
    """Turn a tag list into configuration: classes from types, equipment from their instances."""
    with told():
        name, place = source_name(source), under_path(under)
        target = parse_target(device) if device is not None else None
        try:
            found = _read(file, target, max_array).matching(pattern)
        except ImportProblem as error:
            fail(str(error), BAD_CONFIGURATION)
        except OSError as error:
            fail(f"{file}: {error.strerror}", BAD_CONFIGURATION)
        if not found.values:
            fail(f"{file}: there is nothing to configure{_why(found, pattern)}", RUNTIME_FAILURE)
        put(fragment(found, name, settings=target.given if target else None, under=place), output)


def put(text: str, output: Path | None) -> None:
    """Print the fragment, or write it to a file."""
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


def _read(file: Path, target: Target | None, max_array: int | None) -> Inventory:
    with file.open("rb") as stream:
        is_xml = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    if is_xml or file.suffix.casefold() in {".l5x", ".acd", ".l5k"}:
        return inventory(*read_l5x(file), max_array=max_array)
    if is_studio_csv(file):
        return inventory(*read_studio_csv(file), max_array=max_array)
    its = target or default_target(file)
    return read_taglist(file, its.driver, its.settings)


def _why(found: Inventory, pattern: str | None) -> str:
    if found.left_out:
        first = found.left_out[0]
        return f"; {len(found.left_out)} left out, {first.label} the first: {first.reason}"
    return f" that matches {pattern!r}" if pattern else ""
