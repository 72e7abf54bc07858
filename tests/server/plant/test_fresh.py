"""Reads for a client that wants a value of now: one at a time for each device, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from support.devices import OneName
from support.line import MACHINE, line

from server.plant.fresh import FreshReads
from server.plant.values import Point, ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.errors import ConnectionLost, Unreachable
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_NOT_CONNECTED, GOOD, Quality
from sources.tag import Tag


class Device(OneName):
    """Answers when it is let; notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        self.asked.append({tag.name.rpartition(".")[2] for tag in tags})
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Batch(tuple(tags), [7.0 for _ in tags], GOOD, None, now())

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        raise AssertionError(pairs)


def points(store: ValueStore, *names: str) -> list[Point]:
    return [store.points[f"{MACHINE}.{name}"] for name in names]


async def test_the_store_has_what_the_device_says_now() -> None:
    store, device = ValueStore(line()), Device()
    device.go.set()
    assert await FreshReads(store, {"PLC": device}).read(points(store, "Speed", "Level")) == {}
    assert device.asked == [{"Speed", "Level"}]
    assert points(store, "Speed")[0].value == 7.0


async def test_requests_that_come_while_one_is_read_share_the_next_read() -> None:
    store, device = ValueStore(line()), Device()
    reads = FreshReads(store, {"PLC": device})
    first = asyncio.create_task(reads.read(points(store, "Speed")))
    await asyncio.sleep(0)
    others = [asyncio.create_task(reads.read(points(store, name))) for name in ("Level", "SpeedSP", "Speed")]
    await asyncio.sleep(0.01)
    assert device.asked == [{"Speed"}]
    device.go.set()
    assert await asyncio.gather(first, *others) == [{}, {}, {}, {}]
    assert device.asked == [{"Speed"}, {"Level", "SpeedSP", "Speed"}]


async def test_a_source_that_does_not_answer_is_named_with_the_reason() -> None:
    store, device = ValueStore(line()), Device()
    device.go.set()
    reads = FreshReads(store, {"PLC": device})
    device.error = Unreachable("gone")
    assert await reads.read(points(store, "Speed")) == {"PLC": BAD_NOT_CONNECTED}
    device.error = ConnectionLost("cut", BAD_COMMUNICATION_ERROR)
    assert await reads.read(points(store, "Speed")) == {"PLC": BAD_COMMUNICATION_ERROR}
    assert await FreshReads(store, {}).read(points(store, "Speed")) == {"PLC": BAD_NOT_CONNECTED}


async def test_constants_and_disabled_points_ask_no_device() -> None:
    store, device = ValueStore(line()), Device()
    assert await FreshReads(store, {"PLC": device}).read(points(store, "Make", "Spare")) == {}
    assert device.asked == []


async def test_one_that_is_cancelled_leaves_nobody_waiting() -> None:
    store, device = ValueStore(line()), Device()
    reads = FreshReads(store, {"PLC": device})
    first = asyncio.create_task(reads.read(points(store, "Speed")))
    await asyncio.sleep(0)
    leader = asyncio.create_task(reads.read(points(store, "Level")))
    await asyncio.sleep(0)
    follower = asyncio.create_task(reads.read(points(store, "Level")))
    await asyncio.sleep(0)
    leader.cancel()
    assert await follower == {"PLC": BAD_NOT_CONNECTED}
    device.go.set()
    assert await first == {}
    assert await reads.read(points(store, "Level")) == {}
