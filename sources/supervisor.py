"""Supervisor: one source's life. Connect, scan, on loss mark its tags and dial again, for ever.

What a tag is worth while its device is away follows the age of the silence: at once
UncertainNoCommunicationLastUsableValue, after some scans of its own class, three unless
configured otherwise, BadNoCommunication; where the device never answered, BadNotConnected.
So does what it is worth when the scan brings it no longer though the device is there
(`sources.staleness`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Never, NoReturn

from sources import backoff, clock
from sources.asking import ActsFor, Asker, Way
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Refused, SourceError, Unreachable
from sources.insight import HasImports, HasPlan, HasTraffic, PlannedBlock, TellsChanges, Traffic
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_INTERNAL_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NOT_CONNECTED,
    BAD_TIMEOUT,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
    is_bad,
    quality_name,
)
from sources.source import Session, Source
from sources.staleness import Block, Blocks
from sources.statistics import HasStatistics, Pace, ScanFigures
from sources.status import SourceState, SourceStatus
from sources.tag import ScanClass, Stale, Tag, Written

__all__ = ["SourceState", "SourceStatus", "Supervisor", "Verdict", "judge"]

log = logging.getLogger(__name__)

_NOT_AN_ANSWER: Final = frozenset({BAD_TIMEOUT, BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED})
_SELDOM: Final = 1.0
_OFTEN: Final = 0.1
"""Seconds between two looks at what has grown stale: a quarter of the shortest period, within these."""
_NOTHING: Final[frozenset[Quality]] = frozenset()
_AWAY: Final = frozenset({SourceState.Disconnected, SourceState.Refused, SourceState.Faulted})
"""States in which the tags are marked."""
_MOST_NAMED: Final = 100
"""So many bad points are named in a status."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error that ended a connection means.

    ``final``: dialling again soon is of no use. ``fault``: this program is to blame, not the device.
    """

    text: str
    quality: Quality
    final: bool = False
    fault: bool = False


def judge(error: BaseException) -> Verdict:
    """Decide about an error: the only place that knows which are transient and which are final."""
    match error:
        case BaseExceptionGroup():
            # A driver with several tasks: the worst of what they raised counts.
            verdicts = [judge(inner) for inner in error.exceptions]
            return max(verdicts, key=lambda verdict: (verdict.fault, verdict.final))
        case ConnectionLost():
            return Verdict(str(error), error.quality)
        case Refused():
            return Verdict(str(error), BAD_NOT_CONNECTED, final=True)
        case SourceError():
            return Verdict(str(error), BAD_NOT_CONNECTED)
        case _:
            return Verdict(f"internal error: {error!r}", BAD_INTERNAL_ERROR, fault=True)


def _trouble(block: Block, batch: Batch, cause: Quality) -> str:
    """What is wrong with a block, in words."""
    qualities = batch.qualities
    tags = block.tags
    if not isinstance(qualities, int):
        tags = tuple(tag for tag, quality in zip(batch.tags, qualities, strict=True) if quality == cause)
    return f"{_named(tags)} cannot be read: {quality_name(cause)}"


def _named(tags: tuple[Tag[Any], ...]) -> str:
    more = len(tags) - 1
    return f"{tags[0].name} and {more} more" if more else tags[0].name


def _nowhere(_batch: Batch) -> None:
    """Takes what nobody wants any more."""


class _Class:
    """The tags of one scan class, and what they are worth while nobody answers."""

    def __init__(self, scan: ScanClass) -> None:
        self.scan = scan
        self.tags: tuple[Tag[Any], ...] = ()
        self.alive = False
        """Values came since the last loss."""
        self.marked: Quality | None = None
        """What all its tags were marked with last."""
        self.timer: asyncio.TimerHandle | None = None

    def revive(self) -> None:
        """Values come."""
        self.alive, self.marked = True, None
        self.stop()

    def stop(self) -> None:
        """Let time no longer pass."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _OneWay:
    """The way to a device that knows no users. See `sources.asking.Way`."""

    acts_as: Final = ""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def ready(self) -> None:
        """See Way."""
        self._supervisor.check()

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Way."""
        return await self._supervisor.write(pairs)


class Supervisor:
    """Gives a source its life.

    ``delays`` yields the seconds to wait before each next attempt, anew after a connection
    that answered and stood for ``steady`` seconds; ``refused_delay`` is the wait after a
    final error. ``stale`` says how old a last value may grow, in place of the scan classes.
    """

    def __init__(
        self,
        source: Source,
        emit: Emit,
        *,
        delays: Callable[[], Iterator[float]] = backoff.delays,
        refused_delay: float = 300.0,
        steady: float = 10.0,
        stale: Stale | None = None,
    ) -> None:
        self._source = source
        # Once: to ask whether an object fits a protocol takes longer than all else here.
        self._counting = source if isinstance(source, HasStatistics) else None
        self._planned = source if isinstance(source, HasPlan) else None
        self._metered = source if isinstance(source, HasTraffic) else None
        self._forwarding = source if isinstance(source, ActsFor) else None
        self._importing = source if isinstance(source, HasImports) else None
        self._tells_changes = isinstance(source, TellsChanges) and source.tells_changes
        self._emit = emit
        self._delays = delays
        self._refused_delay = refused_delay
        self._steady = steady
        self._blocks = Blocks(stale)
        self._pace = Pace()
        self._look: asyncio.TimerHandle | None = None
        self._session: Session | None = None
        self._tags: Sequence[Tag[Any]] = ()
        self._classes: dict[ScanClass, _Class] = {}
        self._quiet: set[ScanClass] = set()
        """Classes that no value has come from since the last loss."""
        self._state = SourceState.Stopped
        self._since = clock.now()
        self._answered = False
        self._last_error = ""
        self._last_error_cause: Quality = GOOD
        self._last_error_time = self._success = 0
        self._told = False
        """Whether the present trouble stands in the log."""
        self._last_fault = ""
        self._connects = self._reads = self._values = 0
        self._errors: Counter[str] = Counter()
        self._classify(source.tags)

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._source.name

    @property
    def scans(self) -> Sequence[str]:
        """The names of its scan classes, the fastest first."""
        periods = self._periods
        return sorted(periods, key=lambda name: (periods[name], name))

    @property
    def _periods(self) -> dict[str, float]:
        """Of its scan classes, by their names: of tags and of imports."""
        imported = self._importing.import_scans if self._importing is not None else ()
        return {scan.name: scan.period for scan in (*self._classes, *imported)}

    @property
    def status(self) -> SourceStatus:
        """How the source is doing now."""
        source = self._source
        statistics = self._counting.statistics if self._counting is not None else {}
        bad = self._planned.bad_points() if self._planned is not None else ()
        return SourceStatus(
            source.name,
            source.address,
            self._state,
            self._since,
            len(source.tags),
            self._last_error,
            self._last_error_cause,
            self._last_error_time,
            self._since if self._state is SourceState.Connected else 0,
            self._success,
            self._connects,
            self._reads,
            self._all_values,
            dict(self._errors),
            {name: ScanFigures(period) for name, period in self._periods.items()}
            | {name: scan.snapshot() for name, scan in statistics.items()},
            replace(self._traffic),
            self._pace.rates,
            len(bad),
            tuple(bad[:_MOST_NAMED]),
            self._blocks.stale_points,
            tuple(self._importing.imports) if self._importing is not None else (),
        )

    @property
    def _all_values(self) -> int:
        """Those of tags and of imported variables."""
        return self._values + (self._importing.imported_values if self._importing is not None else 0)

    @property
    def _traffic(self) -> Traffic:
        return Traffic() if self._metered is None else self._metered.traffic

    def plan(self) -> Sequence[PlannedBlock]:
        """What is read now, and why so; empty of a source that has no plan, or none yet."""
        return () if self._planned is None else self._planned.plan()

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """Read now. Raises Unreachable where there is no connection, ConnectionLost as Session does."""
        batch = await self._live().read(tags)
        self._blocks.refreshed(tags)
        return batch

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """Write once. Raises Unreachable where there is no connection, ConnectionLost as Session does."""
        return await self._live().write(pairs)

    def acting(self, asker: Asker) -> Way:
        """The way to the device for whoever asks. Raises Denied for whom nothing is written there."""
        return _OneWay(self) if self._forwarding is None else self._forwarding.acting(asker)

    def check(self) -> None:
        """Raises Unreachable where there is no connection."""
        self._live()

    def _live(self) -> Session:
        if self._session is None:
            raise Unreachable(f"{self._source.name} ({self._source.address}) is not connected")
        return self._session

    def hush(self) -> None:
        """Pass nothing on any more, whatever still arrives: nobody knows the tags now.

        For whoever is about to cancel `run`; marks no tag.
        """
        self._emit = _nowhere
        for its in self._classes.values():
            its.stop()

    def retag(self, tags: Sequence[Tag[Any]], stale: Stale | None = None) -> None:
        """Read other tags from now on, as `Source.retag` says; ``stale`` takes the place of what it was.

        Tags that come while nobody answers are marked as the others of their class are.
        """
        before = set(map(id, self._tags))
        self._blocks.stale = stale
        self._classify(tags)
        self._source.retag(tags)
        if self._state in _AWAY:
            for its in self._classes.values():
                new = tuple(tag for tag in its.tags if id(tag) not in before)
                if new:
                    its.marked = its.marked or (
                        BAD_INTERNAL_ERROR if self._state is SourceState.Faulted else BAD_NOT_CONNECTED
                    )
                    self._mark(new, its.marked)
        if not tags and self._session is not None and self._state is not SourceState.Connected:
            self._hear()

    async def run(self) -> Never:
        """Keep the source alive until cancelled. Nothing else ends it."""
        delays, now = self._delays(), asyncio.get_running_loop().time
        self._enter(SourceState.Connecting)
        self._look_later()
        try:
            while True:
                self._answered, began = False, now()
                try:
                    await self._connect_and_scan()
                except Exception as error:  # noqa: BLE001 - judge() decides; nothing may end a source's life
                    verdict = judge(error)
                    self._gone(verdict, error)
                if self._answered and now() - began >= self._steady:
                    delays = self._delays()
                delay = self._refused_delay if verdict.final else next(delays)
                log.debug("%s: dialling again in %.1f s", self._source.name, delay)
                await asyncio.sleep(delay)
        finally:
            if self._look is not None:
                self._look.cancel()
            for its in self._classes.values():
                its.stop()
            self._enter(SourceState.Stopped)

    async def _connect_and_scan(self) -> NoReturn:
        async with self._source.connect() as session:
            self._connects += 1
            self._session = session
            try:
                if not self._tags:
                    self._hear()
                await session.scan(self._take)
            finally:
                self._session = None
        raise ConnectionLost("the scan ended of itself", BAD_COMMUNICATION_ERROR)

    def _classify(self, tags: Sequence[Tag[Any]]) -> None:
        """Sort the tags by their scan classes; classes and tags that were there keep their age."""
        groups: dict[ScanClass, list[Tag[Any]]] = defaultdict(list)
        for tag in tags:
            groups[tag.scan].append(tag)
        self._tags = tuple(tags)
        self._blocks.retain(tags)
        before = self._classes
        self._classes = {scan: before.get(scan) or _Class(scan) for scan in groups}
        for scan, its in self._classes.items():
            its.tags = tuple(groups[scan])
        for scan in before.keys() - groups.keys():
            before[scan].stop()
        self._quiet &= groups.keys()
        self._quiet |= groups.keys() - before.keys()

    def _take(self, batch: Batch) -> None:
        """Pass a batch on, and count it."""
        if batch.tags:
            self._emit(batch)
        qualities = batch.qualities
        if batch.values is None or (isinstance(qualities, int) and is_bad(qualities)):
            causes = frozenset((qualities,) if isinstance(qualities, int) else qualities)
            self._errors.update(map(quality_name, causes))
            self._follow(batch, causes, usable=False)
            if self._state is not SourceState.Connected and not causes <= _NOT_AN_ANSWER:
                self._hear()
            return
        self._reads += 1
        self._values += len(batch.tags if batch.places is None else batch.places)
        causes = _NOTHING
        if not isinstance(qualities, int):
            causes = frozenset(filter(is_bad, set(qualities)))
        if isinstance(qualities, int) or not all(map(is_bad, qualities)):
            self._success = batch.received
        self._follow(batch, causes, usable=True)
        if self._quiet:
            for scan in self._quiet & {tag.scan for tag in batch.tags}:
                self._quiet.discard(scan)
                self._classes[scan].revive()
        if self._state is not SourceState.Connected:
            self._hear()

    def _follow(self, batch: Batch, causes: frozenset[Quality], *, usable: bool) -> None:
        """Note when a block came, and what is wrong with it now that was not."""
        if not batch.tags or self._tells_changes:
            return
        block = self._blocks.heard(batch.tags, asyncio.get_running_loop().time(), usable=usable)
        if causes != block.troubles:
            for cause in causes - block.troubles:
                self._note(_trouble(block, batch, cause), cause)
            block.troubles = causes

    def _note(self, error: str, cause: Quality) -> None:
        self._last_error, self._last_error_cause, self._last_error_time = error, cause, clock.now()

    def _hear(self) -> None:
        """The device answers."""
        self._answered = True
        again = " again" if self._told else ""
        log.info(
            "%s (%s) is connected%s",
            self._source.name,
            self._source.address,
            again,
            extra=self._extra("connected"),
        )
        self._told = False
        self._enter(SourceState.Connected)

    def _gone(self, verdict: Verdict, error: Exception) -> None:
        """The connection is no more, or did not come about: say so once, mark the tags."""
        state = (
            SourceState.Faulted
            if verdict.fault
            else SourceState.Refused
            if verdict.final
            else SourceState.Disconnected
        )
        self._errors[quality_name(verdict.quality)] += 1
        if verdict.fault:
            first, level = verdict.text != self._last_fault, logging.ERROR
            self._last_fault = verdict.text
        else:
            first, level = not self._told or state is not self._state, logging.WARNING
        log.log(
            level if first else logging.DEBUG,
            "%s (%s) %s: %s",
            self._source.name,
            self._source.address,
            "failed" if verdict.fault else "is lost" if self._answered else "cannot be reached",
            verdict.text,
            exc_info=error if verdict.fault and first else None,
            extra=self._extra("disconnected"),
        )
        self._told = True
        self._note(verdict.text, verdict.quality)
        self._enter(state)
        self._blocks.lost(asyncio.get_running_loop().time())
        for its in self._classes.values():
            self._mark_gone(its, verdict)

    def _mark_gone(self, its: _Class, verdict: Verdict) -> None:
        if verdict.fault:
            its.stop()
            self._mark_all(its, BAD_INTERNAL_ERROR)
        elif its.alive:
            self._mark_all(its, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
            after = self._blocks.rule(its.scan).bad_after * its.scan.period
            its.timer = asyncio.get_running_loop().call_later(
                after, self._mark_all, its, BAD_NO_COMMUNICATION
            )
        elif its.marked in {None, BAD_INTERNAL_ERROR}:
            self._mark_all(its, BAD_NOT_CONNECTED)
        its.alive = False
        self._quiet.add(its.scan)

    def _mark_all(self, its: _Class, quality: Quality) -> None:
        its.marked = quality
        self._mark(its.tags, quality)

    def _mark(self, tags: tuple[Tag[Any], ...], quality: Quality) -> None:
        try:
            self._emit(Batch(tags, None, quality, None, clock.now()))
        except Exception:
            # Whoever takes the batches is broken; that must not end this source's life as well.
            log.exception(
                "%s: marking %s as %s failed", self._source.name, tags[0].scan.name, quality_name(quality)
            )

    def _look_later(self) -> None:
        shortest = min((tag.scan.period for tag in self._source.tags), default=_SELDOM)
        loop, after = asyncio.get_running_loop(), min(max(shortest / 4, _OFTEN), _SELDOM)
        self._look = loop.call_later(after, self._look_around, loop.time() + after)

    def _look_around(self, due: float) -> None:
        """Mark what has grown stale, and see how fast everything counts."""
        self._look_later()
        now = asyncio.get_running_loop().time()
        traffic = self._traffic
        self._pace.look(now, (self._all_values, traffic.requests, traffic.bytes_out, traffic.bytes_in))
        # Where the whole loop stood still, what came meanwhile is taken in first.
        if self._session is not None and now - due < _SELDOM:
            for tags, quality in self._blocks.grown_stale(now):
                self._tell_stale(tags, quality)
                self._mark(tags, quality)

    def _tell_stale(self, tags: tuple[Tag[Any], ...], quality: Quality) -> None:
        scan = tags[0].scan
        log.log(
            logging.DEBUG if quality == BAD_NO_COMMUNICATION else logging.WARNING,
            "%s: no value of %s for %d scans of %s; now %s",
            self._source.name,
            _named(tags),
            self._blocks.rule(scan).uncertain_after,
            scan.name,
            quality_name(quality),
        )

    def _enter(self, state: SourceState) -> None:
        if state is not self._state:
            self._state, self._since = state, clock.now()

    def _extra(self, event: str) -> dict[str, str]:
        return {"event": event, "source": self._source.name, "address": self._source.address}
