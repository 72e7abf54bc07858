from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support.subscribing import Change, Client, Peer, Stage, changes, status_changes

from server.opcua.limits import MAX_PUBLISH_REQUESTS, MAX_RETRANSMISSION_MESSAGES
from server.opcua.subscriptions.publishing import Publishing
from server.opcua.types import ServiceFault, status_name
from sources.tag import ValueType


@pytest.fixture
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1), "b": (ValueType.Int32, 0.1), "c": (ValueType.Int32, 0.1)})


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.session()


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(ServiceFault) as fault:
        call(*arguments)
    return status_name(fault.value.code)


def sequences(client: Client) -> list[int]:
    return [answer.NotificationMessage.SequenceNumber for answer in client.peer.take()]  # type: ignore[union-attr]


def busy(stage: Stage, client: Client, **more: Any) -> int:
    """A subscription of ``a`` whose first value was told."""
    subscription = client.subscribe(**more)
    client.watch(subscription, "a")
    client.publish()
    stage.sleep(0.1)
    client.heard()
    return subscription


# --- Keep-alive


def test_the_first_cycle_tells_that_the_subscription_lives(stage: Stage, client: Client) -> None:
    client.subscribe(keep_alive=10)
    client.publish()
    stage.sleep(0.09)
    assert client.heard() == []
    stage.sleep(0.01)
    assert client.heard() == [[]]


def test_a_keep_alive_comes_after_that_many_silent_cycles(stage: Stage, client: Client) -> None:
    busy(stage, client, keep_alive=3)
    client.publish()
    stage.sleep(0.25)
    assert client.heard() == []
    stage.sleep(0.1)
    assert client.heard() == [[]]


def test_a_keep_alive_has_the_next_sequence_number_and_uses_none(stage: Stage, client: Client) -> None:
    busy(stage, client, keep_alive=1)
    for _ in range(2):
        client.publish()
        stage.sleep(0.1)
    assert sequences(client) == [2, 2]
    stage.set("a", 5)
    client.publish()
    stage.sleep(0.1)
    assert sequences(client) == [2]


