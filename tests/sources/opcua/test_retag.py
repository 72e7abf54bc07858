"""Other tags of a downstream server: monitored items are made and deleted in the subscriptions there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.downstream import SAFE, named, protected, source
from support.net import until
from support.opcua import Running, serving
from support.opcua_messages import Lone, published
from support.proxy import Proxy, proxy_to
from support.scanning import NORMAL, Listener, scanning

import server.opcua.subscriptions.item_services as creating
from sources.errors import ConnectionLost
from sources.opcua import planning
from sources.opcua.config import OpcUaTag
from sources.opcua.connection import Connection
from sources.opcua.driver import OpcUaSource
from sources.opcua.items import Items
from sources.opcua.kept import Plan
from sources.quality import BAD_CONFIGURATION_ERROR, GOOD
from sources.tag import ValueType


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("there"), allow_none=True, anonymous=True, writable=True) as running:
        for name in ("Speed", "SpeedSP", "Level"):
            running.feed(name, 7.0)
        running.feed("Count", 7)
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each service was used."""
    counts: Counter[str] = Counter()
    real = Connection.ask

    async def ask(its: Connection, request: Any, answer: Any, **how: Any) -> Any:
        counts[type(request).__name__.removesuffix("Request")] += 1
        return await real(its, request, answer, **how)

    monkeypatch.setattr(Connection, "ask", ask)
    return counts


def subscriptions(device: OpcUaSource) -> dict[str, int]:
    """The id of each scan class's subscription."""
    plan = device.device.plan
    assert plan is not None
    return {one.scan.name: one.id for one in plan.subscriptions if one.scan is not None}


async def test_only_what_changed_is_made_and_deleted(there: Running, asked: Counter[str]) -> None:
    speed, point, level = (named(name) for name in ("Speed", "SpeedSP", "Level"))
    count = named("Count", ValueType.UInt32)
    device = source(there, [speed, point])
    async with scanning(device) as its:
        await its.good(speed, point)
        await until(lambda: device.device.plan is not None)
        before = subscriptions(device)
        asked.clear()
        device.retag([speed, level, count])
        await its.good(level, count)
        await until(lambda: [block.points for block in device.plan()] == [3])
        assert subscriptions(device) == before
        assert asked == {"CreateMonitoredItems": 1, "DeleteMonitoredItems": 1}

        # Another class is another subscription; one that has no tags is deleted.
        slower = named("Level", scan=NORMAL)
        device.retag([speed, slower, count])
        await until(lambda: set(subscriptions(device)) == {"fast", "normal"})
        await until(lambda: len(device.plan()) == 2 and asked["DeleteMonitoredItems"] == 2)
        assert subscriptions(device)["fast"] == before["fast"]
        there.feed("Count", 8)
        await until(lambda: its.listener.value(count) == 8)
        device.retag([slower])
        await until(lambda: set(subscriptions(device)) == {"normal"})
        assert asked["DeleteSubscriptions"] == 1
        assert set(device.statistics) == {"normal"}
        assert (await its.session.read([slower])).qualities == (GOOD,)


async def test_what_the_server_has_not_is_told_of_the_tag_that_asks_for_it(
    there: Running, caplog: pytest.LogCaptureFixture
) -> None:
    speed, astray = named("Speed"), named("Level", address="nsu=urn:acme:plant;s=Nowhere")
    unknown = named("SpeedSP", address="nsu=urn:nobody;s=X")
    device = source(there, [speed])
    async with scanning(device) as its:
        await its.good(speed)
        device.retag([speed, astray, unknown])
        await its.bad(BAD_CONFIGURATION_ERROR, astray, unknown)
        assert list(device.bad_points()) == [astray.name, unknown.name]
        device.retag([speed, named("Level", address="nsu=urn:acme:plant;s=NorHere")])
        await until(lambda: any("NorHere" in record.getMessage() for record in caplog.records))
        right = named("Level")
        device.retag([speed, right])
        await its.good(right)
        assert list(device.bad_points()) == []
        device.retag([speed, astray])
        await its.bad(BAD_CONFIGURATION_ERROR, astray)
    assert sum("Nowhere" in record.getMessage() for record in caplog.records) == 2


