"""``isthmus audit``: the audit log, checked and read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from server.audit import verify as checking
from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.output import console, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.datadir import DataDirectory

app = typer.Typer(help="The audit log: who wrote what, and that nobody changed it.", no_args_is_help=True)

BROKEN: Final = 3
"""The exit code that says the log is not what was written."""

_HEAD: Final = re.compile(r"[0-9a-fA-F]{12,64}")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the records as they are, one a line.")]
NodeOption = Annotated[str, typer.Option(help="Only those whose node contains this.")]
UserOption = Annotated[str, typer.Option(help="Only those whose user contains this.")]
EventOption = Annotated[str, typer.Option(help="Only those whose event contains this: write, session, …")]


def _folder(data: Path) -> Path:
    return DataDirectory(data).audit


@app.command()
def verify(
    data: DataOption = DEFAULT_DATA,
    *,
    head: Annotated[
        list[str] | None,
        typer.Option(help="A hash noted elsewhere, or its first 12 digits at least: it must be a record's."),
    ] = None,
    start: Annotated[
        int, typer.Option(min=1, help="The first file, where earlier ones were moved away on purpose.")
    ] = 1,
) -> None:
    """Check that no record was changed, removed or put in: exit code 0, or 3 with the first that was.

    A log that was cut at its end looks whole: --head finds that, with a hash from the server's
    own log, `isthmus status` or the metrics.
    """
    with told():
        odd = [text for text in head or () if not _HEAD.fullmatch(text)]
        if odd:
            fail(f"'{odd[0]}' is no hash; give 12 to 64 hexadecimal digits", BAD_CONFIGURATION)
        report = checking.verify(_folder(data), head or (), start)
        for note in report.notes:
            typer.echo(f"note: {note}", err=True)
        if report.broken is not None:
            intact = f"; {report.records} records before are as they were written" if report.records else ""
            fail(f"{report.broken}{intact}", BROKEN)
        files = "1 file" if report.files == 1 else f"{report.files} files"
        typer.echo(f"{report.records} records in {files} are as they were written.")
        typer.echo(f"record {report.seq} has the hash {report.head}")


@app.command("list")
def list_records(
    data: DataOption = DEFAULT_DATA,
    *,
    node: NodeOption = "",
    user: UserOption = "",
    event: EventOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print all records, up to the first that is not as it was written."""
    _show(data, 1_000_000, {"node": node, "user": user, "event": event}, as_json=as_json)


@app.command()
def tail(
    data: DataOption = DEFAULT_DATA,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000_000, help="How many.")] = 20,
    node: NodeOption = "",
    user: UserOption = "",
    event: EventOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print the last records."""
    _show(data, count, {"node": node, "user": user, "event": event}, as_json=as_json)


def _show(data: Path, count: int, wanted: dict[str, str], *, as_json: bool) -> None:
    with told():
        records = checking.last(_folder(data), count, {key: text for key, text in wanted.items() if text})
        if as_json:
            for record in records:
                typer.echo(json.dumps(record))
            return
        rows = table(
            "Record", "Time", "Event", "User", "Client", "Node", "Old", "Asked", "Held", "Outcome", "Status"
        )
        for record in records:
            values = [_text(record.get(key)) for key in ("user", "client", "node", "old", "asked", "held")]
            status = _text(record.get("status"))
            more = record.get("reason") or (record.get("message") if record["event"] != "write" else None)
            rows.add_row(
                str(record["seq"]),
                str(record["time"]),
                str(record["event"]),
                *values,
                _text(record.get("outcome")),
                f"{status} ({_text(more)})" if more else status,
            )
        console().print(rows)


def _text(value: Any) -> str:
    """A value for a table: strangers' texts can have anything in them, the table's own markup too."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return escape(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", "\ufffd", text))
