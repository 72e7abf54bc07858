"""``--record``: which sources are recorded, and where to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from server.cli.errors import BAD_CONFIGURATION, fail
from server.config import Configuration
from server.config.errors import did_you_mean
from sources.replay.config import ReplaySettings
from sources.replay.recorder import EVERY, Recorder

RecordOption = Annotated[
    list[str] | None,
    typer.Option(
        "--record",
        metavar="[SOURCE=]FILE",
        help="Record every source, or one, for `driver: replay`; may be given several times.",
    ),
]
LimitOption = Annotated[
    str, typer.Option("--record-limit", metavar="SIZE", help="Disk one recording may take: 500MB, 2GB.")
]
DEFAULT_LIMIT: Final = "1GB"

_UNITS: Final = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


def recorders(config: Configuration, wanted: Sequence[str] | None, limit: str) -> dict[str, Recorder]:
    """Recorders by the name of the source, or EVERY; what makes no sense ends the command."""
    size = _size(limit)
    made: dict[Path, Recorder] = {}
    found: dict[str, Recorder] = {}
    played = {e.settings.file.absolute() for e in config.sources if isinstance(e.settings, ReplaySettings)}
    enabled = [entry.name for entry in config.sources if entry.enabled]
    for text in wanted or ():
        name, equals, file = text.rpartition("=")
        if not file:
            fail("--record takes a FILE, or SOURCE=FILE", BAD_CONFIGURATION)
        if equals and name not in enabled:
            hint = did_you_mean(name, enabled)
            fail(f"--record: there is no enabled source {name!r}; {hint}".rstrip("; "), BAD_CONFIGURATION)
        path = Path(file)
        if played & {path.absolute(), path.absolute().with_name(f"{path.name}.1")}:
            fail(f"--record: {path} is being played back; record to another file", BAD_CONFIGURATION)
        recorder = made.setdefault(path.absolute(), Recorder(path, size))
        source = name if equals else EVERY
        if any(other is not recorder for known, other in found.items() if EVERY in {known, source}):
            fail(f"--record: {name or 'a source'} is recorded twice", BAD_CONFIGURATION)
        if found.setdefault(source, recorder) is not recorder:
            fail(f"--record: {name or 'a source'} is recorded twice", BAD_CONFIGURATION)
    return found


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})\s*(kB|MB|GB)", text.strip())
    if match is None or int(match[1]) == 0:
        fail(f"--record-limit: {text!r} is no size; write 500MB or 2GB", BAD_CONFIGURATION)
    return int(match[1]) * _UNITS[match[2]]
