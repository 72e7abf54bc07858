"""Reading every tag of a device at its scan class, as long as the line holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.modbus import codec
from sources.modbus.decode import Layout, ModbusTag
from sources.modbus.device import Device, search
from sources.modbus.line import Line, NoReply
from sources.modbus.plan import Block, Limits, plan
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_TIMEOUT,
    GOOD,
    Quality,
    quality_name,
)
from sources.schedule import Schedule, phase
from sources.statistics import ScanStatistics
from sources.tag import ScanClass

log = logging.getLogger(__name__)

_PROMISE: Final = 2.0
"""A dead device's values leave Good within two scans or so many seconds, whichever is longer."""

_REFUSALS: Final = frozenset({codec.ILLEGAL_ADDRESS, codec.ILLEGAL_VALUE})


class _Job:
    """One block on the schedule, or, with ``missing``, one point that is tried now and then."""

    __slots__ = (
        "block",
        "failures",
        "heard",
        "lasted",
        "layout",
        "missing",
        "quality",
        "request",
        "rhythm",
        "told",
    )

    def __init__(self, block: Block, unit: int, *, missing: bool = False) -> None:
        self.block = block
        self.layout = Layout(block.table, block.start, block.count, block.tags)
        self.request = codec.read(unit, block.table, block.start, block.count)
        self.missing = missing
        self.rhythm: float | None = None
        self.quality: Quality = GOOD
        self.failures = 0
        self.told = False
        self.heard: float | None = None
        self.lasted = 0.0

    def __str__(self) -> str:
        table, first, last = self.block.table.name, self.block.start, self.block.end - 1
        return f"{table}:{first}" if first == last else f"{table}:{first} to {last}"


