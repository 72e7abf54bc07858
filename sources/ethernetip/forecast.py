"""What reading a Logix controller will cost, and what spoils it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from sources.ethernetip.bindings import Bindings, bind
from sources.ethernetip.client import LARGE, SMALL
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.explain import explained
from sources.ethernetip.plan import Limits, Packet, plan
from sources.ethernetip.symbols import SymbolTable
from sources.forecast import FRAME, Forecast, ForecastBlock, Pace

_AROUND: Final = 46
"""Bytes of encapsulation around a connected request or its reply."""
_NAMED: Final = 5
_COUNTERS: Final = bytes(38)
"""As long as what a controller's counters of its program say (`changes`), which travel with wholes."""


def forecast(settings: LogixSettings, tags: Sequence[LogixTag], table: SymbolTable | None = None) -> Forecast:
    """The plan with the tags that the controller has; without them the plan of single tags, the dearest."""
    limits = Limits(SMALL if settings.connection == "small" else LARGE, multiple=True, guard=_COUNTERS)
    bindings = bind(tags, table)
    packets = _planned(tags, bindings, limits)
    notes = []
    if table is None and settings.validate_tags:
        notes.append(
            "the controller was not asked: each tag is planned by itself here; with --connect neighbours "
            "are read as arrays and structures, as they will be"
        )
    spoils = [*_refused(bindings), *_spoils(settings, tags, bindings, packets, limits)]
    return Forecast(list(_described(packets, limits)), Pace(), settings.connections, spoils, notes)


def _planned(tags: Sequence[LogixTag], bindings: Bindings, limits: Limits) -> list[Packet]:
    located = [(tag, bindings.places[tag.name]) for tag in tags if tag.name in bindings.places]
    return plan(located, limits)


def _described(packets: Sequence[Packet], limits: Limits) -> Iterator[ForecastBlock]:
    for packet, planned in explained(packets, limits):
        size = len(packet.request) + sum(read.reply_size for read in packet.reads)
        size += packet.fragments * 2 * (FRAME + _AROUND)
        yield ForecastBlock(planned, packet.scan, packet.fragments, size)


def _refused(bindings: Bindings) -> Iterator[str]:
    """Bindings that the controller does not have: they cost nothing, and bring nothing."""
    problems = list(bindings.refused.items())
    for name, why in problems[:_NAMED]:
        yield f"{name} is not read: {why}"
    if len(problems) > _NAMED:
        yield f"{len(problems) - _NAMED} more bindings do not fit the controller"


def _spoils(
    settings: LogixSettings,
    tags: Sequence[LogixTag],
    bindings: Bindings,
    packets: Sequence[Packet],
    limits: Limits,
) -> Iterator[str]:
    if not settings.validate_tags:
        yield "validate: false reads each tag by itself; true reads neighbours as blocks"
    if settings.connection == "small":
        large = len(_planned(tags, bindings, limits._replace(size=LARGE)))
        if large < len(packets):
            yield (
                f"connection: small makes {len(packets)} packets of what would be {large} with large; "
                "take auto if the controller and the switches between allow it"
            )
    yield from _split(tags, packets)


def _split(tags: Sequence[LogixTag], packets: Sequence[Packet]) -> Iterator[str]:
    """Structures and arrays that several classes read parts of."""
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for tag in tags:
        depth = 1 if tag.address.program is None else 2
        root = ".".join(segment.name for segment in tag.address.segments[:depth])
        classes[root][tag.scan.name] += 1
    torn = {root: names for root, names in classes.items() if len(names) > 1}
    if torn and len(packets) > 1:
        root, names = max(torn.items(), key=lambda item: sum(item[1].values()))
        parts = ", ".join(f"{count} of its values in {name}" for name, count in names.items())
        more = f"; so are {len(torn) - 1} more tags" if len(torn) > 1 else ""
        yield f"{root} is read in parts by several scan classes ({parts}); one class reads it whole{more}"
