"""Reading every tag of a controller at its scan class, as long as the line holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip.bindings import Bindings
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device, named
from sources.ethernetip.line import Line
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

_FIRST_RECHECK: Final = 5.0
"""Seconds until tags that do not fit are looked at again for the first time."""
_LOOK_EVERY: Final = 0.5
"""Seconds after which it is seen at the latest that an upload has come."""


class Job:
    """One packet on the schedule."""

    __slots__ = ("lasted", "packet", "rhythm", "troubles")

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.rhythm: float | None = None
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
        self.stale = False
        """Whether the controller's tags seem not to be those that were uploaded."""
        self._device = device
        self._line = line
        self._made_for: tuple[frozenset[str], Limits] | None = None

    async def rebind(self, table: SymbolTable | None) -> None:
        """Take another upload. Raises ConnectionLost."""
        self.table, self.alone, self.stale = table, frozenset(), False
        self.bindings = await self._line.bind(table)
        self._device.tell(self.bindings)
        await self.make()

    async def make(self) -> None:
        """Plan the packets anew. Raises ConnectionLost."""
        self._made_for = self.alone, self._line.limits
        self.packets = await self._line.plan(self._device.tags, self.bindings, self.alone)

    @property
    def is_outdated(self) -> bool:
        """Whether something was learnt since that the packets do not heed."""
        return (self.alone, self._line.limits) != self._made_for

    def learn(self, answer: Answer) -> None:
        """Take note of what a reply says of the controller."""
        self.stale |= answer.stale and self.table is not None
        self.alone |= answer.alone
        if answer.lacks_multiple:
            self._line.lacks_multiple()


class Scan:
    """One scan over one line."""

    def __init__(self, device: Device, line: Line, plan: Plan, emit: Emit) -> None:
        self._device = device
        self._line = line
        self._plan = plan
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._schedule: Schedule[Job] = Schedule()
        self._jobs: set[Job] = set()
        self._spoken = self._clock()
        self._recheck_after = min(_FIRST_RECHECK, device.recheck)
        self._checked = self._spoken
        self._recheck: asyncio.Task[SymbolTable | None] | None = None

    async def run(self) -> Never:
        """Read until cancelled. Raises ConnectionLost."""
        try:
            self._mark_refused()
            self._start()
            while True:
                await self._line.wait(self._next())
                await self._look_again()
                due = self._schedule.due
                if due is not None and due <= self._clock():
                    await self._serve(self._schedule.first)
                elif self._clock() >= self._spoken + KEEP_ALIVE:
                    async with self._line.turns.turn(urgent=False):
                        await self._line.ping()
                    self._spoken = self._clock()
        finally:
            if self._recheck is not None:
                self._recheck.cancel()
                await asyncio.wait((self._recheck,))

    def _next(self) -> float:
        """When there is something to do."""
        times = [self._spoken + KEEP_ALIVE]
        if self._schedule.due is not None:
            times.append(self._schedule.due)
        if self._recheck is not None:
            times.append(self._clock() + _LOOK_EVERY)
        elif self._has_doubts:
            times.append(self._checked + self._recheck_after)
        return min(times)

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
        self._schedule, self._jobs = Schedule(), set()
        for rank, scan in enumerate(sorted(classes, key=lambda scan: scan.period)):
            packets = classes[scan]
            for index, packet in enumerate(packets):
                job = Job(packet)
                job.rhythm = start + phase(index, len(packets), scan.period, (rank + 1) / len(classes))
                self._jobs.add(job)
                self._schedule.add(job, scan.period, start)

    async def _serve(self, job: Job) -> None:
        """Read a packet, emit what came of it, and set when it is read next."""
        answer = await self._read(job)
        qualities = answer.qualities
        one = GOOD if not any(qualities) else None
        self._emit(
            Batch(job.packet.tags, answer.values, qualities if one is None else one, None, answer.received)
        )
        self._tell(job, answer.failures)
        self._plan.learn(answer)
        if self._plan.is_outdated:
            await self._replan()
            return
        now = self._clock()
        if job.rhythm is not None:
            self._schedule.done(now, again=job.rhythm)
            job.rhythm = None
        else:
            self._device.statistics[job.packet.scan.name].overruns += self._schedule.done(now)

    async def _read(self, job: Job) -> Answer:
        statistics = self._device.statistics[job.packet.scan.name]
        async with self._line.turns.turn(urgent=False):
            asked = time.perf_counter()
            statistics.reads += 1
            try:
                answer = await self._line.read(job.packet)
            except ConnectionLost as error:
                if error.quality in {BAD_TIMEOUT, BAD_COMMUNICATION_ERROR}:
                    self._emit(Batch(job.packet.tags, None, error.quality, None, clock.now()))
                raise
            finally:
                self._spoken = self._clock()
                lasted = time.perf_counter() - asked
                statistics.took(lasted, job.lasted)
                job.lasted = lasted
        return answer

    def _tell(self, job: Job, failures: list[Failure]) -> None:
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

    async def _replan(self) -> None:
        """Plan anew; what was said of troubles stays said."""
        known = {what: failure for job in self._jobs for what, failure in job.troubles.items()}
        async with self._line.turns.turn(urgent=False):
            await self._plan.make()
        self._start()
        for job in self._jobs:
            names = {str(read) for read in job.packet.reads}
            job.troubles = {what: failure for what, failure in known.items() if what in names}

    @property
    def _has_doubts(self) -> bool:
        """Whether another upload might show other tags than the last."""
        return self._plan.table is not None and (self._plan.stale or bool(self._plan.bindings.refused))

    async def _look_again(self) -> None:
        """Upload the tags once more now and then, where some are missing or not what they were.

        Over a line of its own: an upload may take a while, and the scan goes on.
        """
        if self._recheck is None:
            if self._has_doubts and self._clock() >= self._checked + self._recheck_after:
                self._recheck = asyncio.create_task(
                    _upload(self._device), name=f"logix upload {self._device.name}"
                )
            return
        if not self._recheck.done():
            return
        try:
            table = self._recheck.result()
        finally:
            self._recheck = None
        if table is None or self._plan.table is None or table.fingerprint == self._plan.table.fingerprint:
            # Nothing new: whatever is wrong stays so for a while.
            period = self._device.recheck
            self._recheck_after = min(max(2 * self._recheck_after, period), 10 * period)
            self._plan.stale = False
        else:
            self._device.upload(table.fingerprint)
            self._recheck_after = min(_FIRST_RECHECK, self._device.recheck)
            async with self._line.turns.turn(urgent=False):
                await self._plan.rebind(table)
            self._mark_refused()
            self._start()
        self._checked = self._clock()


async def _upload(device: Device) -> SymbolTable | None:
    """The tags, over a line of its own; None where there are none to be had now."""
    try:
        line = Line(device)
    except Unreachable as error:
        log.debug("%s: tags not looked at again: %s", device.name, error)
        return None
    try:
        await line.dial()
        return await line.upload()
    except Unreachable as error:
        log.debug("%s: tags not looked at again: %s", device.name, error)
        return None
    except BaseException:
        # The thread may still be busy with it: nothing to wait for.
        line.drop()
        raise
    finally:
        await line.hang_up()
