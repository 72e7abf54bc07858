"""The command line: ``isthmus``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from server import __version__, log
from server.cli import (
    apply,
    audit,
    browse,
    certs,
    check,
    demo,
    direct,
    imports,
    plan,
    run,
    sim,
    status,
    users,
)
from server.cli.errors import told
from server.config import schema as config_schema

app = typer.Typer(
    name="isthmus",
    help="One OPC UA server over every PLC of a plant.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("check")(check.check)
app.command("demo")(demo.demo)
app.command("sim")(sim.sim)
app.command("apply")(apply.apply)
app.command("status")(status.status)
app.command("plan")(plan.plan)
app.command("browse")(browse.browse)
app.command("read")(direct.read)
app.command("write", context_settings={"ignore_unknown_options": True})(direct.write_value)
app.command("import")(imports.import_tags)
app.add_typer(users.app, name="users")
app.add_typer(certs.app, name="certs")
app.add_typer(audit.app, name="audit")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
    log_format: Annotated[str, typer.Option(help="text, json, or auto: text on a terminal.")] = "auto",
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if log_format not in {"auto", "text", "json"}:
        raise typer.BadParameter("it is text, json or auto", param_hint="--log-format")
    log.configure(logging.DEBUG if verbose else logging.INFO, style=log_format)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here.")] = None,
) -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    with told():
        text = json.dumps(config_schema(), indent=2, ensure_ascii=False)
        if output is None:
            typer.echo(text)
        else:
            output.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """The console script."""
    app()
