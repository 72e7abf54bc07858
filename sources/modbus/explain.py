"""The plan in words: each block, and why it ends where it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from sources.insight import PlannedBlock
from sources.modbus.config import Table
from sources.modbus.device import Device, hole_of
from sources.modbus.plan import Block, Hole, Limits
from sources.tag import ScanClass


def explain(device: Device) -> list[PlannedBlock]:
    """What is read of a device at present, class by class, in the order of addresses."""
    bad = {hole_of(tag) for tag in device.tags if tag in device.missing}
    limits = Limits.of(device.settings)
    return [told for _, told in explained(device.blocks, limits, device.missing.holes, bad)]


def explained(
    blocks: Iterable[Block], limits: Limits, holes: Collection[Hole] = (), bad: Collection[Hole] = ()
) -> Iterator[tuple[Block, PlannedBlock]]:
    """Each block of a plan with what is told of it; ``bad`` are the holes that are missing points."""
    groups: dict[tuple[ScanClass, Table], list[Block]] = defaultdict(list)
    for block in blocks:
        groups[block.scan, block.table].append(block)
    for scan, table in sorted(groups, key=lambda group: (group[0].period, group[0].name, group[1].value)):
        ordered = sorted(groups[scan, table], key=lambda block: block.start)
        walls = [hole for hole in holes if hole.table is table]
        for block, following in zip(ordered, [*ordered[1:], None], strict=True):
            reason = "last of its class" if following is None else _end(block, following, limits, walls, bad)
            size = f"{block.count} {_unit(table, block.count)}"
            yield block, PlannedBlock(str(block), scan.name, size, len(block.tags), reason)


def _end(block: Block, following: Block, limits: Limits, holes: Iterable[Hole], bad: Collection[Hole]) -> str:
    """Why a block does not reach into the following one: the planner's own reasons, in its order."""
    is_bits = block.table.is_bits
    gap, most = following.start - block.end, limits.max_bits if is_bits else limits.max_registers
    if gap > (16 * limits.max_gap if is_bits else limits.max_gap):
        return f"gap of {gap} {_unit(block.table, gap)}"
    if following.tags[0].address.end - block.start > most:
        return f"device's maximum of {most}"
    for hole in holes:
        if block.start < hole.low and following.end > hole.high:
            where = Block.named(block.table, hole.low, max(hole.high, hole.low + 1))
            return f"bad point {where}" if hole in bad else f"not read across {where}"
    return "planned apart after a change"


def _unit(table: Table, count: int) -> str:
    unit = "bit" if table.is_bits else "register"
    return unit if count == 1 else f"{unit}s"
