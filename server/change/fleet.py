"""The sources that run. A change stops, starts and replans those that are others, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from server.config import SourceEntry
from sources.batch import Emit
from sources.replay.recorder import NOBODY, Recorder, retap, tapped
from sources.source import Adapts, Source
from sources.supervisor import Supervisor
from sources.tag import Stale, Tag


@dataclass(frozen=True, slots=True)
class FleetChange:
    """Sources that come, go, become another device, and read other tags of the same; by name."""

    added: Mapping[str, _Crew]
    removed: Sequence[str]
    replaced: Mapping[str, _Crew]
    """Their settings are others: what they held is worth nothing until the new one answers."""
    """Why is in ``reasons``."""
    retagged: Mapping[str, Retagging]
    adapted: Mapping[str, BaseModel]
    """Of their settings nothing is another but what they take while they live."""
    reasons: Mapping[str, str]
    """Of each replaced one: what of its settings is another."""
    untouched: int
    entries: tuple[SourceEntry, ...]
    """All of the new state, those with the tags of before that read the same."""


@dataclass(frozen=True, slots=True)
class Retagging:
    """Other tags of the same device, read over the connection there is, and how old they may grow."""

    tags: tuple[Tag[Any], ...]
    stale: Stale | None
    added: int
    removed: int
    changed: int
    """How many are there under the name of one that was."""


@dataclass(frozen=True, slots=True)
class _Crew:
    """A source, and what gives it its life."""

    source: Source
    supervisor: Supervisor


class Fleet:
    """Supervisors by the name of their source, each in a task of the group that `start` gets."""

    def __init__(
        self, entries: Sequence[SourceEntry], emit: Emit, recorders: Mapping[str, Recorder] = NOBODY
    ) -> None:
        """Nothing runs before `start`. Raises what a driver raises that cannot be made.

        ``recorders`` are those of sources that are recorded (`sources.replay.recorder.tapped`).
        """
        self._emit = emit
        self._recorders = recorders
        self._entries = tuple(entries)
        self._equipment: list[Callable[[Source], None]] = []
        self._crews = {entry.name: self._crew(entry) for entry in entries if entry.enabled}
        self.supervisors: dict[str, Supervisor] = {
            name: crew.supervisor for name, crew in self._crews.items()
        }
        """Those that run now: the same dict always."""
        self.changed: Callable[[], None] = _nobody
        """Called when other supervisors run, and when one has other tags. Must not raise."""
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        """Of each name those that run or have not ended yet."""

    def _crew(self, entry: SourceEntry) -> _Crew:
        source = entry.driver.source(entry.name, entry.settings, entry.tags)
        for equip in self._equipment:
            equip(source)
        emit = tapped(self._recorders, entry.name, entry.tags, self._emit)
        return _Crew(source, Supervisor(source, emit, stale=entry.stale))

    def equip(self, equip: Callable[[Source], None]) -> None:
        """Have this done to every source there is, and to each that is made later, in whatever thread."""
        self._equipment.append(equip)
        for crew in self._crews.values():
            equip(crew.source)

    def each(self, do: Callable[[Source], None], change: FleetChange) -> None:
        """Do this to every source that runs after a change that is still to be made."""
        for name, crew in {**self._crews, **change.added, **change.replaced}.items():
            if name not in change.removed:
                do(crew.source)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Let every source live in this group."""
        self._group = group
        for name, supervisor in self.supervisors.items():
            self._go(name, supervisor)

    def prepare(self, entries: Sequence[SourceEntry]) -> FleetChange:
        """What makes the sources those of ``entries``, whose tags are the ones of now where they are equal.

        Touches nothing that runs. Raises what a driver raises that cannot be made.
        """
        before = {entry.name: entry for entry in self._entries}
        added: dict[str, _Crew] = {}
        replaced: dict[str, _Crew] = {}
        retagged: dict[str, Retagging] = {}
        adapted: dict[str, BaseModel] = {}
        reasons: dict[str, str] = {}
        every: list[SourceEntry] = []
        for entry in entries:
            was = before.get(entry.name)
            every.append(entry)
            if was is not None and self._adapts(was, entry):
                adapted[entry.name] = entry.settings
                was = replace(was, settings=entry.settings)
            if was is None or not was.enabled:
                if entry.enabled:
                    added[entry.name] = self._crew(entry)
            elif entry.enabled and (reason := _another_device(was, entry)):
                replaced[entry.name] = self._crew(entry)
                reasons[entry.name] = reason
            elif entry.enabled and not (was.stale == entry.stale and _reads_the_same(was, entry)):
                retagged[entry.name] = _retagging(was, entry)
            elif entry.enabled:
                every[-1] = was
        on = {entry.name for entry in entries if entry.enabled}
        return FleetChange(
            added,
            [name for name in self._crews if name not in on],
            replaced,
            retagged,
            adapted,
            reasons,
            len(on) - len(added) - len(replaced) - len(retagged.keys() | adapted.keys()),
            tuple(every),
        )

    def _adapts(self, was: SourceEntry, entry: SourceEntry) -> bool:
        """Whether the source that runs takes these other settings."""
        lives = was.enabled and entry.enabled and was.driver is entry.driver
        if not lives or was.settings == entry.settings:
            return False
        source = self._crews[entry.name].source
        return isinstance(source, Adapts) and source.fits(entry.settings)

    def halt(self, change: FleetChange) -> None:
        """Have nothing arrive any more from sources that go; their tags are about to be nobody's."""
        for name in (*change.removed, *change.replaced):
            self.supervisors[name].hush()
            self._tasks[name][-1].cancel()  # not those before: to be cancelled twice would cut their ends

    def go(self, change: FleetChange) -> Iterator[None]:
        """Let the others run, each when the connection before is closed; have other tags read over the rest.

        Has to be exhausted; between two steps others may have their turn on the loop.
        """
        for name in change.removed:
            del self._crews[name], self.supervisors[name]
        for name, crew in (*change.replaced.items(), *change.added.items()):
            self._crews[name], self.supervisors[name] = crew, crew.supervisor
            self._go(name, crew.supervisor)
        for name, settings in change.adapted.items():
            source = self._crews[name].source
            if isinstance(source, Adapts):
                source.adapt(settings)
        for name, its in change.retagged.items():
            self.supervisors[name].retag(its.tags, its.stale)
            retap(self._recorders, name, its.tags)
            yield
        self._entries = change.entries
        self.changed()

    def _go(self, name: str, supervisor: Supervisor) -> None:
        if self._group is None:
            raise RuntimeError("the sources have not been started")
        former = [task for task in self._tasks.get(name, ()) if not task.done()]
        task = self._group.create_task(self._live(supervisor, former), name=f"source {name}")
        self._tasks[name] = [*former, task]

    async def _live(self, supervisor: Supervisor, former: Sequence[asyncio.Task[None]]) -> None:
        if former:
            await asyncio.wait(former)
        await supervisor.run()


def _nobody() -> None:
    """Hears of nothing."""


def _another_device(old: SourceEntry, new: SourceEntry) -> str:
    """What makes it another device than it was, or one reached in another way; empty where nothing does."""
    if old.driver is not new.driver:
        return f"driver changed from {old.driver.kind} to {new.driver.kind}"
    if old.settings == new.settings:
        return ""
    # The names alone: values may be secrets.
    before, after = dict(old.settings), dict(new.settings)
    names = [name for name in after if name not in before or before[name] != after[name]]
    return f"{', '.join(names or ['settings'])} changed"


def _retagging(old: SourceEntry, new: SourceEntry) -> Retagging:
    before, after = {tag.name: tag for tag in old.tags}, {tag.name: tag for tag in new.tags}
    stay = before.keys() & after.keys()
    changed = sum(before[name] is not after[name] for name in stay)
    return Retagging(new.tags, new.stale, len(after) - len(stay), len(before) - len(stay), changed)


def _reads_the_same(old: SourceEntry, new: SourceEntry) -> bool:
    """In whatever order: a plan puts the tags in one of its own."""
    return len(old.tags) == len(new.tags) and set(map(id, old.tags)) == set(map(id, new.tags))