def test_a_keep_alive_comes_where_publishing_is_disabled_too(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(enabled=False, keep_alive=2)
    client.watch(subscription, "a")
    client.publish()
    client.publish()
    stage.sleep(0.35)
    assert client.heard() == [[], []]
    assert client.set_publishing(True, subscription) == ["Good"]
    client.publish()
    stage.sleep(0.1)
    assert len(client.heard()[0]) == 1


# --- Late


def test_what_is_late_is_sent_with_the_next_request_at_once(stage: Stage, client: Client) -> None:
    busy(stage, client)
    stage.set("a", 1)
    stage.sleep(0.15)
    stage.set("a", 2)
    client.publish()
    assert client.heard() == [[Change(1, 2)]]


def test_without_notifications_a_late_subscription_sends_its_keep_alive(stage: Stage, client: Client) -> None:
    client.subscribe()
    stage.sleep(0.15)
    client.publish()
    assert client.heard() == [[]]


# --- Lifetime


def test_a_subscription_without_requests_ends_and_says_so_later(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client, lifetime=6, keep_alive=2)
    stage.sleep(0.55)
    assert list(stage.engine.subscriptions) == [subscription]
    stage.sleep(0.1)
    assert not stage.engine.subscriptions
    assert stage.engine.monitored_items == 0
    client.publish()
    (answer,) = client.peer.take()
    assert isinstance(answer, ua.PublishResult)
    assert (answer.SubscriptionId, status_changes(answer)) == (subscription, ["BadTimeout"])
    assert refused(client.publish) == "BadNoSubscription"


def test_calls_about_a_subscription_keep_it_alive(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client, lifetime=6, keep_alive=2)
    item = client.watch(subscription, "b")
    for call in (
        lambda: client.set_publishing(True, subscription),
        lambda: client.set_mode(subscription, 2, item),
        lambda: client.modify_subscription(subscription, 100.0, 6, 2, 0, 0),
        client.publish,
    ):
        stage.sleep(0.5)
        call()
    assert list(stage.engine.subscriptions) == [subscription]


def test_waiting_requests_keep_it_alive(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(lifetime=6, keep_alive=2)
    for _ in range(30):
        client.publish()
    stage.sleep(5)
    assert list(stage.engine.subscriptions) == [subscription]


# --- Requests


def test_no_subscription_no_publishing(client: Client) -> None:
    assert refused(client.publish) == "BadNoSubscription"


def test_requests_that_wait_are_refused_with_the_last_subscription(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    client.publish()
    client.publish()
    assert client.delete_subscriptions(subscription, 99) == ["Good", "BadSubscriptionIdInvalid"]
    stage.engine.step()
    assert client.heard() == ["BadNoSubscription", "BadNoSubscription"]


def test_too_many_requests_push_the_oldest_out(stage: Stage, client: Client) -> None:
    client.subscribe()
    handles = [client.publish().handle for _ in range(MAX_PUBLISH_REQUESTS + 1)]
    ((handle, answer),) = client.peer.answers
    assert handle == handles[0]
    assert client.heard() == ["BadTooManyPublishRequests"]
    assert len(stage.engine.publishing(client.session)) == MAX_PUBLISH_REQUESTS
    assert answer


def test_a_request_that_waits_for_too_long_is_refused(stage: Stage, client: Client) -> None:
    client.subscribe(keep_alive=100, lifetime=300)
    client.publish()
    stage.sleep(0.1)
    client.heard()
    client.publish(deadline=stage.now + 10)
    client.publish(deadline=stage.now + 0.5)
    client.publish(deadline=stage.now + 2)
    stage.sleep(0.45)
    assert client.heard() == []
    stage.sleep(0.1)
    assert client.heard() == ["BadTimeout"]
    stage.sleep(1.5)
    assert client.heard() == ["BadTimeout"]
    assert len(stage.engine.publishing(client.session)) == 1


def test_a_cancelled_request_is_not_used(stage: Stage, client: Client) -> None:
    client.subscribe()
    first, second = client.publish(), client.publish()
    client.peer.refuse(first, 0x802C0000)
    stage.sleep(0.1)
    assert client.peer.answers[1][0] == second.handle
    assert client.heard() == ["BadRequestCancelledByClient", []]


def test_requests_of_a_connection_that_was_left_are_refused(stage: Stage, client: Client) -> None:
    client.subscribe()
    client.publish()
    former, client.peer = client.peer, Peer("10.0.0.1:50001")
    client.session.move(client.peer)
    stage.sleep(0.1)
    assert [answer.name for answer in former.take()] == ["BadSecureChannelClosed"]  # type: ignore[union-attr]
    client.publish()
    assert client.heard() == [[]]


def test_a_lost_connection_leaves_the_subscription_to_be_resumed(stage: Stage, client: Client) -> None:
    busy(stage, client, lifetime=60)
    client.session.move(None)
    stage.set("a", 8)
    stage.sleep(1)
    client.peer = Peer()
    client.session.move(client.peer)
    client.publish()
    assert client.heard() == [[Change(1, 8)]]


def test_a_client_that_does_not_read_is_not_published_to(stage: Stage, client: Client) -> None:
    busy(stage, client, lifetime=6, keep_alive=2)
    client.peer.backlogged = True
    for value in range(5):
        stage.set("a", value)
        client.publish()
        stage.sleep(0.3)
    assert client.heard() == []
    assert stage.engine.subscriptions
    client.peer.backlogged = False
    stage.sleep(0.1)
    assert client.heard() == [[Change(1, 4)]]


# --- How much at a time


def test_more_notifications_than_one_message_may_have(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(most=2)
    for handle, name in enumerate("abc"):
        client.watch(subscription, name, handle=handle)
    client.publish()
    stage.sleep(0.1)
    (first,) = client.peer.take()
    assert isinstance(first, ua.PublishResult)
    assert (len(changes(first)), first.MoreNotifications) == (2, True)
    client.publish()
    (second,) = client.peer.take()
    assert isinstance(second, ua.PublishResult)
    assert (len(changes(second)), second.MoreNotifications) == (1, False)
    assert second.NotificationMessage.SequenceNumber == 2


def test_a_queue_is_told_in_order_over_several_messages(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(most=2)
    stage.set("a", 0)
    client.watch(subscription, "a", queue=10)
    for value in range(1, 5):
        stage.set("a", value)
    for _ in range(3):
        client.publish()
    stage.sleep(0.1)
    assert client.heard() == [[Change(1, 0), Change(1, 1)], [Change(1, 2), Change(1, 3)], [Change(1, 4)]]


def test_switching_publishing_off_and_on_waits_for_the_next_cycle(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(most=1)
    client.watch(subscription, "a")
    client.watch(subscription, "b")
    client.publish()
    stage.sleep(0.1)
    client.heard()
    client.set_publishing(False, subscription)
    client.set_publishing(True, subscription)
    client.publish()
    assert client.heard() == []
    stage.sleep(0.1)
    assert len(client.heard()) == 1


def test_no_message_is_larger_than_the_client_takes(stage: Stage, client: Client) -> None:
    text = stage.stored("text", b"\x0c" + (600).to_bytes(4, "little") + b"x" * 600, 12)
    client.session.about = client.session.about._replace(max_response=2048)
    subscription = client.subscribe()
    for handle in range(8):
        client.watch(subscription, "text", handle=handle)
    for _ in range(8):
        client.publish()
    stage.sleep(0.1)
    assert max(map(len, client.peer.raw)) <= 2048
    heard = client.heard()
    assert [change.handle for message in heard for change in message] == list(range(8))  # type: ignore[union-attr]
    assert len(heard) > 1
    text.set(b"\x0c" + (6000).to_bytes(4, "little") + b"x" * 6000)
    for _ in range(8):
        client.publish()
    stage.sleep(0.1)
    (first, *_) = client.heard()
    assert first == [Change(0, None, 0x80080000)]


def test_nor_than_its_channel_takes(stage: Stage, client: Client) -> None:
    stage.stored("text", b"\x0c" + (600).to_bytes(4, "little") + b"x" * 600, 12)
    client.peer.channel.largest = 2048
    subscription = client.subscribe()
    for handle in range(8):
        client.watch(subscription, "text", handle=handle)
    for _ in range(8):
        client.publish()
    stage.sleep(0.1)
    assert max(map(len, client.peer.raw)) <= 2048
    assert [change.handle for message in client.heard() for change in message] == list(range(8))  # type: ignore[union-attr]


# --- Priority


def test_the_highest_priority_is_first_and_equals_take_turns(stage: Stage, client: Client) -> None:
    low, high, other = client.subscribe(), client.subscribe(priority=9), client.subscribe()
    stage.sleep(0.15)
    for _ in range(3):
        client.publish()
    answers = client.peer.take()
    assert [answer.SubscriptionId for answer in answers] == [high, low, other]  # type: ignore[union-attr]


def test_the_highest_priority_is_first_though_it_came_later(stage: Stage, client: Client) -> None:
    low, high = client.subscribe(100.0), client.subscribe(200.0, priority=9)
    stage.sleep(0.15)
    assert list(client.session.part(Publishing).ready) == [stage.engine.subscriptions[low]]
    stage.sleep(0.1)
    for _ in range(2):
        client.publish()
    answers = client.peer.take()
    assert [answer.SubscriptionId for answer in answers] == [high, low]  # type: ignore[union-attr]


def test_a_subscription_with_more_waits_behind_its_equals(stage: Stage, client: Client) -> None:
    first, second = client.subscribe(most=1), client.subscribe(most=1)
    for subscription in (first, second):
        client.watch(subscription, "a")
        client.watch(subscription, "b")
    stage.sleep(0.15)
    for _ in range(4):
        client.publish()
    answers = client.peer.take()
    assert [answer.SubscriptionId for answer in answers] == [first, second, first, second]  # type: ignore[union-attr]


# --- Acknowledgement and Republish


def test_a_message_is_kept_until_it_is_acknowledged(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client)
    for _ in range(2):
        message = client.republish(subscription, 1)
        assert message.SequenceNumber == 1
        assert len(message.NotificationData[0].MonitoredItems) == 1
    client.publish((subscription, 1), (subscription, 1), (subscription, 7), (99, 1))
    stage.set("a", 1)
    stage.sleep(0.1)
    (answer,) = client.peer.take()
    assert isinstance(answer, ua.PublishResult)
    assert [code.name for code in answer.Results] == [
        "Good",
        "BadSequenceNumberUnknown",
        "BadSequenceNumberUnknown",
        "BadSubscriptionIdInvalid",
    ]
    assert answer.AvailableSequenceNumbers == [2]
    assert refused(client.republish, subscription, 1) == "BadMessageNotAvailable"
    assert refused(client.republish, 99, 1) == "BadSubscriptionIdInvalid"


def test_a_republished_message_is_the_same_to_the_byte(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client)
    sent = client.peer.raw[-1]
    stage.set("a", 77)
    stage.sleep(3)
    body = stage.engine.subscriptions[subscription].unacknowledged[1]
    assert body in sent
    assert client.republish(subscription, 1).NotificationData


def test_messages_nobody_acknowledges_are_bounded(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client)
    for value in range(MAX_RETRANSMISSION_MESSAGES + 5):
        stage.set("a", value)
        client.publish()
        stage.sleep(0.1)
    kept = stage.engine.subscriptions[subscription].unacknowledged
    assert len(kept) == MAX_RETRANSMISSION_MESSAGES
    assert min(kept) == 7
    assert stage.engine.subscriptions[subscription].counts.discarded == 6


def test_bytes_nobody_acknowledges_are_bounded(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.subscription.MAX_RETRANSMISSION_BYTES", 200)
    subscription = busy(stage, client)
    for value in range(20):
        stage.set("a", value)
        client.publish()
        stage.sleep(0.1)
    kept = stage.engine.subscriptions[subscription].unacknowledged
    assert 1 < len(kept) < 5
    assert sum(map(len, kept.values())) <= 200


def test_bytes_of_all_subscriptions_are_bounded_together(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.subscription.MAX_RETRANSMISSION_BYTES_IN_ALL", 500)
    subscriptions = [busy(stage, client) for _ in range(3)]
    for value in range(20):
        stage.set("a", value)
        for _ in subscriptions:
            client.publish()
        stage.sleep(0.1)
    kept = [stage.engine.subscriptions[number].unacknowledged for number in subscriptions]
    assert all(kept)
    assert sum(len(message) for messages in kept for message in messages.values()) <= 500 + 100
    assert stage.engine.kept_bytes == sum(len(m) for messages in kept for m in messages.values())
    client.publish((subscriptions[0], max(kept[0])))
    client.delete_subscriptions(*subscriptions)
    assert stage.engine.kept_bytes == 0


def test_sequence_numbers_wrap_to_one(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client)
    stage.engine.subscriptions[subscription]._sequence = 0xFFFFFFFF
    for value in range(2):
        stage.set("a", value)
        client.publish()
        stage.sleep(0.1)
    assert sequences(client) == [0xFFFFFFFF, 1]


# --- Modify


def test_a_modified_interval_holds_at_once(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client)
    result = client.modify_subscription(subscription, 1000.0, 30, 10, 0, 0)
    assert (result.RevisedPublishingInterval, result.RevisedLifetimeCount) == (1000.0, 30)
    stage.set("a", 1)
    client.publish()
    stage.sleep(0.9)
    assert client.heard() == []
    stage.sleep(0.1)
    assert client.heard() == [[Change(1, 1)]]


def test_a_shorter_interval_leaves_sampling_as_it_was_agreed(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(1000.0)
    client.watch(subscription, "a", sampling=500.0)
    client.modify_subscription(subscription, 100.0, 30, 10, 0, 0)
    client.publish()
    stage.sleep(0.2)
    client.heard()
    for _ in range(20):
        client.publish()
    for number in range(10):
        stage.set("a", number)
        stage.sleep(0.1)
    told = [change for message in client.heard() for change in message]
    assert len(told) == 2


# --- Ownership


def test_nobody_touches_the_subscription_of_another(stage: Stage, client: Client) -> None:
    subscription = busy(stage, client)
    item = client.watch(subscription, "b")
    other = stage.session("bert")
    for call in (
        lambda: other.modify_subscription(subscription, 100.0, 30, 10, 0, 0),
        lambda: other.republish(subscription, 1),
        lambda: other.create(subscription, other.stage_item("a")),
        lambda: other.modify(subscription, item),
        lambda: other.set_mode(subscription, 0, item),
        lambda: other.trigger(subscription, item, add=[item]),
        lambda: other.delete_items(subscription, item),
    ):
        assert refused(call) == "BadSubscriptionIdInvalid"
    assert other.set_publishing(False, subscription) == ["BadSubscriptionIdInvalid"]
    assert other.delete_subscriptions(subscription) == ["BadSubscriptionIdInvalid"]
    other.subscribe()
    other.publish((subscription, 1))
    stage.sleep(0.1)
    (answer,) = other.peer.take()
    assert [code.name for code in answer.Results] == ["BadSubscriptionIdInvalid"]  # type: ignore[union-attr]
    assert len(stage.engine.subscriptions[subscription].unacknowledged) == 1


def test_subscriptions_are_limited(stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.engine.MAX_SUBSCRIPTIONS_PER_SESSION", 2)
    monkeypatch.setattr("server.opcua.subscriptions.engine.MAX_SUBSCRIPTIONS", 3)
    client.subscribe()
    client.subscribe()
    assert refused(client.subscribe) == "BadTooManySubscriptions"
    other = stage.session()
    other.subscribe()
    assert refused(other.subscribe) == "BadTooManySubscriptions"


def test_the_many_publish_less_often(stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.engine._FEW_SUBSCRIPTIONS", 1)
    first = client.create_subscription(0.0, 30, 10, 0, True, 0)
    second = client.create_subscription(0.0, 30, 10, 0, True, 0)
    assert (first.RevisedPublishingInterval, second.RevisedPublishingInterval) == (20.0, 100.0)
    kept = client.modify_subscription(first.SubscriptionId, 0.0, 30, 10, 0, 0)
    assert kept.RevisedPublishingInterval == 20.0
    assert len(stage.engine.subscriptions) == 2
