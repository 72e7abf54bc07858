"""Sources of every driver take other tags of their device without a bad value of those that stay."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from support import logix_tags, modbus_tags
from support.logix import everything, serving
from support.net import until
from support.scanning import Listener
from support.simulator import running_simulator

from server.change.fleet import Fleet
from server.config import SourceEntry
from sources.quality import GOOD, is_bad
from sources.registry import DRIVERS
from sources.tag import Tag


@dataclass
class Case:
    """A device that answers, and two of its tags."""

    kind: str
    settings: Any
    stays: Tag[Any]
    comes: Tag[Any]
    goes: Tag[Any]

    def entry(self, *tags: Tag[Any]) -> SourceEntry:
        return SourceEntry("PLC", DRIVERS[self.kind], self.settings, tags, True)


@asynccontextmanager
async def modbus() -> AsyncIterator[Case]:
    async with running_simulator() as device:
        tags = (modbus_tags.tag("holding:9"), modbus_tags.tag("holding:10"), modbus_tags.tag("input:0"))
        yield Case("modbus", modbus_tags.settings(device.port), *tags)


@asynccontextmanager
async def logix() -> AsyncIterator[Case]:
    async with serving(everything()) as device:
        tags = (
            logix_tags.tag("A_DINT", "dint"),
            logix_tags.tag("A_INT", "int"),
            logix_tags.tag("A_REAL", "real"),
        )
        yield Case("logix", logix_tags.settings(device.port), *tags)


@pytest.mark.parametrize("device", [modbus, logix])
async def test_it_goes_on_with_other_tags(device: Any) -> None:
    listener = Listener()
    async with device() as case:
        fleet = Fleet((case.entry(case.stays, case.goes),), listener)
        async with asyncio.TaskGroup() as group:
            fleet.start(group)
            await until(lambda: listener.quality(case.stays) == listener.quality(case.goes) == GOOD)
            change = fleet.prepare((case.entry(case.stays, case.comes),))
            assert list(change.retagged) == ["PLC"]
            fleet.halt(change)
            listener.batches.clear()
            deque(fleet.go(change), 0)
            await until(lambda: listener.quality(case.comes) == GOOD)
            mark = len(listener.batches)
            await until(lambda: any(case.stays in batch.tags for batch in listener.batches[mark:]))
            assert fleet.supervisors["PLC"].status.connects == 1
            assert not any(case.goes in batch.tags for batch in listener.batches)
            for batch in listener.batches:
                codes = [batch.qualities] if isinstance(batch.qualities, int) else batch.qualities
                assert not any(map(is_bad, codes))
            await fleet.supervisors["PLC"].read([case.comes])
            deque(fleet.go(_without(fleet)), 0)


def _without(fleet: Fleet) -> Any:
    change = fleet.prepare(())
    fleet.halt(change)
    return change
