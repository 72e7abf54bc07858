"""Reading every tag of a device at its scan class, as long as the line holds.

What goes well is done where the reply arrives: decode, hand up, ask for the next block. No
task wakes for a block, which would cost more than all the rest. What does not go well and
takes several requests to sort out, `Scan.run` does, the only coroutine here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict, deque
from typing import Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost
from sources.heritage import Heritage
from sources.modbus import codec
from sources.modbus.decode import Layout, ModbusTag
from sources.modbus.device import Device, search
from sources.modbus.exchange import Exchange, Failure, NoReply
from sources.modbus.line import Unit
from sources.modbus.plan import Block, Limits, plan
from sources.modbus.tables import Table
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

_PROMISE: Final = 2.0
"""A dead device's values leave Good within two scans or so many seconds, whichever is longer."""

_GRAIN: Final = 0.01
"""Blocks due within so many seconds are read one after the other: waking up costs as much as a request."""

_GATHER: Final = 0.5
"""Seconds in which missing points that come back are gathered, to be planned together."""

_REFUSALS: Final = frozenset({codec.ILLEGAL_ADDRESS, codec.ILLEGAL_VALUE})


class _Job(Exchange):
    """One block on the schedule, or, with ``missing``, one point that is tried now and then."""

    __slots__ = (
        "asked",
        "block",
        "early",
        "entry",
        "failures",
        "heard",
        "lasted",
        "layout",
        "missing",
        "quality",
        "removed",
        "rhythm",
        "scan",
        "statistics",
        "told",
    )

    def __init__(self, scan: Scan, block: Block, *, missing: bool = False) -> None:
        request = codec.read(scan.unit, block.table, block.start, block.count)
        super().__init__(request, scan.line.render(request), scan.line.traffic)
        self.scan = scan
        self.block = block
        self.layout = Layout(block.table, block.start, block.count, block.tags)
        self.statistics = scan.statistics[block.scan.name]
        self.missing = missing
        self.removed = False
        self.entry: Entry[_Job] | None = None
        """Its place on the schedule, while it is being served."""
        self.early = False
        self.rhythm: float | None = None
        self.quality: Quality = GOOD
        self.failures = 0
        self.told = False
        self.heard: float | None = None
        self.asked = 0.0
        self.lasted = 0.0

    def inherit(self, other: _Job, then: float | None) -> None:
        """Go on as the block that this one replaces: in its rhythm, and with what is known of its failing."""
        self.rhythm, self.heard = other.rhythm or then, other.heard
        self.quality, self.failures, self.told = other.quality, other.failures, other.told

    def answered(self, reply: bytes) -> None:
        """See Exchange."""
        self.scan.answered(self, reply)

    def failed(self, error: Failure) -> None:
        """See Exchange."""
        self.scan.failed(self, error)

    def __str__(self) -> str:
        return str(self.block)


