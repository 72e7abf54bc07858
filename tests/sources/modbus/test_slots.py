from __future__ import annotations

import asyncio

import pytest

from sources.modbus.slots import Slots
from sources.turns import Busy


async def _command(slots: Slots, name: str, seen: list[str]) -> None:
    async with slots.command():
        seen.append(name)
        await asyncio.sleep(0)


async def _patient(slots: Slots, name: str, seen: list[str]) -> None:
    async with slots.patient():
        seen.append(name)
        await asyncio.sleep(0)


async def test_commands_go_before_scans_that_wait_longer() -> None:
    slots, seen = Slots(1), list[str]()
    async with asyncio.TaskGroup() as group, slots.patient():
        for name in ("scan 1", "scan 2"):
            group.create_task(_patient(slots, name, seen))
        await asyncio.sleep(0)
        for name in ("write 1", "write 2"):
            group.create_task(_command(slots, name, seen))
        await asyncio.sleep(0)
    assert seen == ["write 1", "write 2", "scan 1", "scan 2"]


async def test_a_flood_of_commands_does_not_stop_the_scan() -> None:
    slots, seen = Slots(1), list[str]()
    async with asyncio.TaskGroup() as group, slots.command():
        group.create_task(_patient(slots, "scan", seen))
        for index in range(40):
            group.create_task(_command(slots, f"write {index}", seen))
        await asyncio.sleep(0)
    assert seen.index("scan") == Slots.urgent_in_a_row
    assert len(seen) == 41


async def test_too_many_commands_are_refused_and_counted() -> None:
    slots, seen = Slots(1, limit=2), list[str]()
    async with asyncio.TaskGroup() as group, slots.command():
        for name in "ab":
            group.create_task(_command(slots, name, seen))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await _command(slots, "c", seen)
        assert slots.refused == 1
    assert seen == ["a", "b"]


async def test_commands_go_one_by_one_beside_scans() -> None:
    slots, commanding, most = Slots(4), 0, 0

    async def command() -> None:
        nonlocal commanding, most
        async with slots.command():
            commanding += 1
            most = max(most, commanding)
            await asyncio.sleep(0)
            commanding -= 1

    given: list[int] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(command())
        await asyncio.sleep(0)
        while slots.take(lambda: given.append(1)):
            pass
        for _ in range(3):
            slots.release()
    assert most == 1
    assert len(given) == 1, "a scan waits in the queue once for each who asked"


async def test_all_slots_come_back() -> None:
    slots = Slots(3)

    def nobody() -> None:
        raise AssertionError

    async with slots.command(), slots.patient(), slots.patient():
        assert not slots.take(nobody)
        slots.leave(nobody)
    assert all(slots.take(nobody) for _ in range(3))
    assert not slots.take(nobody)


@pytest.mark.parametrize("passed_on_first", [True, False])
@pytest.mark.parametrize("kind", ["command", "patient"])
async def test_a_cancelled_waiter_gives_its_slot_away(kind: str, passed_on_first: bool) -> None:
    slots, seen = Slots(1), list[str]()
    waits = _command if kind == "command" else _patient
    async with slots.patient():
        cancelled = asyncio.create_task(waits(slots, "cancelled", seen))
        await asyncio.sleep(0)
        after = asyncio.create_task(_patient(slots, "after", seen))
        await asyncio.sleep(0)
        if not passed_on_first:
            cancelled.cancel()
    if passed_on_first:
        cancelled.cancel()
    await asyncio.wait((cancelled, after))
    assert cancelled.cancelled()
    assert seen == ["after"]
    async with asyncio.timeout(5), slots.command():
        pass
