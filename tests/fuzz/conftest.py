"""What the fuzz tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fuzz.budget import INPUTS
from support.fuzz.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server in this thread."""
    folder: Path = tmp_path_factory.mktemp("world")
    with World(folder) as made:
        yield made


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what one of several processes tried (pytest-xdist)."""
    INPUTS.update(getattr(node, "workeroutput", {}).get("fuzz", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process tried, if it is one of several."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["fuzz"] = dict(INPUTS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many inputs ran."""
    for name, count in sorted(INPUTS.items()):
        terminalreporter.write_line(f"fuzz: {count:>9} inputs  {name}")
