"""What may become of a reply on its way: it costs a value or a connection, and is never taken for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.contract import spoils
from support.contract.case import DriverCase
from support.contract.live import between, live
from support.contract.plc import Plc
from support.contract.proxy import Spoil, frame_proxy
from support.net import until

AWAY = {
    "UncertainNoCommunicationLastUsableValue",
    "BadNoCommunication",
    "BadNotConnected",
    "BadConnectionClosed",
}
LATE = AWAY | {"BadTimeout"}
BROKEN = AWAY | {"BadCommunicationError", "BadDecodingError"}
SOON = 0.2
"""A time-out that is waited for, in seconds. On a slow machine it may strike for nothing."""
SOON_MS = "200ms"


def _values(case: DriverCase) -> Callable[[bytes], bytes | None]:
    return lambda frame: case.payload(frame) if case.carries_values(frame) else None


async def test_a_device_that_falls_silent(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc, SOON_MS) as (alive, proxy):
        proxy.mute = True
        await alive.lost()
        # Of what is asked for at each new connection, without an answer, also BadTimeout.
        await alive.all("BadNoCommunication", "BadNotConnected", "BadTimeout")
        assert alive.truth.seen <= LATE | {"Good"}
        proxy.heal()
        await alive.advance()


async def test_a_reply_that_comes_too_late(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc, SOON_MS) as (alive, proxy):
        for _ in range(2):
            release = asyncio.Event()
            held = spoils.Once(case.carries_values, spoils.held(release))
            proxy.spoil = held
            await held.done.wait()
            # Nothing passes now: every value that the device gives from here on is of the next generation.
            await plc.advance()
            await until(lambda: not alive.qualities <= {"Good"}, what="a value that is missed")
            # Until whatever was asked for before has had its time: a reply to that would be right.
            await asyncio.sleep(2 * SOON)
            alive.truth.oldest = plc.generation
            release.set()
            await alive.good()
        assert alive.truth.seen <= LATE | {"Good"}


async def test_a_reply_to_another_request_instead_of_the_right_one(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc, SOON_MS) as (alive, proxy):
        for _ in range(3):
            proxy.spoil = spoil = spoils.Replayed(_values(case), right_too=False)
            await spoil.done.wait()
            await alive.advance()
        assert alive.truth.seen <= LATE | BROKEN | {"Good"}


async def test_a_reply_to_another_request_before_the_right_one(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc) as (alive, proxy):
        for _ in range(3):
            proxy.spoil = spoil = spoils.Replayed(_values(case), right_too=True)
            await spoil.done.wait()
            await alive.advance()
        assert alive.truth.seen <= BROKEN | {"Good"}


async def test_every_reply_comes_twice(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc) as (alive, proxy):
        proxy.spoil = lambda frame: spoils.twice(frame) if case.carries_values(frame) else (frame,)
        requests = proxy.requests
        await until(lambda: proxy.requests > requests + 40)
        alive.true()
        proxy.heal()
        await alive.advance()
        assert alive.truth.seen <= BROKEN | {"Good"}


@pytest.mark.parametrize(
    "how",
    [spoils.cut(0), spoils.cut_header, spoils.cut(0.5), spoils.cut(0.95)],
    ids=["before", "in the header", "in the middle", "near the end"],
)
async def test_the_connection_ends_within_a_reply(case: DriverCase, plc: Plc, how: Spoil) -> None:
    async with between(case, plc) as (alive, proxy):
        connections = proxy.accepted
        proxy.spoil = spoil = spoils.Once(case.carries_values, how)
        await spoil.done.wait()
        # Far sooner than by the time-out.
        await until(lambda: proxy.accepted > connections, within=15, what="a new connection")
        await alive.advance()
        assert alive.truth.seen <= AWAY | {"Good"}


async def test_every_reply_byte_by_byte(case: DriverCase, plc: Plc) -> None:
    async with frame_proxy(lambda: plc.port, case.framing) as proxy:
        proxy.spoil = spoils.dribbled
        async with live(plc, case.source(plc, proxy.port)) as alive:
            await alive.good()
            connections = proxy.accepted
            await alive.advance()
            assert alive.truth.seen == {"Good"}
            assert proxy.accepted == connections


@pytest.mark.parametrize("instead", [True, False], ids=["instead", "before"])
@pytest.mark.parametrize("seed", range(2))
async def test_garbage(case: DriverCase, plc: Plc, seed: int, instead: bool) -> None:
    async with between(case, plc, SOON_MS) as (alive, proxy):
        proxy.spoil = spoil = spoils.Once(case.carries_values, spoils.garbage(seed, instead=instead))
        await spoil.done.wait()
        await alive.advance()
        assert alive.truth.seen <= LATE | BROKEN | {"Good"}


async def test_garbage_from_the_first_byte_on(case: DriverCase, plc: Plc) -> None:
    async with frame_proxy(lambda: plc.port, case.framing) as proxy:
        proxy.spoil = spoils.garbage(7, instead=True)
        async with live(plc, case.source(plc, proxy.port, timeout="300ms")) as alive:
            await until(lambda: proxy.accepted > 3)
            assert alive.truth.good == 0
            proxy.heal()
            await alive.good()


async def test_a_short_reply(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc) as (alive, proxy):
        proxy.spoil = lambda frame: (case.shorten(frame) if case.carries_values(frame) else frame,)
        await until(lambda: alive.qualities & BROKEN, what="a value that is not taken")
        await plc.advance()
        requests = proxy.requests
        await until(lambda: proxy.requests > requests + 10)
        alive.true()
        proxy.heal()
        await alive.good()
        assert alive.truth.seen <= BROKEN | {"Good"}


async def test_a_slow_device_is_only_slow(case: DriverCase, plc: Plc) -> None:
    async with between(case, plc) as (alive, proxy):
        connections = proxy.accepted
        proxy.spoil = spoils.late(0.05)
        for _ in range(3):
            await alive.advance()
        assert alive.truth.seen == {"Good"}
        assert proxy.accepted == connections


@pytest.mark.parametrize(
    "how",
    [
        lambda _: spoils.late(0.4),
        lambda _: spoils.cut(0.5),
        lambda case: lambda frame: (case.shorten(frame) if case.carries_values(frame) else frame,),
    ],
    ids=["late", "cut", "short"],
)
async def test_a_neighbour_does_not_notice(
    case: DriverCase, plc: Plc, how: Callable[[DriverCase], Spoil]
) -> None:
    async with (
        between(case, plc, SOON_MS) as (sick, proxy),
        live(plc, case.source(plc)) as well,
    ):
        await well.good()
        proxy.spoil = how(case)
        for _ in range(3):
            await well.advance()
            await asyncio.sleep(0.1)
        assert well.truth.seen == {"Good"}
        proxy.heal()
        await sick.good()
