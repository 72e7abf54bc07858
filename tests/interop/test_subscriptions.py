"""Subscriptions and monitored items in the words of an independent codec (OPC 10000-4 §5.13, §5.14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from support.memory import node_id
from support.node import NodeClient, Speaker, variant
from support.node_subscription import DISABLED, REPORTING, SAMPLING, Subscription, deadband, write
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, OPERATOR_PASSWORD

pytestmark = pytest.mark.interop

Speak = Callable[..., AbstractContextManager[Speaker]]
SAFE = {"policy": "Aes256_Sha256_RsaPss", "mode": "SignAndEncrypt"}
TEXT, NUMBERS, ANYTHING = map(node_id, ("Text", "Numbers", "Anything"))


@pytest.fixture(scope="module")
def writer(speak: Speak) -> Iterator[Speaker]:
    with speak("writer", **SAFE, user=OPERATOR, password=OPERATOR_PASSWORD) as speaker:
        yield speaker


@pytest.fixture
def subscription(writer: Speaker) -> Iterator[Subscription]:
    made = Subscription(writer)
    yield made
    made.delete()


def test_settings_are_revised_into_bounds(writer: Speaker) -> None:
    made = Subscription(writer, requestedPublishingInterval=-1, requestedLifetimeCount=1)
    assert made.revised["revisedPublishingInterval"] >= 20
    assert made.revised["revisedLifetimeCount"] >= 3 * made.revised["revisedMaxKeepAliveCount"]
    made.delete()


def test_first_values_then_changes_then_keep_alives(writer: Speaker, subscription: Subscription) -> None:
    write(writer, TEXT, "String", "one")
    text, clock = subscription.watch(TEXT, "i=2258")
    assert (text["statusCode"], clock["statusCode"]) == ("Good", "Good")
    first = {handle: value for handle, value, _ in subscription.changes()}
    assert first[1] == "one"
    gone = writer.good(
        "DeleteMonitoredItems",
        subscriptionId=subscription.id,
        monitoredItemIds=[clock["monitoredItemId"], 99],
    )
    assert gone["results"] == ["Good", "BadMonitoredItemIdInvalid"]
    write(writer, TEXT, "String", "two")
    assert (1, "two", "Good") in subscription.changes()
    alive = subscription.publish()
    assert not alive["notificationMessage"]["notificationData"]


def test_items_that_cannot_be_say_why(writer: Speaker, subscription: Subscription) -> None:
    nowhere, folder, text = subscription.watch(node_id("Nowhere"), node_id(""), TEXT, mode=DISABLED)
    assert [one["statusCode"] for one in (nowhere, folder, text)] == [
        "BadNodeIdUnknown",
        "BadAttributeIdInvalid",
        "Good",
    ]
    filters = [deadband(1, 1.0), deadband(2, 200.0), {"$structure": "AggregateFilter"}]
    codes = [subscription.watch(node, filter=one)[0]["statusCode"] for node in (TEXT,) for one in filters]
    assert codes[0] == "BadFilterNotAllowed"
    assert all(code.startswith(("BadFilterNotAllowed", "BadMonitoredItemFilter")) for code in codes[1:])
    wrong = writer("CreateMonitoredItems", subscriptionId=99_999, itemsToCreate=[{}])
    assert wrong["result"] == "BadSubscriptionIdInvalid"
    nothing = writer("CreateMonitoredItems", subscriptionId=subscription.id, itemsToCreate=[])
    assert nothing["result"] == "BadNothingToDo"


def test_an_absolute_deadband_counts_from_what_was_told_last(
    writer: Speaker, subscription: Subscription
) -> None:
    number = node_id("Number")
    write(writer, number, "Double", 0.0)
    subscription.watch(number, filter=deadband(1, 1.0))
    assert subscription.changes() == [(1, 0, "Good")]
    subscription.publishing(enabled=False)
    for value in (0.5, 1.0, 1.5, 0.9, 2.6):
        write(writer, number, "Double", value)
    subscription.publishing(enabled=True)
    assert [value for _, value, _ in subscription.changes()] == [1.5, 2.6]


def test_a_full_queue_says_that_something_was_lost(writer: Speaker, subscription: Subscription) -> None:
    write(writer, TEXT, "String", "start")
    subscription.watch(TEXT, queue=2)
    subscription.watch(TEXT, handle=2, queue=2, oldest=False)
    subscription.changes()
    subscription.publishing(enabled=False)
    for value in "abcd":
        write(writer, TEXT, "String", value)
    subscription.publishing(enabled=True)
    found = subscription.changes()
    assert [value for handle, value, _ in found if handle == 1] == ["c", "d"]
    assert [value for handle, value, _ in found if handle == 2] == ["a", "d"]
    assert ["Overflow" in status for _, _, status in found] == [True, False, False, True]


def test_what_is_sampled_is_told_when_another_item_triggers_it(
    writer: Speaker, subscription: Subscription
) -> None:
    write(writer, TEXT, "String", "before")
    write(writer, ANYTHING, "Int32", 1)
    trigger, linked = (
        subscription.watch(TEXT)[0]["monitoredItemId"],
        subscription.watch(ANYTHING, handle=2, mode=SAMPLING)[0]["monitoredItemId"],
    )
    assert [handle for handle, _, _ in subscription.changes()] == [1]
    linking = {"subscriptionId": subscription.id, "triggeringItemId": trigger}
    done = writer.good("SetTriggering", **linking, linksToAdd=[linked, 999], linksToRemove=[])
    assert done["addResults"] == ["Good", "BadMonitoredItemIdInvalid"]
    write(writer, ANYTHING, "Int32", 2)
    write(writer, TEXT, "String", "now")
    assert {handle for handle, _, _ in subscription.changes()} == {1, 2}
    undone = writer.good("SetTriggering", **linking, linksToAdd=[], linksToRemove=[linked])
    assert undone["removeResults"] == ["Good"]


def test_items_are_modified_and_switched(writer: Speaker, subscription: Subscription) -> None:
    write(writer, TEXT, "String", "seen")
    (item,) = subscription.watch(TEXT)
    number = item["monitoredItemId"]
    subscription.changes()
    parameters = {"clientHandle": 70, "samplingInterval": 0, "queueSize": 1, "discardOldest": True}
    modified = writer.good(
        "ModifyMonitoredItems",
        subscriptionId=subscription.id,
        timestampsToReturn=3,
        itemsToModify=[{"monitoredItemId": number, "requestedParameters": parameters}],
    )
    assert modified["results"][0]["statusCode"] == "Good"
    mode = {"subscriptionId": subscription.id, "monitoredItemIds": [number, 999]}
    off = writer.good("SetMonitoringMode", **mode, monitoringMode=DISABLED)
    assert off["results"] == ["Good", "BadMonitoredItemIdInvalid"]
    write(writer, TEXT, "String", "unseen")
    assert not subscription.publish()["notificationMessage"]["notificationData"]
    writer.good("SetMonitoringMode", **mode, monitoringMode=REPORTING)
    assert subscription.changes() == [(70, "unseen", "Good")]


def test_a_message_is_said_again_until_it_is_acknowledged(
    writer: Speaker, subscription: Subscription
) -> None:
    subscription.watch(TEXT)
    first = subscription.publish()["notificationMessage"]
    while not first["notificationData"]:
        first = subscription.publish()["notificationMessage"]
    again = {"subscriptionId": subscription.id, "retransmitSequenceNumber": first["sequenceNumber"]}
    for _ in range(2):
        assert writer.good("Republish", **again)["notificationMessage"] == first
    assert subscription.publish(first["sequenceNumber"], 999)["results"] == [
        "Good",
        "BadSequenceNumberUnknown",
    ]
    assert writer("Republish", **again)["result"] == "BadMessageNotAvailable"
    unknown = writer("Republish", subscriptionId=99_999, retransmitSequenceNumber=1)
    assert unknown["result"] == "BadSubscriptionIdInvalid"


def test_the_servers_methods_tell_the_items_and_send_the_values_again(
    writer: Speaker, subscription: Subscription
) -> None:
    (item,) = subscription.watch(TEXT, handle=5)
    subscription.changes()

    def call(method: str) -> Any:
        wanted = {
            "objectId": "i=2253",
            "methodId": method,
            "inputArguments": [variant("UInt32", subscription.id)],
        }
        return writer.good("Call", methodsToCall=[wanted])["results"][0]

    items = call("i=11492")
    assert [one["value"] for one in items["outputArguments"]] == [[item["monitoredItemId"]], [5]]
    assert call("i=12873")["statusCode"] == "Good"
    assert [handle for handle, _, _ in subscription.changes()] == [5]


def test_a_subscription_is_taken_over_by_another_session_of_its_user_only(
    speak: Speak, writer: Speaker
) -> None:
    made = Subscription(writer)
    made.watch(TEXT)
    made.changes()
    asked = {"subscriptionIds": [made.id], "sendInitialValues": True}
    with speak("stranger", **SAFE, user=OBSERVER, password=OBSERVER_PASSWORD) as stranger:
        (refused,) = stranger.good("TransferSubscriptions", **asked)["results"]
        assert refused["statusCode"] == "BadUserAccessDenied"
        (hidden,) = stranger.good("DeleteSubscriptions", subscriptionIds=[made.id])["results"]
        assert hidden == "BadSubscriptionIdInvalid"
    with speak("heir", **SAFE, user=OPERATOR, password=OPERATOR_PASSWORD) as heir:
        (taken,) = heir.good("TransferSubscriptions", **asked)["results"]
        assert taken["statusCode"] == "Good"
        made.speaker = heir
        assert [handle for handle, _, _ in made.changes()] == [1]
        told = writer.good("Publish")["notificationMessage"]["notificationData"]
        assert [one["status"] for one in told] == ["GoodSubscriptionTransferred"]
        made.delete()
    assert writer("Publish")["result"] == "BadNoSubscription"


def test_five_subscriptions_with_a_hundred_items_each_are_served(writer: Speaker) -> None:
    made = [Subscription(writer) for _ in range(5)]
    for one in made:
        assert {item["statusCode"] for item in one.watch(*[TEXT] * 100)} == {"Good"}
    seen = set()
    for _ in range(20):
        message = writer.good("Publish")
        if message["notificationMessage"]["notificationData"]:
            assert len(message["notificationMessage"]["notificationData"][0]["monitoredItems"]) == 100
            seen.add(message["subscriptionId"])
        if len(seen) == 5:
            break
    assert seen == {one.id for one in made}
    for one in made:
        one.delete()


def test_ten_publish_requests_wait_at_once(node: NodeClient, writer: Speaker) -> None:
    made = Subscription(writer, requestedMaxKeepAliveCount=1)
    keys = [f"publish {number}" for number in range(10)]
    for key in keys:
        node("begin", **{"as": writer.name}, key=key, service="Publish", request={})
    answers = [node("finish", key=key) for key in keys]
    assert {answer["result"] for answer in answers} == {"Good"}
    made.delete()


def test_events_are_asked_for_where_there_are_events(subscription: Subscription) -> None:
    operands = [
        {
            "$structure": "SimpleAttributeOperand",
            "typeDefinitionId": "i=2041",
            "browsePath": [{"namespaceIndex": 0, "name": name}],
            "attributeId": 13,
        }
        for name in ("EventType", "Severity")
    ]
    wanted = {"$structure": "EventFilter", "selectClauses": operands}
    (item,) = subscription.watch("i=2253", attribute=12, filter=wanted)
    assert item["statusCode"] == "Good"
    (refused,) = subscription.watch(TEXT, attribute=12, filter=wanted)
    assert refused["statusCode"] == "BadAttributeIdInvalid"
