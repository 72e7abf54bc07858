"""What a change would do or did, for people and programs: plain, bounded, ready for JSON."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Final

from nodesets.records import NodeId
from server.change.fleet import FleetChange, Retagging
from server.change.imports import ImportChange
from server.config import Problem
from server.mqtt.change import Outline as DataSetOutline
from server.opcua.space.change import Outline as NodeOutline
from server.plant.difference import Difference, aspects

LISTED: Final = 200
"""Lines of each kind that are told one by one; the counts are whole."""


class Outcome(enum.Enum):
    """What came of it."""

    Applied = "applied"
    Unchanged = "unchanged"
    """Nothing differs from what runs."""
    Possible = "possible"
    """A dry run: it would have been applied."""
    Rejected = "rejected"
    """Nothing was changed: the problems, what needs a restart, or the failure say why."""
    Busy = "busy"
    """Nothing was looked at: another change is under way."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The difference of the address space. Lists hold at most `LISTED` entries, counts are whole."""

    added: int
    removed: int
    changed: int
    lines: tuple[str, ...]
    """``+ Acme/Filler.Speed``, ``- …``, ``~ Acme/Filler.Level: range, scaling``."""
    not_listed: int


@dataclass(frozen=True, slots=True)
class Names:
    """Sources, imports or data sets: those that come, go and change, and how many go on."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, str]
    """By name, what that means."""
    untouched: int


@dataclass(frozen=True, slots=True)
class Report:
    """One change."""

    outcome: Outcome
    file: str
    digest: str = ""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    restart: tuple[str, ...] = ()
    """What only a restart could bring about: a key, what it is, and what it would be, a line each."""
    failure: str = ""
    nodes: Nodes | None = None
    sources: Names | None = None
    imports: Names | None = None
    datasets: Names | None = None
    """None where nothing is published to MQTT."""
    seconds: float = field(default=0.0)
    """From the request to the end."""
    switch_seconds: float = 0.0
    """Of them, what passed between the first thing touched and the last."""

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        plain: dict[str, Any] = dataclasses.asdict(self)
        return {**plain, "outcome": self.outcome.value}


def nodes_report(outline: NodeOutline, properties: Difference) -> Nodes:
    """The difference of the address space, what comes first."""
    others = [change for change in properties.changed if change.old.node_id == change.new.node_id]
    own = (f"{one.new.node_id}: {', '.join(aspects(one.old, one.new)) or 'place'}" for one in others)
    kinds: Sequence[tuple[str, Iterable[str], int]] = (
        ("+", map(_text, outline.added), len(outline.added)),
        ("-", map(_text, outline.removed), len(outline.removed)),
        ("~", chain(map(_text, outline.changed), own), len(outline.changed) + len(others)),
    )
    lines = tuple([f"{sign} {text}" for sign, texts, _ in kinds for text in islice(texts, LISTED)])
    count = outline.count
    return Nodes(
        count.added,
        count.removed,
        count.changed,
        lines,
        sum(max(0, of - LISTED) for _, _, of in kinds),
    )


def sources_report(change: FleetChange) -> Names:
    """What happens to the sources."""
    again = {name: f"reconnected because {reason}" for name, reason in change.reasons.items()}
    again |= dict.fromkeys(change.adapted, "other identities: its connection stays")
    again |= {name: f"re-planned, connection kept: {_counted(its)}" for name, its in change.retagged.items()}
    return Names(
        _few(change.added), _few(change.removed), dict(islice(again.items(), LISTED)), change.untouched
    )


def _counted(its: Retagging) -> str:
    """``1 tag added, 2 changed``."""
    counts = {"added": its.added, "removed": its.removed, "changed": its.changed}
    told = [f"{count} {how}" for how, count in counts.items() if count]
    if not told:
        return "other staleness"
    first, *others = told
    number, how = first.split()
    return ", ".join([f"{number} {'tag' if number == '1' else 'tags'} {how}", *others])


def imports_report(change: ImportChange) -> Names:
    """What happens to the imports."""
    added, removed = (
        _few(f"{path} from {source}" for path, source in some.items())
        for some in (change.added, change.removed)
    )
    return Names(added, removed, dict(islice(change.changed.items(), LISTED)), change.untouched)


def datasets_report(outline: DataSetOutline, of: int) -> Names:
    """What MQTT subscribers see; ``of`` is how many data sets there are afterwards."""
    changed = dict.fromkeys(islice(outline.changed, LISTED), "another version of its metadata")
    untouched = of - len(outline.added) - len(outline.changed)
    return Names(_few(outline.added), _few(outline.removed), changed, untouched)


def _few(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(names, LISTED))


def _text(name: NodeId) -> str:
    return str(name.identifier)
