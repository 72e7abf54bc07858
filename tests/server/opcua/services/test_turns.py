"""Long work gives others their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

import pytest

from server.opcua.services.turns import Work, in_turns


def work(steps: int, seconds: float = 0.0) -> Work:
    for _ in range(steps):
        time.sleep(seconds)
        yield
    return b"done"


def test_short_work_is_done_at_once() -> None:
    assert in_turns(work(10)) == b"done"


async def test_long_work_is_done_in_turns() -> None:
    answer = in_turns(work(20, 0.001), turn=0.003)
    assert isinstance(answer, Coroutine)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    assert await answer == b"done"
    beside.cancel()
    await asyncio.gather(beside, return_exceptions=True)
    assert 3 <= turns <= 20


async def test_what_goes_wrong_comes_out_in_whichever_turn_it_does() -> None:
    def failing(steps: int) -> Work:
        yield from work(steps, 0.001)
        raise LookupError

    with pytest.raises(LookupError):
        in_turns(failing(0))
    answer = in_turns(failing(3), turn=0.0)
    assert isinstance(answer, Coroutine)
    with pytest.raises(LookupError):
        await answer
