"""``isthmus audit``: the audit log, checked and read."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from server.audit import verify as checking
from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.output import console, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.datadir import DataDirectory

app = typer.Typer(help="The audit log: who wrote what, and that nobody changed it.", no_args_is_help=True)

BROKEN: Final = 3
"""The exit code that says the log is not what was written."""

_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
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
    """Print all records, one a line, up to the first that is not as it was written."""
    with told():
        show = (lambda record: typer.echo(json.dumps(record))) if as_json else _print_line
        broken = checking.each(_folder(data), _wanted(node, user, event), show)
        if broken is not None:
            fail(str(broken), BROKEN)


@app.command()
def tail(
    data: DataOption = DEFAULT_DATA,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many.")] = 20,
    node: NodeOption = "",
    user: UserOption = "",
    event: EventOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print the last records as a table, up to the first that is not as it was written."""
    with told():
        records: deque[dict[str, Any]] = deque(maxlen=count)
        broken = checking.each(_folder(data), _wanted(node, user, event), records.append)
        if as_json:
            for record in records:
                typer.echo(json.dumps(record))
        else:
            console().print(_table(records))
        if broken is not None:
            fail(f"{broken}; what was recorded later is not shown", BROKEN)


def _wanted(node: str, user: str, event: str) -> dict[str, str]:
    return {key: text for key, text in (("node", node), ("user", user), ("event", event)) if text}


def _print_line(record: dict[str, Any]) -> None:
    if record["event"] == "write":
        held = f", held {_text(record['held'])}" if record.get("held") is not None else ""
        what = (
            f"{_who(record)} ({_text(record.get('client'))}) {_text(record.get('node'))}: "
            f"{_text(record.get('old'))} -> {_text(record.get('asked'))}{held}: "
            f"{_text(record.get('outcome'))} {_text(record.get('status'))} {_text(record.get('reason'))}"
        )
    else:
        what = _text(record.get("message"))
    typer.echo(f"{record['seq']} {_text(record.get('time'))} {_text(record['event'])} {what}".rstrip())


def _table(records: Iterable[dict[str, Any]]) -> Table:
    rows = table(
        "Record", "Time", "Event", "User", "Client", "Node", "Old", "Asked", "Held", "Outcome", "Status"
    )
    for record in records:
        values = [record.get(key) for key in ("client", "node", "old", "asked", "held", "outcome")]
        more = record.get("reason") or (record.get("message") if record["event"] != "write" else None)
        status = f"{_text(record.get('status'))} ({_text(more)})" if more else _text(record.get("status"))
        cells = [
            str(record["seq"]),
            _text(record.get("time")),
            _text(record["event"]),
            _who(record),
            *map(_text, values),
            status,
        ]
        rows.add_row(*map(escape, cells))
    return rows


def _who(record: dict[str, Any]) -> str:
    """Who asked, and in whose name a device was told that knows users."""
    there = record.get("as")
    return f"{_text(record.get('user'))} as {_text(there)}" if there else _text(record.get("user"))


def _text(value: Any) -> str:
    """A value as a text that commands no terminal: strangers' texts can have anything in them."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return _UNSEEN.sub("\ufffd", text)
