"""What is known of one device over all connections: what to read, what it lacks, how the scanning went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sources.insight import Traffic
from sources.modbus.config import ModbusSettings
from sources.modbus.decode import ModbusTag
from sources.modbus.plan import Block, Hole
from sources.statistics import ScanStatistics


class Missing:
    """What a device has shown not to have; it outlives a connection, so that each lack is named once."""

    def __init__(self, forbidden: Iterable[Hole] = ()) -> None:
        self.holes: set[Hole] = set(forbidden)
        """Places no request may read across."""
        self.functions: set[int] = set()
        """Function codes the device does not know."""
        self._names: dict[str, None] = {}

    @property
    def names(self) -> Sequence[str]:
        """The tags it does not have, in the order in which that was found."""
        return tuple(self._names)

    def __contains__(self, tag: ModbusTag) -> bool:
        return tag.name in self._names

    def add(self, tags: Iterable[ModbusTag]) -> list[ModbusTag]:
        """Remember points the device refuses; returns those that were not known yet."""
        new = [tag for tag in tags if tag.name not in self._names]
        for tag in new:
            self._names[tag.name] = None
            self.holes.add(hole_of(tag))
        return new

    def forget(self, tags: Iterable[ModbusTag]) -> None:
        """These are read no more. That no request may read across their places stays true of the device."""
        for tag in tags:
            self._names.pop(tag.name, None)

    def restore(self, tag: ModbusTag) -> None:
        """The device answers for this point after all."""
        self._names.pop(tag.name, None)
        self.holes.discard(hole_of(tag))


@dataclass(slots=True)
class Device:
    """One unit of one device. ``retry_missing`` is how often, in seconds, a missing point is tried.

    ``tags`` may be replaced while it is scanned.
    """

    name: str
    settings: ModbusSettings
    tags: tuple[ModbusTag, ...]
    retry_missing: float
    missing: Missing = field(default_factory=Missing)
    statistics: dict[str, ScanStatistics] = field(default_factory=dict)
    """By the name of the scan class."""
    blocks: set[Block] = field(default_factory=set)
    """What is read at present, or was before the connection was lost."""
    traffic: Traffic = field(default_factory=Traffic)
    on_retag: Callable[[], None] | None = None
    """Called when the tags are others, by whoever scans them. Must not raise."""

    def retag(self, tags: Iterable[ModbusTag]) -> None:
        """Have other tags; what is known of those that go is forgotten."""
        before, self.tags = self.tags, tuple(tags)
        kept = set(map(id, self.tags))
        self.missing.forget(tag for tag in before if id(tag) not in kept)
        if self.on_retag is not None:
            self.on_retag()


def hole_of(tag: ModbusTag) -> Hole:
    """The place that no request may read across where the device does not have that point."""
    return Hole(tag.address.table, tag.address.start, tag.address.end)


async def search(
    refused: Block, answers: Callable[[Block], Awaitable[bool]]
) -> tuple[list[ModbusTag], list[Hole]]:
    """Halve a refused block until it is clear which points are missing, or where it may not be read across.

    ``answers`` reads a block and says whether the device gave it. A block of one tag that
    was refused is missing. Two halves that answer where the whole did not have a hole
    between them. What both leave open, reading the remaining tags together will show.
    """
    tags = refused.tags
    if len(tags) == 1:
        return [tags[0]], []
    missing: list[ModbusTag] = []
    holes: list[Hole] = []
    halves = _halves(tags)
    for half in halves:
        if not await answers(half):
            its_missing, its_holes = await search(half, answers)
            missing += its_missing
            holes += its_holes
    if not missing and not holes:
        low, high = sorted((halves[0].end, halves[1].start))
        holes.append(Hole(refused.table, low, high))
    return missing, holes


def _halves(tags: Sequence[ModbusTag]) -> tuple[Block, Block]:
    middle = len(tags) // 2
    return Block.around(tuple(tags[:middle])), Block.around(tuple(tags[middle:]))
