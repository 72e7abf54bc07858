"""The command line within this process: as `isthmus` does it, without the second a new process takes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from typer.testing import CliRunner

from server.cli import app


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


def invoke(*arguments: str | Path, stdin: str | None = None) -> Done:
    """Run a command. The log of the test's own process stays as it is."""
    level = logging.getLogger("sources").level
    try:
        with mock.patch("server.log.configure"):
            result = CliRunner().invoke(app, [*map(str, arguments)], input=stdin)
    finally:
        logging.getLogger("sources").setLevel(level)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


async def invoked(*arguments: str | Path, stdin: str | None = None) -> Done:
    """The same beside a running loop."""
    return await asyncio.to_thread(invoke, *arguments, stdin=stdin)
