"""Reading every tag of a controller at its scan class, as long as the line holds."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device, named
from sources.ethernetip.line import Line, Survey, Track
from sources.ethernetip.plan import Packet
from sources.ethernetip.planned import Plan
from sources.ethernetip.reading import Answer, Failure
from sources.heritage import Heritage
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_TIMEOUT,
    GOOD,
    Quality,
    quality_name,
)
from sources.schedule import Entry, Schedule, phase
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

    __slots__ = ("entry", "lasted", "packet", "replaced", "rhythm", "statistics", "troubles")

    def __init__(self, packet: Packet, statistics: ScanStatistics, rhythm: float | None) -> None:
        self.packet = packet
        self.statistics = statistics
        self.rhythm = rhythm
        self.entry: Entry[Job] | None = None
        """Its place on the schedule, while it is being served."""
        self.replaced = False
        """Whether its tags are read by others now, or by none: what comes of it is nobody's."""
        self.troubles: dict[str, Failure] = {}
        self.lasted = 0.0

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What makes two packets of one program the same: what is asked, and whose values come of it."""
        packet = self.packet
        tags = tuple(id(tag) for read in packet.reads for tag, _ in read.places)
        return packet.scan, packet.request, packet.guard, packet.fragments, tags


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
        self._device.on_retag = self._plan.learnt.set
        self._line.on_loss(self._wake)
        name = self._device.name
        tasks = [asyncio.create_task(self._drive(its), name=f"logix scan {name}") for its in self._drivers]
        tasks.append(asyncio.create_task(self._keep_right(), name=f"logix plan {name}"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._device.on_retag = None
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
                await self._serve(its)
            elif now >= its.spoken + KEEP_ALIVE:
                await self._watch(its.track)
                its.spoken = self._clock()

    def _mark_refused(self) -> None:
        groups: dict[ScanClass, list[LogixTag]] = defaultdict(list)
        for tag in self._plan.tags:
            if tag.name in self._plan.bindings.refused:
                groups[tag.scan].append(tag)
        for tags in groups.values():
            self._tell_bad(tuple(tags), BAD_CONFIGURATION_ERROR)

    def _tell_bad(self, tags: tuple[LogixTag, ...], quality: Quality) -> None:
        """Report that these have no value, those of them that are still read."""
        batch = self._still(Batch(tags, None, quality, None, clock.now()))
        if batch.tags:
            self._emit(batch)

    def _start(self) -> None:
        """Everything once at once, the fastest class first; then each packet in a rhythm of its own."""
        start = self._clock()
        classes = self._classes()
        for statistics in self._device.statistics.values():
            statistics.measured = 0.0
        known = {what: failure for job in self._jobs for what, failure in job.troubles.items()}
        for job in self._jobs:
            job.replaced = True
        self._jobs = set()
        for driver in self._drivers:
            driver.schedule = Schedule()
        count = 0
        for rank, scan in enumerate(sorted(classes, key=lambda scan: scan.period)):
            packets = classes[scan]
            for index, packet in enumerate(packets):
                turn, turns = index // _BURST, math.ceil(len(packets) / _BURST)
                rhythm = start + phase(turn, turns, scan.period, (rank + 1) / len(classes))
                driver = self._drivers[count % len(self._drivers)]
                self._add(driver, Job(packet, self._device.statistics[scan.name], rhythm), start, known)
                count += 1
        for driver in self._drivers:
            driver.wake()

    def _classes(self) -> dict[ScanClass, list[Packet]]:
        """The packets by their scan class, and statistics of these classes and of no others."""
        device = self._device
        device.packets, device.limits = tuple(self._plan.packets), self._line.limits
        classes: dict[ScanClass, list[Packet]] = {tag.scan: [] for tag in self._plan.tags}
        for packet in self._plan.packets:
            classes[packet.scan].append(packet)
        for gone in device.statistics.keys() - {scan.name for scan in classes}:
            del device.statistics[gone]
        for scan, packets in classes.items():
            statistics = device.statistics.setdefault(scan.name, ScanStatistics(scan.period))
            statistics.planned, statistics.blocks = scan.period, len(packets)
        return classes

    def _add(self, driver: _Driver, job: Job, due: float, known: Mapping[str, Failure]) -> None:
        names = {str(read) for read in job.packet.reads} if known else ()
        job.troubles = {what: failure for what, failure in known.items() if what in names}
        self._jobs.add(job)
        driver.schedule.add(job, job.packet.scan.period, due)

    def _take_over(self) -> None:
        """Go on with another plan of the same program: what stays keeps its rhythm, and what is on its way.

        What replaces other packets comes due when the first of them would have; what is on its way for
        these is dropped, and asked for again at once.
        """
        now = self._clock()
        classes = self._classes()
        dues = {job: due for driver in self._drivers for job, due in driver.schedule.dues()}
        dues |= {job: job.entry[0] for job in self._jobs if job.entry is not None}
        former = {job.key: job for job in self._jobs}
        fresh: list[Job] = []
        for scan, packets in classes.items():
            for packet in packets:
                made = Job(packet, self._device.statistics[scan.name], None)
                if former.pop(made.key, None) is None:
                    fresh.append(made)
        leaving = [(job, job.packet.tags, dues.get(job, now)) for job in former.values()]
        heritage = Heritage(leaving, now)
        known = {what: failure for job in former.values() for what, failure in job.troubles.items()}
        replaced = set(former.values())
        for job in replaced:
            job.replaced = True
            job.statistics.measured = max(0.0, job.statistics.measured - job.lasted)
        self._jobs -= replaced
        for driver in self._drivers:
            driver.schedule.remove(replaced)
        for index, job in enumerate(fresh):
            turn = heritage.turn(job.packet.tags)
            if turn.heir_to is not None:
                job.rhythm = turn.heir_to.rhythm or turn.then
            else:
                job.rhythm = now + phase(index, len(fresh), job.packet.scan.period)
            self._add(min(self._drivers, key=_load), job, turn.first, known)
        for driver in self._drivers:
            driver.wake()

    async def _serve(self, its: _Driver) -> None:
        """Read the packet that is due, emit what came of it, and set when it is read next."""
        entry = its.schedule.take()
        job = entry[3]
        job.entry = entry
        answer = await self._read(its, job)
        job.entry = None
        if job.replaced:
            return
        qualities = answer.qualities
        if not isinstance(qualities, int) and not any(qualities):
            qualities = GOOD
        self._emit(self._still(Batch(job.packet.tags, answer.values, qualities, None, answer.received)))
        if job.troubles or not answer.plain:
            self._tell(job, answer.failures)
            self._plan.learn(job.packet, answer)
            if answer.typed is not None:
                job.packet = answer.typed
        now = self._clock()
        if job.rhythm is not None:
            its.schedule.put_back(entry, now, job.rhythm)
            job.rhythm = None
        else:
            job.statistics.overruns += its.schedule.put_back(entry, now)

    def _still(self, batch: Batch) -> Batch:
        """What is of tags that are still read, where these are others and not planned for yet."""
        if self._plan.tags is self._device.tags:
            return batch
        there = set(map(id, self._device.tags))
        rows = [row for row, tag in enumerate(batch.tags) if id(tag) in there]
        values, qualities = batch.values, batch.qualities
        return Batch(
            tuple(batch.tags[row] for row in rows),
            None if values is None else [values[row] for row in rows],
            qualities if isinstance(qualities, int) else [qualities[row] for row in rows],
            None,
            batch.received,
        )

    async def _read(self, its: _Driver, job: Job) -> Answer:
        statistics, turns = job.statistics, its.track.turns
        await turns.take(urgent=False)
        asked = time.perf_counter()
        statistics.reads += 1
        try:
            return await its.track.read(job.packet, self._line.limits)
        except ConnectionLost as error:
            if error.quality in {BAD_TIMEOUT, BAD_COMMUNICATION_ERROR} and not job.replaced:
                self._tell_bad(job.packet.tags, error.quality)
            raise
        finally:
            turns.give()
            its.spoken = self._clock()
            if not job.replaced:
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
            if plan.tags is not self._device.tags:
                await self._retag()
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

    async def _retag(self) -> None:
        """Read the device's tags of now; where they lead to what was not uploaded, upload soon."""
        plan = self._plan
        await plan.retag()
        if plan.is_narrow:
            self._checked = self._clock() - self._recheck_after
        self._mark_refused()
        self._take_over()

    async def _survey(self) -> Survey:
        """Upload the tags, which may take long: tags that are replaced meanwhile do not wait for it."""
        plan, name = self._plan, f"logix survey {self._device.name}"
        survey = asyncio.create_task(self._line.survey(), name=name)
        learnt: asyncio.Task[Any] | None = None
        try:
            while not survey.done():
                if plan.tags is not self._device.tags:
                    await self._retag()
                if learnt is None or learnt.done():
                    plan.learnt.clear()
                    learnt = asyncio.create_task(plan.learnt.wait(), name=name)
                await asyncio.wait((survey, learnt), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending = [task for task in (survey, learnt) if task is not None]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
        return survey.result()

    def _next_look(self) -> float | None:
        """When the tags are to be uploaded again, by the loop's clock."""
        plan = self._plan
        if plan.table is None:
            return None
        if plan.is_of_another_program:
            return self._checked + self._pause
        if plan.stale or plan.bindings.refused or plan.is_narrow:
            return self._checked + self._recheck_after
        # Without counters the list itself is all that tells.
        return None if plan.guard else self._checked + _UNWATCHED * self._device.recheck

    async def _look_again(self) -> None:
        """Upload the tags once more, over a connection of its own; the scan goes on meanwhile."""
        plan, device = self._plan, self._device
        pressing = plan.is_of_another_program
        try:
            survey = await self._survey()
        except Unreachable as error:
            log.debug("%s: tags not looked at again: %s", device.name, error)
            survey = None
        period, widened = device.recheck, plan.is_narrow and not pressing
        now = self._clock()
        # An upload for each change of a program that changes all the time would be no help.
        self._pause = min(max(2 * self._pause, 1.0), 10 * period) if pressing else self._pause
        self._checked = now
        table = None if survey is None else survey.table
        if survey is None or table is None or plan.table is None:
            self._recheck_after = min(max(2 * self._recheck_after, period), 10 * period)
        elif table.fingerprint == plan.table.fingerprint and not widened:
            # Nothing new: whatever is wrong stays so for a while.
            self._recheck_after = min(max(2 * self._recheck_after, period), 10 * period)
            plan.confirm(survey.guard)
        else:
            same = widened and survey.guard == plan.guard
            if same:
                device.fingerprint = table.fingerprint  # it has more in it, for there was more to look for
            device.upload(table.fingerprint)
            self._recheck_after = min(_FIRST_RECHECK, period)
            await plan.rebind(survey)
            self._mark_refused()
            if same and survey.guard:
                self._take_over()
            else:
                self._start()


def _load(driver: _Driver) -> int:
    return len(driver.schedule)
