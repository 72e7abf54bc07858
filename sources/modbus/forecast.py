"""What reading a Modbus device will cost, and what spoils it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sources.forecast import FRAME, Forecast, ForecastBlock, Pace
from sources.modbus.config import MAX_READ_BITS, MAX_READ_REGISTERS, ModbusSettings
from sources.modbus.decode import ModbusTag, reply_size
from sources.modbus.explain import explained
from sources.modbus.plan import BITS_A_CHARACTER, TURNAROUND, Block, Limits, natural_gap, plan
from sources.modbus.tables import Table
from sources.tag import ScanClass

_REQUEST: Final = 5
"""Bytes of a read request: function, start and count."""
_REPLY: Final = 2
"""Bytes of a reply before its values: function and length."""
_HEADER: Final = 7
"""Bytes of the TCP framing around either."""
_UNIT_AND_CHECK: Final = 3
"""Bytes of the serial framing around either; in ASCII a colon and a line's end come to it."""
_SILENCES: Final = 7
"""Characters that nothing is said before and after a frame, 3.5 each."""
_FEW: Final = 2
"""A block of so few points is one that somebody may want to know of."""
_NAMED: Final = 5


def forecast(settings: ModbusSettings, tags: Sequence[ModbusTag]) -> Forecast:
    """The plan as it will be at the first connection: what the device refuses then is not known yet."""
    blocks = plan(tags, Limits.of(settings), settings.forbidden_spans)
    return Forecast(
        list(_described(blocks, settings)),
        _pace(settings),
        lanes=settings.connections * settings.pipeline,
        spoils=list(_spoils(settings, tags, blocks)),
    )


def _pace(settings: ModbusSettings) -> Pace:
    """A serial line is as fast as its characters; what lies behind a serial server is not known."""
    if not settings.is_serial_port:
        return Pace()
    character = BITS_A_CHARACTER / settings.baud
    return Pace(TURNAROUND + _SILENCES * character, character)


def _size(block: Block, settings: ModbusSettings) -> int:
    """Bytes there and back, with all headers."""
    own = _REQUEST + _REPLY + reply_size(block.table, block.count)
    if not settings.is_serial_port:
        return own + 2 * (_HEADER + FRAME)
    framed = own + 2 * _UNIT_AND_CHECK
    return 2 * framed + 6 if settings.transport == "ascii" else framed


def _described(blocks: Sequence[Block], settings: ModbusSettings) -> Iterator[ForecastBlock]:
    for block, planned in explained(blocks, Limits.of(settings), settings.forbidden_spans):
        yield ForecastBlock(planned, block.scan, 1, _size(block, settings))


def _groups(blocks: Sequence[Block]) -> list[list[Block]]:
    """Those of one class and table together, by address."""
    groups: dict[tuple[ScanClass, Table], list[Block]] = defaultdict(list)
    for block in sorted(blocks, key=lambda block: block.start):
        groups[block.scan, block.table].append(block)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class _Alone:
    """A block of few points, and how far the next one is."""

    block: Block
    away: int


def _spoils(settings: ModbusSettings, tags: Sequence[ModbusTag], blocks: Sequence[Block]) -> Iterator[str]:
    yield from _alone(blocks)
    yield from _small(settings, tags, blocks)
    yield from _mixed(settings, tags, blocks)


def _alone(blocks: Sequence[Block]) -> Iterator[str]:
    """Points far from all others, each of which costs a request."""
    found: list[_Alone] = []
    for group in _groups(blocks):
        most = max(group, key=lambda block: len(block.tags))  # where the others could lie
        for index, block in enumerate(group):
            if len(block.tags) > _FEW or block is most:
                continue
            away = [block.start - group[index - 1].end] if index else []
            away += [group[index + 1].start - block.end] if index + 1 < len(group) else []
            found.append(_Alone(block, min(away)))
    for each in found[:_NAMED]:
        names = " and ".join(tag.name for tag in each.block.tags)
        verb = "costs" if len(each.block.tags) == 1 else "cost"
        yield (
            f"{names} {verb} a request of {'its' if verb == 'costs' else 'their'} own: "
            f"{each.block} lies {each.away} addresses from its neighbour; "
            "let the device's program map it beside the others"
        )
    if len(found) > _NAMED:
        yield f"{len(found) - _NAMED} more blocks hold {_FEW} points or fewer"


def _small(settings: ModbusSettings, tags: Sequence[ModbusTag], blocks: Sequence[Block]) -> Iterator[str]:
    """Limits of the configuration that make requests of what could be fewer."""
    own = Limits.of(settings)
    widest = Limits(natural_gap(settings), MAX_READ_REGISTERS, MAX_READ_BITS)
    for key, protocol in widest._asdict().items():
        if getattr(own, key) >= protocol:
            continue
        fewer = len(plan(tags, own._replace(**{key: protocol}), settings.forbidden_spans))
        if fewer < len(blocks):
            yield (
                f"{key}: {getattr(own, key)} makes {len(blocks)} requests of what would be {fewer} "
                f"with {protocol}; raise it if the device and the line allow"
            )


def _mixed(settings: ModbusSettings, tags: Sequence[ModbusTag], blocks: Sequence[Block]) -> Iterator[str]:
    """Classes whose blocks lie in each other: one class for both would cost fewer requests a second."""
    by_scan: dict[ScanClass, list[ModbusTag]] = defaultdict(list)
    for tag in tags:
        by_scan[tag.scan].append(tag)
    scans = sorted(by_scan, key=lambda scan: scan.period)
    for index, fast in enumerate(scans):
        for slow in scans[index + 1 :]:
            if not _overlap(blocks, fast, slow):
                continue
            apart = sum(1 / block.scan.period for block in blocks if block.scan in {fast, slow})
            merged = [replace(tag, scan=fast) for tag in (*by_scan[fast], *by_scan[slow])]
            together = len(plan(merged, Limits.of(settings), settings.forbidden_spans)) / fast.period
            if together < apart:
                yield (
                    f"{fast.name} and {slow.name} read the same addresses twice: all of it in {fast.name} "
                    f"takes {together:.3g} requests a second in place of {apart:.3g}"
                )


def _overlap(blocks: Sequence[Block], one: ScanClass, other: ScanClass) -> bool:
    first = [block for block in blocks if block.scan == one]
    second = [block for block in blocks if block.scan == other]
    return any(a.table is b.table and a.start < b.end and b.start < a.end for a in first for b in second)
