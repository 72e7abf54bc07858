"""Where problems are gathered, each with the line it belongs to."""

from __future__ import annotations

from server.config.errors import Problem
from server.config.tree import Loc, Mapping, dotted, find, key_mark


class Report:
    """Problems and warnings of one load. A place is told of once: repetition says nothing 500 times."""

    def __init__(self, tree: Mapping) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._told: set[tuple[Loc, str]] = set()

    def error(self, loc: Loc, message: str, hint: str = "") -> None:
        """A problem at the value of a key, or at the key where the value is a mapping."""
        self.problems.append(self._problem(loc, message, hint))

    def once(self, loc: Loc, kind: str, message: str, hint: str = "") -> None:
        """As `error`, unless this place has had a problem of this kind."""
        if (loc, kind) not in self._told:
            self._told.add((loc, kind))
            self.error(loc, message, hint)

    def key_error(self, loc: Loc, message: str, hint: str = "") -> None:
        """A problem with the key itself."""
        self.problems.append(Problem.at(key_mark(self.tree, loc), dotted(loc), message, hint))

    def warn(self, loc: Loc, message: str, hint: str = "") -> None:
        """Something that may be meant."""
        self.warnings.append(self._problem(loc, message, hint))

    def place(self, loc: Loc) -> str:
        """``plant.yaml:31:7``, to name one place in the message about another."""
        return str(key_mark(self.tree, loc))

    def _problem(self, loc: Loc, message: str, hint: str) -> Problem:
        return Problem.at(find(self.tree, loc)[0], dotted(loc), message, hint)
