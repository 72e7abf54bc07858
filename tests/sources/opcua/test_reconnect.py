"""A connection lost and made again: subscriptions are taken over, nothing comes twice, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.downstream import SAFE, named, protected, source
from support.net import until
from support.opcua import Running, serving
from support.proxy import proxy_to
from support.scanning import Listener, scanning

from server.opcua.subscriptions.services import SubscriptionServices
from server.opcua.subscriptions.subscription import Subscription
from sources.errors import ConnectionLost, Unreachable
from sources.opcua.config import OpcUaTag
from sources.opcua.driver import OpcUaSource
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_CONNECTION_CLOSED, BAD_TIMEOUT
from sources.supervisor import SourceState, Supervisor
from sources.tag import ValueType


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("there"), anonymous=True) as running:
        yield running


def protected_source(
    there: Running, port: int, folder: Path, tags: Sequence[OpcUaTag], **more: Any
) -> OpcUaSource:
    device = source(port, tags, **SAFE, **more)
    device.settle(protected(there, folder))
    return device


def seen(listener: Listener) -> list[object]:
    return [value for batch in listener.batches if batch.values for value in batch.values]


async def lost_after(device: OpcUaSource, step: Callable[[Listener], Awaitable[None]]) -> int:
    """Connect and scan, do that, and wait for the connection to be lost; the quality that says why."""
    try:
        async with device.connect() as session:
            first = Listener()
            scan = asyncio.create_task(session.scan(first))
            await step(first)
            await scan
    except ConnectionLost as lost:
        return lost.quality
    raise AssertionError("the scan ended of itself")


async def test_subscriptions_outlive_the_connection(there: Running, tmp_path: Path) -> None:
    speed, state = named("Speed"), named("Count", ValueType.UInt32)
    there.feed("Speed", 1.0)
    there.feed("Count", 7)
    async with proxy_to(there.port) as proxy:
        device = protected_source(
            there, proxy.port, tmp_path, [speed, state], queue=100, sampling="1ms", lifetime="1min"
        )

        async def until_cut(first: Listener) -> None:
            await until(lambda: {1.0, 7} <= set(seen(first)))
            proxy.cut()

        assert await lost_after(device, until_cut) == BAD_CONNECTION_CLOSED
        for value in (2.0, 3.0, 4.0):
            there.feed("Speed", value)
        async with scanning(device) as its:
            await until(lambda: 4.0 in seen(its.listener))
            await until(lambda: 7 in seen(its.listener))  # unchanged, and told again after the loss
            there.feed("Speed", 5.0)
            await until(lambda: 5.0 in seen(its.listener))
            assert device.device.transferred == 1
            speeds = [value for value in seen(its.listener) if isinstance(value, float)]
            assert list(dict.fromkeys(speeds)) == [2.0, 3.0, 4.0, 5.0]
            assert 1.0 not in speeds
    assert device.device.lost_messages == 0


async def test_a_server_that_does_not_send_values_again_is_asked(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPC 10000-4 §5.14.7 has it send them; not every server does."""
    monkeypatch.setattr(Subscription, "resend", lambda _: None)
    speed, count = named("Speed"), named("Count", ValueType.UInt32)
    there.feed("Speed", 1.0)
    there.feed("Count", 7)
    async with proxy_to(there.port) as proxy:
        device = protected_source(there, proxy.port, tmp_path, [speed, count])

        async def until_cut(first: Listener) -> None:
            await until(lambda: {1.0, 7} <= set(seen(first)))
            proxy.cut()

        await lost_after(device, until_cut)
        there.feed("Speed", 2.0)
        async with scanning(device) as its:
            await its.good(speed, count)
            assert device.device.transferred == 1
            assert (its.listener.value(speed), its.listener.value(count)) == (2.0, 7)


async def test_what_was_refused_stays_refused_after_a_transfer(there: Running, tmp_path: Path) -> None:
    speed, astray = named("Speed"), named("Astray", address="nsu=urn:acme:plant;s=Nowhere")
    there.feed("Speed", 1.0)
    async with proxy_to(there.port) as proxy:
        device = protected_source(there, proxy.port, tmp_path, [speed, astray])

        async def until_cut(first: Listener) -> None:
            await until(lambda: 1.0 in seen(first))
            proxy.cut()

        await lost_after(device, until_cut)
        async with scanning(device) as its:
            await its.good(speed)
            assert device.device.transferred == 1
            await its.bad(BAD_CONFIGURATION_ERROR, astray)


