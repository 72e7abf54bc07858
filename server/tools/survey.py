"""Which addresses of a Modbus device answer: a Modbus device has no list of them to ask for.

Blocks are read, and halved where the device says that it has no such address, down to a pair
of registers and to one: some devices give a value of two registers only whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from server.config.errors import did_you_mean
from server.progress import Progress
from server.tools.errors import ToolError, UsageError
from server.tools.inventory import Inventory, Leaf, LeftOut, Single
from server.tools.target import Target
from sources.errors import AddressError, ConnectionLost, SourceError
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_DECODING_ERROR, BAD_NOT_SUPPORTED, Quality, is_bad
from sources.source import Session
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag, ValueType

TABLES: Final = ("coil", "discrete", "holding", "input")
MOST_SINGLES: Final = 1_000
"""Addresses that become a value each; a device that answers for more is to be asked for a range."""

_BITS: Final = frozenset({"coil", "discrete"})
_BITS_AT_ONCE: Final = 120
_LAST: Final = 65535
_LOST_IN_A_ROW: Final = 3
_ONCE: Final = ScanClass("once", 1.0)


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses of one table, the last one included."""

    table: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.table}:{self.first}..{self.last}"

    @property
    def count(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


EVERYWHERE: Final = tuple(Span(table, 0, 999) for table in TABLES)


def parse_span(text: str) -> Span:
    """``holding:0..499``, or ``holding`` for its first thousand. Raises UsageError."""
    table, colon, numbers = text.strip().partition(":")
    first, dots, last = numbers.partition("..")
    if table not in TABLES:
        raise UsageError(f"--range: {table!r} is no table; {did_you_mean(table, TABLES)}")
    if not colon:
        return Span(table, 0, 999)
    if not (first.isdecimal() and (last.isdecimal() or not dots)):
        raise UsageError(f"--range: {text!r} is no range; write holding:0..499")
    span = Span(table, int(first), int(last if dots else first))
    if not span.first <= span.last <= _LAST:
        raise UsageError(f"--range: {text!r}: addresses run from 0 to {_LAST}, the lower first")
    return span


class Survey:
    """One look at a device. Raises ToolError where it does not answer at all."""

    def __init__(self, target: Target, progress: Progress) -> None:
        self._target = target
        self._progress = progress
        self._at_once = max(2, min(124, int(getattr(target.settings, "max_registers", 124))) & ~1)
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._lost = 0
        self._done = 0
        self._of = 0
        self._doing = ""

    async def run(self, spans: Sequence[Span]) -> list[Span]:
        """The parts of the spans that the device answers for."""
        found: list[Span] = []
        async with self._stack:
            for span in spans:
                self._doing, self._done, self._of = f"looking at {span}", 0, span.count
                found += _joined(await self._look(span))
                self._progress(self._doing, self._of, self._of)
        return found

    async def _look(self, span: Span) -> list[Span]:
        size = _BITS_AT_ONCE if span.table in _BITS else self._at_once
        found: list[Span] = []
        for first in range(span.first, span.last + 1, size):
            part = Span(span.table, first, min(first + size - 1, span.last))
            answered = await (self._bits(part) if span.table in _BITS else self._registers(part))
            if answered is None:
                return found  # the device has no such table
            found += answered
        return found

    async def _registers(self, span: Span) -> list[Span] | None:
        quality = (await self._ask([self._tag(span, f"string({2 * span.count})")]))[0]
        if quality == BAD_NOT_SUPPORTED:
            return None
        if quality != BAD_CONFIGURATION_ERROR or span.count == 1:
            self._done += span.count
            self._progress(self._doing, self._done, self._of)
            return [span] if _answered(quality) else []
        # Halved at an even place, so that the halves of a value of two registers stay together.
        middle = span.first + (span.count // 2 + 1 & ~1 if span.count > 2 else 1)
        found: list[Span] = []
        for half in (Span(span.table, span.first, middle - 1), Span(span.table, middle, span.last)):
            found += await self._registers(half) or []
        return found

    async def _bits(self, span: Span) -> list[Span] | None:
        tags = [self._tag(Span(span.table, at, at), None) for at in range(span.first, span.last + 1)]
        qualities = await self._ask(tags)
        self._done += span.count
        self._progress(self._doing, self._done, self._of)
        if all(quality == BAD_NOT_SUPPORTED for quality in qualities):
            return None
        return [
            Span(span.table, span.first + index, span.first + index)
            for index, quality in enumerate(qualities)
            if _answered(quality)
        ]

    def _tag(self, span: Span, encoding: str | None) -> Tag[Any]:
        spec = TagSpec(str(span), f"{span.table}:{span.first}", ValueType.Boolean, _ONCE, encoding)
        try:
            return self._target.driver.tag(spec, self._target.settings)
        except AddressError as error:
            raise ToolError(f"{span}: {error}") from None

    async def _ask(self, tags: list[Tag[Any]]) -> Sequence[Quality]:
        """The quality of each; of a device that says nothing, Bad, unless it does so again and again."""
        try:
            session = self._session or await self._connect()
            batch = await session.read(tags)
        except ConnectionLost as error:
            self._lost += 1
            await self._stack.aclose()
            self._session = None
            if self._lost >= _LOST_IN_A_ROW:
                raise ToolError(f"the device does not answer any more ({tags[0].address}): {error}") from None
            return [error.quality] * len(tags)
        except SourceError as error:
            raise ToolError(str(error)) from None
        self._lost = 0
        qualities = batch.qualities
        return [qualities] * len(tags) if isinstance(qualities, int) else qualities

    async def _connect(self) -> Session:
        source = self._target.driver.source("device", self._target.settings, ())
        self._session = session = await self._stack.enter_async_context(source.connect())
        return session


def _answered(quality: Quality) -> bool:
    """Whether there is something: the text that registers make need not be one."""
    return not is_bad(quality) or quality == BAD_DECODING_ERROR


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Neighbours as one."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].last + 1 == span.first:
            joined[-1] = Span(span.table, joined[-1].first, span.last)
        else:
            joined.append(span)
    return joined


def as_inventory(identity: dict[str, str], spans: Sequence[Span]) -> Inventory:
    """Each address that answers as a value: what it holds only a manual says."""
    singles: list[Single] = []
    left: list[LeftOut] = []
    for span in spans:
        room = MOST_SINGLES - len(singles)
        if span.count > room:
            why = f"more than {MOST_SINGLES} addresses answer; choose some with --range"
            left.append(LeftOut(str(Span(span.table, span.first + room, span.last)), why))
        for at in range(span.first, min(span.last, span.first + room - 1) + 1):
            bits = span.table in _BITS
            address = f"{span.table}:{at}"
            kind = ValueType.Boolean if bits else ValueType.UInt16
            name = (f"{span.table.capitalize()}_{at}",)
            singles.append(
                Single((), Leaf(name, address, None if bits else "uint16", kind, implied=True), address)
            )
    return Inventory(identity, singles, (), left)
