"""Reading every tag of a controller at its scan class, as long as the line holds."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip.bindings import Bindings
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device, named
from sources.ethernetip.line import Line, Survey, Track
from sources.ethernetip.plan import Limits, Packet
from sources.ethernetip.reading import Answer, Failure
from sources.ethernetip.symbols import SymbolTable
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_TIMEOUT,
    GOOD,
    quality_name,
)
from sources.schedule import Schedule, phase
from sources.statistics import ScanStatistics
from sources.tag import ScanClass

log = logging.getLogger(__name__)

KEEP_ALIVE: Final = 30.0
"""Seconds of silence after which a word is sent: controllers drop a session that says nothing for 120 s."""

_BURST: Final = 8
"""So many packets of a class go one right after the other: to wake up for each costs more than the packet."""
WATCH: Final = 5.0
"""Seconds between two looks at the program's counters, where no packet brings them."""

_FIRST_RECHECK: Final = 5.0
"""Seconds until tags that do not fit are looked at again for the first time."""
_UNWATCHED: Final = 10
"""A controller without counters has its tags uploaded again after so many times the usual."""


class Job:
    """One packet on the schedule."""

    __slots__ = ("lasted", "packet", "rhythm", "statistics", "troubles")

    def __init__(self, packet: Packet, statistics: ScanStatistics, rhythm: float) -> None:
        self.packet = packet
        self.statistics = statistics
        self.rhythm: float | None = rhythm
        self.troubles: dict[str, Failure] = {}
        self.lasted = 0.0


class Plan:
    """What a session reads, and how: its bindings, and the packets made of them."""

    def __init__(self, device: Device, line: Line) -> None:
        self.table: SymbolTable | None = None
        self.bindings = Bindings()
        self.packets: list[Packet] = []
        self.alone: frozenset[str] = frozenset()
        """Tags that are read by their own names only."""
        self.guard = b""
        """What the program's counters said when the tags were uploaded; empty where there are none."""
        self.stale = False
        """Whether the controller's tags seem not to be those that were uploaded."""
        self.learnt = asyncio.Event()
        """Set when something was learnt that the packets do not heed, or that asks for an upload."""
        self._device = device
        self._line = line
        self._made_for: tuple[frozenset[str], Limits] | None = None

    async def rebind(self, survey: Survey) -> None:
        """Take an upload: bindings, packets and the counters they hold for change in one step."""
        line = self._line
        limits = line.limits._replace(guard=survey.guard if survey.table is not None else b"")
        bindings = await line.bind(survey.table)
        packets = await line.plan(self._device.tags, bindings, frozenset(), limits)
        self.table, self.bindings, self.packets = survey.table, bindings, packets
        self.alone, self.stale = frozenset(), False
        self.guard = limits.guard
        line.set_guard(limits.guard)
        self._made_for = self.alone, limits
        self._device.tell(bindings)

    async def make(self) -> None:
        """Plan the packets anew."""
        made_for = self.alone, self._line.limits
        self.packets = await self._line.plan(self._device.tags, self.bindings, *made_for)
        self._made_for = made_for

    def confirm(self, guard: bytes) -> None:
        """The tags are what they were, and these the counters that go with them."""
        self.guard = guard
        self._line.set_guard(guard)
        self.stale = False

    @property
    def is_outdated(self) -> bool:
        """Whether something was learnt since that the packets do not heed."""
        return (self.alone, self._line.limits) != self._made_for

    @property
    def is_of_another_program(self) -> bool:
        """Whether the program has changed since the tags were uploaded."""
        return self._line.limits.guard != self.guard

    def learn(self, packet: Packet, answer: Answer) -> None:
        """Take note of what a packet's reply says of the controller."""
        self.doubt(stale=answer.stale)
        self.alone |= answer.alone
        if answer.lacks_multiple:
            self._line.lacks_multiple()
        if answer.changed:
            self.program_changed(packet.guard)
        if self.is_outdated:
            self.learnt.set()

    def doubt(self, *, stale: bool) -> None:
        """Take note that an answer, ``stale``, says that the tags are not those uploaded."""
        if stale and self.table is not None and not self.stale:
            self.stale = True
            self.learnt.set()

    def program_changed(self, was: bytes) -> None:
        """The counters say ``was`` no longer: until the next upload, names alone are to be trusted."""
        if not was or was != self._line.limits.guard:
            return  # known, or of a plan that is no more
        log.info("%s: the controller's program has changed; its tags are uploaded again", self._device.name)
        self._line.set_guard(b"")
        self.stale = True
        self.learnt.set()


