from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support.subscribing import (
    OPERATORS,
    Change,
    Client,
    Stage,
    data_filter,
    wanted,
)

from server.opcua.space.value import LiveValue
from server.opcua.subscriptions import item_services
from server.opcua.subscriptions.item import PlainItem
from server.opcua.types import AttributeIds, ServiceFault, status_name
from server.opcua.wire import structs
from server.opcua.wire.nodeid import key, numeric
from server.opcua.wire.writer import int32, ticks, uint32, variant
from server.plant.model import Role
from sources.quality import BAD_TIMEOUT, BAD_WAITING_FOR_INITIAL_DATA, UNCERTAIN
from sources.tag import ValueType

DENIED = 0x801F0000
UNKNOWN = 0x80340000
PLANT = {
    "a": (ValueType.Int32, 0.1),
    "b": (ValueType.Int32, 0.1),
    "slow": (ValueType.Int32, 1.0),
    "text": (ValueType.String, 0.1),
    "constant": (ValueType.Int32, 0.0),
}


@pytest.fixture
def stage() -> Stage:
    return Stage(PLANT)


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.session()


def told(stage: Stage, client: Client) -> Any:
    """What the next cycle says."""
    client.publish()
    stage.sleep(0.1)
    (heard,) = client.heard()
    return heard


def code(client: Client, subscription: int, item: Any) -> str:
    (result,) = client.create(subscription, item)
    return str(result.StatusCode.name)


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ServiceFault) as fault:
        call(*arguments, **named)
    return status_name(fault.value.code)


# --- What may be watched


