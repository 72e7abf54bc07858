"""The commands that README and docs show exist as they are shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from server.cli import app

ROOT = Path(__file__).parents[3]
TEXTS = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
IN_BLOCKS = r"^ *\$ (?:\.venv/bin/)?isthmus (.+)$"
IN_SENTENCES = r"`isthmus\s+([a-z][^`]*)`"
SHOWN = sorted(
    {
        tuple(shlex.split(line, comments=True))
        for text in TEXTS
        for pattern in (IN_BLOCKS, IN_SENTENCES)
        for line in re.findall(pattern, text, re.MULTILINE)
    }
)


def test_there_are_commands() -> None:
    assert len(SHOWN) >= 25


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_command_that_is_shown_is_there(words: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(app)
    left = list(words)
    while left and hasattr(command, "commands"):
        name = left.pop(0)
        assert name in command.commands
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in left if word.startswith("-")} <= known
