"""A bar on the terminal for what takes long, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from server.progress import Progress, silent

_SHOWN_FROM: Final = 1000
"""Less than that is done before anybody could read a bar."""


@contextmanager
def bar(shown_from: int = _SHOWN_FROM) -> Iterator[Progress]:
    """A bar for each piece of work on the terminal of standard error, gone when the block ends.

    May be told from any thread. Work of fewer than ``shown_from`` steps has none; where standard
    error is no terminal, nothing is shown.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, object] = {}

        def told(what: str, done: int, of: int) -> None:
            if 0 < of < shown_from:
                return
            task = tasks.get(what)
            if task is None:
                task = tasks[what] = bars.add_task(what, total=of or None)
            bars.update(task, completed=done)  # type: ignore[arg-type]  # a TaskID is an int of its own

        yield told
