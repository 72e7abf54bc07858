from __future__ import annotations

import asyncio

from server.opcua.sessions.gate import Gate


async def test_one_passes_in_each_round_in_the_order_they_came() -> None:
    gate, order, rounds = Gate(), list[int](), list[int]()
    now = 0

    async def work(number: int) -> None:
        await gate.passed()
        order.append(number)
        rounds.append(now)

    tasks = [asyncio.create_task(work(number)) for number in range(20)]
    while not all(task.done() for task in tasks):
        now += 1
        await asyncio.sleep(0)
    assert order == list(range(20))
    assert len(set(rounds)) == 20


async def test_nobody_waits_for_one_who_was_cancelled() -> None:
    gate = Gate()
    first, second, third = (asyncio.create_task(gate.passed()) for _ in range(3))
    await asyncio.sleep(0)
    assert first.done()
    second.cancel()
    async with asyncio.timeout(5):
        await third
    assert second.cancelled()


async def test_alone_nobody_waits() -> None:
    gate = Gate()
    for _ in range(3):
        passing = asyncio.create_task(gate.passed())
        await asyncio.sleep(0)
        assert passing.done()
        await asyncio.sleep(0)
