from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.net import until

from sources.ethernetip.failures import Broken, NotSent
from sources.ethernetip.worker import Counters, Worker
from sources.quality import BAD_TIMEOUT
from sources.turns import Busy


class Thing:
    """A resource that blocks until it is aborted."""

    def __init__(self) -> None:
        self.until = 0.0
        self.aborted = threading.Event()
        self.closed_by: str | None = None

    def abort(self, reason: str) -> None:
        assert reason
        self.aborted.set()

    def close(self) -> None:
        self.closed_by = threading.current_thread().name

    def block(self) -> None:
        self.aborted.wait()
        raise Broken("aborted")


def spin() -> None:
    while True:
        pass


@asynccontextmanager
async def worker(thing: Thing, counters: Counters | None = None, grace: float = 0.2) -> AsyncIterator[Worker]:
    made = Worker("PLC", thing, counters, grace=grace)
    try:
        yield made
    finally:
        await made.stop()


def threads() -> int:
    return sum(thread.name == "logix PLC" for thread in threading.enumerate())


async def no_threads() -> None:
    await until(lambda: threads() == 0, what="no thread left")


async def test_work_is_done_in_order_in_one_thread_of_its_own() -> None:
    thing = Thing()
    async with worker(thing) as its:
        names = [await its.do(lambda: threading.current_thread().name, 5.0) for _ in range(3)]
        several = await asyncio.gather(*(its.do(lambda number=number: number, 5.0) for number in range(10)))  # type: ignore[misc]
    assert names == ["logix PLC"] * 3
    assert several == list(range(10))
    assert thing.closed_by == "logix PLC"
    await no_threads()


async def test_an_error_comes_back_to_whoever_waits() -> None:
    async with worker(Thing()) as its:
        with pytest.raises(ZeroDivisionError):
            await its.do(lambda: 1 // 0, 5.0)
        assert await its.do(lambda: 5, 5.0) == 5


async def test_work_that_overstays_is_cut() -> None:
    thing, counters = Thing(), Counters()
    async with worker(thing, counters) as its:
        with pytest.raises(Broken, match="after its time") as error:
            await its.do(thing.block, 0.05)
        assert error.value.quality == BAD_TIMEOUT
        with pytest.raises(NotSent):
            await its.do(lambda: 5, 5.0)
    assert (counters.cut, counters.abandoned) == (1, 0)
    assert thing.closed_by is not None
    await no_threads()


async def test_work_may_take_as_long_as_its_requests_may() -> None:
    thing = Thing()
    async with worker(thing) as its:
        thing.until = time.monotonic() + 30
        began = time.monotonic()
        await its.do(lambda: time.sleep(0.6), 0.01)
        assert time.monotonic() - began < 20


async def test_an_endless_loop_that_never_touches_its_socket_is_ended() -> None:
    thing, counters = Thing(), Counters()
    async with worker(thing, counters) as its:
        with pytest.raises(Broken):
            await its.do(spin, 0.05)
    assert (counters.cut, counters.abandoned) == (1, 0)
    assert thing.closed_by is not None
    await no_threads()


async def test_a_thread_that_cannot_be_ended_is_left_behind_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thing, counters, release = Thing(), Counters(), threading.Event()
    with caplog.at_level(logging.ERROR):
        async with worker(thing, counters) as its:
            with pytest.raises(Broken):
                await its.do(release.wait, 0.05)
    assert (counters.cut, counters.abandoned, counters.hanging) == (1, 1, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    release.set()
    await no_threads()
    assert counters.hanging == 0
    assert thing.closed_by is not None


@pytest.mark.parametrize("spins", [True, False])
async def test_a_cancelled_caller_leaves_at_once_and_the_thread_ends(spins: bool) -> None:
    thing = Thing()
    async with worker(thing) as its:
        task = asyncio.create_task(its.do(spin if spins else thing.block, 60.0))
        await until(lambda: its._limit is not None, every=0.005)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 5
    await no_threads()


async def test_a_stop_that_is_cancelled_still_ends_the_thread() -> None:
    its = Worker("PLC", Thing(), grace=0.5)
    busy = asyncio.create_task(its.do(spin, 60.0))
    await until(lambda: its._limit is not None, every=0.005)
    stop = asyncio.create_task(its.stop())
    await asyncio.sleep(0)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    await no_threads()
    with pytest.raises(Broken):
        await busy


async def test_whoever_still_waits_when_it_stops_is_told() -> None:
    thing = Thing()
    its = Worker("PLC", thing, grace=5.0)
    running = asyncio.create_task(its.do(thing.block, 60.0))
    await until(lambda: its._limit is not None, every=0.005)
    queued = asyncio.create_task(its.do(lambda: 5, 60.0))
    await asyncio.sleep(0)
    await its.stop()
    with pytest.raises(Broken, match="aborted"):
        await running
    with pytest.raises(NotSent):
        await queued
    await no_threads()


async def test_a_cancelled_caller_whose_work_has_not_begun_gets_none_of_it_done() -> None:
    thing, done = Thing(), threading.Event()
    release = threading.Event()
    async with worker(thing) as its:
        first = asyncio.create_task(its.do(release.wait, 60.0))
        await until(lambda: its._limit is not None, every=0.005)
        second = asyncio.create_task(its.do(done.set, 60.0))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        await first
        await its.do(lambda: None, 5.0)
    assert not done.is_set()


async def test_the_queue_has_a_limit() -> None:
    thing, release = Thing(), threading.Event()
    async with worker(thing, grace=10.0) as its:
        tasks = [asyncio.create_task(its.do(release.wait, 60.0))]
        await until(lambda: its._limit is not None, every=0.005)
        tasks += [asyncio.create_task(its.do(lambda: True, 60.0)) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await its.do(lambda: True, 60.0)
        release.set()
        assert all(await asyncio.gather(*tasks))


async def test_two_hundred_workers_leave_no_thread() -> None:
    for _ in range(200):
        async with worker(Thing()) as its:
            await its.do(lambda: None, 5.0)
    await no_threads()
