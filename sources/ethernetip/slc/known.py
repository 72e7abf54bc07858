"""What is known of one controller over all connections: who it is, its program, its data files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from sources.ethernetip.identity import Identity
from sources.ethernetip.slc.directory import differences
from sources.ethernetip.slc.plan import SlcTag
from sources.ethernetip.slc.survey import Survey

log = logging.getLogger(__name__)

_NAMED: Final = 5
"""So many changes of one program to another are named."""
_TOLD: Final = 20
"""So many tags that do not fit get a line each; of more only their number is told."""
_MOST_LOST: Final = 2
_AGAIN: Final = 600.0


class Known:
    """One controller. ``survey`` is the last of it that brought anything, ``identity`` who answered last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.identity: Identity | None = None
        self.survey = Survey()
        self._other = False
        """Whether what is known was told by another controller than the one that answered last."""
        self._lost = 0
        self._again = 0.0
        self._told: frozenset[str] = frozenset()

    def meet(self, identity: Identity) -> None:
        """Take note of who answered, and tell when it is another one than before."""
        if self.identity is None:
            log.info("%s: the controller is a %s", self._name, identity)
        elif identity.same != self.identity.same:
            log.warning(
                "%s: another controller answers: %s; before it was %s", self._name, identity, self.identity
            )
            self._other, self._lost = True, 0
        self.identity = identity

    def ask_at(self, now: float) -> float:
        """When to ask for program and files: not now where that has ended connections, but in some time."""
        return now if self._lost < _MOST_LOST else max(now, self._again)

    def lost(self, now: float) -> None:
        """A connection was lost over the question."""
        self._lost += 1
        self._again = now + _AGAIN
        if self._lost == _MOST_LOST:
            log.warning(
                "%s: the controller does not answer when it is asked for its program and data files; for "
                "%.0f minutes it is read without a look at them",
                self._name,
                _AGAIN / 60,
            )
        if self._other and self._lost >= _MOST_LOST:
            self.survey, self._other = Survey(), False

    def learn(self, found: Survey) -> bool:
        """Take a survey; whether another program than before was found, which is told."""
        self._lost = 0
        before = self.survey
        other, self._other = self._other, False
        if found.processor is None and before.processor is not None and not other:
            return False  # as during a download: what was known counts until more is
        if found.why and found.why != before.why:
            log.info("%s: the controller's data files are not known: %s", self._name, found.why)
        self.survey = found
        if before.processor is None or found.processor is None:
            return False
        changes: list[str] = []
        if None not in {before.directory, found.directory}:
            changes = list(differences(before.directory, found.directory))  # type: ignore[arg-type] # not None
        if before.processor.same == found.processor.same and not changes:
            return False
        shown = ", ".join(changes[:_NAMED]) or "its data files are the same"
        more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        log.warning(
            "%s: the controller has another program: %s%s; reading is planned anew", self._name, shown, more
        )
        return True

    def conflicts(self, tags: Iterable[SlcTag]) -> Mapping[str, str]:
        """The tags, by name, whose file is one of another type than they say, and what it is."""
        directory = self.survey.directory
        if directory is None:
            return {}
        verdicts: dict[tuple[str, int], str] = {}
        found: dict[str, str] = {}
        for tag in tags:
            file = tag.address.file, tag.address.number
            if file not in verdicts:
                verdicts[file] = directory.conflict(tag.address)
            if verdicts[file]:
                found[tag.name] = verdicts[file]
        return found

    def tell(self, conflicts: Mapping[str, str]) -> None:
        """One line for each tag that is not read, once; and one when all are again."""
        problems = [f"{name}: {why}; its value is Bad" for name, why in conflicts.items()]
        new = [problem for problem in problems if problem not in self._told]
        for problem in new[:_TOLD]:
            log.warning("%s: %s", self._name, problem)
        if len(new) > _TOLD:
            log.warning("%s: and %d more tags do not fit the controller", self._name, len(new) - _TOLD)
        if self._told and not problems:
            log.info("%s: all tags fit the controller now", self._name)
        self._told = frozenset(problems)

    def remark(self, tag: SlcTag) -> str:
        """What the files say of a tag that is refused: ``, as N7 has 200 elements``, or nothing."""
        directory = self.survey.directory
        words = "" if directory is None else directory.remark(tag.address)
        return f", as {words}" if words else ""