class Scan:
    """One scan over one line."""

    def __init__(self, device: Device, line: Line, emit: Emit) -> None:
        self._device = device
        self._settings = device.settings
        self._limits = Limits.of(device.settings)
        self._missing = device.missing
        self._statistics = device.statistics
        self._line = line
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._schedule: Schedule[_Job] = Schedule()
        self._jobs: set[_Job] = set()

    async def run(self) -> Never:
        """Read until cancelled. Raises ConnectionLost."""
        self._start()
        schedule, line, now = self._schedule, self._line, self._clock
        while True:
            due = schedule.due
            if due is None:
                await line.wait(None)
                continue
            if line.silent:
                # One more and the line is lost: ask at once.
                line.patience = self._patience()
            # Not by the clock afterwards: a loop's timers may be early by the grain of its clock.
            early = bool(line.silent) and now() < due
            await line.wait(now() if line.silent else due)
            job = schedule.first
            if not await self._poll(job):
                continue
            if job.rhythm is not None:
                schedule.done(now(), again=job.rhythm)
                job.rhythm = None
            elif early:
                schedule.done(now(), again=due)
            else:
                skipped = schedule.done(now())
                if skipped and not job.missing:
                    self._statistics[job.block.scan.name].overruns += skipped

    def _start(self) -> None:
        """Everything once at once, the fastest class first; then each block in a rhythm of its own."""
        start = self._clock()
        present = [tag for tag in self._device.tags if tag not in self._missing]
        classes: dict[ScanClass, list[Block]] = defaultdict(list)
        for block in plan(present, self._limits, self._missing.holes):
            classes[block.scan].append(block)
        for scan in {tag.scan: None for tag in self._device.tags}:
            statistics = self._statistics.setdefault(scan.name, ScanStatistics(scan.period))
            statistics.planned, statistics.measured, statistics.blocks = scan.period, 0.0, 0
        for rank, scan in enumerate(sorted(classes, key=lambda scan: scan.period)):
            blocks = classes[scan]
            for index, block in enumerate(blocks):
                job = self._add(block, start)
                job.rhythm = start + phase(index, len(blocks), scan.period, (rank + 1) / len(classes))
        self._try_later([tag for tag in self._device.tags if tag in self._missing])

    def _add(self, block: Block, due: float) -> _Job:
        job = _Job(block, self._settings.unit)
        self._jobs.add(job)
        self._schedule.add(job, block.scan.period, due)
        self._statistics[block.scan.name].blocks += 1
        return job

    def _remove(self, jobs: set[_Job]) -> None:
        self._schedule.remove(jobs)
        self._jobs -= jobs
        for job in jobs:
            if not job.missing:
                statistics = self._statistics[job.block.scan.name]
                statistics.blocks -= 1
                statistics.measured = max(0.0, statistics.measured - job.lasted)

    async def _poll(self, job: _Job) -> bool:
        """Read a block and emit what came of it; False when that changed the plan."""
        try:
            data = await self._read(job)
        except NoReply as error:
            self._failed(job, BAD_TIMEOUT, error)
        except codec.MalformedReply as error:
            self._failed(job, BAD_COMMUNICATION_ERROR, error)
        except codec.DeviceException as error:
            if error.code in _REFUSALS:
                return await self._refused(job, error)
            self._failed(job, error.read_quality, error)
        else:
            values, qualities = job.layout.decode(data)
            self._emit(Batch(job.layout.tags, values, qualities, None, clock.now()))
            self._answered(job)
            if job.missing:
                self._found(job)
                return False
        return True

    async def _read(self, job: _Job) -> bytes:
        async with self._line.turns.turn(urgent=False):
            asked = time.perf_counter()
            statistics = self._statistics[job.block.scan.name]
            statistics.reads += 1
            try:
                reply = await self._line.exchange(job.request)
            finally:
                if not job.missing:
                    lasted = time.perf_counter() - asked
                    statistics.measured += lasted - job.lasted
                    job.lasted = lasted
        return codec.check_read(job.request, reply, job.layout.size)

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

    def _failed(self, job: _Job, quality: Quality, error: Exception) -> None:
        """Mark the block's tags, and say so once.

        A first time-out is not told: it may be the end of the connection, which the supervisor tells.
        """
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

    async def _refused(self, job: _Job, error: codec.DeviceException) -> bool:
        """Leave out of the plan what the device does not have, and read the rest without it."""
        if job.missing:
            self._emit(Batch(job.layout.tags, None, BAD_CONFIGURATION_ERROR, None, clock.now()))
            return True
        try:
            missing, holes = await search(job.block, self._answers)
        except NoReply as silence:
            self._failed(job, BAD_TIMEOUT, silence)
            return True
        except codec.MalformedReply as malformed:
            self._failed(job, BAD_COMMUNICATION_ERROR, malformed)
            return True
        except codec.DeviceException as other:
            self._failed(job, other.read_quality, other)
            return True
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
        return False

    async def _answers(self, block: Block) -> bool:
        request = codec.read(self._settings.unit, block.table, block.start, block.count)
        async with self._line.turns.turn(urgent=False):
            reply = await self._line.exchange(request)
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
            job = _Job(Block.around((tag,)), self._settings.unit, missing=True)
            job.quality = BAD_CONFIGURATION_ERROR
            self._jobs.add(job)
            period = max(self._device.retry_missing, tag.scan.period)
            self._schedule.add(job, period, now + phase(index, len(tags), period))
            self._emit(Batch(job.layout.tags, None, BAD_CONFIGURATION_ERROR, None, clock.now()))

    def _found(self, job: _Job) -> None:
        """A missing point answered: plan its table and class anew, with it."""
        (tag,) = job.block.tags
        self._missing.restore(tag)
        log.info("%s: the device has %s (%s) now", self._device.name, tag.address, tag.name)
        group = {
            other
            for other in self._jobs
            if not other.missing
            and (other.block.table, other.block.scan) == (job.block.table, job.block.scan)
        }
        tags = [tag, *(its for other in group for its in other.block.tags)]
        self._remove({job, *group})
        due = self._clock()
        for block in plan(tags, self._limits, self._missing.holes):
            self._add(block, due)
