"""Limits of what a request, a session and a message may hold."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support.subscribing import Change, Client, Stage, make, status_changes, wanted

from server.opcua.subscriptions import publishing, select, services
from server.opcua.subscriptions.where import MAX_LITERAL, where_clause
from server.opcua.types import ServiceFault, node_id, status_name
from server.opcua.wire import structs
from server.opcua.wire.reader import DecodingError, Reader
from sources.tag import ValueType


@pytest.fixture
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1), "text": (ValueType.String, 0.1)})


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.session()


def test_acknowledgements_of_one_request(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_ACKNOWLEDGEMENTS", 2)
    subscription = client.subscribe()
    client.publish(*[(subscription, 1)] * 2)
    with pytest.raises(DecodingError):
        client.publish(*[(subscription, 1)] * 3)


def test_subscriptions_that_ended_are_told_up_to_a_limit(stage: Stage, client: Client) -> None:
    for _ in range(publishing.MAX_FAREWELLS + 5):
        client.subscribe(interval=100.0, lifetime=3, keep_alive=1)
        stage.sleep(0.5)
    for _ in range(publishing.MAX_FAREWELLS):
        client.publish()
    stage.engine.step()
    told: list[Any] = client.peer.take()
    assert [status_changes(answer) for answer in told] == [["BadTimeout"]] * publishing.MAX_FAREWELLS
    with pytest.raises(ServiceFault) as fault:
        client.publish()
    assert status_name(fault.value.code) == "BadNoSubscription"


def test_select_clauses(stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "MAX_SELECT_CLAUSES", 2)
    clause = make(ua.SimpleAttributeOperand, node_id(2041), [make(ua.QualifiedName, "Message", 0)], 13, None)
    subscription = client.subscribe()
    codes = []
    for count in (2, 3):
        filter_ = make(ua.EventFilter, [clause] * count, make(ua.ContentFilter, []))
        (result,) = client.create(subscription, wanted(stage.server, attribute=12, filter=filter_))
        codes.append(result.StatusCode.name)
    assert codes == ["Good", "BadEventFilterInvalid"]


@pytest.mark.parametrize(("beyond", "codes"), [(0, []), (1, ["BadFilterLiteralInvalid"])])
def test_a_literal(stage: Stage, beyond: int, codes: list[str]) -> None:
    size = MAX_LITERAL - 5 + beyond  # behind its type and its length
    literal = make(ua.LiteralOperand, make(ua.Variant, "x" * size, ua.VariantType.String))
    element = make(ua.ContentFilterElement, ua.FilterOperator.IsNull, [literal])
    encoded = structs.encode(make(ua.ContentFilter, [element]))
    _, (result,) = where_clause(Reader(encoded), stage.world.space)
    assert [status_name(code) for code in result.operands] == codes


def test_sequence_numbers_take_room_in_a_message(stage: Stage, client: Client) -> None:
    """They stand beside it in the response."""
    stage.set("text", "x" * 100)
    subscription = client.subscribe()
    client.watch(subscription, "a", handle=99)
    for number in range(150):
        stage.set("a", number)
        client.publish()
        stage.sleep(0.1)
    client.peer.take()
    for handle in range(20):
        client.watch(subscription, "text", handle=handle)
    client.session.about = client.session.about._replace(max_response=2048)
    client.peer.raw.clear()
    for _ in range(20):
        client.publish()
    stage.sleep(0.1)
    assert max(map(len, client.peer.raw)) <= 2048
    heard = [change for message in client.heard() for change in message]
    assert heard == [Change(handle, "x" * 100) for handle in range(20)]
