"""Mistakes in a configuration: where each stands, what is wrong, what would be right.

ConfigurationError holds every problem of a load at once. TreeProblem is what a reader of
one file raises when it cannot go on; the loader turns it into a ConfigurationError.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_MANY: Final = 2_000
"""Beyond so many names a fuzzy comparison takes longer than a person waits for it."""


class Mark(NamedTuple):
    """A place in a file; line and column count from 1, 0 where the file as a whole is meant."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """``plant.yaml:31:7``."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or one warning. ``path`` names the key: ``equipment.Acme/Lyon.map.Speed.addr``."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    @classmethod
    def at(cls, mark: Mark, path: str, message: str, hint: str = "") -> Problem:
        """A problem at a mark."""
        return cls(mark.file, mark.line, mark.column, path, message, hint)

    @property
    def headline(self) -> str:
        """Everything but the hint."""
        parts = [str(Mark(self.file, self.line, self.column)), self.path, self.message]
        return ": ".join(part for part in parts if part)

    def __str__(self) -> str:
        """One line: ``plant.yaml:31:7: equipment.….addr: message (hint)``."""
        return f"{self.headline} ({self.hint})" if self.hint else self.headline


class ConfigurationError(Exception):
    """The configuration cannot be used. ``problems`` are in the order of the files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TreeProblem(Exception):
    """A file that cannot be read any further, for this one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


def format_problems(problems: Sequence[Problem], limit: int = 100, noun: str = "problem") -> str:
    """What is printed: each problem on a line of its own, its hint indented beneath it, the count last.

    ``noun`` is what is counted: problem, or warning.
    """
    lines: list[str] = []
    for problem in problems[:limit]:
        lines.append(problem.headline)
        if problem.hint:
            lines.append(f"    {problem.hint}")
    if len(problems) > limit:
        lines.append(f"and {len(problems) - limit} more")
    count = len(problems)
    lines.append(f"{count} {noun}{'' if count == 1 else 's'}")
    return "\n".join(lines) + "\n"


def closest(name: str, options: Iterable[str], likeness: float = 0.6) -> str | None:
    """The option somebody who wrote ``name`` most likely meant. Among paths ask for more likeness."""
    known = list(options)
    for option in known:
        if option.lower() == name.lower():
            return option
    if len(known) > _MANY:
        return None
    found = difflib.get_close_matches(name, known, n=1, cutoff=likeness)
    return found[0] if found else None


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """``did you mean 'holding'?``, or the options where there are few, or nothing."""
    known = list(options)
    found = closest(name, known)
    if found is not None:
        return f"did you mean '{found}'?"
    if 0 < len(known) <= 8:
        return f"there {'is' if len(known) == 1 else 'are'} {', '.join(sorted(known))}"
    return ""


def article(name: str) -> str:
    """``an Int16``, ``a UInt16``."""
    return f"{'an' if name[:1] in 'AEIO' else 'a'} {name}"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """``a, b and c``, cut after ``limit`` names."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
