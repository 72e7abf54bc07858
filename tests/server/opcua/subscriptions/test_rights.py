"""What was made for a message under rights that are lost since: nobody is told it any more."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support.subscribing import OPERATORS, Change, Client, Refusal, Stage, events, make, wanted

from server.opcua.subscriptions.events import Event, path
from server.opcua.types import ServiceFault, node_id, status_name
from server.opcua.wire.writer import byte_string, variant
from server.plant.model import Role
from sources.tag import ValueType

DENIED = 0x801F0000
TEXT = "x" * 600


@pytest.fixture
def stage() -> Stage:
    found = Stage({"secret": (ValueType.String, 0.1), "open": (ValueType.String, 0.1)})
    for name in ("secret", "open"):
        found.set(name, TEXT)
    found.nodes["secret"].role_permissions = OPERATORS
    return found


def listen(client: Client, subscription: int, *fields: str) -> None:
    selects = [
        make(ua.SimpleAttributeOperand, node_id(2041), [make(ua.QualifiedName, name, 0)], 13, None)
        for name in fields
    ]
    filter_ = make(ua.EventFilter, selects, make(ua.ContentFilter, []))
    (result,) = client.create(
        subscription, wanted(client.stage.server, attribute=12, filter=filter_, queue=0)
    )
    assert result.StatusCode.name == "Good"


def happen(stage: Stage, message: str, *, guarded: bool = False, **fields: bytes) -> None:
    named = {path(name): data for name, data in fields.items()}
    kind = stage.world.space.number(2041)
    stage.engine.emitter.emit(Event(kind, stage.server, message, 500, named, guarded=guarded))


def heard_events(stage: Stage, client: Client) -> list[str]:
    client.publish()
    stage.sleep(0.3)
    answers: list[Any] = client.peer.take()
    assert not any(isinstance(answer, Refusal) for answer in answers)
    return [fields[1].Text for answer in answers for fields in events(answer)]


def rest(stage: Stage, client: Client) -> list[Change]:
    for _ in range(8):
        client.publish()
    stage.sleep(0.3)
    return [change for message in client.heard() for change in message if isinstance(change, Change)]


@pytest.mark.parametrize(("mode", "told"), [(3, ["guarded"]), (1, [])])
def test_events_for_encrypted_channels_stay_there_in_a_transfer(
    stage: Stage, mode: int, told: list[str]
) -> None:
    client, other = stage.session(), stage.session(mode=mode)
    subscription = client.subscribe()
    listen(client, subscription, "Message")
    happen(stage, "guarded", guarded=True)
    other.transfer(subscription)
    assert heard_events(stage, other) == told


@pytest.mark.parametrize("by_role", [True, False])
def test_values_that_did_not_fit_are_not_told_without_the_right(stage: Stage, by_role: bool) -> None:
    client = stage.session()
    client.session.about = client.session.about._replace(max_response=2048)
    subscription = client.subscribe()
    for handle in range(4):
        client.watch(subscription, "secret", handle=handle)
        client.watch(subscription, "open", handle=10 + handle)
    client.publish()
    stage.sleep(0.1)
    (message,) = client.heard()
    first = message[0]
    assert first == Change(0, TEXT)
    if by_role:
        client.become("anna", [Role.Anonymous])
    else:
        stage.nodes["secret"].role_permissions = type(OPERATORS)({})
        stage.world.space.touch()
    left = rest(stage, client)
    assert {change for change in left if change.handle < 10} == {
        Change(handle, None, DENIED) for handle in range(4)
    }
    assert [change for change in left if change.handle >= 10][-3:] == [
        Change(10 + handle, TEXT) for handle in (1, 2, 3)
    ]


def test_nor_are_events(stage: Stage) -> None:
    client = stage.session()
    client.session.about = client.session.about._replace(max_response=2048)
    listen(client, client.subscribe(), "Message", "Data")
    for number in range(4):
        happen(stage, f"secret {number}", Data=variant(15, byte_string(bytes(1200))))
    assert heard_events(stage, client) == ["secret 0"]
    client.become("bert", [])
    assert heard_events(stage, client) == []


@pytest.mark.parametrize("by_role", [True, False])
def test_no_message_is_sent_again_without_the_right(stage: Stage, by_role: bool) -> None:
    client = stage.session()
    subscription = client.subscribe()
    client.watch(subscription, "secret")
    client.publish()
    stage.sleep(0.1)
    assert client.heard() == [[Change(1, TEXT)]]
    client.republish(subscription, 1)
    if by_role:
        client.become("anna", [Role.Anonymous])
    else:
        stage.nodes["secret"].role_permissions = type(OPERATORS)({})
        stage.world.space.touch()
    with pytest.raises(ServiceFault) as fault:
        client.republish(subscription, 1)
    assert status_name(fault.value.code) == "BadMessageNotAvailable"
    assert stage.engine.kept_bytes == 0


def test_rights_are_looked_at_when_the_message_is_made(stage: Stage) -> None:
    client = stage.session()
    subscription = client.subscribe()
    client.watch(subscription, "secret")
    stage.sleep(0.3)
    assert stage.engine.subscriptions[subscription].late
    client.become("anna", [Role.Anonymous])
    client.publish()
    assert client.heard() == [[Change(1, None, DENIED)]]


def test_a_transfer_offers_no_message_that_cannot_be_had(stage: Stage) -> None:
    client, other = stage.session(), stage.session("anna", [])
    subscription = client.subscribe()
    client.watch(subscription, "secret")
    client.publish()
    stage.sleep(0.1)
    client.heard()
    (result,) = other.transfer(subscription)
    assert not result.AvailableSequenceNumbers


def test_more_rights_take_nothing_away(stage: Stage) -> None:
    client = stage.session("anna", [Role.Anonymous])
    subscription = client.subscribe()
    client.watch(subscription, "open")
    client.publish()
    stage.sleep(0.1)
    client.heard()
    client.become("anna", [Role.Anonymous, Role.Operator])
    assert client.republish(subscription, 1).SequenceNumber == 1