class _Driver:
    """What one track of a scan has to do: its share of the packets, each in a rhythm of its own."""

    def __init__(self, track: Track, now: float) -> None:
        self.track = track
        self.schedule: Schedule[Job] = Schedule()
        self.spoken = now
        self._nap: asyncio.Future[None] | None = None

    async def sleep_until(self, when: float) -> None:
        """Sleep until that time of the loop's clock, or until woken."""
        loop = asyncio.get_running_loop()
        if when <= loop.time():
            return
        self._nap = loop.create_future()
        timer = loop.call_at(when, self.wake)
        try:
            await self._nap
        finally:
            timer.cancel()
            self._nap = None

    def wake(self) -> None:
        """End the sleep: there is something to see to."""
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)


class Scan:
    """One scan over one line: a task for each of its tracks, and one that keeps the plan right."""

    def __init__(self, device: Device, line: Line, plan: Plan, emit: Emit) -> None:
        self._device = device
        self._line = line
        self._plan = plan
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._drivers = [_Driver(track, self._clock()) for track in line.tracks]
        self._jobs: set[Job] = set()
        self._recheck_after = min(_FIRST_RECHECK, device.recheck)
        self._pause = 0.0
        """How long to wait at least between two uploads for changes of the program."""
        self._checked = self._clock()

    async def run(self) -> Never:
        """Read until cancelled. Raises ConnectionLost."""
        self._mark_refused()
        self._start()
        self._line.on_loss(self._wake)
        name = self._device.name
        tasks = [asyncio.create_task(self._drive(its), name=f"logix scan {name}") for its in self._drivers]
        tasks.append(asyncio.create_task(self._keep_right(), name=f"logix plan {name}"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        # Of several, an error of this program matters most.
        errors = [error for error in ended if isinstance(error, Exception)]
        raise min(errors, key=lambda error: isinstance(error, ConnectionLost))

    def _wake(self) -> None:
        self._plan.learnt.set()
        for driver in self._drivers:
            driver.wake()

    async def _drive(self, its: _Driver) -> Never:
        """Serve one track: its packets when they are due, a word when it was silent for long."""
        while True:
            due = its.schedule.due
            silent = its.spoken + KEEP_ALIVE
            await its.sleep_until(silent if due is None else min(due, silent))
            self._line.check()
            now, due = self._clock(), its.schedule.due
            if due is not None and due <= now:
                await self._serve(its, its.schedule.first)
            elif now >= its.spoken + KEEP_ALIVE:
                await self._watch(its.track)
                its.spoken = self._clock()

    def _mark_refused(self) -> None:
        groups: dict[ScanClass, list[LogixTag]] = defaultdict(list)
        for tag in self._device.tags:
            if tag.name in self._plan.bindings.refused:
                groups[tag.scan].append(tag)
        for tags in groups.values():
            self._emit(Batch(tuple(tags), None, BAD_CONFIGURATION_ERROR, None, clock.now()))

    def _start(self) -> None:
        """Everything once at once, the fastest class first; then each packet in a rhythm of its own."""
        start = self._clock()
        self._device.packets, self._device.limits = tuple(self._plan.packets), self._line.limits
        classes: dict[ScanClass, list[Packet]] = defaultdict(list)
        for packet in self._plan.packets:
            classes[packet.scan].append(packet)
        for scan in {tag.scan: None for tag in self._device.tags}:
            statistics = self._device.statistics.setdefault(scan.name, ScanStatistics(scan.period))
            statistics.planned, statistics.measured, statistics.blocks = scan.period, 0.0, len(classes[scan])
        known = {what: failure for job in self._jobs for what, failure in job.troubles.items()}
        self._jobs = set()
        for driver in self._drivers:
            driver.schedule = Schedule()
        count = 0
        for rank, scan in enumerate(sorted(classes, key=lambda scan: scan.period)):
            packets = classes[scan]
            for index, packet in enumerate(packets):
                turn, turns = index // _BURST, math.ceil(len(packets) / _BURST)
                rhythm = start + phase(turn, turns, scan.period, (rank + 1) / len(classes))
                job = Job(packet, self._device.statistics[scan.name], rhythm)
                names = {str(read) for read in packet.reads} if known else ()
                job.troubles = {what: failure for what, failure in known.items() if what in names}
                self._jobs.add(job)
                self._drivers[count % len(self._drivers)].schedule.add(job, scan.period, start)
                count += 1
        for driver in self._drivers:
            driver.wake()

    async def _serve(self, its: _Driver, job: Job) -> None:
        """Read a packet, emit what came of it, and set when it is read next."""
        answer = await self._read(its, job)
        qualities = answer.qualities
        if not isinstance(qualities, int) and not any(qualities):
            qualities = GOOD
        self._emit(Batch(job.packet.tags, answer.values, qualities, None, answer.received))
        if job.troubles or not answer.plain:
            self._tell(job, answer.failures)
            self._plan.learn(job.packet, answer)
            if answer.typed is not None:
                job.packet = answer.typed
        if job not in self._jobs:
            return  # planned anew meanwhile
        now = self._clock()
        if job.rhythm is not None:
            its.schedule.done(now, again=job.rhythm)
            job.rhythm = None
        else:
            job.statistics.overruns += its.schedule.done(now)

    async def _read(self, its: _Driver, job: Job) -> Answer:
        statistics, turns = job.statistics, its.track.turns
        await turns.take(urgent=False)
        asked = time.perf_counter()
        statistics.reads += 1
        try:
            return await its.track.read(job.packet, self._line.limits)
        except ConnectionLost as error:
            if error.quality in {BAD_TIMEOUT, BAD_COMMUNICATION_ERROR}:
                self._emit(Batch(job.packet.tags, None, error.quality, None, clock.now()))
            raise
        finally:
            turns.give()
            its.spoken = self._clock()
            lasted = time.perf_counter() - asked
            statistics.took(lasted, job.lasted)
            job.lasted = lasted

    def _tell(self, job: Job, failures: Sequence[Failure]) -> None:
        """Say once what cannot be read, and once that it can again."""
        troubles = {failure.what: failure for failure in failures}
        groups: dict[tuple[int, str], list[Failure]] = defaultdict(list)
        for what, failure in troubles.items():
            known = job.troubles.get(what)
            if known is None or (known.quality, known.reason) != (failure.quality, failure.reason):
                groups[failure.quality, failure.reason].append(failure)
        for (quality, reason), members in groups.items():
            tags = tuple(tag for failure in members for tag in failure.tags)
            log.warning(
                "%s: %s cannot be read: %s; %s",
                self._device.name,
                named(tags),
                reason,
                quality_name(quality),
            )
        gone = tuple(
            tag for what, known in job.troubles.items() if what not in troubles for tag in known.tags
        )
        if gone:
            log.info("%s: %s can be read again", self._device.name, named(gone))
        job.troubles = troubles

    # -- the plan

    async def _watch(self, track: Track) -> None:
        """Say a word, and see whether the program is still the one whose tags were uploaded."""
        guard = self._plan.guard
        if await track.counters() != guard:
            self._plan.program_changed(guard)

    async def _keep_right(self) -> Never:
        """Watch the program, plan anew where something was learnt, upload again where there are doubts."""
        plan, watched = self._plan, self._clock()
        while True:
            plan.learnt.clear()
            self._line.check()
            if plan.is_outdated:
                async with self._line.first.turns.turn(urgent=False):
                    await plan.make()
                self._start()
            if plan.guard and self._clock() >= watched + WATCH:
                await self._watch(self._line.first)
                watched = self._clock()
            look = self._next_look()
            if look is not None and self._clock() >= look:
                await self._look_again()
                continue
            times = [time for time in (look, watched + WATCH if plan.guard else None) if time is not None]
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(times, default=None)):
                    await plan.learnt.wait()

    def _next_look(self) -> float | None:
        """When the tags are to be uploaded again, by the loop's clock."""
        plan = self._plan
        if plan.table is None:
            return None
        if plan.is_of_another_program:
            return self._checked + self._pause
        if plan.stale or plan.bindings.refused:
            return self._checked + self._recheck_after
        # Without counters the list itself is all that tells.
        return None if plan.guard else self._checked + _UNWATCHED * self._device.recheck

    async def _look_again(self) -> None:
        """Upload the tags once more, over a connection of its own; the scan goes on meanwhile."""
        plan, device = self._plan, self._device
        pressing = plan.is_of_another_program
        try:
            survey = await self._line.survey()
        except Unreachable as error:
            log.debug("%s: tags not looked at again: %s", device.name, error)
            survey = None
        period = device.recheck
        now = self._clock()
        # An upload for each change of a program that changes all the time would be no help.
        self._pause = min(max(2 * self._pause, 1.0), 10 * period) if pressing else self._pause
        self._checked = now
        table = None if survey is None else survey.table
        if survey is None or table is None or plan.table is None:
            self._recheck_after = min(max(2 * self._recheck_after, period), 10 * period)
        elif table.fingerprint == plan.table.fingerprint:
            # Nothing new: whatever is wrong stays so for a while.
            self._recheck_after = min(max(2 * self._recheck_after, period), 10 * period)
            plan.confirm(survey.guard)
        else:
            device.upload(table.fingerprint)
            self._recheck_after = min(_FIRST_RECHECK, period)
            await plan.rebind(survey)
            self._mark_refused()
            self._start()
