"""The configuration: plant files checked as a whole and resolved to what the server runs on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.config.errors import ConfigurationError, Problem, format_problems
from server.config.resolve import Configuration, SourceEntry, resolve
from server.config.schema import schema
from server.progress import Progress, silent
from sources.registry import DRIVERS, Driver

__all__ = [
    "Configuration",
    "ConfigurationError",
    "Problem",
    "SourceEntry",
    "format_problems",
    "load",
    "schema",
]


def load(
    path: Path, drivers: Mapping[str, Driver] = DRIVERS, *, progress: Progress = silent
) -> Configuration:
    """Read a plant file with what it includes. No device is touched.

    Raises ConfigurationError, whose ``problems`` hold every mistake there is, in the order
    of files and lines.
    """
    return resolve(path, drivers, progress)
