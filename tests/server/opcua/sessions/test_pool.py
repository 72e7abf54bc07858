from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from server.opcua.sessions.pool import Busy, Pool


class Gate:
    """Work that waits until it is let go, and notes when it starts."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.at_once = 0
        self.most = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def work(self, name: str) -> Callable[[], str]:
        def run() -> str:
            with self._lock:
                self.started.append(name)
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            assert self._open.wait(10)
            with self._lock:
                self.at_once -= 1
            return name

        return run

    def open(self) -> None:
        self._open.set()

    async def has_started(self, count: int) -> None:
        deadline = time.monotonic() + 5
        while len(self.started) < count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)


def ask(pool: Pool, who: str, work: Callable[[], str]) -> asyncio.Task[str]:
    return asyncio.create_task(pool.run(who, work))


async def test_it_gives_what_the_work_returns_and_raises_what_it_raises() -> None:
    pool = Pool(1)
    assert await pool.run("a", lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await pool.run("a", lambda: 1 / 0)
    assert await pool.run("a", lambda: "still works") == "still works"


async def test_no_more_runs_at_once_than_there_are_workers_and_one_of_each() -> None:
    pool, gate = Pool(2), Gate()
    tasks = [ask(pool, who, gate.work(f"{who}{number}")) for number in range(3) for who in "aabc"]
    await gate.has_started(2)
    await asyncio.sleep(0.02)
    assert gate.started == ["a0", "b0"], "the second of a waits, though it came before b's first"
    gate.open()
    assert len(await asyncio.gather(*tasks)) == 12
    assert gate.most == 2


async def test_whoever_asks_for_little_does_not_wait_for_who_asks_for_much() -> None:
    pool, gate = Pool(1), Gate()
    flood = [ask(pool, "flood", gate.work(f"flood{number}")) for number in range(20)]
    await gate.has_started(1)
    single = ask(pool, "single", gate.work("single"))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(single, *flood)
    assert gate.started.index("single") == 1


async def test_a_line_has_a_limit_of_its_own() -> None:
    pool, gate = Pool(1, each=2), Gate()
    tasks = [ask(pool, "a", gate.work(str(number))) for number in range(3)]
    await gate.has_started(1)
    with pytest.raises(Busy):
        await pool.run("a", gate.work("one too many"))
    tasks.append(ask(pool, "b", gate.work("another's")))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(*tasks)


async def test_where_too_many_wait_the_longest_line_loses_its_last() -> None:
    pool, gate = Pool(1, most=4, each=10), Gate()
    flood = [ask(pool, "flood", gate.work(str(number))) for number in range(5)]
    await gate.has_started(1)
    late = ask(pool, "late", gate.work("late"))
    await asyncio.sleep(0)
    gate.open()
    assert await late == "late"
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str, str, str, str, Busy]
    assert await pool.run("flood", lambda: "again") == "again"


async def test_of_equals_none_has_to_go() -> None:
    pool, gate = Pool(1, most=2), Gate()
    tasks = [ask(pool, who, gate.work(who)) for who in "abc"]
    await gate.has_started(1)
    with pytest.raises(Busy):
        await pool.run("d", gate.work("d"))
    gate.open()
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]


async def test_a_worker_is_free_only_when_its_work_is_done_even_if_nobody_waits_for_it() -> None:
    pool, gate = Pool(1), Gate()
    impatient = ask(pool, "a", gate.work("abandoned"))
    await gate.has_started(1)
    impatient.cancel()
    patient = ask(pool, "b", gate.work("next"))
    await asyncio.sleep(0.02)
    assert gate.started == ["abandoned"]
    gate.open()
    assert await patient == "next"


async def test_work_nobody_waits_for_any_more_is_not_begun() -> None:
    pool, gate = Pool(1), Gate()
    first = ask(pool, "a", gate.work("first"))
    await gate.has_started(1)
    abandoned = ask(pool, "b", gate.work("abandoned"))
    await asyncio.sleep(0)
    abandoned.cancel()
    gate.open()
    await first
    assert await pool.run("b", lambda: "after") == "after"
    assert gate.started == ["first"]


async def test_ready_is_asked_when_the_turn_has_come_and_after_the_one_before_was_answered() -> None:
    pool = Pool(1)
    failures = 0

    def ready() -> None:
        if failures:
            raise PermissionError

    async def attempt() -> bool:
        nonlocal failures
        try:
            await pool.run("a", lambda: None, ready)
        except PermissionError:
            return False
        failures += 1
        return True

    assert await asyncio.gather(*(attempt() for _ in range(5))) == [True, False, False, False, False]


async def test_nobody_gets_between_the_result_and_the_one_who_waits_for_it() -> None:
    pool = Pool(2)
    seen = 0

    async def attempt() -> None:
        nonlocal seen
        await pool.run("a", int, ready=lambda: turns.append(seen))
        seen += 1

    async def others() -> None:
        while seen < 30:
            await pool.run("b", int)

    turns: list[int] = []
    await asyncio.gather(*(attempt() for _ in range(20)), others(), others(), *(attempt() for _ in range(10)))
    assert turns == list(range(30))