async def test_what_a_subscription_has_no_room_for_goes_into_another(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "MAX_MONITORED_ITEMS_PER_SUBSCRIPTION", 2)
    speed, point, level = (named(name) for name in ("Speed", "SpeedSP", "Level"))
    device = source(there, [speed])
    async with scanning(device) as its:
        await its.good(speed)
        device.retag([speed, point, level])
        await its.good(point, level)
        await until(lambda: sorted(block.points for block in device.plan()) == [1, 2])


async def test_places_of_tags_that_are_gone_are_given_up_now_and_then(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_MOST_RETIRED", 3)
    speed = named("Speed")
    device = source(there, [speed])
    async with scanning(device) as its:
        await its.good(speed)
        seen = set()
        for turn in range(20):
            other = named("Level")
            device.retag([speed, other])
            its.listener.qualities.clear()
            await its.good(other)
            plan = device.device.plan
            assert plan is not None
            seen.add(subscriptions(device)["fast"])
            assert max(len(one.tags) for one in plan.subscriptions) <= 6, turn
        assert 1 < len(seen) < 10
        there.feed("Speed", 9.0)
        await until(lambda: its.listener.value(speed) == 9.0)


async def test_after_a_lost_connection_the_subscriptions_go_on_with_other_tags(
    there: Running, tmp_path: Path
) -> None:
    speed, point, level = (named(name) for name in ("Speed", "SpeedSP", "Level"))
    async with proxy_to(there.port) as proxy:
        device = source(proxy.port, [speed, point], lifetime="1min", **SAFE)
        device.settle(protected(there, tmp_path))
        with pytest.raises(ConnectionLost):
            await _scan_until_lost(device, point, proxy)
        before = subscriptions(device)
        device.retag([speed, level])
        async with scanning(device) as its:
            await its.good(level, speed)
            assert device.device.transferred == 1
            assert subscriptions(device) == before
            assert point.name not in its.listener.qualities


async def _scan_until_lost(device: OpcUaSource, its: OpcUaTag, proxy: Proxy) -> None:
    async with device.connect() as session:
        listener = Listener()
        scan = asyncio.create_task(session.scan(listener))
        await until(lambda: device.device.plan is not None and listener.quality(its) == GOOD)
        proxy.cut()
        await scan


async def test_tags_that_change_while_the_first_plan_is_made(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = asyncio.Event()

    async def walk(_planning: planning.Planning, _plan: object) -> None:
        await planned.wait()

    monkeypatch.setattr(planning.Planning, "_import", walk)
    speed, count, level = named("Speed"), named("Count", ValueType.UInt32), named("Level")
    device = source(there, [speed, count])
    async with scanning(device) as its:
        await its.good(speed, count)
        device.retag([speed, level])
        there.feed("Count", 70)
        there.feed("Speed", 70.0)
        await until(lambda: its.listener.value(speed) == 70.0)
        there.feed("Speed", 71.0)
        await until(lambda: its.listener.value(speed) == 71.0)
        assert its.listener.value(count) != 70
        planned.set()
        await its.good(level)
        await until(lambda: [block.points for block in device.plan()] == [2])


async def test_tags_that_change_while_their_items_are_made_one_by_one(there: Running) -> None:
    speed, point, level = (named(name) for name in ("Speed", "SpeedSP", "Level"))
    device = source(there, [speed], max_nodes=1)
    async with scanning(device) as its:
        await its.good(speed)
        real = its.session._connection.ask

        async def ask(request: Any, answer: Any, **how: Any) -> Any:
            found = await real(request, answer, **how)
            if type(request).__name__ == "CreateMonitoredItemsRequest" and level in device.tags:
                device.retag([speed, count])
            return found

        count = named("Count", ValueType.UInt32)
        its.session._connection.ask = ask  # type: ignore[method-assign]
        device.retag([speed, point, level])
        await its.good(count)
        await until(lambda: [block.points for block in device.plan()] == [2])
        assert not {point.name, level.name} & its.listener.qualities.keys()


async def test_another_set_comes_before_another_look_at_the_nodes() -> None:
    """The look was at the nodes of the tags there were: to plan by it would make all items anew."""
    stays, new = named("A"), named("B")
    lone = Lone([stays])

    async def nothing() -> None:
        pass

    async def resolved(_addresses: object) -> list[object]:
        lone.device.retag((stays, new))
        return [99]

    lone.connection.look = nothing  # type: ignore[method-assign]
    lone.connection.resolve = resolved  # type: ignore[assignment,method-assign]
    await lone.scan._plans.again()
    assert lone.live.is_behind
    assert lone.live.again is not None
    assert lone.live.subscriptions
    assert not lone.line.asked


async def test_a_late_message_tells_of_the_tags_that_are_left() -> None:
    gone, stays = named("A"), named("B")
    lone = Lone([gone, stays])
    await lone.take(published(1, (0, 1.0), (1, 1.0)))
    assert lone.values == [(0, 1.0), (1, 1.0)]
    lone.device.retag((stays,))
    await lone.take(published(2, (0, 2.0), (1, 2.0)))
    await lone.take(published(3, (0, 3.0)))
    assert lone.values[2:] == [(1, 2.0)]
    # Nor is it asked for when a message is lost.
    lone.there = [9.0, 9.0]
    await lone.take(published(5, (1, 5.0)))
    assert lone.values[3:] == [(1, 5.0)]


async def test_a_tag_that_goes_and_comes_again_while_items_are_made_is_watched(there: Running) -> None:
    """It is the same object both times: what is known of it from before is not enough."""
    speed, point, count = named("Speed"), named("SpeedSP"), named("Count", ValueType.UInt32)
    device = source(there, [speed], max_nodes=1)
    async with scanning(device) as its:
        await its.good(speed)
        real, sets = its.session._connection.ask, [[speed], [speed, point, count]]

        async def ask(request: Any, answer: Any, **how: Any) -> Any:
            found = await real(request, answer, **how)
            while type(request).__name__ == "CreateMonitoredItemsRequest" and sets:
                device.retag(sets.pop(0))
            return found

        its.session._connection.ask = ask  # type: ignore[method-assign]
        device.retag([speed, point, count])
        await its.good(point, count)
        there.feed("Count", 31)
        there.feed("SpeedSP", 32.0)
        await until(lambda: (its.listener.value(count), its.listener.value(point)) == (31, 32.0))


async def test_what_was_half_moved_when_the_connection_was_lost_is_subscribed_to_anew(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_MOST_RETIRED", 0)
    speed, point, level = (named(name) for name in ("Speed", "SpeedSP", "Level"))
    async with proxy_to(there.port) as proxy:
        device = source(proxy.port, [speed, point, level], lifetime="1min", **SAFE)
        device.settle(protected(there, tmp_path))
        with pytest.raises(ConnectionLost):
            await _lose_it_as_subscriptions_are_deleted(device, speed, proxy)
        async with scanning(device) as its:
            await its.good(speed)
            there.feed("Speed", 41.0)
            await until(lambda: its.listener.value(speed) == 41.0)


async def _lose_it_as_subscriptions_are_deleted(device: OpcUaSource, stays: OpcUaTag, proxy: Proxy) -> None:
    async with device.connect() as session:
        listener = Listener()
        scan = asyncio.create_task(session.scan(listener))
        await until(lambda: device.device.plan is not None and listener.quality(stays) == GOOD)
        real = session._connection.ask

        async def ask(request: Any, answer: Any, **how: Any) -> Any:
            if type(request).__name__ == "DeleteSubscriptionsRequest":
                proxy.cut()
            return await real(request, answer, **how)

        session._connection.ask = ask  # type: ignore[method-assign]
        device.retag([stays])
        await scan


async def test_what_is_missing_is_told_where_others_take_no_deadband(there: Running) -> None:
    speed, text = named("Speed"), named("Recipe")
    astray = named("Level", address="nsu=urn:acme:plant;s=Nowhere")
    device = source(there, [speed, text, astray], deadband={"absolute": 1})
    async with scanning(device) as its:
        await its.good(speed)
        await its.bad(BAD_CONFIGURATION_ERROR, astray)
        assert astray.name in device.bad_points()


async def test_what_has_no_room_finds_some_though_a_tag_between_is_gone() -> None:
    first, *others = [named(f"T{number}") for number in range(7)]
    lone = Lone([first])
    lone.connection.limits.items = 3
    assert lone.device.plan is not None
    plan = lone.device.plan
    numbers = iter(range(10, 100))

    def create(request: Any) -> Any:
        handles = [each.RequestedParameters.ClientHandle for each in request.Parameters.ItemsToCreate]
        lone.device.retag((first, *(tag for tag in others if tag is not others[4])))
        codes = [0x80DB0000 if handle > 3 else 0 for handle in handles]  # BadTooManyMonitoredItems
        return SimpleNamespace(
            Results=[
                SimpleNamespace(
                    StatusCode=SimpleNamespace(value=code), MonitoredItemId=next(numbers), RevisedQueueSize=1
                )
                for code in codes
            ]
        )

    lone.line.answers["CreateMonitoredItemsRequest"] = create
    lone.device.retag((first, *others))
    plan.nodes |= {id(tag): number for number, tag in enumerate(others, 1)}
    left = await Items(lone.live).add(plan, lone.subscription, list(others))
    assert left == [others[3], others[5]]
    assert lone.subscription.tags == (first, *others[:3])
    assert plan.missing == {}


async def test_values_may_be_there_before_the_answer_that_their_items_are_made() -> None:
    first, *others = [named(f"T{number}") for number in range(300)]
    lone = Lone([first])
    assert lone.device.plan is not None
    plan = lone.device.plan

    async def ask(request: Any, _answer: Any, **_how: Any) -> Any:
        await lone.take(published(1, *((number, 1.0) for number in range(300))))
        made = SimpleNamespace(StatusCode=SimpleNamespace(value=0), MonitoredItemId=1, RevisedQueueSize=1)
        return SimpleNamespace(Results=[made] * len(request.Parameters.ItemsToCreate))

    lone.connection.ask = ask  # type: ignore[assignment,method-assign]
    lone.device.retag((first, *others))
    plan.nodes |= {id(tag): number for number, tag in enumerate(others, 1)}
    assert await Items(lone.live).add(plan, lone.subscription, list(others)) == []
    assert len(lone.values) == 300
    assert lone.subscription.room == 300


async def test_of_a_tag_that_went_while_the_plan_was_made_no_node_is_left(there: Running) -> None:
    """Nodes are known by the identity of their tags, which another may have once one is gone."""
    speed, point = named("Speed"), named("SpeedSP")
    device = source(there, [speed, point], max_nodes=1)
    seen: list[set[int]] = []
    async with device.connect() as session:
        real = session._connection.ask

        async def ask(request: Any, answer: Any, **how: Any) -> Any:
            if type(request).__name__ == "CreateSubscriptionRequest" and len(device.tags) == 2:
                device.retag([speed])
            return await real(request, answer, **how)

        session._connection.ask = ask  # type: ignore[method-assign]
        finish = planning.Planning._finish

        def finished(its: planning.Planning, plan: Plan, tags: tuple[OpcUaTag, ...]) -> None:
            finish(its, plan, tags)
            seen.append(plan.nodes.keys() - set(map(id, plan.tags)))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planning.Planning, "_finish", finished)
            scan = asyncio.create_task(session.scan(Listener()))
            await until(lambda: len(seen) > 1)
            scan.cancel()
            await asyncio.wait((scan,))
    assert seen == [set(), set()]
