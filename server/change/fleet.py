"""The sources that run. A change stops, starts and replans those that are others, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.config import SourceEntry
from sources.batch import Emit
from sources.replay.recorder import NOBODY, Recorder, tapped
from sources.source import Source, TakesTags
from sources.supervisor import Supervisor
from sources.tag import Tag


@dataclass(frozen=True, slots=True)
class FleetChange:
    """Sources that come, go, become another device, and read other tags of the same; by name."""

    added: Mapping[str, _Crew]
    removed: Sequence[str]
    replaced: Mapping[str, _Crew]
    """Their settings are others: what they held is worth nothing until the new one answers."""
    retagged: Mapping[str, tuple[Tag[Any], ...]]
    remade: Mapping[str, _Crew]
    """Of the retagged ones those that are made anew with them: the driver cannot take other tags, or the
    values may grow older than before."""
    untouched: int
    entries: tuple[SourceEntry, ...]
    """All of the new state, those with the tags of before that read the same."""


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
        retagged: dict[str, tuple[Tag[Any], ...]] = {}
        remade: dict[str, _Crew] = {}
        every: list[SourceEntry] = []
        for entry in entries:
            was = before.get(entry.name)
            every.append(entry)
            if was is None or not was.enabled:
                if entry.enabled:
                    added[entry.name] = self._crew(entry)
            elif entry.enabled and not _is_same_device(was, entry):
                replaced[entry.name] = self._crew(entry)
            elif entry.enabled and not (was.stale == entry.stale and _reads_the_same(was, entry)):
                retagged[entry.name] = entry.tags
                takes = isinstance(self._crews[entry.name].source, TakesTags)
                if not takes or was.stale != entry.stale:
                    remade[entry.name] = self._crew(entry)
            elif entry.enabled:
                every[-1] = was
        on = {entry.name for entry in entries if entry.enabled}
        return FleetChange(
            added,
            [name for name in self._crews if name not in on],
            replaced,
            retagged,
            remade,
            len(on) - len(added) - len(replaced) - len(retagged),
            tuple(every),
        )

    def halt(self, change: FleetChange) -> None:
        """Have nothing arrive any more from sources that change; their tags are about to be others."""
        for name in (*change.removed, *change.replaced, *change.retagged):
            self.supervisors[name].hush()
            self._tasks[name][-1].cancel()  # not those before: to be cancelled twice would cut their ends

    def go(self, change: FleetChange) -> None:
        """Let the others run in their place, each when the connection before is closed."""
        for name in change.removed:
            del self._crews[name], self.supervisors[name]
        for name, crew in (*change.replaced.items(), *change.added.items(), *change.remade.items()):
            self._crews[name], self.supervisors[name] = crew, crew.supervisor
            self._go(name, crew.supervisor)
        for name, tags in change.retagged.items():
            if name not in change.remade:
                self._go(name, self.supervisors[name], tags)
        self._entries = change.entries
        self.changed()

    def _go(self, name: str, supervisor: Supervisor, tags: Sequence[Tag[Any]] | None = None) -> None:
        if self._group is None:
            raise RuntimeError("the sources have not been started")
        former = [task for task in self._tasks.get(name, ()) if not task.done()]
        task = self._group.create_task(self._live(supervisor, former, tags), name=f"source {name}")
        self._tasks[name] = [*former, task]

    async def _live(
        self,
        supervisor: Supervisor,
        former: Sequence[asyncio.Task[None]],
        tags: Sequence[Tag[Any]] | None,
    ) -> None:
        if former:
            await asyncio.wait(former)
        if tags is not None:
            supervisor.replace_tags(tags)
            self.changed()
        await supervisor.run()


def _nobody() -> None:
    """Hears of nothing."""


def _is_same_device(old: SourceEntry, new: SourceEntry) -> bool:
    return old.driver is new.driver and old.settings == new.settings


def _reads_the_same(old: SourceEntry, new: SourceEntry) -> bool:
    """In whatever order: a plan puts the tags in one of its own."""
    return len(old.tags) == len(new.tags) and set(map(id, old.tags)) == set(map(id, new.tags))
