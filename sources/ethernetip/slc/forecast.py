"""What reading an SLC will cost, and what spoils it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from sources.ethernetip.slc.directory import Directory
from sources.ethernetip.slc.plan import Block, SlcTag, explain, in_order, plan
from sources.forecast import FRAME, Forecast, ForecastBlock, Pace

_REQUEST: Final = 71
_REPLY: Final = 61
"""Bytes around what is read: encapsulation, connection, PCCC."""
_NAMED: Final = 5
_MANY: Final = 4


def forecast(tags: Sequence[SlcTag], directory: Directory | None = None) -> Forecast:
    """The plan, without the tags that the controller's data files, where they are known, speak against."""
    problems = [(tag.name, directory.conflict(tag.address)) for tag in tags] if directory else []
    refused = {name: why for name, why in problems if why}
    blocks = in_order(plan(tag for tag in tags if tag.name not in refused))
    made = [
        ForecastBlock(planned, block.scan, 1, block.size + _REQUEST + _REPLY + 2 * FRAME)
        for block, planned in zip(blocks, explain(blocks), strict=True)
    ]
    return Forecast(made, Pace(), spoils=[*_refused(refused), *_spoils(blocks)])


def _refused(refused: dict[str, str]) -> Iterator[str]:
    for name, why in list(refused.items())[:_NAMED]:
        yield f"{name} is not read: {why}"
    if len(refused) > _NAMED:
        yield f"{len(refused) - _NAMED} more tags do not fit the controller"


def _spoils(blocks: Sequence[Block]) -> Iterator[str]:
    runs = [block for block in blocks if block.request.endswith("}")]
    single = len(blocks) - len(runs)
    if single >= _MANY:
        yield (
            f"{single} timers, counters, texts or words of modules are a request each; have the "
            "program copy what is needed of them into an N or F file, which is read in blocks"
        )
    classes: dict[str, set[str]] = defaultdict(set)
    for block in runs:
        classes[block.request.partition(":")[0]].add(block.scan.name)
    for file, names in classes.items():
        if len(names) > 1:
            shown = ", ".join(sorted(names))
            yield f"{file} is read by {len(names)} scan classes ({shown}), with requests of its own for each"
