"""Those who have much to say take turns; nothing one of them does stops the others."""

from __future__ import annotations

import asyncio

from server.opcua.transport.turns import Turns


class Speaker:
    def __init__(self, turns: Turns, times: int = 1, *, fails: bool = False) -> None:
        self.turns, self.left, self.fails = turns, times, fails
        turns.add(self)

    def go_on(self) -> None:
        self.left -= 1
        if self.fails:
            raise RuntimeError("a fault")
        if self.left:
            self.turns.add(self)


async def test_everybody_has_a_turn_until_nobody_waits() -> None:
    turns = Turns()
    speakers = [Speaker(turns, times) for times in (1, 3, 2)]
    await asyncio.sleep(0.01)
    assert [speaker.left for speaker in speakers] == [0, 0, 0]
    late = Speaker(turns)
    await asyncio.sleep(0.01)
    assert late.left == 0


async def test_who_waits_no_more_has_no_turn() -> None:
    turns = Turns()
    gone, other = Speaker(turns), Speaker(turns)
    turns.discard(gone)
    await asyncio.sleep(0.01)
    assert (gone.left, other.left) == (1, 0)


async def test_a_fault_of_one_keeps_nobody_else_from_their_turn() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    turns = Turns()
    before, _, after = Speaker(turns), Speaker(turns, fails=True), Speaker(turns)
    await asyncio.sleep(0.01)
    assert (before.left, after.left) == (0, 0)
    late = Speaker(turns)
    await asyncio.sleep(0.01)
    assert late.left == 0
