from __future__ import annotations

import asyncio

import pytest

from sources.turns import Busy, Turns


async def _take(turns: Turns, name: str, seen: list[str], *, urgent: bool) -> None:
    async with turns.turn(urgent=urgent):
        seen.append(name)
        await asyncio.sleep(0)


async def test_commands_go_before_scans_that_wait_longer() -> None:
    turns, seen = Turns(), list[str]()
    async with asyncio.TaskGroup() as group, turns.turn(urgent=False):
        for name in ("scan 1", "scan 2"):
            group.create_task(_take(turns, name, seen, urgent=False))
        await asyncio.sleep(0)
        for name in ("write 1", "write 2"):
            group.create_task(_take(turns, name, seen, urgent=True))
        await asyncio.sleep(0)
    assert seen == ["write 1", "write 2", "scan 1", "scan 2"]


async def test_a_flood_of_commands_does_not_stop_the_scan() -> None:
    turns, seen = Turns(), list[str]()
    async with asyncio.TaskGroup() as group, turns.turn(urgent=True):
        group.create_task(_take(turns, "scan", seen, urgent=False))
        for index in range(40):
            group.create_task(_take(turns, f"write {index}", seen, urgent=True))
        await asyncio.sleep(0)
    assert seen.index("scan") == Turns.urgent_in_a_row
    assert len(seen) == 41


async def test_too_many_commands_are_refused_and_counted() -> None:
    turns, seen = Turns(limit=2), list[str]()
    async with asyncio.TaskGroup() as group, turns.turn(urgent=True):
        for name in "ab":
            group.create_task(_take(turns, name, seen, urgent=True))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await _take(turns, "c", seen, urgent=True)
        assert turns.refused == 1
    assert seen == ["a", "b"]


@pytest.mark.parametrize("passed_on_first", [True, False])
async def test_a_cancelled_waiter_gives_its_turn_away(passed_on_first: bool) -> None:
    turns, seen = Turns(), list[str]()
    async with turns.turn(urgent=False):
        cancelled = asyncio.create_task(_take(turns, "cancelled", seen, urgent=True))
        after = asyncio.create_task(_take(turns, "after", seen, urgent=False))
        await asyncio.sleep(0)
        if not passed_on_first:
            cancelled.cancel()
    if passed_on_first:
        cancelled.cancel()  # the turn has come to it already, but it has not run yet
    await after
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert seen == ["after"]
    async with asyncio.timeout(5), turns.turn(urgent=False):
        pass


async def test_an_error_in_a_turn_ends_the_turn() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="inside"):
        async with turns.turn(urgent=True):
            raise ValueError("inside")
    async with asyncio.timeout(5), turns.turn(urgent=True):
        pass
