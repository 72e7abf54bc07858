"""Which requests to make: the fewest legal ones that read every tag. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sources.modbus.config import ModbusSettings, Table
from sources.modbus.decode import ModbusTag
from sources.tag import ScanClass


class Hole(NamedTuple):
    """A place of a table that no request may read across: from below ``low`` to beyond ``high``.

    Devices have them where nothing is mapped, and between areas that they read only one at a
    time: then ``low`` and ``high`` are the same address.
    """

    table: Table
    low: int
    high: int


class Limits(NamedTuple):
    """What one request may hold. The gap is in registers; in bit tables 16 bits make one."""

    max_gap: int
    max_registers: int
    max_bits: int

    @classmethod
    def of(cls, settings: ModbusSettings) -> Limits:
        """The limits of a source."""
        return cls(settings.max_gap, settings.max_registers, settings.max_bits)


@dataclass(frozen=True, slots=True)
class Block:
    """One request: ``count`` registers or bits of ``table`` from ``start``, for tags of one scan class.

    ``tags`` stand in the order of their addresses.
    """

    table: Table
    start: int
    count: int
    scan: ScanClass
    tags: tuple[ModbusTag, ...]

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.count

    def __str__(self) -> str:
        return self.named(self.table, self.start, self.end)

    @staticmethod
    def named(table: Table, start: int, end: int) -> str:
        """A range of a table for people: ``holding:0 to 124``."""
        return f"{table.name}:{start}" if end - start == 1 else f"{table.name}:{start} to {end - 1}"

    @classmethod
    def around(cls, tags: tuple[ModbusTag, ...]) -> Block:
        """The block that spans tags of one table and class, given in the order of their addresses."""
        start = tags[0].address.start
        end = max(tag.address.end for tag in tags)
        return cls(tags[0].address.table, start, end - start, tags[0].scan, tags)


def plan(tags: Iterable[ModbusTag], limits: Limits, holes: Collection[Hole] = ()) -> list[Block]:
    """Blocks that cover every tag once.

    Tags are grouped by table and scan class and taken by address; a block grows while the
    gap to the next tag, the block's span and the holes allow. A value is never split, so a
    tag wider than the limit (`parse_tag` refuses it) would stand alone.
    """
    groups: dict[tuple[Table, ScanClass], list[ModbusTag]] = defaultdict(list)
    for tag in tags:
        groups[tag.address.table, tag.scan].append(tag)
    blocks: list[Block] = []
    for (table, _), members in groups.items():
        members.sort(key=lambda tag: (tag.address.start, tag.address.end))
        gap, span = (
            (16 * limits.max_gap, limits.max_bits)
            if table.is_bits
            else (limits.max_gap, limits.max_registers)
        )
        walls = [(hole.low, hole.high) for hole in holes if hole.table is table]
        blocks += (Block.around(tuple(run)) for run in _runs(members, gap, span, walls))
    return blocks


def _runs(
    tags: list[ModbusTag], max_gap: int, max_span: int, walls: list[tuple[int, int]]
) -> list[list[ModbusTag]]:
    """Cut sorted tags into runs. Taking as many as fit from the left gives the fewest runs."""
    runs: list[list[ModbusTag]] = []
    start = end = 0
    for tag in tags:
        address = tag.address
        grown = max(end, address.end)
        if (
            not runs
            or address.start - end > max_gap
            or grown - start > max_span
            or any(start < low and grown > high for low, high in walls)
        ):
            runs.append([])
            start, grown = address.start, address.end
        runs[-1].append(tag)
        end = grown
    return runs
