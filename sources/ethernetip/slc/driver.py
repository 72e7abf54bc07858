"""SlcSource: one SLC 500 or MicroLogix, and the session while it is connected."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final, Never, TypeVar

from sources import clock
from sources.address import host_and_port
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip.client import FAREWELL
from sources.ethernetip.device import named
from sources.ethernetip.failures import Broken, NotSent, Rejected
from sources.ethernetip.slc.config import SlcSettings
from sources.ethernetip.slc.directory import Processor
from sources.ethernetip.slc.known import Known
from sources.ethernetip.slc.link import Refused, SlcLink
from sources.ethernetip.slc.plan import Block, SlcTag, Unwritable, encode, explain, plan
from sources.ethernetip.slc.survey import look, survey
from sources.ethernetip.worker import Counters, Worker
from sources.heritage import Heritage
from sources.insight import PlannedBlock, Traffic
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    GOOD,
    Quality,
    quality_name,
)
from sources.resolve import Resolver
from sources.schedule import Schedule, phase
from sources.statistics import ScanStatistics
from sources.tag import Part, ScanClass, Tag, Value, Written
from sources.turns import Busy, Turns

log = logging.getLogger(__name__)

T = TypeVar("T")

KEEP_ALIVE: Final = 30.0
"""Seconds of silence after which a word is sent."""
WATCH: Final = 5.0
"""Seconds between two looks at which program the controller runs."""
LOOK: Final = 60.0
"""Seconds between two looks at its data files, where the program says that it is the same."""
MOST_HANGING: Final = 4
"""So many threads of earlier connections may hang before no further one is begun."""
_OPENING: Final = 10
"""Requests that opening takes at most, each with its own time."""


class SlcSource:
    """See `sources.source.Source`."""

    def __init__(self, name: str, settings: SlcSettings, tags: Sequence[SlcTag]) -> None:
        self._name = name
        self._settings = settings
        self._tags = tuple(tags)
        self._statistics: dict[str, ScanStatistics] = {}
        self._resolver = Resolver(settings.host, settings.port)
        self._workers = Counters()
        self.known = Known(name)
        """What the controller has told of itself, over all connections."""
        self._past = Traffic()
        """What went over earlier connections."""
        self._link: SlcLink | None = None
        self._session: SlcSession | None = None
        """The last there was: what it reads, or read before it was lost."""

    @property
    def name(self) -> str:
        """See Source."""
        return self._name

    @property
    def address(self) -> str:
        """See Source."""
        return host_and_port(self._settings.host, self._settings.port)

    @property
    def tags(self) -> Sequence[SlcTag]:
        """See Source."""
        return self._tags

    @property
    def statistics(self) -> Mapping[str, ScanStatistics]:
        """What was counted, by the name of the scan class, over all connections."""
        return self._statistics

    @property
    def threads_cut(self) -> int:
        """How many connections' threads were at work when they had to be ended from outside."""
        return self._workers.cut

    @property
    def threads_abandoned(self) -> int:
        """How many of these did not even end then."""
        return self._workers.abandoned

    @property
    def traffic(self) -> Traffic:
        """See sources.insight.HasTraffic."""
        now = self._link.traffic if self._link is not None else Traffic()
        past = self._past
        return Traffic(
            past.requests + now.requests, past.bytes_out + now.bytes_out, past.bytes_in + now.bytes_in
        )

    def plan(self) -> Sequence[PlannedBlock]:
        """See sources.insight.HasPlan."""
        return explain(self._session.blocks) if self._session is not None else []

    def bad_points(self) -> Sequence[str]:
        """See sources.insight.HasPlan: those whose file is of another type than they say."""
        return tuple(self.known.conflicts(self._tags))

    def retag(self, tags: Sequence[SlcTag]) -> None:
        """See Source: blocks that stay as they are keep their rhythm."""
        self._tags = tuple(tags)
        if self._session is not None:
            self._session.retag(self._tags)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SlcSession]:
        """Dial and open a connection. Raises Unreachable."""
        if self._workers.hanging >= MOST_HANGING:
            raise Unreachable(
                f"{self._workers.hanging} threads of earlier connections hang and do not end; "
                "no further one is begun until they do"
            )
        settings = self._settings
        try:
            async with asyncio.timeout(settings.timeout):
                endpoints = await self._resolver.resolve()
        except TimeoutError:
            raise Unreachable(f"the host name is not resolved within {settings.timeout:g} s") from None
        link = self._link = SlcLink(settings, str(endpoints[0][1][0]))
        worker = Worker(self._name, link, self._workers)
        lost = False
        try:
            self.known.meet(await worker.do(link.open, _OPENING * settings.timeout))
            session = SlcSession(
                self._name, settings, self._tags, self._statistics, (link, worker, self.known)
            )
            await session.begin()
            session.retag(self._tags)  # they may be others by now
            self._session = session
            try:
                yield session
            finally:
                lost = session.is_lost
            if not lost:
                with suppress(Broken, Rejected, Busy, TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        await worker.do(lambda: link.farewell(FAREWELL), FAREWELL)
        except (Broken, Rejected) as error:
            raise Unreachable(str(error)) from None
        finally:
            self._past, self._link = self.traffic, None
            await worker.stop()


class _Job:
    """One block on the schedule."""

    __slots__ = ("block", "lasted", "rhythm", "trouble")

    def __init__(self, block: Block, rhythm: float) -> None:
        self.block = block
        self.rhythm: float | None = rhythm
        self.trouble = ""
        self.lasted = 0.0


class SlcSession:
    """See `sources.source.Session`."""

    def __init__(
        self,
        name: str,
        settings: SlcSettings,
        tags: tuple[SlcTag, ...],
        statistics: dict[str, ScanStatistics],
        line: tuple[SlcLink, Worker, Known],
    ) -> None:
        self._name = name
        self._settings = settings
        self._tags = tags
        self._statistics = statistics
        self._link, self._worker, self._known = line
        self._watch_at = self._look_at = math.inf
        """When the program and the data files are to be looked at again, by the loop's clock."""
        self._turns = Turns()
        self._clock = asyncio.get_running_loop().time
        self._lost: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()
        self._alone: set[str] = set()
        self._retagged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._planned: tuple[SlcTag, ...] = ()
        self.blocks: list[Block] = []
        """What is read by the scan."""

    @property
    def is_lost(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._lost.done()

    async def _do(self, work: Callable[[], T]) -> T:
        """Something in the thread. Raises Refused, and ConnectionLost."""
        try:
            return await self._worker.do(work, self._settings.timeout)
        except Refused:
            raise
        except (Broken, Rejected) as error:
            quality = error.quality if isinstance(error, Broken) else BAD_COMMUNICATION_ERROR
            lost = ConnectionLost(str(error), quality)
            if not self._lost.done():
                self._lost.set_result(lost)
            if isinstance(error, NotSent):
                raise _Unsent(str(error), quality) from None
            raise lost from None

    def retag(self, tags: tuple[SlcTag, ...]) -> None:
        """Plan these before anything else is read."""
        kept = {tag.name for tag in set(self._tags).intersection(tags)}
        self._tags = tags
        self._alone &= kept
        if not self._retagged.done():
            self._retagged.set_result(None)

    # -- reading

    async def scan(self, emit: Emit) -> Never:
        """See Session."""
        self._judge(emit)
        schedule = self._start()
        spoken = self._clock()
        while True:
            if self._clock() >= self._watch_at and await self._watch():
                self._alone.clear()
                self._judge(emit)
                schedule = self._start()
            if self._planned is not self._tags:
                self._judge(emit)
                schedule = self._start(schedule)
            due = schedule.due
            until = min(spoken + KEEP_ALIVE, self._watch_at)
            await self._rest(until if due is None else min(due, until))
            if self._planned is not self._tags:
                continue
            if due is not None and due <= self._clock():
                known = len(self._alone)
                await self._serve(schedule.first, emit)
                spoken = self._clock()
                if self._planned is not self._tags:
                    continue  # it stands on the schedule as it did, due at once
                if len(self._alone) > known:
                    schedule = self._start()
                else:
                    self._done(schedule, spoken)
            elif self._clock() >= spoken + KEEP_ALIVE:
                async with self._turns.turn(urgent=False):
                    await self._do(self._link.ping)
                spoken = self._clock()

    async def _rest(self, until: float) -> None:
        """Wait until then by the loop's clock, or for other tags. Raises ConnectionLost."""
        if (delay := until - self._clock()) > 0:
            if self._retagged.done():
                self._retagged = asyncio.get_running_loop().create_future()
            waited = (self._lost, self._retagged)
            await asyncio.wait(waited, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            raise self._lost.result()

    def _done(self, schedule: Schedule[_Job], now: float) -> None:
        """The first of the schedule has been served."""
        job = schedule.first
        if job.rhythm is not None:
            schedule.done(now, again=job.rhythm)
            job.rhythm = None
        else:
            self._statistics[job.block.scan.name].overruns += schedule.done(now)

    def _start(self, former: Schedule[_Job] | None = None) -> Schedule[_Job]:
        """Everything once at once, the fastest class first; then each block in a rhythm of its own.

        Where tags are others than in a ``former`` schedule, blocks that stay or take over tags of it
        keep their time.
        """
        start = self._clock()
        self._planned = self._tags
        self.blocks = plan(self._readable(self._tags), self._alone)
        jobs = [(job, job.block.tags, due) for job, due in former.dues()] if former is not None else []
        heritage = Heritage(jobs, start)
        for gone in self._statistics.keys() - {tag.scan.name for tag in self._tags}:
            del self._statistics[gone]
        classes: dict[ScanClass, list[Block]] = defaultdict(list)
        for block in self.blocks:
            classes[block.scan].append(block)
        schedule: Schedule[_Job] = Schedule()
        for rank, scan in enumerate(sorted(classes, key=lambda scan: scan.period)):
            members = classes[scan]
            statistics = self._statistics.setdefault(scan.name, ScanStatistics(scan.period))
            statistics.planned, statistics.measured, statistics.blocks = scan.period, 0.0, len(members)
            for index, block in enumerate(members):
                rhythm = start + phase(index, len(members), scan.period, (rank + 1) / len(classes))
                job, turn = _Job(block, rhythm), heritage.turn(block.tags)
                if turn.heir_to is not None:
                    job.rhythm, job.trouble = turn.heir_to.rhythm or turn.then, turn.heir_to.trouble
                schedule.add(job, scan.period, turn.first)
        return schedule

    async def _serve(self, job: _Job, emit: Emit) -> None:
        block, statistics, tags = job.block, self._statistics[job.block.scan.name], self._tags
        async with self._turns.turn(urgent=False):
            asked = time.perf_counter()
            statistics.reads += 1
            try:
                values, qualities, trouble = await self._read(block)
            except ConnectionLost as error:
                if error.quality in {BAD_TIMEOUT, BAD_COMMUNICATION_ERROR} and tags is self._tags:
                    emit(Batch(block.tags, None, error.quality, None, clock.now()))
                raise
            finally:
                lasted = time.perf_counter() - asked
                statistics.took(lasted, job.lasted)
                job.lasted = lasted
        if tags is not self._tags:
            return
        emit(Batch(block.tags, values, qualities, None, clock.now()))
        if trouble != job.trouble and len(block.tags) == 1:
            if trouble:
                log.warning("%s: %s cannot be read: %s", self._name, named(block.tags), trouble)
            else:
                log.info("%s: %s can be read again", self._name, named(block.tags))
        job.trouble = trouble

    async def _read(self, block: Block) -> tuple[Sequence[Value], Quality | Sequence[Quality], str]:
        """Values, qualities and what is wrong; the caller holds the turn. Raises ConnectionLost."""
        try:
            data = await self._do(lambda: self._link.read(block.request, block.size))
        except Refused as refused:
            if len(block.tags) == 1:
                remark = self._known.remark(block.tags[0]) if _is_elsewhere(refused) else ""
                return [None], refused.quality, f"{refused}{remark}; {quality_name(refused.quality)}"
        else:
            values, qualities = block.decode(data)
            return values, qualities, ""
        # Perhaps not all that is in it is refused: ask for each by itself, from now on as well.
        found: list[Value] = []
        each: list[Quality] = []
        self._alone |= {tag.name for tag in block.tags}
        for tag in block.tags:
            (single,) = plan([tag])
            value, quality, _ = await self._read(single)
            found += value
            each += [quality] if isinstance(quality, int) else quality
        return found, each, ""

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """See Session; goes before the next block of the scan."""
        wanted: tuple[SlcTag, ...] = tuple(tags)
        found: dict[int, tuple[Value, Quality]] = {}
        try:
            for block in plan(self._readable(wanted), self._alone):
                async with self._turns.turn(urgent=True):
                    values, qualities, _ = await self._read(block)
                each = [qualities] * len(values) if isinstance(qualities, int) else qualities
                found.update(zip(map(id, block.tags), zip(values, each, strict=True), strict=True))
        except Busy as busy:
            log.warning("%s: a read was refused: %s", self._name, busy)
            return Batch(wanted, None, BAD_RESOURCE_UNAVAILABLE, None, clock.now())
        answers = [found.get(id(tag), (None, BAD_CONFIGURATION_ERROR)) for tag in wanted]
        return Batch(wanted, [v for v, _ in answers], [q for _, q in answers], None, clock.now())

    # -- the controller's program

    async def begin(self) -> None:
        """See which program and data files there are. Raises Unreachable where that ends the connection."""
        now = self._clock()
        if (ask_at := self._known.ask_at(now)) <= now:
            try:
                self._known.learn(await survey(self._ask, self._link))
            except ConnectionLost as error:
                self._known.lost(now)
                raise Unreachable(str(error)) from None
        if self._known.survey.processor is not None:
            self._watch_at = max(self._clock() + WATCH, ask_at)
            self._look_at = self._clock() + LOOK

    def _judge(self, emit: Emit) -> None:
        """Tell and mark the tags that the controller's files speak against."""
        conflicts = self._known.conflicts(self._tags)
        self._known.tell(conflicts)
        groups: dict[ScanClass, list[SlcTag]] = defaultdict(list)
        for tag in self._tags:
            if tag.name in conflicts:
                groups[tag.scan].append(tag)
        for tags in groups.values():
            emit(Batch(tuple(tags), None, BAD_CONFIGURATION_ERROR, None, clock.now()))

    def _readable(self, tags: Sequence[SlcTag]) -> list[SlcTag]:
        """Those that the controller's files do not speak against."""
        conflicts = self._known.conflicts(tags)
        return [tag for tag in tags if tag.name not in conflicts]

    def _check_file(self, tag: SlcTag) -> None:
        """Raise Unwritable where the controller's files speak against a tag."""
        if why := self._known.conflicts((tag,)).get(tag.name):
            raise Unwritable(why, BAD_CONFIGURATION_ERROR)

    async def _ask(self, work: Callable[[], T]) -> T:
        async with self._turns.turn(urgent=False):
            return await self._do(work)

    async def _watch(self) -> bool:
        """Whether the controller runs another program than before, or has other files."""
        try:
            return await self._look()
        except ConnectionLost:
            self._known.lost(self._clock())
            raise

    async def _look(self) -> bool:
        known, found = self._known.survey.processor, await look(self._ask, self._link)
        same = known is not None and isinstance(found, Processor) and found.same == known.same
        changed = False
        if not same or self._clock() >= self._look_at:
            changed = self._known.learn(await survey(self._ask, self._link))
            self._look_at = self._clock() + LOOK
        self._watch_at = self._clock() + WATCH
        return changed

    # -- writing

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Session; goes before the next block of the scan.

        What could not be sent is BadNotConnected, or BadResourceUnavailable where too many
        commands wait already: then the controller has not seen it.
        """
        qualities: list[Quality] = []
        try:
            async with self._turns.turn(urgent=True):
                for tag, value in pairs:
                    qualities.append(await self._write(tag, value))
        except Busy as busy:
            log.warning("%s: a write was refused: %s", self._name, busy)
            qualities = [BAD_RESOURCE_UNAVAILABLE] * len(pairs)
        except _Unsent:
            qualities += [BAD_NOT_CONNECTED] * (len(pairs) - len(qualities))
        return qualities

    async def _write(self, tag: SlcTag, value: Written) -> Quality:
        if not tag.writable:
            return BAD_NOT_WRITABLE
        if isinstance(value, Part):
            # Written as the whole of these elements alone.
            count = len(value.values)
            tag = replace(tag, address=tag.address.part(value.first, count), length=count)
            value = value.values
        try:
            request, data = encode(tag, value)
            self._check_file(tag)
            before = self._link.sent
            try:
                await self._do(lambda: self._link.write(request, data))
            except ConnectionLost as error:
                if self._link.sent == before:
                    raise _Unsent(str(error), error.quality) from None
                raise
        except (Refused, Unwritable) as refused:
            log.info("%s: %s not written: %s", self._name, tag.name, refused)
            return refused.quality
        return GOOD


def _is_elsewhere(refused: Refused) -> bool:
    """Whether the controller says that it has nothing at that address."""
    return refused.quality == BAD_CONFIGURATION_ERROR


class _Unsent(ConnectionLost):
    """The connection was lost before the request went out: the controller cannot have seen it."""
