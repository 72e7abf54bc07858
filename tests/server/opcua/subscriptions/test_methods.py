from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from asyncua import ua
from support.subscribing import Change, Client, Stage, make

from server.opcua.subscriptions.methods import GET_MONITORED_ITEMS, RESEND_DATA, SubscriptionMethods
from server.opcua.types import ServiceFault, status_name
from server.opcua.wire.nodeid import Key
from sources.tag import ValueType


@pytest.fixture
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1), "b": (ValueType.Int32, 0.1)})


async def call(client: Client, method: Key, subscription: int) -> Sequence[ua.Variant]:
    handler = SubscriptionMethods(client.stage.engine).handlers()[method]
    argument: Any = make(ua.Variant, subscription, ua.VariantType.UInt32)
    return await handler(client.session, client.stage.server, [argument])


async def test_the_items_of_a_subscription(stage: Stage) -> None:
    client = stage.session()
    subscription = client.subscribe()
    items = [client.watch(subscription, "a", handle=70), client.watch(subscription, "b", handle=80, queue=3)]
    servers, clients = await call(client, GET_MONITORED_ITEMS, subscription)
    assert (servers.Value, clients.Value) == (items, [70, 80])
    assert servers.VariantType is ua.VariantType.UInt32


async def test_every_value_is_sent_again(stage: Stage) -> None:
    client = stage.session()
    subscription = client.subscribe()
    stage.set("a", 1)
    stage.set("b", 2)
    client.watch(subscription, "a", handle=1)
    client.watch(subscription, "b", handle=2, queue=3)
    client.watch(subscription, "b", handle=3, mode=1)
    client.publish()
    stage.sleep(0.1)
    client.heard()
    stage.set("b", 3)
    assert await call(client, RESEND_DATA, subscription) == ()
    client.publish()
    stage.sleep(0.1)
    (heard,) = client.heard()
    assert sorted(heard) == [Change(1, 1), Change(2, 3)]


@pytest.mark.parametrize("method", [GET_MONITORED_ITEMS, RESEND_DATA])
async def test_for_the_session_it_is_of_alone(stage: Stage, method: Key) -> None:
    client, other = stage.session(), stage.session()
    subscription = client.subscribe()
    for whose, number, code in (
        (other, subscription, "BadUserAccessDenied"),
        (client, 99, "BadSubscriptionIdInvalid"),
    ):
        with pytest.raises(ServiceFault) as fault:
            await call(whose, method, number)
        assert status_name(fault.value.code) == code
