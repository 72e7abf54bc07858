"""How the commands print tables."""

from __future__ import annotations

import logging
from typing import Final

from rich.console import Console
from rich.table import Table

_UNBOUNDED: Final = 10_000


def console() -> Console:
    """Standard output; into a file or pipe lines are as long as they are. Brackets mean nothing."""
    plain = Console(highlight=False, markup=False)
    return plain if plain.is_terminal else Console(highlight=False, markup=False, width=_UNBOUNDED)


def table(*headings: str, title: str | None = None) -> Table:
    """A table without lines: the last column folds where the terminal is too narrow."""
    made = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in headings:
        made.add_column(heading, no_wrap=heading != headings[-1], overflow="fold")
    return made


def quiet() -> None:
    """Keep the log out of a command that tells by itself what went wrong; --verbose keeps it."""
    if logging.getLogger().level > logging.DEBUG:
        logging.getLogger("sources").setLevel(logging.CRITICAL)
