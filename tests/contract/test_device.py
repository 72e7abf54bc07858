"""What the device itself may do: restart, refuse a part, be flooded with writes."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

from support.contract import spoils
from support.contract.case import DriverCase
from support.contract.census import Census, settled
from support.contract.live import Truth, between, live
from support.contract.plc import Plc
from support.contract.proxy import frame_proxy
from support.net import until

from sources.quality import BAD_RESOURCE_UNAVAILABLE, GOOD, Quality
from sources.source import Session

FLOOD = 400
"""Writes at once."""
WAITING = 48
"""So many may wait, of any driver."""
SOME_BATCHES = 10


async def test_a_device_that_restarts(case: DriverCase, plc: Plc) -> None:
    before = Census.now()
    async with (
        frame_proxy(lambda: plc.port, case.framing) as between,
        live(plc, case.source(plc, between.port)) as alive,
    ):
        await alive.good()
        for _ in range(case.restarts):
            # Nobody sees the values it starts with, before it holds what it held.
            between.refuse = True
            await plc.restart()
            await until(lambda: "Good" not in alive.qualities)
            between.refuse = False
            await alive.advance()
        assert alive.supervisor.status.connects > case.restarts
        assert alive.truth.seen <= {
            "Good",
            "UncertainNoCommunicationLastUsableValue",
            "BadNoCommunication",
            "BadConnectionClosed",
        }
    await settled(before)


async def test_half_a_reply_and_nothing_after(case: DriverCase, plc: Plc) -> None:
    """With one request at a time: in a stream of several replies nobody can tell that bytes are missing."""
    async with between(case, plc, "300ms") as (alive, proxy):
        proxy.spoil = spoil = spoils.Once(case.carries_values, spoils.stopped)
        await spoil.done.wait()
        await alive.advance()
        assert alive.truth.seen <= {
            "Good",
            "BadTimeout",
            "BadCommunicationError",
            "UncertainNoCommunicationLastUsableValue",
            "BadNoCommunication",
            "BadConnectionClosed",
        }


async def test_a_tag_that_the_device_refuses_is_alone_in_it(case: DriverCase, plc: Plc) -> None:
    refused, *others = plc.names
    await plc.refuse(refused)
    async with live(plc, case.source(plc)) as alive:
        alive.names = others
        await alive.good()
        await until(lambda: alive.truth.qualities.get(refused) == case.refused)
        assert alive.truth.values.get(refused) is None
        for _ in range(3):
            await alive.advance()
        assert {name for name, quality in alive.truth.qualities.items() if quality != GOOD} == {refused}


async def test_a_tag_that_is_refused_from_now_on(case: DriverCase, plc: Plc) -> None:
    async with live(plc, case.source(plc)) as alive:
        await alive.good()
        first, refused, *others = plc.names
        others.append(first)
        await plc.refuse(refused)
        await until(lambda: alive.truth.qualities[refused] == case.refused)
        alive.names = others
        await alive.advance()
        assert {name for name, quality in alive.truth.qualities.items() if quality != GOOD} == {refused}


async def test_a_flood_of_writes(case: DriverCase, plc: Plc) -> None:
    source = case.source(plc)
    tags = {tag.name: tag for tag in source.tags}
    truth = Truth(plc)
    values = itertools.count()
    done: dict[str, int] = {}
    """What was written last and answered Good."""
    outcomes: Counter[Quality] = Counter()

    async def write(session: Session, name: str) -> None:
        value = plc.first(name) + next(values)
        (quality,) = await session.write([(tags[name], value)])
        outcomes[quality] += 1
        if quality == GOOD:
            done[name] = value

    async def go_on(session: Session, name: str, until_there_are: int) -> None:
        while len(truth.batches) < until_there_are:
            await write(session, name)

    async with source.connect() as session:
        scan = asyncio.create_task(session.scan(truth))
        try:
            await until(lambda: all(truth.qualities.get(name) == GOOD for name in tags))
            await asyncio.gather(*(write(session, name) for name in plc.writable * (FLOOD // 4)))
            assert outcomes.keys() <= {GOOD, BAD_RESOURCE_UNAVAILABLE}, "done, or refused at once"
            assert outcomes[BAD_RESOURCE_UNAVAILABLE] > 0, "the line of those who wait has an end"
            outcomes.clear()
            # As many as may wait, again and again: values come all the same.
            crowd = len(truth.batches) + SOME_BATCHES
            async with asyncio.timeout(30):
                await asyncio.gather(*(go_on(session, name, crowd) for name in plc.writable * (WAITING // 4)))
            assert outcomes.keys() == {GOOD}
            for name, value in done.items():
                assert await plc.get(name) == value, "the last that was done is what stands"
            await until(lambda: all(truth.values[name] == value for name, value in done.items()))
            assert not scan.done()
        finally:
            scan.cancel()
            await asyncio.wait((scan,))
    assert truth.wrong == []
