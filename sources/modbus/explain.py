"""The plan in words: each block, and why it ends where it ends."""

from __future__ import annotations

from collections import defaultdict

from sources.insight import PlannedBlock
from sources.modbus.config import Table
from sources.modbus.device import Device, hole_of
from sources.modbus.plan import Block, Hole, Limits
from sources.tag import ScanClass


def explain(device: Device) -> list[PlannedBlock]:
    """What is read of a device at present, class by class, in the order of addresses."""
    groups: dict[tuple[ScanClass, Table], list[Block]] = defaultdict(list)
    for block in device.blocks:
        groups[block.scan, block.table].append(block)
    limits = Limits.of(device.settings)
    bad = {hole_of(tag) for tag in device.tags if tag in device.missing}
    found = []
    for scan, table in sorted(groups, key=lambda group: (group[0].period, group[0].name, group[1].value)):
        blocks = sorted(groups[scan, table], key=lambda block: block.start)
        holes = [hole for hole in device.missing.holes if hole.table is table]
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            reason = "last of its class" if following is None else _end(block, following, limits, holes, bad)
            size = f"{block.count} {_unit(table, block.count)}"
            found.append(PlannedBlock(str(block), scan.name, size, len(block.tags), reason))
    return found


def _end(block: Block, following: Block, limits: Limits, holes: list[Hole], bad: set[Hole]) -> str:
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
