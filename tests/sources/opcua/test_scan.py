"""Values of a downstream server, subscribed to: our own server stands downstream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.downstream import named, source
from support.net import until
from support.opcua import Running, serving
from support.scanning import scanning

from sources.clock import now
from sources.opcua.channel import ServiceError
from sources.opcua.messages import Messages
from sources.opcua.planning import Planning
from sources.opcua.stack import ua
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    is_bad,
)
from sources.tag import ValueType


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(
        tmp_path_factory.mktemp("there"), allow_none=True, anonymous=True, writable=True, sign_only=True
    ) as running:
        yield running


async def test_values_come_with_their_status_and_source_time(there: Running) -> None:
    speed, state = named("Speed"), named("State", ValueType.Int32)
    moment = now() - 50_000_000
    there.feed("Speed", 412.5, received=moment)
    there.feed("State", 2)
    async with scanning(source(there, [speed, state])) as its:
        await its.good(speed, state)
        assert (its.listener.value(speed), its.listener.value(state)) == (412.5, 2)
        (times,) = [
            dict(zip((b.tags[p] for p in b.places), b.device_times, strict=True))
            for b in its.listener.batches
            if b.places and b.device_times and b.values and 412.5 in b.values
        ]
        assert times[speed] == moment
        there.feed("Speed", 10.0, 0x40A40000)  # UncertainSubNormal, which no other driver knows
        await its.bad(0x40A40000, speed)
        assert its.listener.value(speed) == 10.0
        there.bench.lose("Speed", 0x808B0000)
        there.do(lambda: there.bench.lose("Speed", 0x808C0000))  # BadSensorFailure
        await its.bad(0x808C0000, speed)


async def test_a_browse_path_leads_to_its_node(there: Running) -> None:
    line = "/Objects/nsu=urn:acme:plant;Acme/nsu=urn:acme:plant;Line1"
    path = f"{line}/nsu=urn:acme:plant;Filler.nsu=urn:acme:types;Speed"
    speed = named("Speed", address=path)
    there.feed("Speed", 99.5)
    async with scanning(source(there, [speed])) as its:
        await its.good(speed)
        assert its.listener.value(speed) == 99.5


async def test_times_are_values_too(there: Running) -> None:
    started = named("StartTime", ValueType.DateTime, address="i=2257")
    async with scanning(source(there, [started])) as its:
        await its.good(started)
        value = its.listener.value(started)
        assert isinstance(value, int)
        assert 0 <= now() - value < 36_000_000_000
        batch = await its.session.read([started])
        assert batch.values is not None
        assert batch.values[0] == value


async def test_what_is_not_there_is_named_once_and_found_later(
    there: Running, caplog: pytest.LogCaptureFixture
) -> None:
    speed = named("Speed")
    lost = named("Lost", address="nsu=urn:acme:plant;s=Nowhere")
    alien = named("Alien", address="nsu=urn:nobody;s=Speed")
    astray = named("Astray", address="/Objects/nsu=urn:acme:plant;Nowhere")
    there.feed("Speed", 1.0)
    device = source(there, [speed, lost, alien, astray], recheck=0.1)
    async with scanning(device) as its:
        await its.good(speed)
        await its.bad(BAD_CONFIGURATION_ERROR, lost, alien, astray)
        await asyncio.sleep(0.5)
        assert device.bad_points() == ["There.Lost", "There.Alien", "There.Astray"]
        (block,) = device.plan()
        assert (block.scan, block.points) == ("fast", 2)
        told = [r.getMessage() for r in caplog.records if "check the addresses" in r.getMessage()]
        assert len(told) == 1
        assert "urn:nobody" in told[0]
        assert "BadNodeIdUnknown" in told[0]


async def test_a_type_that_does_not_fit_is_no_value(there: Running) -> None:
    recipe = named("Recipe", ValueType.Double)
    small, target = named("Count", ValueType.Byte), named("Target", ValueType.Double)
    there.feed("Recipe", "Orange")
    there.feed("Count", 300)
    async with scanning(source(there, [recipe, small, target])) as its:
        await its.bad(BAD_TYPE_MISMATCH, recipe)
        await its.bad(BAD_OUT_OF_RANGE, small)
        await its.good(target)
        assert its.listener.value(target) == 500.0  # a UInt16 there


async def test_every_value_of_a_queue_comes_in_order(there: Running) -> None:
    speed = named("Speed", scan=type(named("Speed").scan)("slow", 0.5))
    there.feed("Speed", 0.0)
    async with scanning(source(there, [speed], queue=50, sampling="1ms")) as its:
        await its.good(speed)
        for value in range(1, 21):
            there.feed("Speed", float(value))
        await until(lambda: its.listener.value(speed) == 20.0)
        seen = [b.values[0] for b in its.listener.batches if b.places == [0] and b.values]
        assert seen[-20:] == [float(value) for value in range(1, 21)]


async def test_small_changes_stay_there_by_the_deadband(there: Running) -> None:
    speed, recipe = named("Speed"), named("Recipe", ValueType.String)
    there.feed("Speed", 100.0)
    there.feed("Recipe", "Orange")
    async with scanning(source(there, [speed, recipe], deadband={"absolute": 5.0})) as its:
        await its.good(speed, recipe)
        there.feed("Speed", 104.0)
        there.feed("Recipe", "Lemon")
        await until(lambda: its.listener.value(recipe) == "Lemon")
        assert its.listener.value(speed) == 100.0
        there.feed("Speed", 106.0)
        await until(lambda: its.listener.value(speed) == 106.0)


async def test_a_deadband_in_percent_is_of_the_range_that_the_node_has(there: Running) -> None:
    speed, recipe = named("Speed"), named("Recipe", ValueType.String)
    there.feed("Speed", 100.0)
    there.feed("Recipe", "Orange")
    async with scanning(source(there, [speed, recipe], deadband={"percent": 5.0})) as its:
        await its.good(speed, recipe)
        there.feed("Speed", 144.0)  # its EURange is 900 wide
        there.feed("Recipe", "Lemon")
        await until(lambda: its.listener.value(recipe) == "Lemon")
        assert its.listener.value(speed) == 100.0
        there.feed("Speed", 146.0)
        await until(lambda: its.listener.value(speed) == 146.0)


async def test_a_read_asks_the_device(there: Running) -> None:
    speed, lost = named("Speed"), named("Lost", address="nsu=urn:acme:plant;s=Nowhere")
    moment = now() - 10_000_000
    there.feed("Speed", 7.0, received=moment)
    async with source(there, [speed, lost]).connect() as session:
        batch = await session.read([speed, lost])
    assert batch.values is not None
    assert batch.device_times is not None
    assert (batch.values[0], batch.device_times[0]) == (7.0, moment)
    assert not isinstance(batch.qualities, int)
    assert batch.qualities[0] == GOOD
    assert is_bad(batch.qualities[1])


@pytest.mark.parametrize("queue", [1, 10])
async def test_a_value_that_a_read_saw_between_two_samples_is_not_there_for_ever(
    there: Running, queue: int
) -> None:
    there.feed("Speed", 0.0)
    speed = named("Speed")
    async with scanning(source(there, [speed], sampling="1s", queue=queue)) as its:
        await its.good(speed)
        there.feed("Speed", 1.0)
        batch = await its.session.read([speed])
        there.feed("Speed", 0.0)
        assert batch.values == (1.0,)
        its.listener(batch)
        await until(lambda: its.listener.value(speed) == 0.0)


async def test_a_server_that_does_not_tell_anew_is_read_once_more(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.feed("Speed", 0.0)
    speed = named("Speed")
    device = source(there, [speed], sampling="1s")
    async with scanning(device) as its:
        await its.good(speed)
        channel = its.session._connection.channel
        real = channel.request

        async def request(asked: object, answer: object, **how: Any) -> object:
            if isinstance(asked, ua.SetMonitoringModeRequest):
                raise ServiceError("SetMonitoringMode", 0x800B0000)  # BadServiceUnsupported
            return await real(asked, answer, **how)

        monkeypatch.setattr(channel, "request", request)
        there.feed("Speed", 1.0)
        batch = await its.session.read([speed])
        there.feed("Speed", 0.0)
        its.listener(batch)
        await until(lambda: its.listener.value(speed) == 0.0)
        assert not device.device.settles


async def test_an_import_that_takes_long_costs_neither_values_nor_the_connection(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = asyncio.Event()

    async def walk(_planning: Planning, _plan: object) -> None:
        await imported.wait()

    monkeypatch.setattr(Planning, "_import", walk)
    there.feed("Speed", 1.0)
    speed = named("Speed")
    device = source(there, [speed], timeout="500ms", keepalive="200ms")
    async with scanning(device) as its:
        await its.good(speed)
        await asyncio.sleep(3.0)  # what nothing is heard of for 2.5 s is given up
        there.feed("Speed", 2.0)
        await until(lambda: its.listener.value(speed) == 2.0)
        assert device.device.plan is None
        imported.set()
        await until(lambda: device.device.plan is not None)
        assert not its.task.done()


async def test_silence_does_not_count_while_nobody_listens(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, held = Messages.take, asyncio.Event()

    async def take(messages: Messages, data: bytes) -> None:
        if not held.is_set():
            held.set()
            await asyncio.sleep(3.0)  # a long read of what was in a message that is lost
        await real(messages, data)

    speed = named("Speed")
    async with scanning(source(there, [speed], timeout="500ms", keepalive="200ms")) as its:
        there.feed("Speed", 1.0)
        await its.good(speed)
        monkeypatch.setattr(Messages, "take", take)
        await held.wait()
        await asyncio.sleep(3.0)
        there.feed("Speed", 2.0)
        await until(lambda: its.listener.value(speed) == 2.0)
