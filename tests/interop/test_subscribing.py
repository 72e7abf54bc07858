"""What subscriptions tell and when, events among it, as node-opcua hears them (OPC 10000-4 §5.14, §7.22)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from support.line import MACHINE
from support.memory import Memory, node_id
from support.net import until
from support.node import NodeClient, Speaker, variant
from support.node_subscription import Subscription, deadband
from support.opcua import OPERATOR, OPERATOR_PASSWORD, Running

from server.opcua.limits import MAX_PUBLISH_REQUESTS
from server.plant.model import Role

pytestmark = pytest.mark.interop

Speak = Callable[..., AbstractContextManager[Speaker]]
SAFE = {"policy": "Aes256_Sha256_RsaPss", "mode": "SignAndEncrypt"}
TEXT, NUMBERS = node_id("Text"), node_id("Numbers")
AUDITOR, AUDITOR_PASSWORD = "auditor", "sees what was done"
SERVER, EVENT_NOTIFIER = "i=2253", 12
BASE_EVENT, AUDIT_WRITE, NO_EVENT = "i=2041", "i=2100", "i=58"
EQUALS, AT_LEAST, AND, OF_TYPE = 0, 4, 10, 14
PERCENT = 2
A_MINUTE = 60_000


@pytest.fixture(scope="module")
def running(remembering: tuple[Running, Memory]) -> Running:
    return remembering[0]


@pytest.fixture(scope="module")
def auditor(running: Running, speak: Speak) -> Iterator[Speaker]:
    running.call(running.bench.users.add(AUDITOR, AUDITOR_PASSWORD, [Role.SecurityAdmin]))
    with speak("auditor", **SAFE, user=AUDITOR, password=AUDITOR_PASSWORD) as speaker:
        yield speaker


@pytest.fixture
def alone(speak: Speak) -> Iterator[Speaker]:
    """A session that nothing else publishes in."""
    with speak("alone", **SAFE, user=OPERATOR, password=OPERATOR_PASSWORD) as speaker:
        yield speaker


def told(subscription: Subscription) -> Any:
    """The next response with notifications."""
    for _ in range(20):
        response = subscription.publish()
        if response["notificationMessage"]["notificationData"]:
            return response
    pytest.fail("nothing but keep-alives")


def changes(response: Any) -> list[Any]:
    (data,) = response["notificationMessage"]["notificationData"]
    return [one["value"]["value"] for one in data["monitoredItems"]]


# --- Which values are told


def test_a_deadband_in_percent_is_of_the_eu_range(running: Running, alone: Speaker) -> None:
    made = Subscription(alone)
    running.feed("Speed", 100.0)
    (speed, level) = (
        made.watch(running.bench.node(name), filter=deadband(PERCENT, 10.0))[0] for name in ("Speed", "Level")
    )
    assert speed["statusCode"] == "Good"
    assert level["statusCode"] == "BadMonitoredItemFilterUnsupported"  # it has no EURange
    assert changes(told(made)) == [100]
    made.publishing(enabled=False)
    for value in (150.0, 190.0, 190.5, 101.0, 100.0):  # the EURange is 0 to 900
        running.feed("Speed", value)
    made.publishing(enabled=True)
    assert changes(told(made)) == [190.5, 100]
    made.delete()


def test_a_part_of_an_array_is_watched(alone: Speaker) -> None:
    def put(index: int, value: int) -> None:
        part = {"value": variant("Int32", [value])}
        wanted = {"nodeId": NUMBERS, "attributeId": 13, "indexRange": str(index), "value": part}
        assert alone.good("Write", nodesToWrite=[wanted])["results"] == ["Good"]

    made = Subscription(alone)
    codes = [made.watch(NUMBERS, index_range=part)[0]["statusCode"] for part in ("2:4", "4:2", "x")]
    assert codes == ["Good", "BadIndexRangeInvalid", "BadIndexRangeInvalid"]
    assert changes(told(made)) == [[2, 3, 4]]
    made.publishing(enabled=False)
    put(0, 100)
    put(3, 33)
    put(5, 500)
    made.publishing(enabled=True)
    assert changes(told(made)) == [[2, 33, 4]]
    made.delete()
    for index in (0, 3, 5):
        put(index, index)


# --- Events


def field(name: str, kind: str = BASE_EVENT) -> dict[str, Any]:
    return {
        "$structure": "SimpleAttributeOperand",
        "typeDefinitionId": kind,
        "browsePath": [{"namespaceIndex": 0, "name": name}],
        "attributeId": 13,
    }


def literal(kind: str, value: Any) -> dict[str, Any]:
    return {"$structure": "LiteralOperand", "value": variant(kind, value)}


def element(operator: int, *operands: dict[str, Any]) -> dict[str, Any]:
    return {
        "$structure": "ContentFilterElement",
        "filterOperator": operator,
        "filterOperands": list(operands),
    }


def index(number: int) -> dict[str, Any]:
    return {"$structure": "ElementOperand", "index": number}


def event_filter(selects: list[dict[str, Any]], *where: dict[str, Any]) -> dict[str, Any]:
    return {
        "$structure": "EventFilter",
        "selectClauses": selects,
        "whereClause": {"$structure": "ContentFilter", "elements": list(where)},
    }


FIELDS = [
    field("EventType"),
    field("SourceName"),
    field("Severity"),
    field("NewValue", AUDIT_WRITE),
    field("ClientUserId", AUDIT_WRITE),
    field("Nonsense"),
    field("Message"),
]


def test_events_come_with_the_fields_selected_where_the_clause_holds(
    running: Running, auditor: Speaker, alone: Speaker
) -> None:
    made = Subscription(auditor)
    of_weight = (
        element(AND, index(1), index(2)),
        element(OF_TYPE, literal("NodeId", AUDIT_WRITE)),
        element(AT_LEAST, field("Severity"), literal("UInt16", 400)),
    )
    for handle, where in ((1, ()), (2, of_weight)):
        wanted = event_filter(FIELDS, *where)
        (item,) = made.watch(SERVER, handle=handle, attribute=EVENT_NOTIFIER, filter=wanted)
        assert item["statusCode"] == "Good", item
        assert item["filterResult"] is None
    set_point = running.bench.node("SpeedSP")
    codes = []
    for value in (110.5, 900.5):  # its limits are 0 and 800
        wanted = {"nodeId": set_point, "attributeId": 13, "value": {"value": variant("Double", value)}}
        codes += alone.good("Write", nodesToWrite=[wanted])["results"]
    assert codes == ["Good", "BadOutOfRange"]
    heard: dict[int, list[Any]] = {1: [], 2: []}
    while len(heard[1]) + len(heard[2]) < 3:
        for data in told(made)["notificationMessage"]["notificationData"]:
            for event in data["events"]:
                fields = [one["value"] for one in event["eventFields"]]
                heard[event["clientHandle"]].append(fields)
    done, refused = heard[1]
    assert heard[2] == [refused]
    assert done[:6] == ["ns=0;i=2100", "Attribute/Write", 100, 110.5, OPERATOR, None]
    assert refused[:6] == ["ns=0;i=2100", "Attribute/Write", 400, 900.5, OPERATOR, None]
    assert f"write {MACHINE}.SpeedSP by {OPERATOR}: BadOutOfRange" in refused[6]["text"]
    made.delete()


def test_a_filter_that_is_wrong_says_where(alone: Speaker) -> None:
    made = Subscription(alone)

    def watched(*given: Any) -> Any:
        (item,) = made.watch(SERVER, attribute=EVENT_NOTIFIER, filter=event_filter(*given))
        return item

    short = watched([field("Severity")], element(EQUALS, field("Severity")))
    assert short["statusCode"] == "BadEventFilterInvalid"
    assert short["filterResult"]["selectClauseResults"] == ["Good"]
    (found,) = short["filterResult"]["whereClauseResult"]["elementResults"]
    assert found["statusCode"] == "BadFilterOperandCountMismatch"
    no_event = field("Severity", NO_EVENT)
    beside = watched([field("Severity"), no_event])
    assert beside["statusCode"] == "Good"
    assert beside["filterResult"]["selectClauseResults"] == ["Good", "BadTypeDefinitionInvalid"]
    nothing = watched([no_event])
    assert nothing["statusCode"] == "BadEventFilterInvalid"
    assert nothing["filterResult"]["selectClauseResults"] == ["BadTypeDefinitionInvalid"]
    made.delete()


# --- How a subscription publishes


def test_what_has_no_room_in_a_message_is_in_the_next(alone: Speaker) -> None:
    made = Subscription(alone, maxNotificationsPerPublish=2)
    made.watch(*[TEXT] * 5)
    found = [told(made) for _ in range(3)]
    assert [len(changes(one)) for one in found] == [2, 2, 1]
    assert [one["moreNotifications"] for one in found] == [True, True, False]
    first = found[0]["notificationMessage"]["sequenceNumber"]
    numbers = [one["notificationMessage"]["sequenceNumber"] for one in found]
    assert numbers == [first, first + 1, first + 2]
    handles = [
        item["clientHandle"]
        for one in found
        for item in one["notificationMessage"]["notificationData"][0]["monitoredItems"]
    ]
    assert handles == [1, 2, 3, 4, 5]
    made.delete()


def test_a_subscription_is_modified(alone: Speaker) -> None:
    made = Subscription(alone, requestedPublishingInterval=A_MINUTE)
    assert made.revised["revisedPublishingInterval"] == A_MINUTE
    made.watch(*[TEXT] * 3)
    asked = {
        "requestedPublishingInterval": 50,
        "requestedLifetimeCount": 601,
        "requestedMaxKeepAliveCount": 7,
        "maxNotificationsPerPublish": 1,
        "priority": 3,
    }
    revised = alone.good("ModifySubscription", subscriptionId=made.id, **asked)
    assert (
        revised["revisedPublishingInterval"],
        revised["revisedLifetimeCount"],
        revised["revisedMaxKeepAliveCount"],
    ) == (50, 601, 7)
    assert [len(changes(told(made))) for _ in range(3)] == [1, 1, 1]
    unknown = alone("ModifySubscription", subscriptionId=99_999, **asked)
    assert unknown["result"] == "BadSubscriptionIdInvalid"
    made.delete()


def test_the_higher_priority_is_served_first(running: Running, alone: Speaker) -> None:
    made = {priority: Subscription(alone, priority=priority) for priority in (1, 200, 50)}
    for one in made.values():
        one.watch(TEXT)
    engine = running.server._engine
    assert engine is not None
    numbers = [one.id for one in made.values()]
    waiting = until(
        lambda: all(engine.subscriptions[number].late for number in numbers),
        what="three subscriptions that wait for a request",
    )
    running.call(waiting)
    first = [alone.good("Publish")["subscriptionId"] for _ in range(3)]
    assert first == [made[priority].id for priority in (200, 50, 1)]
    for one in made.values():
        one.delete()


def test_who_never_asks_is_told_at_last_that_the_subscription_is_gone(
    running: Running, alone: Speaker
) -> None:
    made = Subscription(
        alone, requestedPublishingInterval=20, requestedLifetimeCount=3, requestedMaxKeepAliveCount=1
    )
    assert made.revised["revisedLifetimeCount"] == 3
    engine = running.server._engine
    assert engine is not None
    running.call(until(lambda: made.id not in engine.subscriptions, what="the end of a subscription"))
    response = alone.good("Publish")
    assert response["subscriptionId"] == made.id
    (told_last,) = response["notificationMessage"]["notificationData"]
    assert told_last["status"] == "BadTimeout"
    assert alone("Publish")["result"] == "BadNoSubscription"
    (gone,) = alone.good("DeleteSubscriptions", subscriptionIds=[made.id])["results"]
    assert gone == "BadSubscriptionIdInvalid"


def test_of_too_many_publish_requests_the_oldest_is_refused(node: NodeClient, alone: Speaker) -> None:
    made = Subscription(alone, requestedPublishingInterval=A_MINUTE)
    keys = [f"waiting {number}" for number in range(MAX_PUBLISH_REQUESTS + 1)]
    for key in keys:
        node("begin", **{"as": alone.name}, key=key, service="Publish", request={})
    assert node("finish", key=keys[0])["result"] == "BadTooManyPublishRequests"
    made.delete()
    left = {node("finish", key=key)["result"] for key in keys[1:]}
    assert left == {"BadNoSubscription"}
