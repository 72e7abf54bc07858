"""Sources that change give way to their successors, and the others never notice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Never

from pydantic import BaseModel
from support.net import until

from server.change.fleet import Fleet
from server.change.report import sources_report
from server.config import SourceEntry
from sources.batch import Batch, Emit
from sources.quality import GOOD, Quality
from sources.registry import Driver
from sources.supervisor import SourceState
from sources.tag import ScanClass, Stale, Tag, Value, ValueType

FAST = ScanClass("fast", 0.1)


class Settings(BaseModel):
    host: str
    pace: int = 1


@dataclass
class Floor:
    """The devices there are, and what happens at them."""

    open: set[str] = field(default_factory=set)
    connects: int = 0
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.leaving.set()


class SlowToClose:
    """A source whose connection takes its time to close."""

    def __init__(self, floor: Floor, name: str, settings: Settings, tags: Sequence[Tag[Any]]) -> None:
        self.floor, self.name, self.address, self.tags = floor, name, settings.host, tuple(tags)
        self.emit: Emit | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SlowToClose]:
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

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        return [GOOD] * len(pairs)

    def retag(self, tags: Sequence[Tag[Any]]) -> None:
        self.tags = tuple(tags)


class Adapting(SlowToClose):
    """Takes another pace while it lives."""

    pace = 1

    def fits(self, settings: Settings) -> bool:
        return settings.host == self.address

    def adapt(self, settings: Settings) -> None:
        self.pace = settings.pace


def driver(floor: Floor, kind: str = "slow", make: type[SlowToClose] = SlowToClose) -> Driver:
    return Driver(
        kind,
        Settings,
        lambda *_: tag("x"),
        lambda name, settings, tags: make(floor, name, settings, tags),
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
    deque(fleet.go(change), 0)
    return change


async def test_what_a_source_takes_while_it_lives_costs_it_no_connection() -> None:
    floor, heard = Floor(), Heard()
    kind, other = driver(floor, "adapting", Adapting), driver(floor)
    a, b, c, new = map(tag, ("a", "b", "c", "new"))
    first = [entry(kind, "A", "a", a), entry(kind, "B", "b", b), entry(other, "C", "c", c)]
    fleet = Fleet(first, heard)

    def faster(one: SourceEntry, host: str, *tags: Tag[Any]) -> SourceEntry:
        return replace(one, settings=Settings(host=host, pace=2), tags=tags or one.tags)

    def pace(name: str) -> int:
        source: Any = fleet._crews[name].source
        return int(source.pace)

    async with living(fleet):
        await until(lambda: len(floor.open) == 3, what="all connections")
        change = switch(fleet, faster(first[0], "a"), first[1], first[2])
        assert (list(change.adapted), list(change.replaced), change.untouched) == (["A"], [], 2)
        assert "other identities" in sources_report(change).changed["A"]
        assert (pace("A"), pace("B"), floor.connects) == (2, 1, 3)
        # With other tags besides; with another host; and of a source that takes no such thing.
        change = switch(fleet, faster(first[0], "a"), faster(first[1], "b", b, new), faster(first[2], "c"))
        assert (list(change.adapted), list(change.retagged)) == (["B"], ["B"])
        assert (list(change.replaced), change.untouched, pace("B")) == (["C"], 1, 2)
        await heard.of("new")
        change = switch(
            fleet, faster(first[0], "elsewhere"), faster(first[1], "b", b, new), faster(first[2], "c")
        )
        assert (list(change.adapted), list(change.replaced), change.untouched) == ([], ["A"], 2)


async def test_each_source_is_dealt_with_by_what_changed_of_it() -> None:
    floor, heard = Floor(), Heard()
    kind, other = driver(floor), driver(floor, "other")
    a, b, c, d, new = map(tag, ("a", "b", "c", "d", "new"))
    first = (
        entry(kind, "A", "a", a),
        entry(kind, "B", "b", b),
        entry(kind, "C", "c", c),
        entry(kind, "D", "d", d),
        entry(kind, "E", "e", enabled=False),
    )
    fleet = Fleet(first, heard)
    async with living(fleet):
        await until(lambda: len(floor.open) == 4, what="all connections")
        before = dict(fleet.supervisors)
        change = switch(
            fleet,
            entry(kind, "E", "e", enabled=False),
            entry(other, "C", "c", c, new),
            entry(kind, "B", "b", b, new),
            entry(kind, "A", "a", a),
            entry(kind, "F", "f", tag("f")),
        )
        assert (list(change.added), list(change.removed), list(change.retagged)) == (["F"], ["D"], ["B"])
        assert (list(change.replaced), change.untouched) == (["C"], 1)
        assert change.reasons == {"C": "driver changed from slow to other"}
        await until(lambda: floor.open == {"a", "b", "c", "f"}, what="the connections of now")
        await heard.of("new")
        assert fleet.supervisors["A"] is before["A"]
        assert fleet.supervisors["B"] is before["B"]
        assert fleet.supervisors["B"].status.connects == 1
        assert fleet.supervisors["B"].status.tags == 2
        assert fleet.supervisors["C"] is not before["C"]
        assert fleet.supervisors.keys() == {"A", "B", "C", "F"}
        assert before["D"].status.state is SourceState.Stopped
        assert fleet.supervisors["A"].status.connects == 1
        assert floor.connects == 4 + 2

        change = switch(fleet, entry(kind, "A", "elsewhere", a), entry(kind, "E", "e", tag("e")))
        assert (list(change.replaced), list(change.added)) == (["A"], ["E"])
        assert change.reasons == {"A": "host changed"}
        await until(lambda: floor.open == {"elsewhere", "e"}, what="the others")
        assert fleet.supervisors["A"].status.address == "elsewhere"


async def test_every_source_is_equipped_also_one_that_is_made_later() -> None:
    floor, heard = Floor(), Heard()
    kind = driver(floor)
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
    kind = driver(floor)
    fleet = Fleet((entry(kind, "A", "a", tag("one")),), heard)
    async with living(fleet):
        await heard.of("one")
        floor.leaving.clear()
        heard.names.clear()
        switch(fleet, entry(kind, "A", "b", tag("two")))
        switch(fleet, entry(kind, "A", "a", tag("three")))
        await asyncio.sleep(0.05)
        switch(fleet, entry(kind, "A", "b", tag("four")))
        switch(fleet, entry(kind, "A", "b", tag("five")))  # of one that does not run yet
        await asyncio.sleep(0.05)
        assert floor.connects == 1
        assert heard.names == []  # not even what the old connection brings while it closes
        floor.leaving.set()
        await heard.of("five")
        assert {name for name, _ in heard.names} == {"five"}
        assert floor.connects == 2


async def test_who_shows_sources_hears_of_others_and_of_other_scan_classes() -> None:
    floor, heard = Floor(), Heard()
    kind = driver(floor)
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


async def test_values_may_grow_older_over_the_connection_there_is() -> None:
    floor, heard = Floor(), Heard()
    kind = driver(floor)
    one = tag("one")
    fleet = Fleet((entry(kind, "A", "a", one),), heard)
    async with living(fleet):
        await heard.of("one")
        change = switch(fleet, replace(entry(kind, "A", "a", one), stale=Stale(5, 5)))
        assert (change.retagged["A"].stale, dict(change.replaced)) == (Stale(5, 5), {})
        assert sources_report(change).changed == {"A": "re-planned, connection kept: other staleness"}
        await heard.of("one")
        assert floor.connects == 1
        assert fleet.supervisors["A"]._blocks.rule(FAST) == Stale(5, 5)


def test_what_becomes_of_each_source_is_told() -> None:
    kind = driver(Floor())
    a, b, c = map(tag, "abc")
    fleet = Fleet((entry(kind, "A", "a", a, b), entry(kind, "B", "b", c)), Heard())
    other = replace(b, scan=ScanClass("slow", 1.0))
    change = fleet.prepare((entry(kind, "A", "a", other, tag("d"), tag("e")), entry(kind, "B", "there", c)))
    assert sources_report(change).changed == {
        "A": "re-planned, connection kept: 2 tags added, 1 removed, 1 changed",
        "B": "reconnected because host changed",
    }
    change = fleet.prepare((entry(kind, "A", "a", a, b, tag("d")), entry(kind, "B", "b", c)))
    assert sources_report(change).changed == {"A": "re-planned, connection kept: 1 tag added"}


async def test_tags_in_another_order_are_no_change() -> None:
    floor = Floor()
    kind = driver(floor)
    a, b = tag("a"), tag("b")
    fleet = Fleet((entry(kind, "A", "a", a, b),), Heard())
    change = fleet.prepare((replace(entry(kind, "A", "a", b, a)),))
    assert (change.untouched, dict(change.retagged)) == (1, {})