async def test_subscriptions_that_say_nothing_after_a_transfer_are_made_anew(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers say that they have transferred them, and publish them no more."""
    monkeypatch.setattr(Subscription, "resend", lambda _: None)
    speed = named("Speed")
    there.feed("Speed", 1.0)
    async with proxy_to(there.port) as proxy:
        device = protected_source(there, proxy.port, tmp_path, [speed], timeout="1s", keepalive="1s")

        async def until_cut(first: Listener) -> None:
            await until(lambda: 1.0 in seen(first))
            proxy.cut()

        async def until_transferred(_: Listener) -> None:
            await until(lambda: device.device.transferred == 1)
            proxy.delay = 3600.0

        await lost_after(device, until_cut)
        assert await lost_after(device, until_transferred) == BAD_TIMEOUT
        proxy.delay = 0.0
        assert await lost_after(device, until_cut) == BAD_CONNECTION_CLOSED  # with values, at once
        async with scanning(device) as its:  # nor is such a server asked again
            await its.good(speed)
        assert device.device.transferred == 1


async def test_messages_that_never_arrived_are_asked_for_again(there: Running, tmp_path: Path) -> None:
    """The network swallows what the server sends; its retransmission queue has it."""
    speed = named("Speed")
    there.feed("Speed", 1.0)
    async with proxy_to(there.port) as proxy:
        device = protected_source(there, proxy.port, tmp_path, [speed], timeout="1s", lifetime="1min")

        async def until_swallowed(first: Listener) -> None:
            await until(lambda: 1.0 in seen(first))
            proxy.delay = 3600.0
            there.feed("Speed", 2.0)
            await asyncio.sleep(0.3)
            there.feed("Speed", 3.0)

        assert await lost_after(device, until_swallowed) == BAD_TIMEOUT
        proxy.delay = 0.0
        async with scanning(device) as its:
            await until(lambda: 3.0 in seen(its.listener))
            assert device.device.transferred == 1
            assert device.device.republished >= 1
            assert list(dict.fromkeys(seen(its.listener))) == [2.0, 3.0]


async def test_an_empty_message_is_none_that_was_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What some servers answer for a message they have no longer; their values are asked for."""
    monkeypatch.setattr(SubscriptionServices, "republish", lambda *_: bytes(16))
    monkeypatch.setattr(Subscription, "resend", lambda _: None)
    speed = named("Speed")
    with serving(tmp_path / "there", anonymous=True) as there:
        there.feed("Speed", 1.0)
        async with proxy_to(there.port) as proxy:
            device = protected_source(there, proxy.port, tmp_path, [speed], timeout="1s", lifetime="1min")

            async def until_swallowed(first: Listener) -> None:
                await until(lambda: 1.0 in seen(first))
                proxy.delay = 3600.0
                there.feed("Speed", 2.0)

            assert await lost_after(device, until_swallowed) == BAD_TIMEOUT
            proxy.delay = 0.0
            async with scanning(device) as its:
                await until(lambda: 2.0 in seen(its.listener))
                assert device.device.transferred == 1
                assert device.device.lost_messages == device.device.republished >= 1


async def test_a_server_that_was_restarted_is_subscribed_to_anew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = tmp_path_factory.mktemp("again")
    speed = named("Speed")
    with serving(data, allow_none=True, anonymous=True) as one:
        one.feed("Speed", 1.0)
        port = one.port
        device = source(port, [speed])
        emitted = Listener()
        supervisor = Supervisor(device, emitted, delays=lambda: iter(lambda: 0.05, None))
        life = asyncio.create_task(supervisor.run())
        try:
            await until(lambda: 1.0 in seen(emitted))
            await asyncio.to_thread(lambda: one.call(one.server.stop()))
            await until(lambda: supervisor.status.state is SourceState.Disconnected)
            with serving(data, allow_none=True, anonymous=True, port=port) as two:
                two.feed("Speed", 2.0)
                await until(lambda: 2.0 in seen(emitted))
                assert supervisor.status.state is SourceState.Connected
                assert device.device.transferred == 0
        finally:
            life.cancel()
            await asyncio.wait((life,))


async def test_nobody_there_is_unreachable() -> None:
    device = source(1, [named("Speed")])
    with pytest.raises(Unreachable, match="refused"):
        async with device.connect():
            pass
