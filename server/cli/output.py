"""How the commands print tables."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED: Final = 10_000
_COMMANDS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def seen(text: str) -> str:
    """A text of whoever wrote it, with a mark in the place of what would command the terminal."""
    return _COMMANDS.sub("\ufffd", text)


class _Careful(Console):
    """Texts come from devices, clients and files: no one of them commands the terminal."""

    def render_str(self, text: str, **more: Any) -> Text:
        return super().render_str(seen(text), **more)


def console() -> Console:
    """Standard output; into a file or pipe lines are as long as they are. Brackets mean nothing."""
    plain = _Careful(highlight=False, markup=False)
    return plain if plain.is_terminal else _Careful(highlight=False, markup=False, width=_UNBOUNDED)


def counted(number: int, noun: str) -> str:
    """``1 tag``, ``2 tags``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
