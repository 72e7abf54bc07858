"""What a server allows in one request, and how long it trusts one key."""

from __future__ import annotations

import asyncio
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from support.downstream import SAFE, named, protected, source
from support.net import until
from support.opcua import serving
from support.proxy import proxy_to
from support.scanning import Listener, scanning

import server.opcua.services.paths as translating
import server.opcua.services.read as reading
import server.opcua.subscriptions.item_services as creating
from server.opcua.space import capabilities
from server.opcua.subscriptions import services
from server.opcua.subscriptions.services import SubscriptionServices
from server.opcua.subscriptions.settings import revise
from sources.errors import ConnectionLost
from sources.opcua.channel import FORWARDED, MAX_PENDING, ServiceError
from sources.opcua.stack import ua
from sources.quality import BAD_RESOURCE_UNAVAILABLE, GOOD
from sources.tag import ValueType

NAMES = ("Speed", "SpeedSP", "Level", "Target")


async def test_no_request_is_larger_than_the_server_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, shown in (
        (reading, "MAX_NODES_PER_READ", "MaxNodesPerRead"),
        (creating, "MAX_MONITORED_ITEMS_PER_CALL", "MaxMonitoredItemsPerCall"),
        (translating, "MAX_NODES_PER_TRANSLATE", "MaxNodesPerTranslateBrowsePathsToNodeIds"),
    ):
        monkeypatch.setattr(module, name, 3)
        monkeypatch.setitem(capabilities._OPERATIONS, shown, 3)
    line = "/Objects/nsu=urn:acme:plant;Acme/nsu=urn:acme:plant;Line1/nsu=urn:acme:plant;Filler"
    tags = [named(name) for name in NAMES]
    tags += [named(f"{name}.ByPath", address=f"{line}.nsu=urn:acme:types;{name}") for name in NAMES[:3]]
    tags.append(named("Target.ByPath", ValueType.UInt16, address=f"{line}.nsu=urn:acme:plant;Target"))
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        for name in ("Speed", "SpeedSP", "Level"):
            there.feed(name, 7)
        async with scanning(source(there, tags)) as its:
            await its.good(*tags)
            batch = await its.session.read(tags)
            assert batch.qualities == (GOOD,) * len(tags)


async def test_what_one_subscription_has_no_room_for_goes_into_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "MAX_MONITORED_ITEMS_PER_SUBSCRIPTION", 2)
    tags = [named(name) for name in NAMES]
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        for name in ("Speed", "SpeedSP", "Level"):
            there.feed(name, 7)
        device = source(there, tags)
        async with scanning(device) as its:
            await its.good(*tags)
            assert [block.points for block in device.plan()] == [2, 2]


async def test_a_server_may_grant_keepalives_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than the hint of a request can tell, that is."""
    monkeypatch.setattr(
        services, "revise", lambda *a, **k: revise(*a, **k)._replace(keep_alive_count=0xFFFFFFFF)
    )
    speed = named("Speed")
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        there.feed("Speed", 7)
        async with scanning(source(there, [speed])) as its:
            await its.good(speed)


@pytest.mark.parametrize("interval", [math.nan, 0.0])
async def test_a_server_that_grants_no_time_at_all_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    make = SubscriptionServices.create

    def create(its: SubscriptionServices, session: Any, request: Any) -> Any:
        made = make(its, session, request)
        assert isinstance(made, bytes)
        return made[:4] + struct.pack("<d", interval) + made[12:]

    monkeypatch.setattr(SubscriptionServices, "create", create)
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        async with source(there, [named("Speed")]).connect() as session:
            with pytest.raises(ConnectionLost, match="a publishing interval of"):
                async with asyncio.timeout(30):
                    await session.scan(Listener())


async def test_the_key_of_the_channel_is_renewed_and_values_go_on(tmp_path: Path) -> None:
    speed = named("Speed")
    with serving(tmp_path / "there", anonymous=True) as there:
        there.feed("Speed", 1.0)
        device = source(there, [speed], **SAFE)
        device.settle(protected(there, tmp_path))
        async with scanning(device) as its:
            await its.good(speed)
            channel = its.session._connection.channel
            token = channel._secure.security_token.TokenId
            channel.renew_at = 0.0
            await until(lambda: channel._secure.security_token.TokenId != token)
            there.feed("Speed", 2.0)
            await until(lambda: its.listener.value(speed) == 2.0)


async def test_what_is_forwarded_leaves_room_for_what_keeps_the_connection(tmp_path: Path) -> None:
    """The device answers no call, and an operator goes on calling."""
    speed = named("Speed", writable=True)
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        there.feed("Speed", 1.0)
        async with proxy_to(there.port) as proxy, scanning(source(proxy.port, [speed])) as its:
            await its.good(speed)
            channel = its.session._connection.channel
            proxy.delay = 0.5
            waiting = [channel.send(ua.CallRequest(), 5.0, most=FORWARDED) for _ in range(FORWARDED)]
            with pytest.raises(ServiceError, match="BadTooManyOperations"):
                channel.send(ua.CallRequest(), 5.0, most=FORWARDED)
            # Of a read that nobody was asked for, nothing is learnt.
            limits = its.session._connection.limits
            before = limits.read
            with pytest.raises(ConnectionLost, match="BadTooManyOperations"):
                await its.session.read([speed, speed])
            assert limits.read == before
            waiting += [channel.send(ua.ReadRequest(), 5.0) for _ in range(MAX_PENDING - FORWARDED)]
            with pytest.raises(ServiceError, match="BadTooManyOperations"):
                channel.send(ua.ReadRequest(), 5.0)
            waiting.append(channel.send(ua.PublishRequest(), 5.0, most=None))
            assert await its.session.write([(speed, 1.0)]) == [BAD_RESOURCE_UNAVAILABLE]
            proxy.delay = 0.0
            await asyncio.wait(waiting[:-1])
            there.feed("Speed", 2.0)
            await until(lambda: its.listener.value(speed) == 2.0)
            assert channel._counted == 0