class Scan:
    """One scan of one unit; ``line`` is its view of the line."""

    def __init__(self, device: Device, line: Unit, emit: Emit) -> None:
        self.unit = line.number
        self.line = line
        self.statistics = device.statistics
        self._device = device
        self._settings = device.settings
        self._limits = Limits.of(device.settings)
        self._missing = device.missing
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._schedule: Schedule[_Job] = Schedule()
        self._jobs: set[_Job] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._waker: asyncio.Future[None] | None = None
        self._refusals: deque[tuple[_Job, codec.DeviceException]] = deque()
        self._found_again: dict[tuple[Table, ScanClass], list[_Job]] = defaultdict(list)
        """Missing points that answered, and are not in the plan yet."""
        self._replanning: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._ended = False

    async def run(self) -> Never:
        """Read until cancelled. Raises ConnectionLost."""
        self.line.on_loss = self._wake
        self._device.on_retag = self._retag
        try:
            self._start()
            self._pump()
            while True:
                if self._error is not None:
                    raise self._error
                if self.line.loss is not None:
                    raise ConnectionLost(*self.line.loss)
                if self._refusals:
                    await self._refused(*self._refusals.popleft())
                    self._pump()
                    continue
                self._waker = self._loop.create_future()
                await self._waker
        finally:
            self._ended = True
            self.line.on_loss = self._device.on_retag = None
            self.line.slots.leave(self._given)
            for timer in (self._timer, self._replanning):
                if timer is not None:
                    timer.cancel()

    def _wake(self) -> None:
        """Let `run` see what there is to do."""
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def _pump(self, now: float = 0.0) -> None:
        """Send what is due, as far as there are slots; ``now`` is the least time it is taken to be."""
        schedule, line = self._schedule, self.line
        while not self._ended and line.loss is None:
            due = schedule.due
            if due is None:
                return
            now = max(now, self._clock())
            # One more silent request and the line is lost: ask at once.
            if due > now and not line.silent:
                self._ring_at(due)
                return
            if not line.slots.take(self._given):
                return
            self._send(now)

    def _given(self) -> None:
        """A slot has come that we waited for."""
        line, due, now = self.line, self._schedule.due, self._clock()
        if self._ended or line.loss is not None or due is None or (due > now and not line.silent):
            line.slots.release()
        else:
            self._send(now)
        self._pump()

    def _ring_at(self, due: float) -> None:
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        # By what it was set for, not by the clock alone: timers may be early by the clock's grain.
        now, self._timer, self._timer_at = self._timer_at, None, math.inf
        self._pump(now)

    def _send(self, now: float) -> None:
        """Ask for the block that is due next; a slot is held."""
        entry = self._schedule.take()
        job = entry[3]
        job.entry = entry
        job.early = entry[0] > now
        if self.line.silent:
            self.line.patience = self._patience()
        job.statistics.reads += 1
        job.asked = time.perf_counter()
        self.line.send(job)

    def answered(self, job: _Job, reply: bytes) -> None:
        """A block's reply came."""
        if not self._ended and not (reply[0] & 0x80 and reply[-1] in codec.UNREACHED):
            self.line.heard()
        if self._settled(job):
            return
        try:
            self._take(job, reply)
        except Exception as error:  # noqa: BLE001 - raised again, by run(), whose caller judges it
            self._error = error
            self._wake()
        self._pump()

    def failed(self, job: _Job, error: Failure) -> None:
        """None came."""
        if self._settled(job):
            if isinstance(error, NoReply) and not self._ended:
                self.line.unanswered(error)  # nor would one to whoever asks for these tags now
                self._pump()
            return
        try:
            if isinstance(error, NoReply):
                what = self.line.unanswered(error)
                if isinstance(what, NoReply):
                    self._unread(job, BAD_TIMEOUT, what)
            elif isinstance(error, codec.MalformedReply):
                self._unread(job, BAD_COMMUNICATION_ERROR, error)
        except Exception as broken:  # noqa: BLE001 - as above
            self._error = broken
            self._wake()
        self._pump()

    def _settled(self, job: _Job) -> bool:
        """Account for what was on its way; True where nobody wants to know any more what came of it."""
        if not job.missing and not job.removed:
            lasted = time.perf_counter() - job.asked
            job.statistics.took(lasted, job.lasted)
            job.lasted = lasted
        self.line.slots.release()
        return job.removed or self._ended

    def _take(self, job: _Job, reply: bytes) -> None:
        """Emit what a reply brings, and put its block back on the schedule."""
        layout = job.layout
        try:
            data = codec.check_read(job.request, reply, layout.size)
        except codec.MalformedReply as error:
            self._unread(job, BAD_COMMUNICATION_ERROR, error)
        except codec.DeviceException as error:
            if error.code not in _REFUSALS:
                self._unread(job, error.read_quality, error)
                if error.code in codec.UNREACHED:
                    self.line.absent(error)
            elif job.missing:
                self._emit(Batch(layout.tags, None, BAD_CONFIGURATION_ERROR, None, clock.now()))
                self._again(job)
            else:
                self._refusals.append((job, error))
                self._wake()
        else:
            values, qualities = layout.decode(data)
            self._emit(Batch(layout.tags, values, qualities, None, clock.now()))
            self._answered(job)
            if job.missing:
                self._found(job)
            else:
                self._again(job)

    def _again(self, job: _Job) -> None:
        """A block has been served: when it comes next."""
        entry, job.entry = job.entry, None
        if entry is None:
            return
        now = self._clock()
        if job.rhythm is not None:
            self._schedule.put_back(entry, now, job.rhythm)
            job.rhythm = None
        elif job.early:
            self._schedule.put_back(entry, now, entry[0])
        else:
            skipped = self._schedule.put_back(entry, now)
            if skipped and not job.missing:
                job.statistics.overruns += skipped

    def _start(self) -> None:
        """Everything once at once, the fastest class first; then each block in a rhythm of its own."""
        start = self._clock()
        self._device.blocks.clear()
        present = [tag for tag in self._device.tags if tag not in self._missing]
        classes: dict[ScanClass, list[Block]] = defaultdict(list)
        for block in plan(present, self._limits, self._missing.holes):
            classes[block.scan].append(block)
        self._count_classes()
        for statistics in self.statistics.values():
            statistics.measured, statistics.blocks = 0.0, 0
        for rank, scan in enumerate(sorted(classes, key=lambda scan: scan.period)):
            blocks = classes[scan]
            grain = min(_GRAIN, scan.period / 10)
            for index, block in enumerate(blocks):
                job = self._add(block, start)
                offset = phase(index, len(blocks), scan.period, (rank + 1) / len(classes))
                job.rhythm = start + grain * math.ceil(offset / grain)
        self._try_later([tag for tag in self._device.tags if tag in self._missing])

    def _count_classes(self) -> None:
        """Have statistics of the scan classes there are, and of no others."""
        scans = {tag.scan.name: tag.scan for tag in self._device.tags}
        for gone in self.statistics.keys() - scans:
            del self.statistics[gone]
        for scan in scans.values():
            self.statistics.setdefault(scan.name, ScanStatistics(scan.period)).planned = scan.period

    def _retag(self) -> None:
        """The tags are others: plan them, and go on with what stays as it is."""
        try:
            self._take_tags()
        except Exception as error:  # noqa: BLE001 - raised again, by run(), whose caller judges it
            self._error = error
            self._wake()
        self._pump()

    def _take_tags(self) -> None:
        """Put the blocks of the tags there are in the place of those that are no more.

        A block of the same tags stays, with what is on its way. What replaces others comes due when
        the first of them would have; what is on its way for these is dropped, and asked for again at once.
        """
        tags, now = self._device.tags, self._clock()
        there = set(map(id, tags))
        gone = {job for job in self._jobs if job.missing and not self._stays_missing(job, there)}
        former = {tuple(map(id, job.block.tags)): job for job in self._jobs if not job.missing}
        present = [tag for tag in tags if tag not in self._missing]
        blocks = plan(present, self._limits, self._missing.holes)
        fresh = [block for block in blocks if former.pop(tuple(map(id, block.tags)), None) is None]
        dues = dict(self._schedule.dues()) | {
            job: job.entry[0] for job in former.values() if job.entry is not None
        }
        leaving = [(job, job.block.tags, dues.get(job, now)) for job in former.values()]
        heritage = Heritage(leaving, now)
        self._remove(gone.union(former.values()))
        self._found_again.clear()
        self._count_classes()
        for index, block in enumerate(fresh):
            turn = heritage.turn(block.tags)
            job = self._add(block, turn.first)
            if turn.heir_to is not None:
                job.inherit(turn.heir_to, turn.then)
            else:
                job.rhythm = now + phase(index, len(fresh), block.scan.period)

    def _stays_missing(self, job: _Job, there: set[int]) -> bool:
        """Whether a point that is tried now and then still is to be."""
        (tag,) = job.block.tags
        return id(tag) in there and tag in self._missing

    def _add(self, block: Block, due: float) -> _Job:
        job = _Job(self, block)
        self._jobs.add(job)
        self._schedule.add(job, block.scan.period, due)
        self.statistics[block.scan.name].blocks += 1
        self._device.blocks.add(block)
        return job

    def _remove(self, jobs: set[_Job]) -> None:
        self._schedule.remove(jobs)
        self._jobs -= jobs
        for job in jobs:
            job.removed = True
            if not job.missing:
                self._device.blocks.discard(job.block)
                statistics = self.statistics[job.block.scan.name]
                statistics.blocks -= 1
                statistics.measured = max(0.0, statistics.measured - job.lasted)

    def _patience(self) -> float:
        """How long the next reply may take so that a device that is dead is found dead as promised."""
        heard = [
            job.heard + max(_PROMISE, 2 * job.block.scan.period)
            for job in self._jobs
            if job.heard is not None and job.quality == GOOD
        ]
        left = min(heard, default=self._clock() + self._settings.timeout) - self._clock()
        return min(self._settings.timeout, max(left, self._settings.timeout / 4))

    def _answered(self, job: _Job) -> None:
        job.heard = self._clock()
        if job.failures:
            if job.told:
                log.info("%s: %s is read again", self._device.name, job)
            job.failures, job.quality, job.told = 0, GOOD, False

    def _unread(self, job: _Job, quality: Quality, error: Exception) -> None:
        """Mark the block's tags, say so once, and put it back on the schedule.

        A first time-out is not told: it may be the end of the connection, which the supervisor tells.
        Nor is anything of a block that was planned anew meanwhile.
        """
        if job.removed:
            return
        self._emit(Batch(job.layout.tags, None, quality, None, clock.now()))
        job.failures += 1
        worth_a_line = job.quality != quality if quality != BAD_TIMEOUT else job.failures == 2
        job.told = job.told or worth_a_line
        log.log(
            logging.WARNING if worth_a_line else logging.DEBUG,
            "%s: %s cannot be read: %s; its %d values are %s",
            self._device.name,
            job,
            error,
            len(job.layout.tags),
            quality_name(quality),
        )
        job.quality = quality
        self._again(job)

    async def _refused(self, job: _Job, error: codec.DeviceException) -> None:
        """Leave out of the plan what the device does not have, and read the rest without it."""
        if job.removed:
            return
        try:
            missing, holes = await search(job.block, self._answers)
        except NoReply as silence:
            self._unread(job, BAD_TIMEOUT, silence)
            return
        except codec.MalformedReply as malformed:
            self._unread(job, BAD_COMMUNICATION_ERROR, malformed)
            return
        except codec.DeviceException as other:
            self._unread(job, other.read_quality, other)
            return
        if job not in self._jobs:
            return  # while it was searched a missing point came back, and it was planned anew with that
        self._missing.holes.update(holes)
        new = self._missing.add(missing)
        if new:
            log.warning(
                "%s: the device has no %s: %s; tried again every %g s; check the addresses",
                self._device.name,
                ", no ".join(f"{tag.address} ({tag.name})" for tag in new),
                error,
                self._device.retry_missing,
            )
        self._remove({job})
        due = self._clock()
        remaining = [tag for tag in job.block.tags if tag not in self._missing]
        for block in plan(remaining, self._limits, self._missing.holes):
            self._add(block, due)
        self._try_later(missing)

    async def _answers(self, block: Block) -> bool:
        request = codec.read(self.unit, block.table, block.start, block.count)
        async with self.line.slots.patient():
            reply = await self.line.exchange(request)
        try:
            codec.check(request, reply)
        except codec.DeviceException as error:
            if error.code not in _REFUSALS:
                raise
            return False
        return True

    def _try_later(self, tags: list[ModbusTag]) -> None:
        """Points the device does not have: marked, and tried at a long interval, one after the other."""
        now = self._clock()
        for index, tag in enumerate(tags):
            job = _Job(self, Block.around((tag,)), missing=True)
            job.quality = BAD_CONFIGURATION_ERROR
            self._jobs.add(job)
            period = max(self._device.retry_missing, tag.scan.period)
            self._schedule.add(job, period, now + phase(index, len(tags), period))
            self._emit(Batch(job.layout.tags, None, BAD_CONFIGURATION_ERROR, None, clock.now()))

    def _found(self, job: _Job) -> None:
        """A missing point answered: it belongs into the plan, with the others that do so now.

        A device whose program comes back has hundreds of them, and each plan takes the time of all.
        """
        self._missing.restore(job.block.tags[0])
        self._found_again[job.block.table, job.block.scan].append(job)
        if self._replanning is None:
            self._replanning = self._loop.call_later(_GATHER, self._replan)

    def _replan(self) -> None:
        """Plan the tables and classes anew in which missing points were found."""
        self._replanning = None
        found, self._found_again = self._found_again, defaultdict(list)
        try:
            for group, jobs in found.items():
                self._plan_anew(group, jobs)
        except Exception as error:  # noqa: BLE001 - raised again, by run(), whose caller judges it
            self._error = error
            self._wake()
        self._pump()

    def _plan_anew(self, group: tuple[Table, ScanClass], found: list[_Job]) -> None:
        """Plan one table and class with the points that were found."""
        tags = [tag for job in found for tag in job.block.tags]
        log.info(
            "%s: the device has %s now",
            self._device.name,
            ", ".join(f"{tag.address} ({tag.name})" for tag in tags),
        )
        former = {job for job in self._jobs if not job.missing and (job.block.table, job.block.scan) == group}
        tags += (tag for job in former for tag in job.block.tags)
        where = {(job.block.start, job.block.count): job for job in former}
        changed: list[Block] = []
        for block in plan(tags, self._limits, self._missing.holes):
            job = where.get((block.start, block.count))
            if job is not None and job.block.tags == block.tags:
                former.discard(job)  # it stays as it is, in its rhythm
            else:
                changed.append(block)
        self._remove(former.union(found))
        due = self._clock()
        for block in changed:
            self._add(block, due)
