"""Plant files for tests: a head every one needs, and loading a text."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from server.config import Configuration, ConfigurationError, Problem, load

HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'
SOURCE = "sources:\n  PLC: {driver: modbus, host: 127.0.0.1}\n"


def plant_of(folder: Path, text: str) -> Configuration:
    """The configuration of a text that follows HEAD and SOURCE."""
    return load(_write(folder, text))


def problems_of(folder: Path, text: str) -> list[Problem]:
    """What is wrong with a text that follows HEAD and SOURCE."""
    with pytest.raises(ConfigurationError) as caught:
        load(_write(folder, text))
    return list(caught.value.problems)


def messages_of(folder: Path, text: str) -> list[str]:
    """The paths and messages alone."""
    return [f"{problem.path}: {problem.message}" for problem in problems_of(folder, text)]


def _write(folder: Path, text: str) -> Path:
    path = folder / "plant.yaml"
    path.write_text(HEAD + SOURCE + dedent(text), encoding="utf-8")
    return path
