"""A source that lives as in the server, and a listener that knows the truth."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from support.contract.case import DriverCase
from support.contract.plc import PACE, Plc
from support.contract.proxy import FrameProxy, frame_proxy
from support.net import until
from support.scanning import Listener

from sources.batch import Batch
from sources.quality import GOOD, Quality, is_bad, is_good, quality_name
from sources.source import Source
from sources.supervisor import SourceState, Supervisor

_SOON: Final = 0.05


class Truth(Listener):
    """Keeps what comes, and what of it is wrong.

    A Good value must be its own tag's, of a generation that is not newer than the device's
    and not older than ``oldest``; a Bad one must be none.
    """

    def __init__(self, plc: Plc) -> None:
        super().__init__()
        self._plc = plc
        self.oldest = plc.generation
        self.wrong: list[str] = []
        self.good = 0
        self.seen: set[str] = set()
        """Names of all qualities that came."""

    def __call__(self, batch: Batch) -> None:
        super().__call__(batch)
        told = batch.tags if batch.places is None else [batch.tags[place] for place in batch.places]
        for index, tag in enumerate(told):
            quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[index]
            self.judge(tag.name, None if batch.values is None else batch.values[index], quality)

    def judge(self, name: str, value: Any, quality: Quality) -> None:
        """Take note of one value."""
        self.seen.add(quality_name(quality))
        if is_good(quality):
            self.good += 1
        if is_bad(quality):
            if value is not None:
                self.wrong.append(f"{name} is {quality_name(quality)} and yet {value!r}")
        elif value is not None or is_good(quality):
            self._judge_value(name, value)

    def _judge_value(self, name: str, value: Any) -> None:
        first = self._plc.first(name)
        generation = value - first if type(value) is int else -1
        if not 0 <= generation < PACE:
            self.wrong.append(f"{name} is {value!r}: not its own value, which is {first} and more")
        elif name in self._plc.names and not self.oldest <= generation <= self._plc.generation:
            right = f"{self.oldest} to {self._plc.generation}"
            self.wrong.append(f"{name} is {value!r}: of generation {generation}, not {right}")


class Live:
    """One source under its supervisor."""

    def __init__(self, plc: Plc, source: Source) -> None:
        self.plc = plc
        self.source = source
        self.truth = Truth(plc)
        self.names: Sequence[str] = [tag.name for tag in source.tags if tag.name in plc.names]
        # A device that is away is dialled again at once, and its values are of no use soon.
        # So is one whose spoiled reply reads as a refusal.
        self.supervisor = Supervisor(
            source, self.truth, delays=lambda: itertools.repeat(_SOON), refused_delay=_SOON
        )

    @property
    def qualities(self) -> set[str]:
        """Names of the qualities that the tags have now."""
        return {quality_name(quality) for quality in self.truth.qualities.values()}

    async def good(self, within: float = 30.0) -> None:
        """Wait until every tag is Good and has the device's present value; no older one is right any more."""
        generation = self.plc.generation

        def there() -> bool:
            return all(
                self.truth.qualities.get(name) == GOOD
                and self.truth.values.get(name) == self.plc.value(name, generation)
                for name in self.names
            )

        await until(there, within=within, every=0.01, what=f"all Good; they are {self.qualities}")
        self.truth.oldest = generation
        self.true()

    async def advance(self) -> None:
        """Have every value change, and wait until it is here."""
        await self.plc.advance()
        await self.good()

    async def all(self, *names: str, within: float = 30.0) -> None:
        """Wait until every tag has one of these qualities."""
        await until(
            lambda: self.qualities <= set(names),
            within=within,
            every=0.01,
            what=f"{names}, are {self.qualities}",
        )

    async def lost(self) -> None:
        """Wait until the source is not connected."""
        await until(
            lambda: self.supervisor.status.state is not SourceState.Connected, every=0.005, what="lost"
        )

    def true(self) -> None:
        """Nothing wrong has come so far. Raises AssertionError."""
        assert self.truth.wrong == [], f"{len(self.truth.wrong)} wrong values: {self.truth.wrong[:5]}"


@asynccontextmanager
async def live(plc: Plc, source: Source) -> AsyncIterator[Live]:
    """The source lives for the time of the block; whatever it brings is true."""
    made = Live(plc, source)
    task = asyncio.create_task(made.supervisor.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait((task,))
    made.true()
    assert "BadInternalError" not in made.truth.seen, made.supervisor.status.last_error


@asynccontextmanager
async def between(
    case: DriverCase, plc: Plc, patience: str = "20s"
) -> AsyncIterator[tuple[Live, FrameProxy]]:
    """A live source, all Good, and the proxy before its device; ``patience`` is its time-out."""
    async with (
        frame_proxy(lambda: plc.port, case.framing) as proxy,
        live(plc, case.source(plc, proxy.port, timeout=patience)) as alive,
    ):
        await alive.good()
        yield alive, proxy
