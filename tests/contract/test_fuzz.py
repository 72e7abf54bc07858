"""Replies spoiled in every way: the driver ends a connection or refuses a value, and goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import pytest
from support.contract.case import DriverCase
from support.contract.census import Census, settled
from support.contract.live import live
from support.contract.plc import Plc
from support.contract.proxy import Part, frame_proxy
from support.fuzz.budget import EFFORT, INPUTS
from support.fuzz.mutate import cut, mutated

from sources.supervisor import SourceState

SPOILED = 15
KEPT = 50


class Spoiler:
    """Spoils one frame in so many, its length too, and sends it in pieces; keeps earlier ones to mix in."""

    def __init__(self, case: DriverCase, seed: int, one_in: int) -> None:
        self._case = case
        self._dice = random.Random(seed)
        self._one_in = one_in
        self._earlier: list[bytes] = []
        self.spoiled = 0

    def __call__(self, frame: bytes) -> Iterable[Part]:
        if self._dice.randrange(self._one_in):
            self._earlier = [*self._earlier[-KEPT:], frame]
            return (frame,)
        self.spoiled += 1
        return cut(self._dice, mutated(self._dice, frame, self._earlier))


@pytest.mark.parametrize("one_in", [2, 6], ids=["half", "some"])
async def test_replies_that_are_spoiled_at_random(case: DriverCase, plc: Plc, one_in: int) -> None:
    """Here a value may be wrong: no protocol tells a changed bit of it. Nothing else may."""
    before = Census.now()
    async with frame_proxy(lambda: plc.port, case.framing) as proxy:
        spoiler = proxy.spoil = Spoiler(case, seed=one_in, one_in=one_in)
        async with live(plc, case.source(plc, proxy.port, timeout="150ms")) as alive:
            while spoiler.spoiled < SPOILED * EFFORT:
                await asyncio.sleep(0.02)
                assert alive.supervisor.status.state is not SourceState.Faulted, alive.supervisor.status
            proxy.heal()
            await plc.advance()
            # What was spoiled may have been taken for a value; from here on nothing is.
            alive.truth.wrong.clear()
            await alive.good()
    INPUTS[f"replies to the {case.kind} driver"] += spoiler.spoiled
    await settled(before)
