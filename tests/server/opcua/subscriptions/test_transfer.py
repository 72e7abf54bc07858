from __future__ import annotations

import pytest
from asyncua import ua
from support.subscribing import Change, Client, Stage, status_changes

from server.plant.model import Role
from sources.tag import ValueType


@pytest.fixture
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1), "b": (ValueType.Int32, 0.1)})


def told(stage: Stage, client: Client) -> int:
    """A subscription of ``a`` and, with a queue, ``b``, whose first values were told."""
    subscription = client.subscribe(lifetime=60)
    stage.set("a", 1)
    stage.set("b", 2)
    client.watch(subscription, "a", handle=10)
    client.watch(subscription, "b", handle=20, queue=5)
    client.publish()
    stage.sleep(0.1)
    client.heard()
    return subscription


def codes(results: list[ua.TransferResult]) -> list[str]:
    return [str(result.StatusCode.name) for result in results]


def test_a_subscription_outlives_its_session_and_goes_on_in_another(stage: Stage) -> None:
    client = stage.session()
    subscription = told(stage, client)
    client.end(keep=True)
    stage.set("a", 5)
    stage.sleep(1)
    other = stage.session()
    (result,) = other.transfer(subscription)
    assert (result.StatusCode.name, result.AvailableSequenceNumbers) == ("Good", [1])
    other.publish()
    assert other.heard() == [[Change(10, 5)]]
    assert other.republish(subscription, 1).SequenceNumber == 1


def test_initial_values_are_sent_where_they_are_asked_for(stage: Stage) -> None:
    client = stage.session()
    subscription = told(stage, client)
    stage.set("b", 3)
    other = stage.session()
    assert codes(other.transfer(subscription, initial=True)) == ["Good"]
    other.publish()
    stage.sleep(0.1)
    (heard,) = other.heard()
    assert sorted(heard) == [Change(10, 1), Change(20, 3)]


def test_no_initial_value_of_what_is_not_reported(stage: Stage) -> None:
    client = stage.session()
    subscription = told(stage, client)
    item = client.watch(subscription, "a", handle=30, queue=2)
    client.publish()
    stage.sleep(0.1)
    client.heard()
    client.set_mode(subscription, 1, item)
    other = stage.session()
    other.transfer(subscription, initial=True)
    other.publish()
    stage.sleep(0.1)
    (heard,) = other.heard()
    assert sorted(change.handle for change in heard if isinstance(change, Change)) == [10, 20]
    other.set_mode(subscription, 2, item)
    other.publish()
    stage.sleep(0.3)
    assert other.heard() == []


def test_without_them_only_what_changed(stage: Stage) -> None:
    client = stage.session()
    subscription = told(stage, client)
    stage.set("b", 3)
    other = stage.session()
    other.transfer(subscription)
    other.publish()
    stage.sleep(0.1)
    assert other.heard() == [[Change(20, 3)]]


def test_the_former_session_is_told(stage: Stage) -> None:
    client, other = stage.session(), stage.session()
    subscription = told(stage, client)
    client.publish()
    client.publish()
    other.transfer(subscription)
    stage.engine.step()
    first, second = client.peer.take()
    assert isinstance(first, ua.PublishResult)
    assert (first.SubscriptionId, status_changes(first)) == (subscription, ["GoodSubscriptionTransferred"])
    assert second.name == "BadNoSubscription"  # type: ignore[union-attr]


def test_to_itself_there_is_nothing_to_do(stage: Stage) -> None:
    client = stage.session()
    subscription = told(stage, client)
    assert codes(client.transfer(subscription, 99)) == ["BadNothingToDo", "BadSubscriptionIdInvalid"]


def test_another_user_gets_nothing(stage: Stage) -> None:
    client, other = stage.session("anna"), stage.session("bert")
    subscription = told(stage, client)
    assert codes(other.transfer(subscription)) == ["BadUserAccessDenied"]
    client.end(keep=True)
    assert codes(other.transfer(subscription)) == ["BadUserAccessDenied"]


@pytest.mark.parametrize(
    ("mode", "certificate", "code"),
    [(3, b"client", "Good"), (2, b"client", "Good"), (1, b"client", "BadUserAccessDenied"),
     (3, b"other", "BadUserAccessDenied")],
)  # fmt: skip
def test_nobody_in_particular_has_to_be_the_same_application(
    stage: Stage, mode: int, certificate: bytes, code: str
) -> None:
    roles = [Role.Anonymous]
    client = stage.session("anonymous", roles)
    subscription = told(stage, client)
    other = stage.session("anonymous", roles, mode=mode, certificate=certificate)
    assert codes(other.transfer(subscription)) == [code]


def test_the_new_session_s_rights_count(stage: Stage) -> None:
    client = stage.session()
    subscription = told(stage, client)
    other = stage.session("anna", [])
    other.transfer(subscription)
    stage.set("a", 9)
    other.publish()
    stage.sleep(0.1)
    (heard,) = other.heard()
    assert heard == [Change(10, None, 0x801F0000), Change(20, None, 0x801F0000)]


def test_a_closed_session_takes_its_subscriptions_along(stage: Stage) -> None:
    client = stage.session()
    told(stage, client)
    client.publish()
    client.end(keep=False)
    stage.engine.step()
    assert client.heard() == ["BadSessionClosed"]
    assert not stage.engine.subscriptions
    assert stage.engine.monitored_items == 0
    assert all(point.items is None for point in stage.store.points.values())


def test_an_orphan_ends_with_its_lifetime(stage: Stage) -> None:
    client = stage.session()
    client.subscribe(lifetime=6, keep_alive=2)
    client.end(keep=True)
    stage.sleep(0.55)
    assert len(stage.engine.subscriptions) == 1
    stage.sleep(0.1)
    assert not stage.engine.subscriptions


def test_transfers_are_limited_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.services.MAX_SUBSCRIPTIONS_PER_SESSION", 1)
    client, other = stage.session(), stage.session()
    subscription = told(stage, client)
    other.subscribe()
    assert codes(other.transfer(subscription)) == ["BadTooManySubscriptions"]
