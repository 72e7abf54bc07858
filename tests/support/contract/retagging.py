"""Tags whose names say nothing of where they lead, and a listener that knows where each of them does."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from support.contract.case import FAST, SLOWER, DriverCase
from support.contract.plc import PACE, Plc
from support.net import until

from sources.batch import Batch
from sources.quality import GOOD, quality_name
from sources.registry import DRIVERS
from sources.source import Source
from sources.supervisor import Supervisor
from sources.tag import ScanClass, Tag, ValueType

SCANS: Final = (FAST, SLOWER)


class Retagging:
    """A source that is retagged, and what is wrong with what it brings.

    A value must be that of the place its tag leads to, of a generation that is not newer than the
    device's and not older than ``oldest``. Nothing else than Good may come, and nothing at all of a
    tag that is no more.
    """

    def __init__(self, case: DriverCase, plc: Plc, port: int | None = None, **more: Any) -> None:
        self.plc = plc
        self._case = case
        said = case.settings("127.0.0.1", plc.port if port is None else port, "20s") | more
        self._driver = DRIVERS[case.kind]
        self._settings = self._driver.settings.model_validate(said)
        self._made: dict[int, tuple[Tag[Any], str]] = {}
        """Every tag there was and where it leads, by its identity, which is never another's by that."""
        self.tags: tuple[Tag[Any], ...] = ()
        self.oldest = plc.generation
        self.wrong: list[str] = []
        self.held: dict[int, int] = {}
        """The last value of each tag, by its identity."""
        self.source: Source
        self.supervisor: Supervisor

    def tag(
        self, name: str, place: str, scan: ScanClass = FAST, *, natural: ValueType | None = None, **more: Any
    ) -> Tag[Any]:
        """A tag of that name that leads to that tag of the device; ``more`` is what else its spec says."""
        spec = self._case.spec(place, scan, writable=place in self.plc.writable)
        made = replace(self._driver.tag(replace(spec, **more), self._settings), name=name)
        if natural is not None:
            made = replace(made, type=natural)
        self._made[id(made)] = made, place
        return made

    def begin(self, *tags: Tag[Any]) -> Source:
        """Make the source."""
        self.tags = tags
        self.source = self._driver.source("PLC", self._settings, tags)
        return self.source

    def retag(self, *tags: Tag[Any]) -> None:
        """Have it read these."""
        if hasattr(self, "supervisor"):
            self.supervisor.retag(tags)
        else:
            self.source.retag(tags)
        self.tags = tags

    def __call__(self, batch: Batch) -> None:
        there = set(map(id, self.tags))
        told = batch.tags if batch.places is None else [batch.tags[place] for place in batch.places]
        for index, tag in enumerate(told):
            quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[index]
            value = None if batch.values is None else batch.values[index]
            place = self._made[id(tag)][1]
            if id(tag) not in there:
                self.wrong.append(f"{tag.name} at {place} is no more and brought {value}")
            elif quality != GOOD:
                self.wrong.append(f"{tag.name} at {place} is {quality_name(quality)}")
            else:
                self._judge(tag, place, value)

    def _judge(self, tag: Tag[Any], place: str, value: Any) -> None:
        generation = value - self.plc.first(place)
        if not 0 <= generation < PACE:
            self.wrong.append(f"{tag.name} at {place} is {value}: not that place's")
        elif place in self.plc.names and not self.oldest <= generation <= self.plc.generation:
            self.wrong.append(f"{tag.name} at {place} is of {generation}, {self.oldest} is right")
        self.held[id(tag)] = value

    async def right(self) -> None:
        """Wait until every tag has the device's present value; no older one is right any more."""
        generation = self.plc.generation

        def there() -> bool:
            return all(
                self.held.get(id(tag)) == self.plc.value(self._made[id(tag)][1], generation)
                for tag in self.tags
                if self._made[id(tag)][1] in self.plc.names
            )

        await until(there, every=0.01, what=f"right values; {self.wrong[:3]}")
        self.oldest = generation
        self.true()

    async def advance(self) -> None:
        """Have every value change, and wait until it is here."""
        await self.plc.advance()
        await self.right()

    def true(self) -> None:
        """Nothing wrong has come so far."""
        assert self.wrong == [], f"{len(self.wrong)} wrong: {self.wrong[:5]}"

    def shuffled(self, dice: random.Random, before: Sequence[Tag[Any]]) -> list[Tag[Any]]:
        """Some of the tags there are, some at other places or of another class, and some new ones."""
        kept = [tag for tag in before if dice.random() < 0.7]
        free = {f"P{number}" for number in range(12)} - {tag.name for tag in kept}
        names = sorted(free)[: dice.randrange(1, 6)]
        found = kept + [self.tag(name, dice.choice(self.plc.names), dice.choice(SCANS)) for name in names]
        dice.shuffle(found)
        return found


@asynccontextmanager
async def supervised(its: Retagging) -> AsyncIterator[Supervisor]:
    """The source lives for the time of the block, as in the server."""
    made = its.supervisor = Supervisor(its.source, its, delays=lambda: itertools.repeat(0.05))
    task = asyncio.create_task(made.run())
    try:
        await its.right()
        yield made
    finally:
        task.cancel()
        await asyncio.wait((task,))
    its.true()
