"""Which requests to make: the fewest legal ones that read every tag. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

from sources.modbus.config import MAX_READ_REGISTERS, ModbusSettings
from sources.modbus.decode import ModbusTag
from sources.modbus.tables import Span, Table
from sources.tag import ScanClass

BITS_A_CHARACTER: Final = 11
"""On a serial line: start, eight of data, parity or a second stop, stop."""
TURNAROUND: Final = 0.01
"""Seconds a device on a serial line takes to answer, as a rule."""
_SERVER_BAUD: Final = 9600


Hole: TypeAlias = Span
"""A place of a table that no request may read across: from below ``low`` to beyond ``high``.

Devices have them where nothing is mapped, and between areas that they read only one at a
time: then ``low`` and ``high`` are the same address. Some are forbidden by configuration.
"""


class Limits(NamedTuple):
    """What one request may hold. The gap is in registers; in bit tables 16 bits make one."""

    max_gap: int
    max_registers: int
    max_bits: int

    @classmethod
    def of(cls, settings: ModbusSettings) -> Limits:
        """The limits of a source."""
        gap = natural_gap(settings) if settings.max_gap is None else settings.max_gap
        return cls(gap, settings.max_registers, settings.max_bits)


def natural_gap(settings: ModbusSettings) -> int:
    """How many registers to read along take as long as another request on this kind of line.

    On a network a whole frame costs next to nothing. On a serial line another request is
    13 characters of framing, two silences of 3.5 characters and some `TURNAROUND` of the
    device, and a register is two characters; in ASCII twice as many. What speed lies behind
    a serial server is not known: as for 9600 baud.
    """
    if not settings.is_unnumbered:
        return MAX_READ_REGISTERS
    baud = settings.baud if settings.is_serial_port else _SERVER_BAUD
    width = 2 if settings.transport == "ascii" else 1
    character = BITS_A_CHARACTER / baud
    overhead = (13 * width + 7) * character + TURNAROUND
    return min(MAX_READ_REGISTERS, round(overhead / (2 * width * character)))


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
    gap to the next tag, the block's span and the holes allow; a queue is one by itself. A value is
    never split, so a tag wider than the limit (`parse_tag` refuses it) would stand alone.
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
        if table.is_queue:
            gap, span = -1, 1
        walls = _Walls(hole for hole in holes if hole.table is table)
        blocks += (Block.around(tuple(run)) for run in _runs(members, gap, span, walls))
    return blocks


class _Walls:
    """The holes of one table, in the order of their beginnings: a device may have thousands."""

    def __init__(self, holes: Iterable[Hole]) -> None:
        order = sorted((hole.low, hole.high) for hole in holes)
        self._lows = [low for low, _ in order]
        self._ends = list(accumulate((high for _, high in reversed(order)), min))[::-1]
        """The first end of a hole that begins there or later."""

    def part(self, start: int, end: int) -> bool:
        """Whether a block from ``start`` to before ``end`` would read across one."""
        first = bisect_right(self._lows, start)
        return first < len(self._ends) and self._ends[first] < end


def _runs(tags: list[ModbusTag], max_gap: int, max_span: int, walls: _Walls) -> list[list[ModbusTag]]:
    """Cut sorted tags into runs. Taking as many as fit from the left gives the fewest runs."""
    runs: list[list[ModbusTag]] = []
    start = end = 0
    for tag in tags:
        address = tag.address
        grown = max(end, address.end)
        if not runs or address.start - end > max_gap or grown - start > max_span or walls.part(start, grown):
            runs.append([])
            start, grown = address.start, address.end
        runs[-1].append(tag)
        end = grown
    return runs
