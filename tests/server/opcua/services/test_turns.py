"""Long work gives others their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

import pytest
from support.sessions import FakePeer, request
from support.turns import counting_turns

from server.opcua.services.turns import Work, in_turns


def work(steps: int, seconds: float = 0.0) -> Work:
    for _ in range(steps):
        if seconds:
            time.sleep(seconds)
        yield
    return b"done"


def test_short_work_is_done_at_once() -> None:
    assert in_turns(work(10), request(FakePeer())) == b"done"


async def test_long_work_is_done_in_turns() -> None:
    answer = in_turns(work(20, 0.001), request(FakePeer()), turn=0.003)
    assert isinstance(answer, Coroutine)
    async with counting_turns() as turns:
        assert await answer == b"done"
    assert 3 <= turns.count <= 20


async def test_what_goes_wrong_comes_out_in_whichever_turn_it_does() -> None:
    def failing(steps: int) -> Work:
        yield from work(steps, 0.001)
        raise LookupError

    with pytest.raises(LookupError):
        in_turns(failing(0), request(FakePeer()))
    answer = in_turns(failing(3), request(FakePeer()), turn=0.0)
    assert isinstance(answer, Coroutine)
    with pytest.raises(LookupError):
        await answer


async def test_works_of_one_connection_are_done_one_after_the_other() -> None:
    peer, began = FakePeer(), []

    def noted(number: int) -> Work:
        yield from work(5, 0.001)
        began.append(number)
        yield from work(5, 0.001)
        began.append(number)
        return b"done"

    answers = [in_turns(noted(number), request(peer), turn=0.0) for number in range(5)]
    done = await asyncio.gather(*(answer for answer in answers if isinstance(answer, Coroutine)))
    assert done == [b"done"] * 5
    assert began == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_connections_take_turns_and_all_of_them_have_one_a_round() -> None:
    done: list[int] = []

    def counted(number: int) -> Work:
        for _ in range(10):
            time.sleep(0.001)
            done.append(number)
            yield
        return b"done"

    answers = [in_turns(counted(number), request(FakePeer()), turn=0.0) for number in range(8)]
    tasks = [asyncio.ensure_future(answer) for answer in answers if isinstance(answer, Coroutine)]
    assert len(tasks) == 8
    rounds = []
    while not all(task.done() for task in tasks):
        before = len(done)
        await asyncio.sleep(0)
        rounds.append(len(done) - before)
    assert max(rounds) <= 1
    assert set(done[8:24]) == set(range(8))  # each had the first at once


async def test_nothing_is_done_that_nobody_waits_for() -> None:
    peer, steps = FakePeer(), []

    def endless() -> Work:
        while True:
            steps.append(1)
            yield

    asked = request(peer)
    answer = in_turns(endless(), asked, turn=0.0)
    assert isinstance(answer, Coroutine)
    working = asyncio.ensure_future(answer)
    await asyncio.sleep(0.01)
    asked.answered = True
    assert await working is None


async def test_nothing_is_done_for_who_does_not_read_its_answers() -> None:
    peer = FakePeer(backlogged=True)
    answer = in_turns(work(100), request(peer), turn=0.0)
    assert isinstance(answer, Coroutine)
    working = asyncio.ensure_future(answer)
    await asyncio.sleep(0.1)
    assert not working.done()
    peer.backlogged = False
    assert await working == b"done"
