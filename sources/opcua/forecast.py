"""What a downstream server's values will cost, and what spoils them. Pure.

A scan class is a subscription: a message at each publishing interval in which something changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from sources.forecast import FRAME, Forecast, ForecastBlock, Pace
from sources.insight import PlannedBlock
from sources.opcua.config import DownstreamSettings, OpcUaTag
from sources.tag import ScanClass

_ROUND_TRIP: Final = 0.002
"""Seconds: the server has a Publish request waiting, and need not be asked."""
_MESSAGE: Final = 250
"""Bytes of a Publish response and the next request, with headers, padding and signatures."""
_VALUE: Final = 35
"""Bytes of a number with its handle, StatusCode and both times."""
_REPORTS: Final = (
    "the server reports what changes, so these are the most there can be; intervals it revises show in the "
    "plan of the running source"
)
_IMPORTS: Final = "what is imported is watched as well; how much that is only the server can say"


def forecast(settings: DownstreamSettings, tags: Sequence[OpcUaTag], *, imports: bool = False) -> Forecast:
    """The plan as it is where every value changes all the time. ``imports``: nodes of it are imported too."""
    groups: dict[ScanClass, list[OpcUaTag]] = defaultdict(list)
    for tag in tags:
        groups[tag.scan].append(tag)
    classes = sorted(groups, key=lambda scan: (scan.period, scan.name))
    blocks = [_block(scan, groups[scan]) for scan in classes]
    notes = ([_REPORTS] if blocks else []) + ([_IMPORTS] if imports else [])
    return Forecast(blocks, Pace(_ROUND_TRIP), spoils=tuple(_spoils(settings, classes)), notes=notes)


def _block(scan: ScanClass, tags: Sequence[OpcUaTag]) -> ForecastBlock:
    size = "1 item" if len(tags) == 1 else f"{len(tags)} items"
    planned = PlannedBlock("subscription", scan.name, size, len(tags), "scan class")
    values = sum(tag.length or 1 for tag in tags)
    return ForecastBlock(planned, scan, 1, _MESSAGE + values * _VALUE + 2 * FRAME)


def _spoils(settings: DownstreamSettings, classes: Sequence[ScanClass]) -> Iterator[str]:
    if settings.sampling is None:
        return
    for scan in classes:
        if settings.sampling > scan.period:
            yield (
                f"{scan.name} asks for values every {scan.period:g} s, and the server looks at them every "
                f"{settings.sampling:g} s (sampling)"
            )
        elif settings.sampling * settings.queue < scan.period:
            yield (
                f"of the values between two reports of {scan.name} the server keeps the last "
                f"{'one' if settings.queue == 1 else settings.queue}, and looks every "
                f"{settings.sampling:g} s; a longer queue keeps them"
            )
