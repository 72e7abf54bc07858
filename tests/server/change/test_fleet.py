"""Sources that change give way to their successors, and the others never notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Never

from pydantic import BaseModel
from support.net import until

from server.change.fleet import Fleet
from server.config import SourceEntry
from sources.batch import Batch, Emit
from sources.quality import GOOD, Quality
from sources.registry import Driver
from sources.supervisor import SourceState
from sources.tag import ScanClass, Stale, Tag, Value, ValueType

FAST = ScanClass("fast", 0.1)


class Settings(BaseModel):
    host: str


@dataclass
class Floor:
    """The devices there are, and what happens at them."""

    open: set[str] = field(default_factory=set)
    connects: int = 0
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.leaving.set()


class Fixed:
    """A source whose connection takes its time to close, and which cannot take other tags."""

    def __init__(self, floor: Floor, name: str, settings: Settings, tags: Sequence[Tag[Any]]) -> None:
        self.floor, self.name, self.address, self.tags = floor, name, settings.host, tuple(tags)
        self.emit: Emit | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Fixed]:
        floor = self.floor
        assert self.address not in floor.open, "two connections to one device"
        floor.open.add(self.address)
        floor.connects += 1
        try:
            yield self
        finally:
            await floor.leaving.wait()
            floor.open.discard(self.address)

    async def scan(self, emit: Emit) -> Never:
        try:
            while True:
                emit(Batch(tuple(self.tags), [1] * len(self.tags), GOOD, None, 1))
                await asyncio.sleep(0.01)
        finally:
            emit(Batch(tuple(self.tags), [2] * len(self.tags), GOOD, None, 1))  # a late one

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        return Batch(tuple(tags), [1] * len(tags), GOOD, None, 0)

    async def write(self, pairs: Sequence[tuple[Tag[Any], Value]]) -> list[Quality]:
        return [GOOD] * len(pairs)


class Flexible(Fixed):
    def replace_tags(self, tags: Sequence[Tag[Any]]) -> None:
        self.tags = tuple(tags)


def driver(floor: Floor, kind: type[Fixed]) -> Driver:
    return Driver(
        kind.__name__,
        Settings,
        lambda *_: tag("x"),
        lambda name, settings, tags: kind(floor, name, settings, tags),
    )


def tag(name: str) -> Tag[Any]:
    return Tag(name, None, ValueType.Int32, FAST)


def entry(kind: Driver, name: str, host: str, *tags: Tag[Any], enabled: bool = True) -> SourceEntry:
    return SourceEntry(name, kind, Settings(host=host), tags, enabled)


class Heard:
    """What all sources bring."""

    def __init__(self) -> None:
        self.names: list[tuple[str, Value]] = []

    def __call__(self, batch: Batch) -> None:
        self.names += zip((one.name for one in batch.tags), batch.values or (), strict=False)

    async def of(self, name: str) -> None:
        """Wait for a value from now on."""
        self.names.clear()
        await until(lambda: (name, 1) in self.names, what=f"a value of {name}")


@asynccontextmanager
async def living(fleet: Fleet) -> AsyncIterator[None]:
    task = asyncio.create_task(_hold(fleet))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _hold(fleet: Fleet) -> None:
    async with asyncio.TaskGroup() as group:
        fleet.start(group)
        await asyncio.get_running_loop().create_future()


def switch(fleet: Fleet, *entries: SourceEntry) -> Any:
    change = fleet.prepare(entries)
    fleet.halt(change)
    fleet.go(change)
    return change


async def test_each_source_is_dealt_with_by_what_changed_of_it() -> None:
    floor, heard = Floor(), Heard()
    fixed, flexible = driver(floor, Fixed), driver(floor, Flexible)
    a, b, c, d, new = map(tag, ("a", "b", "c", "d", "new"))
    first = (
        entry(flexible, "A", "a", a),
        entry(flexible, "B", "b", b),
        entry(fixed, "C", "c", c),
        entry(flexible, "D", "d", d),
        entry(flexible, "E", "e", enabled=False),
    )
    fleet = Fleet(first, heard)
    async with living(fleet):
        await until(lambda: len(floor.open) == 4, what="all connections")
        before = dict(fleet.supervisors)
        change = switch(
            fleet,
            entry(flexible, "E", "e", enabled=False),
            entry(fixed, "C", "c", c, new),
            entry(flexible, "B", "b", b, new),
            entry(flexible, "A", "a", a),
            entry(flexible, "F", "f", tag("f")),
        )
        assert (list(change.added), list(change.removed), list(change.retagged)) == (["F"], ["D"], ["C", "B"])
        assert (list(change.replaced), change.untouched) == ([], 1)
        await until(lambda: floor.open == {"a", "b", "c", "f"}, what="the connections of now")
        await heard.of("new")
        assert fleet.supervisors["A"] is before["A"]
        assert fleet.supervisors["B"] is before["B"]
        assert fleet.supervisors["B"].status.connects == 2
        assert fleet.supervisors["B"].status.tags == 2
        assert fleet.supervisors["C"] is not before["C"]
        assert fleet.supervisors.keys() == {"A", "B", "C", "F"}
        assert before["D"].status.state is SourceState.Stopped
        assert fleet.supervisors["A"].status.connects == 1
        assert floor.connects == 4 + 3

        change = switch(fleet, entry(flexible, "A", "elsewhere", a), entry(flexible, "E", "e", tag("e")))
        assert (list(change.replaced), list(change.added)) == (["A"], ["E"])
        await until(lambda: floor.open == {"elsewhere", "e"}, what="the others")
        assert fleet.supervisors["A"].status.address == "elsewhere"


async def test_every_source_is_equipped_also_one_that_is_made_later() -> None:
    floor, heard = Floor(), Heard()
    kind = driver(floor, Fixed)
    fleet = Fleet((entry(kind, "A", "a", tag("a")),), heard)
    equipped: list[str] = []
    fleet.equip(lambda source: equipped.append(source.address))
    async with living(fleet):
        await heard.of("a")
        switch(fleet, entry(kind, "A", "elsewhere", tag("a")), entry(kind, "B", "b", tag("b")))
        await heard.of("b")
    assert equipped == ["a", "elsewhere", "b"]


async def test_a_successor_waits_until_every_connection_before_is_closed() -> None:
    floor, heard = Floor(), Heard()
    kind = driver(floor, Flexible)
    fleet = Fleet((entry(kind, "A", "a", tag("one")),), heard)
    async with living(fleet):
        await heard.of("one")
        floor.leaving.clear()
        heard.names.clear()
        switch(fleet, entry(kind, "A", "a", tag("two")))
        switch(fleet, entry(kind, "A", "a", tag("three")))
        await asyncio.sleep(0.05)
        switch(fleet, entry(kind, "A", "a", tag("four")))
        await asyncio.sleep(0.05)
        assert floor.connects == 1
        assert heard.names == []  # not even what the old connection brings while it closes
        floor.leaving.set()
        await heard.of("four")
        assert {name for name, _ in heard.names} == {"four"}
        assert floor.connects == 2


async def test_who_shows_sources_hears_of_others_and_of_other_scan_classes() -> None:
    floor, heard = Floor(), Heard()
    kind = driver(floor, Flexible)
    slow = Tag("slow", None, ValueType.Int32, ScanClass("slow", 1.0))
    fleet = Fleet((entry(kind, "A", "a", tag("one")),), heard)
    seen: list[dict[str, list[str]]] = []
    fleet.changed = lambda: seen.append({name: list(one.scans) for name, one in fleet.supervisors.items()})
    async with living(fleet):
        await heard.of("one")
        switch(fleet, entry(kind, "A", "a", tag("one"), slow), entry(kind, "B", "b", tag("two")))
        await heard.of("slow")
        assert seen[-1] == {"A": ["fast", "slow"], "B": ["fast"]}
        switch(fleet, entry(kind, "B", "b", tag("two")))
        assert seen[-1] == {"B": ["fast"]}


async def test_values_that_may_grow_older_take_another_supervisor_of_the_same_device() -> None:
    floor = Floor()
    kind = driver(floor, Flexible)
    one = tag("one")
    fleet = Fleet((entry(kind, "A", "a", one),), Heard())
    change = fleet.prepare((replace(entry(kind, "A", "a", one), stale=Stale(5, 5)),))
    assert (list(change.retagged), list(change.remade), list(change.replaced)) == (["A"], ["A"], [])


async def test_tags_in_another_order_are_no_change() -> None:
    floor = Floor()
    kind = driver(floor, Flexible)
    a, b = tag("a"), tag("b")
    fleet = Fleet((entry(kind, "A", "a", a, b),), Heard())
    change = fleet.prepare((replace(entry(kind, "A", "a", b, a)),))
    assert (change.untouched, dict(change.retagged)) == (1, {})