def test_the_first_value_is_told_whatever_it_is(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    client.watch(subscription, "a", handle=3)
    stage.set("b", 4)
    client.watch(subscription, "b", handle=5)
    assert told(stage, client) == [Change(3, None, BAD_WAITING_FOR_INITIAL_DATA), Change(5, 4)]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (wanted(key("nowhere", 2)), "BadNodeIdUnknown"),
        (wanted(key("P.a", 2), attribute=99), "BadAttributeIdInvalid"),
        (wanted(key("P.a", 2), attribute=int(AttributeIds.EventNotifier)), "BadAttributeIdInvalid"),
        (wanted(numeric(85)), "BadAttributeIdInvalid"),
        (wanted(key("P.a", 2), index_range="2:1"), "BadIndexRangeInvalid"),
        (wanted(key("P.a", 2), encoding="Default JSON"), "BadDataEncodingUnsupported"),
        (wanted(key("P.a", 2), attribute=4, encoding="Default Binary"), "BadDataEncodingInvalid"),
        (wanted(numeric(2253), attribute=12), "BadEventFilterInvalid"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_the_reason(client: Client, item: Any, expected: str) -> None:
    assert code(client, client.subscribe(), item) == expected


def test_an_invalid_mode_is_refused_item_by_item(client: Client) -> None:
    subscription = client.subscribe()
    body = structs.encode(client.stage_item("a"))
    at = body.index(int32(2), 13)
    wrong = body[:at] + int32(7) + body[at + 4 :]
    request = uint32(subscription) + int32(2) + int32(2) + body + wrong
    first, second = client.call("CreateMonitoredItems", request)
    assert (first.StatusCode.name, second.StatusCode.name) == ("Good", "BadMonitoringModeInvalid")


def test_a_call_without_sense_is_refused_as_a_whole(client: Client) -> None:
    subscription = client.subscribe()
    assert refused(client.create, subscription) == "BadNothingToDo"
    assert refused(client.create, subscription, client.stage_item("a"), timestamps=4) == (
        "BadTimestampsToReturnInvalid"
    )
    assert refused(client.create, 99, client.stage_item("a")) == "BadSubscriptionIdInvalid"


def test_the_user_has_to_have_the_right(stage: Stage, client: Client) -> None:
    stage.nodes["a"].role_permissions = OPERATORS
    guest = stage.session("guest", [Role.Anonymous])
    assert code(guest, guest.subscribe(), guest.stage_item("a")) in {
        "BadNodeIdUnknown",
        "BadUserAccessDenied",
    }
    assert code(client, client.subscribe(), client.stage_item("a")) == "Good"


def test_a_value_that_cannot_be_read_cannot_be_watched(stage: Stage, client: Client) -> None:
    node = stage.nodes["a"]
    node.attributes = {**node.attributes, int(AttributeIds.AccessLevel): variant(3, b"\x00")}
    assert code(client, client.subscribe(), client.stage_item("a")) == "BadNotReadable"


def test_other_attributes_tell_what_they_are(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    client.watch(subscription, "a", attribute=int(AttributeIds.BrowseName), handle=1)
    client.watch(subscription, "a", attribute=int(AttributeIds.NodeClass), handle=2)
    name, kind = told(stage, client)
    assert name.value.Name == "P.a"
    assert kind == Change(2, 2)


def test_an_attribute_is_told_again_when_the_model_changed_it(stage: Stage, client: Client) -> None:
    node = stage.nodes["a"]
    node.attributes = {**node.attributes, int(AttributeIds.WriteMask): variant(7, uint32(0))}
    subscription = client.subscribe()
    client.watch(subscription, "a", attribute=int(AttributeIds.WriteMask))
    told(stage, client)
    node.attributes = {**node.attributes, int(AttributeIds.WriteMask): variant(7, uint32(5))}
    stage.world.link(stage.nodes["b"], 35, node)
    assert told(stage, client) == [Change(1, 5)]


def test_a_part_of_an_array(stage: Stage, client: Client) -> None:
    def array(*values: int) -> bytes:
        return b"\x86" + int32(len(values)) + b"".join(map(int32, values))

    value = stage.stored("array", array(1, 2, 3))
    subscription = client.subscribe()
    client.watch(subscription, "array", index_range="1:2")
    assert told(stage, client) == [Change(1, [2, 3])]
    value.set(array(9, 2, 3))
    stage.sleep(0.1)
    assert client.heard() == []
    value.set(array(9, 5, 3))
    assert told(stage, client) == [Change(1, [5, 3])]
    value.set(array(9))
    assert told(stage, client) == [Change(1, None, 0x80370000)]


def test_a_value_the_server_holds(stage: Stage, client: Client) -> None:
    value = stage.stored("held", variant(6, int32(1)))
    subscription = client.subscribe()
    client.watch(subscription, "held", queue=5)
    assert told(stage, client) == [Change(1, 1)]
    for number in (2, 2, 3):
        value.set(variant(6, int32(number)))
    assert told(stage, client) == [Change(1, 2), Change(1, 3)]


def test_a_value_that_is_worked_out_is_asked_for_again_and_again(stage: Stage, client: Client) -> None:
    asked = []

    def work_out() -> bytes:
        asked.append(stage.now)
        return variant(6, int32(len(asked)))

    stage.nodes["live"] = stage.world.node(
        "P.live",
        stage.world.objects,
        2,
        permissions=stage.nodes["a"].role_permissions,
        value=LiveValue(work_out),
    )
    subscription = client.subscribe()
    (result,) = client.create(subscription, client.stage_item("live", sampling=0.0, queue=10))
    assert result.RevisedSamplingInterval == 100.0
    del asked[:]
    stage.sleep(1.0)
    assert len(asked) == 10
    told(stage, client)
    with stage.world.space.changing(quiet=True):
        stage.world.space.delete([stage.nodes["live"].key])
    assert told(stage, client) == [Change(1, None, UNKNOWN)]
    assert client.delete_items(subscription, result.MonitoredItemId) == ["Good"]
    stage.sleep(1.0)
    assert len(asked) == 11


def test_what_has_to_be_polled_is_polled_less_often_where_there_is_much_of_it(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.engine._POLLING", ((2, 1.0), (3, 10.0)))
    subscription = client.subscribe(10_000.0)
    items = [client.stage_item("a", filter=data_filter(2)) for _ in range(4)]
    results = client.create(subscription, *items)
    assert [result.RevisedSamplingInterval for result in results] == [100.0, 100.0, 1000.0, 10_000.0]
    assert stage.engine.polled == 4
    client.delete_items(subscription, 1, 2)
    assert stage.engine.polled == 2
    client.delete_subscriptions(subscription)
    stage.engine.step()
    assert stage.engine.polled == 0


# --- Timestamps


@pytest.mark.parametrize("name", ["a", "constant"])
@pytest.mark.parametrize("queue", [1, 3])
@pytest.mark.parametrize(("timestamps", "source", "server"), [(0, 1, 0), (1, 0, 1), (2, 1, 1), (3, 0, 0)])
def test_timestamps(
    stage: Stage, client: Client, name: str, queue: int, timestamps: int, source: int, server: int
) -> None:
    stage.store.set("P.constant", 4)
    stage.set("a", 4)
    subscription = client.subscribe()
    client.watch(subscription, name, timestamps=timestamps, queue=queue)
    client.publish()
    stage.sleep(0.1)
    (answer,) = client.peer.take()
    assert isinstance(answer, ua.PublishResult)
    (part,) = answer.NotificationMessage.NotificationData
    value: Any = part.MonitoredItems[0].Value
    assert value.Value.Value == 4
    assert value.StatusCode is None or value.StatusCode.value == 0
    assert (value.SourceTimestamp is not None, value.ServerTimestamp is not None) == (source, server)


def test_the_server_time_is_that_of_the_last_scan(stage: Stage, client: Client) -> None:
    stage.set("a", 4)
    subscription = client.subscribe()
    client.watch(subscription, "a")
    stage.sleep(0.05)
    stage.set("a", 4)
    scanned = stage.wall()
    stage.sleep(0.02)
    client.publish()
    stage.sleep(0.1)
    assert ticks(scanned) in client.peer.raw[-1]


# --- Sampling


def test_the_interval_is_that_of_the_scan_class_or_longer(client: Client) -> None:
    subscription = client.subscribe(500.0)
    for name, requested, revised in (
        ("a", 0.0, 100.0),
        ("slow", 0.0, 1000.0),
        ("slow", 100.0, 1000.0),
        ("slow", 1500.0, 1500.0),
        ("a", -1.0, 500.0),
        ("constant", 0.0, 0.0),
    ):
        (result,) = client.create(subscription, client.stage_item(name, sampling=requested))
        assert result.RevisedSamplingInterval == revised, (name, requested)


def test_no_more_than_one_sample_an_interval_and_that_the_latest(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(1000.0)
    stage.set("a", 0)
    client.watch(subscription, "a", sampling=300.0, queue=20)
    stage.sleep(0.02)
    for value in range(1, 13):
        stage.sleep(0.05)
        stage.set("a", value)
    client.publish()
    stage.sleep(0.45)
    (heard,) = client.heard()
    assert [change.value for change in heard] == [0, 3, 9, 12]  # type: ignore[union-attr]


def test_a_value_that_came_back_within_the_interval_did_not_change(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("a", 1)
    client.watch(subscription, "a", sampling=500.0, queue=5)
    told(stage, client)
    stage.set("a", 2)
    stage.set("a", 1)
    client.publish()
    stage.sleep(0.8)
    assert client.heard() == []


def test_between_two_cycles_a_queue_of_one_has_the_newest(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    client.watch(subscription, "a", handle=1)
    client.watch(subscription, "a", handle=2, filter=data_filter(0))
    for value in (1, 2, 3):
        stage.set("a", value)
    assert told(stage, client) == [Change(1, 3), Change(2, 1)]
    stage.set("a", None, BAD_TIMEOUT)
    assert told(stage, client) == [Change(1, None, BAD_TIMEOUT), Change(2, None, BAD_TIMEOUT)]


# --- Queues


def queued(stage: Stage, client: Client, *, oldest: bool, size: int) -> Any:
    subscription = client.subscribe()
    stage.set("a", 0)
    client.watch(subscription, "a", queue=size, oldest=oldest)
    for value in range(1, 6):
        stage.set("a", value)
    return told(stage, client)


def test_a_full_queue_discards_the_oldest(stage: Stage, client: Client) -> None:
    assert queued(stage, client, oldest=True, size=3) == [Change(1, 3, 0x480), Change(1, 4), Change(1, 5)]


def test_or_the_newest(stage: Stage, client: Client) -> None:
    assert queued(stage, client, oldest=False, size=3) == [Change(1, 0), Change(1, 1), Change(1, 5, 0x480)]


@pytest.mark.parametrize("oldest", [True, False])
def test_a_queue_of_one_has_the_newest_and_never_overflows(
    stage: Stage, client: Client, oldest: bool
) -> None:
    assert queued(stage, client, oldest=oldest, size=1) == [Change(1, 5)]


def test_the_overflow_bit_keeps_the_quality(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    client.watch(subscription, "a", queue=2)
    stage.set("a", 1, UNCERTAIN)
    stage.set("a", 2)
    assert told(stage, client) == [Change(1, 1, UNCERTAIN | 0x480), Change(1, 2)]


def test_a_queue_no_longer_than_there_is_room_for(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.opcua.subscriptions.parameters.MAX_QUEUED_NOTIFICATIONS", 25)
    subscription = client.subscribe()
    sizes = [
        result.RevisedQueueSize
        for result in client.create(subscription, *(client.stage_item("a", queue=10) for _ in range(4)))
    ]
    assert sizes == [10, 10, 1, 1]
    item = next(iter(stage.engine.subscriptions[subscription].items))
    client.delete_items(subscription, item)
    assert client.create(subscription, client.stage_item("b", queue=10))[0].RevisedQueueSize == 10


# --- Modes


def test_a_disabled_item_tells_nothing_and_begins_anew(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("a", 1)
    item = client.watch(subscription, "a", queue=5)
    stage.set("a", 2)
    assert client.set_mode(subscription, 0, item) == ["Good"]
    stage.set("a", 3)
    assert told(stage, client) == []
    assert client.set_mode(subscription, 2, item, 99) == ["Good", "BadMonitoredItemIdInvalid"]
    assert told(stage, client) == [Change(1, 3)]


def test_a_sampling_item_queues_and_tells_later(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("a", 1)
    item = client.watch(subscription, "a", queue=5, mode=1)
    stage.set("a", 2)
    assert told(stage, client) == []
    client.set_mode(subscription, 2, item)
    assert told(stage, client) == [Change(1, 1), Change(1, 2)]


def test_an_unknown_mode_is_refused(client: Client) -> None:
    subscription = client.subscribe()
    item = client.watch(subscription, "a")
    assert refused(client.set_mode, subscription, 3, item) == "BadMonitoringModeInvalid"


# --- Modify


def test_a_modified_item_goes_on_with_its_queue(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("a", 0)
    item = client.watch(subscription, "a", queue=4)
    for value in (1, 2, 3):
        stage.set("a", value)
    result = client.modify(subscription, item, handle=7, queue=2)
    assert (result.StatusCode.name, result.RevisedQueueSize) == ("Good", 2)
    assert told(stage, client) == [Change(7, 2, 0x480), Change(7, 3)]


def test_a_shorter_queue_that_keeps_the_oldest(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("a", 0)
    item = client.watch(subscription, "a", queue=4)
    for value in (1, 2, 3):
        stage.set("a", value)
    client.modify(subscription, item, queue=2, oldest=False)
    assert told(stage, client) == [Change(1, 0), Change(1, 3, 0x480)]


def test_a_modified_handle_alone_tells_no_value_again(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    item = client.watch(subscription, "a")
    told(stage, client)
    client.modify(subscription, item, handle=5)
    stage.sleep(0.5)
    assert client.heard() == []
    stage.set("a", 1)
    assert told(stage, client) == [Change(5, 1)]


def test_an_item_that_is_not_there_cannot_be_modified(client: Client) -> None:
    subscription = client.subscribe()
    assert client.modify(subscription, 5).StatusCode.name == "BadMonitoredItemIdInvalid"


def test_an_item_that_is_refused_another_filter_stays_as_it_is(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    item = client.watch(subscription, "text", handle=2)
    assert client.modify(subscription, item, handle=9, filter=data_filter(1, 1, 1.0)).StatusCode.name == (
        "BadFilterNotAllowed"
    )
    stage.set("text", "x")
    assert told(stage, client)[-1] == Change(2, "x")


# --- Triggering


def test_a_trigger_has_linked_items_report(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    trigger = client.watch(subscription, "a", handle=1)
    linked = client.watch(subscription, "b", handle=2, mode=1, queue=3)
    assert client.trigger(subscription, trigger, add=[linked, 99]) == (
        ["Good", "BadMonitoredItemIdInvalid"],
        [],
    )
    assert told(stage, client) == [Change(1, None, BAD_WAITING_FOR_INITIAL_DATA)]
    stage.set("b", 1)
    stage.set("b", 2)
    stage.sleep(0.1)
    assert client.heard() == []
    stage.set("a", 5)
    assert told(stage, client) == [
        Change(1, 5),
        Change(2, None, BAD_WAITING_FOR_INITIAL_DATA),
        Change(2, 1),
        Change(2, 2),
    ]
    stage.set("b", 3)
    stage.sleep(0.2)
    assert client.heard() == []


def test_a_trigger_that_only_samples_is_not_told_itself(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    trigger = client.watch(subscription, "a", handle=1, mode=1)
    linked = client.watch(subscription, "b", handle=2, mode=1)
    client.trigger(subscription, trigger, add=[linked])
    told(stage, client)
    stage.set("a", 5)
    assert told(stage, client) == [Change(2, None, BAD_WAITING_FOR_INITIAL_DATA)]


def test_a_disabled_trigger_fires_no_more(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    trigger = client.watch(subscription, "a", handle=1)
    linked = client.watch(subscription, "b", handle=2, mode=1)
    client.trigger(subscription, trigger, add=[linked])
    told(stage, client)
    client.set_mode(subscription, 0, trigger)
    stage.set("a", 5)
    client.publish()
    stage.sleep(0.3)
    assert client.heard() == []


def test_links_are_removed_before_others_are_added(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    trigger = client.watch(subscription, "a", handle=1)
    linked = client.watch(subscription, "b", handle=2, mode=1)
    client.trigger(subscription, trigger, add=[linked])
    assert client.trigger(subscription, trigger, add=[linked], remove=[linked, linked]) == (
        ["Good"],
        ["Good", "BadMonitoredItemIdInvalid"],
    )
    assert list(stage.engine.subscriptions[subscription].links[trigger]) == [linked]
    assert refused(client.trigger, subscription, trigger) == "BadNothingToDo"
    assert refused(client.trigger, subscription, 99, [linked]) == "BadMonitoredItemIdInvalid"


# --- Delete, limits


def test_links_count_as_they_are_when_the_trigger_queues(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    trigger = client.watch(subscription, "a", handle=1)
    before = client.watch(subscription, "b", handle=2, mode=1)
    after = client.watch(subscription, "text", handle=3, mode=1)
    client.trigger(subscription, trigger, add=[before])
    told(stage, client)
    stage.set("text", "late")
    stage.set("a", 5)
    client.trigger(subscription, trigger, add=[after], remove=[before])
    stage.set("b", 7)
    assert told(stage, client) == [Change(1, 5), Change(2, 7)]
    stage.set("b", 8)
    stage.set("a", 6)
    assert told(stage, client) == [Change(1, 6), Change(3, "late")]


def test_links_end_with_either_of_their_items(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    trigger = client.watch(subscription, "a", handle=1)
    found = stage.engine.subscriptions[subscription]
    for _ in range(20):
        item = client.watch(subscription, "b", handle=2, mode=1)
        client.trigger(subscription, trigger, add=[item, trigger])
        stage.set("a", item)
        client.trigger(subscription, trigger, remove=[item])
        client.trigger(subscription, trigger, add=[item])
        client.delete_items(subscription, item)
    assert found.links == {trigger: {trigger: None}}
    assert found._owed == {trigger: None}
    client.trigger(subscription, trigger, remove=[trigger])
    item = client.watch(subscription, "b", handle=2, mode=1)
    client.trigger(subscription, trigger, add=[item])
    assert not isinstance(found.items[trigger], PlainItem)
    client.delete_items(subscription, item)
    assert not found.links
    assert isinstance(found.items[trigger], PlainItem)
    linked = [client.watch(subscription, "b", mode=1) for _ in range(3)]
    client.trigger(subscription, trigger, add=linked)
    client.trigger(subscription, linked[0], add=[trigger])
    stage.set("a", 1000)
    assert trigger in found.fired
    client.delete_items(subscription, trigger)
    assert trigger not in found.fired
    assert not found.links
    assert found.links.count == 0
    assert found.links._triggers == {}


@pytest.mark.parametrize("limit", ["MAX_TRIGGER_LINKS_PER_SUBSCRIPTION", "MAX_TRIGGER_LINKS_IN_ALL"])
def test_links_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(item_services, limit, 3)
    subscription, other = client.subscribe(), client.subscribe()
    trigger, *items = [client.watch(subscription, "b", mode=1) for _ in range(5)]
    added, _ = client.trigger(subscription, trigger, add=[items[0], items[0], *items[1:]])
    assert added == ["Good"] * 4 + ["BadResourceUnavailable"]
    assert client.trigger(subscription, trigger, add=items[3:], remove=items[:1]) == (["Good"], ["Good"])
    item = client.watch(other, "b", mode=1)
    expected = "BadResourceUnavailable" if limit == "MAX_TRIGGER_LINKS_IN_ALL" else "Good"
    assert client.trigger(other, item, add=[item]) == ([expected], [])
    client.delete_subscriptions(subscription)
    assert client.trigger(other, item, add=[item]) == (["Good"], [])


def test_links_of_one_call_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_services, "MAX_TRIGGER_LINKS", 2)
    subscription = client.subscribe()
    item = client.watch(subscription, "b")
    client.trigger(subscription, item, add=[item], remove=[item])
    assert (
        refused(client.trigger, subscription, item, add=[item, item], remove=[item]) == "BadTooManyOperations"
    )


def test_a_deleted_item_tells_nothing_any_more(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    one, two = client.watch(subscription, "a"), client.watch(subscription, "a", handle=2, queue=3)
    assert client.delete_items(subscription, one, two, two) == ["Good", "Good", "BadMonitoredItemIdInvalid"]
    stage.set("a", 1)
    assert told(stage, client) == []
    assert stage.store.points["P.a"].items is None
    assert stage.engine.monitored_items == 0


def test_items_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    services = "server.opcua.subscriptions.item_services"
    monkeypatch.setattr(f"{services}.MAX_MONITORED_ITEMS_PER_SUBSCRIPTION", 2)
    monkeypatch.setattr(f"{services}.MAX_MONITORED_ITEMS", 3)
    monkeypatch.setattr(f"{services}.MAX_MONITORED_ITEMS_PER_CALL", 3)
    item = client.stage_item("a")
    first, second = client.subscribe(), client.subscribe()
    codes = [
        [result.StatusCode.name for result in client.create(subscription, item, item, item)]
        for subscription in (first, second)
    ]
    assert codes == [
        ["Good", "Good", "BadTooManyMonitoredItems"],
        ["Good", "BadTooManyMonitoredItems", "BadTooManyMonitoredItems"],
    ]
    assert refused(client.create, first, item, item, item, item) == "BadTooManyOperations"


def test_many_items_alike_and_unlike_in_one_call(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    items = [
        client.stage_item("a", handle=1),
        wanted(key("nowhere", 2), handle=2),
        client.stage_item("slow", handle=3),
        client.stage_item("a", handle=4, queue=3),
        client.stage_item("text", handle=5, filter=data_filter(0)),
        client.stage_item("a", handle=6, mode=0),
        wanted(numeric(85), handle=7, attribute=3),
    ]
    results = client.create(subscription, *items * 300)
    assert [result.StatusCode.name for result in results[:7]] == ["Good", "BadNodeIdUnknown"] + ["Good"] * 5
    good = [result.MonitoredItemId for result in results if result.StatusCode.value == 0]
    assert good == list(range(1, 1801))
    assert [change.handle for change in told(stage, client)[:4]] == [1, 3, 4, 5]


# --- Rights and nodes that change


def test_whoever_loses_the_right_is_told_that_and_no_value(stage: Stage, client: Client) -> None:
    node = stage.nodes["a"]
    node.role_permissions = OPERATORS
    subscription = client.subscribe()
    client.watch(subscription, "a", handle=1)
    client.watch(subscription, "a", handle=2, queue=5)
    client.watch(subscription, "b", handle=3)
    told(stage, client)
    stage.set("a", 7)
    client.become("anna", [Role.Anonymous])
    assert told(stage, client) == [Change(1, None, DENIED), Change(2, None, DENIED)]
    stage.set("a", 8)
    stage.set("b", 9)
    assert told(stage, client) == [Change(3, 9)]
    client.become("anna", [Role.Anonymous, Role.Operator])
    assert told(stage, client) == [Change(1, 8), Change(2, 8)]


def test_a_node_s_permissions_may_change_too(stage: Stage) -> None:
    guest = stage.session("guest", [Role.Anonymous])
    subscription = guest.subscribe()
    guest.watch(subscription, "a")
    told(stage, guest)
    stage.nodes["a"].role_permissions = OPERATORS
    stage.world.space.touch()
    stage.set("a", 1)
    assert told(stage, guest) == [Change(1, None, DENIED)]


def test_a_node_that_goes_and_comes_again(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    client.watch(subscription, "a", handle=1)
    client.watch(subscription, "a", handle=2, queue=4, mode=2)
    client.watch(subscription, "a", handle=3, attribute=int(AttributeIds.BrowseName))
    told(stage, client)
    node = stage.nodes["a"]
    stage.world.space.delete([node.key])
    assert told(stage, client) == [Change(handle, None, UNKNOWN) for handle in (3, 1, 2)]
    assert stage.store.points["P.a"].items is None
    stage.set("a", 3)
    stage._variable("a", ValueType.Int32)
    heard = told(stage, client)
    assert {change.handle for change in heard} == {1, 2, 3}
    stage.set("a", 4)
    assert sorted(told(stage, client)) == [Change(1, 4), Change(2, 4)]


def test_what_is_gone_wakes_nobody(stage: Stage, client: Client) -> None:
    subscription = client.subscribe(lifetime=1000)
    item = client.watch(subscription, "a", sampling=200.0, queue=2)
    stage.set("a", 1)
    client.delete_items(subscription, item)
    client.delete_subscriptions(subscription)
    stage.sleep(1)
    assert stage.engine.timers.next == float("inf")
