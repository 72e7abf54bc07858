"""A device that cannot be reached, takes the call and says nothing, or comes and goes a thousand times."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError
from support.contract.case import DriverCase, Running
from support.contract.census import Census, blocks, settled
from support.contract.live import live
from support.contract.plc import Plc
from support.contract.proxy import frame_proxy
from support.net import free_port, until

from sources.errors import SourceError, Unreachable

AT_FIRST = 0.2
"""After this share of all connections, whatever is kept for all time is there."""
A_FEW = 0.5
"""Blocks of memory a connection may come and go; one that each left would be twice as many."""


async def test_nobody_listens(case: DriverCase, plc: Plc) -> None:
    before = Census.now()
    port = free_port()
    with pytest.raises(Unreachable, match="refused"):
        async with case.source(plc, port).connect():
            pass
    await settled(before)
    async with live(plc, case.source(plc, port)) as alive:
        await until(lambda: len(alive.truth.qualities) == len(alive.source.tags))
        assert alive.qualities == {"BadNotConnected"}
        assert "refused" in alive.supervisor.status.last_error


async def test_a_name_that_nobody_knows(case: DriverCase, plc: Plc) -> None:
    before = Census.now()
    source = case.source(plc, host="no-such-host.invalid")
    with pytest.raises(Unreachable, match="host name"):
        async with source.connect():
            pass
    await settled(before)
    async with live(plc, source) as alive:
        await until(lambda: len(alive.truth.qualities) == len(alive.source.tags))
        assert alive.qualities == {"BadNotConnected"}


@pytest.mark.parametrize("host", ["two..dots.example", f"{'long' * 20}.example", "not a name", ""])
def test_what_is_no_name_at_all_is_refused_before_anybody_dials(running: Running, host: str) -> None:
    with pytest.raises(ValidationError, match="no host name or IP address"):
        running.case.source(running.plc, host=host)


async def test_a_device_that_takes_the_call_and_says_nothing(case: DriverCase, plc: Plc) -> None:
    before = Census.now()
    async with frame_proxy(lambda: plc.port, case.framing) as between:
        between.mute = True
        source = case.source(plc, between.port, timeout="200ms")
        async with live(plc, source) as alive:
            await until(lambda: between.requests > 0)
            await until(lambda: between.accepted > 1, what="a second call")
            assert alive.qualities <= {"BadTimeout", "BadNotConnected", "BadConnectionClosed"}
            assert alive.truth.good == 0
            between.heal()
            await alive.good()
    await settled(before)


async def test_a_call_that_is_dropped_at_once(case: DriverCase, plc: Plc) -> None:
    async with frame_proxy(lambda: plc.port, case.framing) as between:
        between.refuse = True
        async with live(plc, case.source(plc, between.port)) as alive:
            await until(lambda: between.accepted > 5)
            assert alive.truth.good == 0
            between.heal()
            await alive.good()


async def test_a_thousand_connections_leave_nothing(case: DriverCase, plc: Plc) -> None:
    source = case.source(plc, names=plc.names[:1])
    (tag,) = source.tags
    before = Census.now()
    at_first = 0
    for number in range(case.cycles):
        if number == int(AT_FIRST * case.cycles):
            at_first = blocks()
        async with source.connect() as session:
            if number % 20 == 0:
                batch = await session.read([tag])
                assert list(batch.values or []) == [plc.value(tag.name)]
    await settled(before)
    assert blocks() - at_first < A_FEW * (1 - AT_FIRST) * case.cycles
    clients = plc.clients

    async def nobody() -> bool:
        return await clients() == 0

    await until(nobody, what="the device to have no client any more")


async def test_many_connections_that_end_badly_leave_nothing(case: DriverCase, plc: Plc) -> None:
    before = Census.now()
    async with frame_proxy(lambda: plc.port, case.framing) as between:
        source = case.source(plc, between.port, names=plc.names[:1], timeout="5s")
        inside = Census.now()
        for _ in range(50):
            try:
                async with source.connect() as session:
                    between.hang_up()
                    await session.read(source.tags)
            except SourceError:
                pass
            else:
                pytest.fail("a read went through a connection that was cut")
        await until(lambda: between.open == 0)
        await asyncio.sleep(0)
        await settled(inside)
    await settled(before)
