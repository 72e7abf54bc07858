"""What a session reads, and how: its bindings, the packets made of them, and what is learnt of both."""

from __future__ import annotations

import asyncio
import logging

from sources.ethernetip.bindings import Bindings, Wanted, bind, wanted
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device
from sources.ethernetip.line import Line, Survey
from sources.ethernetip.plan import Limits, Packet
from sources.ethernetip.reading import Answer
from sources.ethernetip.symbols import SymbolTable

log = logging.getLogger(__name__)


class Plan:
    """What a session reads, and how: its bindings, and the packets made of them."""

    def __init__(self, device: Device, line: Line) -> None:
        self.tags: tuple[LogixTag, ...] = ()
        """Those that were bound: behind the device's for a moment when these are replaced."""
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
        self._uploaded = self._wanted = Wanted(frozenset(), frozenset())

    async def rebind(self, survey: Survey) -> None:
        """Take an upload: bindings, packets and the counters they hold for change in one step."""
        line, tags = self._line, self._device.tags
        limits = line.limits._replace(guard=survey.guard if survey.table is not None else b"")
        bindings = await line.bind(tags, survey.table, survey.of)
        packets = await line.plan(bindings.located(tags), frozenset(), limits)
        self.table, self._uploaded = survey.table, survey.of
        self._take(tags, bindings, packets)
        self.alone, self.stale = frozenset(), False
        self.guard = limits.guard
        line.set_guard(limits.guard)
        self._made_for = self.alone, limits

    async def retag(self) -> None:
        """Take the device's tags: what was uploaded and learnt counts for these too."""
        tags = self._device.tags
        kept = {tag.name for tag in tags if self.bindings.has(tag)}
        alone, limits = self.alone & kept, self._line.limits
        bindings = await self._line.bind(tags, self.table, self._uploaded)
        packets = await self._line.plan(bindings.located(tags), alone, limits)
        self._take(tags, bindings, packets)
        self.alone &= kept
        self._made_for = alone, limits

    def _take(self, tags: tuple[LogixTag, ...], bindings: Bindings, packets: list[Packet]) -> None:
        self.tags, self.bindings, self.packets = tags, bindings, packets
        self._wanted = wanted(tags)
        self._device.tell(bindings)

    async def make(self) -> None:
        """Plan the packets anew."""
        made_for = self.alone, self._line.limits
        self.packets = await self._line.plan(self.bindings.located(self.tags), *made_for)
        self._made_for = made_for

    def bindings_of(self, tag: LogixTag) -> Bindings:
        """Bindings with this one, whether or not it is read: it may be of before, or about to be."""
        return self.bindings if self.bindings.has(tag) else bind((tag,), self.table, self._uploaded)

    @property
    def is_narrow(self) -> bool:
        """Whether tags lead to where the upload has not looked, and are read by their names alone."""
        return self.table is not None and not self._uploaded.covers(self._wanted)

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
