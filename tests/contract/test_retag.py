"""Other tags of the same device, over the connection there is: what stays is not touched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from functools import partial

import pytest
from support.contract.cancel import stop_after
from support.contract.case import SLOWER, DriverCase
from support.contract.census import Census, settled
from support.contract.logix import LogixCase
from support.contract.modbus import ModbusCase
from support.contract.plc import Plc
from support.contract.proxy import Part, frame_proxy
from support.contract.retagging import Retagging, supervised
from support.net import until

from sources.quality import GOOD
from sources.tag import ValueType

TURNS = (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 30, 50, 80, 130)


async def test_tags_that_stay_notice_nothing(case: DriverCase, plc: Plc) -> None:
    async with frame_proxy(lambda: plc.port, case.framing) as proxy:
        its = Retagging(case, plc, proxy.port)
        first, second, *others = plc.names
        a, b = its.tag("A", first), its.tag("B", second, SLOWER)
        its.begin(a, b)
        async with supervised(its) as supervisor:
            dialled = proxy.accepted
            for there in (
                (a, b, its.tag("C", others[0])),
                (a, b, its.tag("C", others[4])),  # another address under the name
                (a, b, its.tag("C", others[4], SLOWER)),
                (a, its.tag("D", others[5]), b),
                (a, *(its.tag(f"X{number}", place) for number, place in enumerate(others))),
                (a, b),
                (a,),
                (),
                (a, b),
            ):
                its.retag(*there)
                await its.advance()
                await its.advance()
            assert supervisor.status.connects == 1
            assert proxy.open <= dialled
            if not isinstance(case, LogixCase):  # which uploads what it has not uploaded, beside the scan
                assert proxy.accepted == dialled


async def test_another_type_at_a_place_is_another_tag(case: DriverCase, plc: Plc) -> None:
    its = Retagging(case, plc)
    place, kept = plc.names[0], its.tag("Kept", plc.names[1])
    its.begin(kept, its.tag("A", place))
    if isinstance(case, ModbusCase):
        other = its.tag("A", place, natural=ValueType.Int32, encoding="int32")
    else:
        other = its.tag("A", place, natural=ValueType.Int64)
    async with supervised(its) as supervisor:
        its.retag(kept, other)
        await its.advance()
        assert supervisor.status.connects == 1


def _held(release: asyncio.Event, held: list[bytes], frame: bytes) -> Iterable[Part]:
    held.append(frame)
    return release, frame


def _has_values(case: DriverCase, held: list[bytes]) -> bool:
    return any(map(case.carries_values, held))


async def test_what_is_on_its_way_is_nobody_elses(case: DriverCase, plc: Plc) -> None:
    """Replies are held back until names have changed places, in both directions."""
    async with frame_proxy(lambda: plc.port, case.framing) as proxy:
        its = Retagging(case, plc, proxy.port)
        places = plc.names[:4]
        there = [its.tag(f"P{number}", place) for number, place in enumerate(places)]
        its.begin(*there)
        async with supervised(its) as supervisor:
            for turn in range(1, 4):
                release, held = asyncio.Event(), list[bytes]()
                proxy.spoil = partial(_held, release, held)
                await plc.advance()
                await until(partial(_has_values, case, held), every=0.002)
                shifted = [*places[turn:], *places[:turn]]
                its.retag(*(its.tag(f"P{number}", place) for number, place in enumerate(shifted)))
                await asyncio.sleep(0.02)
                proxy.heal()
                release.set()
                await its.right()
            assert supervisor.status.connects == 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_many_retags_end_with_every_value_right(case: DriverCase, plc: Plc, seed: int) -> None:
    dice = random.Random(seed)
    more = {"pipeline": 4, "connections": 2} if isinstance(case, ModbusCase) and seed == 2 else {}
    its = Retagging(case, plc, **more)
    its.begin(*its.shuffled(dice, ()))
    async with supervised(its) as supervisor:
        for number in range(40):
            its.retag(*its.shuffled(dice, its.tags))
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.02)))
            if number % 5 == 4:
                await its.advance()
            its.true()
        await its.advance()
        assert supervisor.status.connects == 1
        scans = {tag.scan.name for tag in its.tags}
        assert set(supervisor.status.scans) == scans


async def test_cancelled_anywhere_the_next_connection_reads_the_new_tags(case: DriverCase, plc: Plc) -> None:
    its = Retagging(case, plc)
    first, second, third, *_ = plc.names
    sets = [
        (its.tag("A", first), its.tag("B", second), its.tag("C", third, SLOWER)),
        (its.tag("A", second), its.tag("B", first, SLOWER), its.tag("D", third)),
    ]
    source = its.begin(*sets[0])
    before = Census.now()
    for number, turns in enumerate(TURNS):
        async with source.connect() as session:
            scan = asyncio.create_task(session.scan(its))
            try:
                await its.right()
                its.retag(*sets[1 - number % 2])
                its.held.clear()
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                scan.cancel()
                await asyncio.wait((scan,))
            assert scan.cancelled()
        assert list(source.tags) == list(its.tags)
        its.true()
    async with source.connect() as session:
        its.retag(*sets[0])  # before the scan begins
        await stop_after(lambda: session.scan(its), 3)
        its.retag(*sets[1])
    await settled(before)


async def test_writes_reach_the_place_their_tag_leads_to(case: DriverCase, plc: Plc) -> None:
    """Each once, whether the tag is still to come, there, or gone; and though others come and go."""
    its = Retagging(case, plc)
    one, other, *_ = plc.writable
    kept, old, new = its.tag("Kept", plc.names[0]), its.tag("W", one), its.tag("W", other)
    its.begin(kept, old)
    async with supervised(its) as supervisor:
        for step in range(1, 7):
            busy = [
                asyncio.create_task(supervisor.write([(old, plc.first(one) + step)])),
                asyncio.create_task(supervisor.write([(new, plc.first(other) + step)])),
            ]
            await asyncio.sleep(0)
            its.retag(kept, (old, new)[step % 2], its.tag("X", plc.names[step]))
            busy.append(asyncio.create_task(supervisor.write([(new, plc.first(other) + step)])))
            assert await asyncio.gather(*busy) == [[GOOD]] * 3
            assert await plc.get(one) == plc.first(one) + step
            assert await plc.get(other) == plc.first(other) + step
        await its.advance()
        assert (await plc.get(one), await plc.get(other)) == (plc.first(one) + 6, plc.first(other) + 6)
        assert supervisor.status.connects == 1
