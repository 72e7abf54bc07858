"""``isthmus status``: how the running server is, for people."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from server.cli.errors import told
from server.cli.output import console, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.observe.control import ask
from sources.clock import to_datetime


def status(
    data: DataOption = DEFAULT_DATA,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print how the server is that runs on a data directory."""
    with told():
        found = asyncio.run(ask(data, "status"))
        if as_json:
            typer.echo(json.dumps(found, indent=1))
        else:
            _print(found)


def _print(found: dict[str, Any]) -> None:
    out = console()
    started = f"{to_datetime(found['started']).astimezone():%Y-%m-%d %H:%M:%S}"
    out.print(f"isthmus {found['version']}, pid {found['pid']}, since {started}", soft_wrap=True)
    configuration = found["configuration"]
    applied = f"{to_datetime(configuration['since']).astimezone():%Y-%m-%d %H:%M:%S}"
    out.print(
        f"Config  {configuration['file']}, applied {applied}, sha256 {configuration['digest'][:12]}; "
        f"{configuration['applied']} changes applied, {configuration['rejected']} rejected",
        soft_wrap=True,
    )
    out.print(f"{found['points']} properties, {found['not_good']} not Good", soft_wrap=True)
    opcua = found["opcua"]
    out.print(
        f"OPC UA  {', '.join(found['endpoints'])}: {opcua['sessions']} sessions, {opcua['subscriptions']} "
        f"subscriptions, {opcua['monitored_items']} items, {opcua['notifications']} notifications",
        soft_wrap=True,
    )
    if (mqtt := found["mqtt"]) is not None:
        state = "connected" if mqtt["connected"] else f"not connected: {mqtt['last_error']}"
        out.print(
            f"MQTT    {mqtt['broker']}: {state}; {mqtt['published']} published, {mqtt['queued']} queued, "
            f"{mqtt['dropped']} dropped; {mqtt['data_sets']} data sets, {mqtt['mirrored']} imported "
            "variables",
            soft_wrap=True,
        )
        for why, count in mqtt["left_out"].items():
            out.print(f"        {count} imported variables are not published: {why}", soft_wrap=True)
    audit = found["audit"]
    state = f"FAILING: {audit['failure']}" if audit["failure"] else "written"
    out.print(
        f"Audit   {state}; record {audit['seq']} has the hash {audit['head']}; "
        f"{audit['unrecorded']} unrecorded; writes: "
        + (", ".join(f"{count} {outcome}" for outcome, count in found["writes"].items()) or "none"),
        soft_wrap=True,
    )
    lag = f"{found['lag_p50'] * 1000:.1f} ms (p50), {found['lag_p99'] * 1000:.1f} ms (p99)"
    out.print(f"Process event loop lag {lag}; memory {found['memory'] / 1e6:.0f} MB", soft_wrap=True)
    out.print(_sources(found))


def _sources(found: dict[str, Any]) -> Table:
    rows = table(
        "Source",
        "Address",
        "State",
        "Tags",
        "Imported",
        "Not Good",
        "Bad points",
        "Values/s",
        "Requests/s",
        "Last success",
        "Scan (p99, planned)",
        "Overruns",
        "Errors",
        "Last error",
    )
    for source in found["sources"]:
        scans = [
            f"{name} {scan['measured']:.3f} ({scan['p99']:.3f}, {scan['planned']:g}) s"
            for name, scan in source["scans"].items()
        ]
        rows.add_row(
            source["name"],
            source["address"],
            source["state"],
            str(source["tags"]),
            _imported(source["imports"]),
            str(found["not_good_of"].get(source["name"], 0)),
            str(source["bad_point_count"]),
            f"{source['rates']['values']:.0f}",
            f"{source['rates']['requests']:.1f}",
            _when(source["last_success"]),
            ", ".join(scans),
            str(sum(scan["overruns"] for scan in source["scans"].values())),
            ", ".join(f"{cause} {count}" for cause, count in source["errors"].items()),
            f"{_when(source['last_error_time'])} {source['last_error']}".strip(),
        )
    return rows


def _imported(imports: list[dict[str, Any]]) -> str:
    """How the imports of a source fare; nothing where there are none."""
    if not imports:
        return ""
    nodes, variables, refused = (
        sum(one[name] for one in imports) for name in ("nodes", "variables", "refused")
    )
    told = f"{nodes} nodes, {variables} variables"
    if refused:
        told += f", {refused} refused"
    walked = max(one["walked"] for one in imports)
    if walked:
        told += f"; {_when(walked)} in {sum(one['seconds'] for one in imports):.1f} s"
    return "; ".join([told, *(f"{one['holder']}: {one['error']}" for one in imports if one["error"])])


def _when(ticks: int) -> str:
    """A time of today without the day; nothing for never."""
    if not ticks:
        return ""
    moment = to_datetime(ticks).astimezone()
    form = "%H:%M:%S" if moment.date() == datetime.now(UTC).astimezone().date() else "%Y-%m-%d %H:%M:%S"
    return f"{moment:{form}}"
