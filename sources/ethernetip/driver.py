"""LogixSource: one Logix controller, and the session while it is connected."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Never

from sources import clock
from sources.address import host_and_port
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip.bindings import Bindings, wanted
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device
from sources.ethernetip.explain import explain
from sources.ethernetip.line import Line, NothingSent, Survey, connect
from sources.ethernetip.plan import Limits, Packet
from sources.ethernetip.planned import Plan
from sources.ethernetip.scan import Scan
from sources.ethernetip.symbols import Place
from sources.ethernetip.writing import Command
from sources.insight import PlannedBlock, Traffic
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_RESOURCE_UNAVAILABLE,
    GOOD,
    Quality,
)
from sources.statistics import ScanStatistics
from sources.tag import Part, Tag, Value, Written
from sources.turns import Busy

log = logging.getLogger(__name__)

RECHECK: Final = 60.0
"""Seconds after which the controller's tags are looked at again, where a binding does not fit them."""


class LogixSource:
    """See `sources.source.Source`."""

    def __init__(
        self, name: str, settings: LogixSettings, tags: Sequence[LogixTag], *, recheck: float = RECHECK
    ) -> None:
        self._device = Device(name, settings, tuple(tags), recheck)

    @property
    def name(self) -> str:
        """See Source."""
        return self._device.name

    @property
    def address(self) -> str:
        """See Source."""
        return host_and_port(self._device.settings.host, self._device.settings.port)

    @property
    def tags(self) -> Sequence[LogixTag]:
        """See Source."""
        return self._device.tags

    @property
    def statistics(self) -> Mapping[str, ScanStatistics]:
        """What was counted, by the name of the scan class, over all connections."""
        return self._device.statistics

    @property
    def traffic(self) -> Traffic:
        """See sources.insight.HasTraffic."""
        return self._device.traffic

    def plan(self) -> Sequence[PlannedBlock]:
        """See sources.insight.HasPlan."""
        return explain(self._device)

    def bad_points(self) -> Sequence[str]:
        """See sources.insight.HasPlan."""
        return self._device.refused

    @property
    def threads_cut(self) -> int:
        """How many uploads' threads were at work when they had to be ended from outside."""
        return self._device.workers.cut

    @property
    def threads_abandoned(self) -> int:
        """How many of these did not even end then."""
        return self._device.workers.abandoned

    def retag(self, tags: Sequence[LogixTag]) -> None:
        """See Source. What the upload knows is not uploaded again; until more is, names alone are trusted."""
        self._device.retag(tags)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[LogixSession]:
        """Dial, upload the tags, plan what to read. Raises Unreachable."""
        device = self._device
        client, line = await connect(device)
        try:
            yield await _begin(device, line)
        finally:
            await client.close()


async def _begin(device: Device, line: Line) -> LogixSession:
    try:
        survey = Survey(None, b"", wanted(device.tags))
        if device.settings.validate_tags:
            survey = await line.survey()
            device.upload(None if survey.table is None else survey.table.fingerprint)
        made = Plan(device, line)
        await made.rebind(survey)
    except ConnectionLost as error:
        raise Unreachable(str(error)) from None
    return LogixSession(device, line, made)


def _command(tag: LogixTag, place: Place, value: Written) -> Command:
    """A part of an array as the whole of these elements alone."""
    if isinstance(value, Part):
        return tag, place.part(value.first, len(value.values)), value.values
    return tag, place, value


class LogixSession:
    """See `sources.source.Session`."""

    def __init__(self, device: Device, line: Line, made: Plan) -> None:
        self._device = device
        self._line = line
        self._plan = made

    async def scan(self, emit: Emit) -> Never:
        """See Session."""
        await Scan(self._device, self._line, self._plan, emit).run()

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """See Session; goes before the next packet of the scan."""
        asked: tuple[LogixTag, ...] = tuple(tags)
        limits = self._line.limits
        located = [one for tag in asked for one in self._plan.bindings_of(tag).located((tag,))]
        packets = await self._line.plan(located, self._plan.alone, limits)
        found: dict[int, tuple[Value, Quality]] = {}
        received = 0
        try:
            for packet in packets:
                received = await self._read(packet, limits, found)
        except Busy as busy:
            log.warning("%s: a read was refused: %s", self._device.name, busy)
            return Batch(asked, None, BAD_RESOURCE_UNAVAILABLE, None, clock.now())
        answers = [found.get(id(tag), (None, BAD_CONFIGURATION_ERROR)) for tag in asked]
        return Batch(asked, [v for v, _ in answers], [q for _, q in answers], None, received or clock.now())

    async def _read(self, packet: Packet, limits: Limits, found: dict[int, tuple[Value, Quality]]) -> int:
        track = self._line.first
        async with track.turns.turn(urgent=True):
            answer = await track.read(packet, limits)
        self._plan.learn(packet, answer)
        qualities = answer.qualities
        each = [qualities] * len(packet.tags) if isinstance(qualities, int) else qualities
        found.update(zip(map(id, packet.tags), zip(answer.values, each, strict=True), strict=True))
        return answer.received

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Session; goes before the next packet of the scan.

        What could not be sent is BadNotConnected, or BadResourceUnavailable where too many
        commands wait already: then the controller has not seen it.
        """
        bindings = [self._plan.bindings_of(tag) for tag, _ in pairs]
        qualities: list[Quality] = [_refusal(tag, own) for (tag, _), own in zip(pairs, bindings, strict=True)]
        numbers = [number for number, quality in enumerate(qualities) if quality == GOOD]
        commands = [_command(*bindings[n].located((pairs[n][0],))[0], pairs[n][1]) for n in numbers]
        if not commands:
            return qualities
        try:
            track = self._line.first
            async with track.turns.turn(urgent=True):
                outcomes = await track.write(commands, self._line.limits)
        except Busy as busy:
            log.warning("%s: a write was refused: %s", self._device.name, busy)
            outcomes, instead = [], BAD_RESOURCE_UNAVAILABLE
        except NothingSent:
            outcomes, instead = [], BAD_NOT_CONNECTED
        else:
            instead = GOOD
        for number in numbers:
            qualities[number] = instead
        for number, outcome in zip(numbers, outcomes, strict=False):
            if outcome is not None:
                log.info("%s: %s not written: %s", self._device.name, pairs[number][0].name, outcome)
                qualities[number] = outcome.quality
                self._plan.doubt(stale=outcome.stale)
        return qualities


def _refusal(tag: LogixTag, bindings: Bindings) -> Quality:
    """Why a tag cannot be written at all; Good where it can."""
    if not tag.writable or tag.name in bindings.unwritable:
        return BAD_NOT_WRITABLE
    return GOOD if tag.name in bindings.places else BAD_CONFIGURATION_ERROR
