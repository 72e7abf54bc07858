"""The engine in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from support.subscribing import Change, Client, Stage

from server.opcua.subscriptions.subscription import Subscription
from sources.tag import ValueType


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Client]:
    stage.engine.clock = time.monotonic
    task = asyncio.create_task(stage.engine.run())
    await asyncio.sleep(0)
    try:
        yield stage.session()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        stage.engine.close()


async def until(client: Client, count: int) -> None:
    async with asyncio.timeout(5):
        while len(client.peer.answers) < count:  # noqa: ASYNC110  # what is waited for is not ours to signal
            await asyncio.sleep(0.005)


@pytest.fixture
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1)})


async def test_changes_come_in_the_cycles_of_the_subscription(stage: Stage) -> None:
    async with running(stage) as client:
        subscription = client.subscribe(50.0)
        client.watch(subscription, "a")
        start = time.monotonic()
        for value in range(5):
            stage.set("a", value)
            client.publish()
            await until(client, value + 1)
        assert 0.2 < time.monotonic() - start < 2
        assert client.heard() == [[Change(1, value)] for value in range(5)]


async def test_an_engine_that_sleeps_is_woken_by_a_new_subscription(stage: Stage) -> None:
    async with running(stage) as client:
        client.subscribe(3_000_000.0)
        await asyncio.sleep(0.02)
        client.subscribe(50.0)
        client.publish()
        await until(client, 1)
        assert client.heard() == [[]]


async def test_a_sampler_wakes_it_too(stage: Stage) -> None:
    async with running(stage) as client:
        subscription = client.subscribe(3_000_000.0)
        client.watch(subscription, "a", sampling=150.0, queue=9)
        await asyncio.sleep(0.02)
        stage.set("a", 1)
        items = stage.engine.subscriptions[subscription].items
        await asyncio.sleep(0.3)
        queue = items[1].queue  # type: ignore[attr-defined]
        assert len(queue) == 4


async def test_a_subscription_that_fails_ends_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(stage) as client:
        broken, sound = client.subscribe(50.0), client.subscribe(60.0)
        real = Subscription.fire

        def fire(subscription: Subscription, now: float) -> None:
            if subscription.id == broken:
                raise RuntimeError("for the test")
            real(subscription, now)

        monkeypatch.setattr(Subscription, "fire", fire)
        client.publish()
        client.publish()
        await until(client, 2)
        assert list(stage.engine.subscriptions) == [sound]
        assert "a fault of ours" in caplog.text


async def test_large_messages_let_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.subscription._MOST", 500)
    monkeypatch.setattr("server.opcua.subscriptions.publishing.MAX_NOTIFICATIONS_PER_PUBLISH", 500)
    stage = Stage({f"v{number}": (ValueType.Int32, 0.1) for number in range(50)})
    async with running(stage) as client:
        subscription = client.subscribe(50.0)
        items = [client.stage_item(f"v{number % 50}", handle=number) for number in range(3000)]
        client.create(subscription, *items)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while len(client.peer.answers) < 6:
                turns += 1
                await asyncio.sleep(0)

        for _ in range(6):
            client.publish()
        async with asyncio.timeout(5):
            await count()
        heard = client.heard()
        assert [len(message) for message in heard] == [500] * 6
        assert turns >= 6


async def test_items_of_an_ended_subscription_are_cleared_away_in_turns(stage: Stage) -> None:
    async with running(stage) as client:
        subscription = client.subscribe(50.0)
        client.create(subscription, *(client.stage_item("a", handle=number) for number in range(5000)))
        point = stage.store.points["P.a"]
        assert len(point.items or ()) == 5000
        client.delete_subscriptions(subscription)
        assert stage.engine.monitored_items == 0
        async with asyncio.timeout(5):
            while point.items:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.005)


async def test_what_waits_is_told_before_the_end(stage: Stage) -> None:
    async with running(stage) as client:
        subscription = client.subscribe(3_000_000.0)
        client.watch(subscription, "a")
        client.publish()
        stage.engine.flush()
        assert len(client.heard()) == 1
