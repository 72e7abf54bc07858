"""Supervisor: one source's life. Connect, scan, on loss mark its tags and dial again, for ever.

What a tag is worth while its device is away follows the age of the silence: at once
UncertainNoCommunicationLastUsableValue, after three scans of its own class
BadNoCommunication; where the device never answered, BadNotConnected.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Never, NoReturn

from sources import backoff, clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Refused, SourceError, Unreachable
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_INTERNAL_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NOT_CONNECTED,
    BAD_TIMEOUT,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
    is_bad,
    quality_name,
)
from sources.source import Session, Source
from sources.statistics import HasStatistics, ScanStatistics
from sources.tag import ScanClass, Tag, Value

log = logging.getLogger(__name__)

_NOT_AN_ANSWER: Final = frozenset({BAD_TIMEOUT, BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED})


class SourceState(enum.Enum):
    """Where a source is in its life."""

    Stopped = "stopped"
    """Not run, or no longer."""
    Connecting = "connecting"
    """Dialled for the first time, or connected and not answered yet."""
    Connected = "connected"
    """The device answers."""
    Disconnected = "disconnected"
    """Unreachable or lost; dialled again and again."""
    Refused = "refused"
    """The device says no: a person must act. Dialled again now and then."""
    Faulted = "faulted"
    """An error of this program; tried again all the same."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A moment's picture of one source.

    ``since`` (ticks) is when ``state`` was entered. ``reads`` counts block reads that brought
    values, ``values`` the values they brought, ``errors`` block reads that failed and
    connections that were lost, by the name of the StatusCode. ``scans`` is by scan class.
    """

    name: str
    address: str
    state: SourceState
    since: int
    tags: int
    last_error: str = ""
    connects: int = 0
    reads: int = 0
    values: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    scans: Mapping[str, ScanStatistics] = field(default_factory=dict)

    @property
    def overruns(self) -> int:
        """Block reads that were skipped because their time had passed."""
        return sum(scan.overruns for scan in self.scans.values())


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


class _Class:
    """The tags of one scan class, and what they are worth while nobody answers."""

    def __init__(self, scan: ScanClass, tags: tuple[Tag[Any], ...]) -> None:
        self.scan = scan
        self.tags = tags
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


class Supervisor:
    """Gives a source its life.

    ``delays`` yields the seconds to wait before each next attempt, anew after a connection
    that answered and stood for ``steady`` seconds; ``refused_delay`` is the wait after a
    final error. After ``usable_scans`` of its class without a word a last value is no
    longer usable.
    """

    def __init__(
        self,
        source: Source,
        emit: Emit,
        *,
        delays: Callable[[], Iterator[float]] = backoff.delays,
        refused_delay: float = 300.0,
        steady: float = 10.0,
        usable_scans: int = 3,
    ) -> None:
        self._source = source
        self._emit = emit
        self._delays = delays
        self._refused_delay = refused_delay
        self._steady = steady
        self._usable_scans = usable_scans
        self._session: Session | None = None
        self._tags: Sequence[Tag[Any]] | None = None
        self._classes: dict[ScanClass, _Class] = {}
        self._quiet: set[ScanClass] = set()
        """Classes that no value has come from since the last loss."""
        self._state = SourceState.Stopped
        self._since = clock.now()
        self._answered = False
        self._last_error = ""
        self._told = False
        """Whether the present trouble stands in the log."""
        self._last_fault = ""
        self._connects = self._reads = self._values = 0
        self._errors: Counter[str] = Counter()

    @property
    def status(self) -> SourceStatus:
        """How the source is doing now."""
        source = self._source
        statistics = source.statistics if isinstance(source, HasStatistics) else {}
        return SourceStatus(
            source.name,
            source.address,
            self._state,
            self._since,
            len(source.tags),
            self._last_error,
            self._connects,
            self._reads,
            self._values,
            dict(self._errors),
            {name: scan.snapshot() for name, scan in statistics.items()},
        )

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """Read now. Raises Unreachable where there is no connection, ConnectionLost as Session does."""
        return await self._live().read(tags)

    async def write(self, pairs: Sequence[tuple[Tag[Any], Value]]) -> list[Quality]:
        """Write once. Raises Unreachable where there is no connection, ConnectionLost as Session does."""
        return await self._live().write(pairs)

    def _live(self) -> Session:
        if self._session is None:
            raise Unreachable(f"{self._source.name} ({self._source.address}) is not connected")
        return self._session

    async def run(self) -> Never:
        """Keep the source alive until cancelled. Nothing else ends it."""
        delays, now = self._delays(), asyncio.get_running_loop().time
        self._enter(SourceState.Connecting)
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
            for its in self._classes.values():
                its.stop()
            self._enter(SourceState.Stopped)

    async def _connect_and_scan(self) -> NoReturn:
        self._classify(self._source.tags)
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
        """The tags may have been replaced since the last connection."""
        known = self._tags
        if known is not None and len(tags) == len(known) and all(map(operator.is_, tags, known)):
            return
        for its in self._classes.values():
            its.stop()
        groups: dict[ScanClass, list[Tag[Any]]] = defaultdict(list)
        for tag in tags:
            groups[tag.scan].append(tag)
        self._tags = tuple(tags)
        self._classes = {scan: _Class(scan, tuple(members)) for scan, members in groups.items()}
        self._quiet = set(self._classes)

    def _take(self, batch: Batch) -> None:
        """Pass a batch on, and count it."""
        self._emit(batch)
        qualities = batch.qualities
        if batch.values is None or (isinstance(qualities, int) and is_bad(qualities)):
            causes = {qualities} if isinstance(qualities, int) else set(qualities)
            self._errors.update(map(quality_name, causes))
            if self._state is not SourceState.Connected and not causes <= _NOT_AN_ANSWER:
                self._hear()
            return
        self._reads += 1
        self._values += len(batch.tags)
        if self._quiet:
            for scan in self._quiet & {tag.scan for tag in batch.tags}:
                self._quiet.discard(scan)
                self._classes[scan].revive()
        if self._state is not SourceState.Connected:
            self._hear()

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
        self._last_error = ""
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
        self._last_error = verdict.text
        self._enter(state)
        for its in self._classes.values():
            self._mark_gone(its, verdict)

    def _mark_gone(self, its: _Class, verdict: Verdict) -> None:
        if verdict.fault:
            its.stop()
            self._mark(its, BAD_INTERNAL_ERROR)
        elif its.alive:
            self._mark(its, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
            after = self._usable_scans * its.scan.period
            its.timer = asyncio.get_running_loop().call_later(after, self._mark, its, BAD_NO_COMMUNICATION)
        elif its.marked in {None, BAD_INTERNAL_ERROR}:
            self._mark(its, BAD_NOT_CONNECTED)
        its.alive = False
        self._quiet.add(its.scan)

    def _mark(self, its: _Class, quality: Quality) -> None:
        its.marked = quality
        try:
            self._emit(Batch(its.tags, None, quality, None, clock.now()))
        except Exception:
            # Whoever takes the batches is broken; that must not end this source's life as well.
            log.exception(
                "%s: marking %s as %s failed", self._source.name, its.scan.name, quality_name(quality)
            )

    def _enter(self, state: SourceState) -> None:
        if state is not self._state:
            self._state, self._since = state, clock.now()

    def _extra(self, event: str) -> dict[str, str]:
        return {"event": event, "source": self._source.name, "address": self._source.address}
