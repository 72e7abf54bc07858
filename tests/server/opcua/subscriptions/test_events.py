from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support.subscribing import EPOCH, OPEN, OPERATORS, Client, Stage, events, make, wanted
from support.world import OBJECT

from server.opcua.space.node import Node
from server.opcua.subscriptions.events import Event, path
from server.opcua.types import node_id
from server.opcua.wire.nodeid import key, to_ua
from server.opcua.wire.writer import byte_string, int32, variant
from server.plant.model import Role
from sources.tag import ValueType

BASE, OVERFLOW, HAS_NOTIFIER, HAS_EVENT_SOURCE = 2041, 3035, 48, 36
NOTIFIER = {12: variant(3, b"\x01")}


@pytest.fixture
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1)})


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.session()


def selecting(*fields: str, where: Any = None, kind: int = BASE) -> Any:
    selects = [select(field, kind=kind) for field in fields]
    return make(ua.EventFilter, selects, where or make(ua.ContentFilter, []))


def select(name: str | None, *, kind: int = BASE, attribute: int = 13, index_range: str | None = None) -> Any:
    names = [] if name is None else [make(ua.QualifiedName, part, 0) for part in name.split("/")]
    return make(ua.SimpleAttributeOperand, node_id(kind), names, attribute, index_range)


def of_type(number: int) -> Any:
    literal = make(ua.LiteralOperand, make(ua.Variant, node_id(number), ua.VariantType.NodeId))
    return make(ua.ContentFilter, [make(ua.ContentFilterElement, ua.FilterOperator.OfType, [literal])])


def listen(client: Client, subscription: int, filter_: Any, node: Any = None, **more: Any) -> int:
    item = wanted(node or client.stage.server, attribute=12, filter=filter_, **{"queue": 0, **more})
    (result,) = client.create(subscription, item)
    assert result.StatusCode.name == "Good", result
    return int(result.MonitoredItemId)


def happen(stage: Stage, message: str, source: Node | None = None, kind: int = BASE, **fields: bytes) -> None:
    named = {path(*name.split("__")): data for name, data in fields.items()}
    space = stage.world.space
    stage.engine.emitter.emit(Event(space.number(kind), source or stage.server, message, 500, named))


def told(stage: Stage, client: Client) -> list[list[Any]]:
    client.publish()
    stage.sleep(0.1)
    (answer,) = client.peer.take()
    assert isinstance(answer, ua.PublishResult)
    return events(answer)


def messages(stage: Stage, client: Client) -> list[str]:
    return [fields[1].Text for fields in told(stage, client)]


def test_the_fields_every_event_has(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    names = ("EventId", "EventType", "SourceNode", "SourceName", "Time", "ReceiveTime", "Message", "Severity")
    listen(client, subscription, selecting(*names, "LocalTime", "Nothing"), handle=9)
    happen(stage, "one")
    happen(stage, "two")
    first, second = told(stage, client)
    handle, event_id, kind, source, name, time, received, message, severity, local, nothing = first
    assert handle == 9
    assert len(event_id) == 16
    assert event_id != second[1]
    assert (kind, source, name) == (node_id(BASE), node_id(2253), "Server")
    assert time == received
    assert (message.Text, severity, local, nothing) == ("one", 500, None, None)


def test_events_come_up_by_notifiers_and_sources(stage: Stage, client: Client) -> None:
    world = stage.world
    area = world.node("area", world.objects, OBJECT, permissions=OPEN, attributes=NOTIFIER)
    line = world.node("line", area, OBJECT, permissions=OPEN, attributes=NOTIFIER)
    aside = world.node("aside", area, OBJECT, permissions=OPEN, attributes=NOTIFIER)
    pump = world.node("pump", line, OBJECT, permissions=OPEN)
    world.link(stage.server, HAS_NOTIFIER, area)
    world.link(area, HAS_NOTIFIER, line)
    world.link(area, HAS_NOTIFIER, aside)
    world.link(line, HAS_EVENT_SOURCE, pump)
    subscription = client.subscribe()
    for handle, node in enumerate((stage.server, area, line, aside)):
        listen(client, subscription, selecting("Message"), node, handle=handle)
    happen(stage, "hot", pump)
    assert sorted(fields[0] for fields in told(stage, client)) == [0, 1, 2]
    happen(stage, "far", aside)
    assert sorted(fields[0] for fields in told(stage, client)) == [0, 1, 3]
    happen(stage, "own")
    assert [fields[0] for fields in told(stage, client)] == [0]


def test_loops_of_notifiers_end(stage: Stage, client: Client) -> None:
    world = stage.world
    first = world.node("first", None, OBJECT, permissions=OPEN, attributes=NOTIFIER)
    second = world.node("second", None, OBJECT, permissions=OPEN, attributes=NOTIFIER)
    world.link(first, HAS_NOTIFIER, second)
    world.link(second, HAS_NOTIFIER, first)
    listen(client, client.subscribe(), selecting("Message"), first)
    happen(stage, "round", second)
    assert messages(stage, client) == ["round"]


def test_only_what_the_where_clause_lets_pass(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    listen(client, subscription, selecting("Message", where=of_type(2132)))
    happen(stage, "base")
    happen(stage, "general", kind=2133)
    assert messages(stage, client) == ["general"]


def test_fields_by_path_type_and_part(stage: Stage, client: Client) -> None:
    selects = [
        select("State/Id"),
        select("Message", kind=2133),
        select("Message", kind=3035),
        select("Numbers", index_range="1:2"),
        select("Numbers", index_range="7"),
        select(None, attribute=1),
        select("Message", attribute=4),
    ]
    listen(client, client.subscribe(), make(ua.EventFilter, selects, make(ua.ContentFilter, [])))
    numbers = b"\x86" + int32(3) + b"".join(map(int32, (4, 5, 6)))
    condition = variant(17, key("P.a", 2))
    fields = {"State__Id": variant(1, b"\x01"), "Numbers": numbers}
    space = stage.world.space
    named = {path(*name.split("__")): data for name, data in fields.items()} | {b"": condition}
    stage.engine.emitter.emit(Event(space.number(2133), stage.server, "hello", 1, named))
    ((_, state, own, other, part, nothing, where, name),) = told(stage, client)
    assert (state, own.Text, other, part, nothing, name) == (True, "hello", None, [5, 6], None, None)
    assert where == to_ua(key("P.a", 2))


def test_a_wrong_select_clause_is_told_and_stays_null(stage: Stage, client: Client) -> None:
    selects = [
        select("Message"),
        select("Message", attribute=99),
        select("Message", kind=58),
        select("Message", index_range="x"),
    ]
    filter_ = make(ua.EventFilter, selects, make(ua.ContentFilter, []))
    subscription = client.subscribe()
    (result,) = client.create(subscription, wanted(stage.server, attribute=12, filter=filter_, queue=0))
    assert result.StatusCode.name == "Good"
    assert [code.name for code in result.FilterResult.SelectClauseResults] == [
        "Good",
        "BadAttributeIdInvalid",
        "BadTypeDefinitionInvalid",
        "BadIndexRangeInvalid",
    ]
    happen(stage, "x")
    ((_, message, *nothing),) = told(stage, client)
    assert (message.Text, nothing) == ("x", [None, None, None])


def test_a_wrong_where_clause_refuses_the_item_and_says_why(stage: Stage, client: Client) -> None:
    where = make(ua.ContentFilter, [make(ua.ContentFilterElement, ua.FilterOperator.InView, [])])
    item = wanted(stage.server, attribute=12, filter=selecting("Message", where=where), queue=0)
    (result,) = client.create(client.subscribe(), item)
    assert result.StatusCode.name == "BadEventFilterInvalid"
    (element,) = result.FilterResult.WhereClauseResult.ElementResults
    assert element.StatusCode.name == "BadFilterOperatorUnsupported"


@pytest.mark.parametrize(
    "filter_", [make(ua.EventFilter, [], make(ua.ContentFilter, [])), make(ua.DataChangeFilter), None]
)
def test_without_a_select_clause_there_is_no_event_filter(stage: Stage, client: Client, filter_: Any) -> None:
    item = wanted(stage.server, attribute=12, filter=filter_)
    (result,) = client.create(client.subscribe(), item)
    assert result.StatusCode.name == "BadEventFilterInvalid"


def test_what_notifies_of_nothing_cannot_be_listened_to(stage: Stage, client: Client) -> None:
    silent = stage.world.node("silent", None, OBJECT, permissions=OPEN, attributes={12: variant(3, b"\x04")})
    item = wanted(silent, attribute=12, filter=selecting("Message"))
    (result,) = client.create(client.subscribe(), item)
    assert result.StatusCode.name == "BadNotSupported"


# --- Queues


def filled(stage: Stage, client: Client, *, oldest: bool, events_: int = 5) -> list[str]:
    listen(client, client.subscribe(), selecting("Message", "SourceName"), queue=3, oldest=oldest)
    for number in range(events_):
        happen(stage, str(number))
    return [
        "lost" if fields[2] == "Internal/EventQueueOverflow" else fields[1].Text
        for fields in told(stage, client)
    ]


def test_a_full_queue_without_its_oldest_begins_by_saying_so(stage: Stage, client: Client) -> None:
    assert filled(stage, client, oldest=True) == ["lost", "2", "3", "4"]


def test_a_full_queue_without_its_newest_ends_by_saying_so(stage: Stage, client: Client) -> None:
    assert filled(stage, client, oldest=False) == ["0", "1", "4", "lost"]


@pytest.mark.parametrize(
    ("oldest", "heard"), [(True, ["lost", "4", "5", "6"]), (False, ["2", "3", "6", "lost"])]
)
@pytest.mark.parametrize("handle", [1, 2])
def test_what_is_discarded_may_be_modified_after_a_loss(
    stage: Stage, client: Client, oldest: bool, heard: list[str], handle: int
) -> None:
    subscription, filter_ = client.subscribe(), selecting("Message", "SourceName")
    item = listen(client, subscription, filter_, queue=3, oldest=not oldest)
    for number in range(5):
        happen(stage, str(number))
    client.modify(subscription, item, queue=3, oldest=oldest, filter=filter_, handle=handle)
    for number in range(5, 7):
        happen(stage, str(number))
    found = told(stage, client)
    names_ = ["lost" if f[2] == "Internal/EventQueueOverflow" else f[1].Text for f in found]
    assert names_ == heard
    assert {fields[0] for fields in found} == {handle}
    assert stage.engine.subscriptions[subscription].counts.event_overflows == 1
    for number in range(3):
        happen(stage, str(number))
    assert [fields[1].Text for fields in told(stage, client)] == ["0", "1", "2"]


def test_a_queue_that_is_just_full_lost_nothing(stage: Stage, client: Client) -> None:
    assert filled(stage, client, oldest=True, events_=3) == ["0", "1", "2"]


def test_the_loss_is_told_whatever_the_where_clause(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    listen(client, subscription, selecting("Message", "EventType", where=of_type(2132)), queue=1)
    for number in range(3):
        happen(stage, str(number), kind=2132)
    assert [fields[2] for fields in told(stage, client)] == [node_id(OVERFLOW), node_id(2132)]
    assert stage.engine.subscriptions[subscription].counts.event_overflows == 1
    for number in range(2):
        happen(stage, str(number), kind=2132)
    assert [fields[2] for fields in told(stage, client)] == [node_id(OVERFLOW), node_id(2132)]


def test_events_over_several_messages(stage: Stage, client: Client) -> None:
    listen(client, client.subscribe(most=2), selecting("Message"))
    for number in range(5):
        happen(stage, str(number))
    for _ in range(3):
        client.publish()
    stage.sleep(0.1)
    answers = client.peer.take()
    assert [[f[1].Text for f in events(a)] for a in answers] == [["0", "1"], ["2", "3"], ["4"]]  # type: ignore[arg-type]


def test_an_event_too_large_for_the_client_is_told_without_its_fields(stage: Stage, client: Client) -> None:
    client.session.about = client.session.about._replace(max_response=2048)
    listen(client, client.subscribe(), selecting("Message", "Data"))
    happen(stage, "small")
    happen(stage, "large", Data=variant(15, byte_string(b"x" * 4000)))
    happen(stage, "small")
    for _ in range(3):
        client.publish()
    stage.sleep(0.1)
    found = [fields for answer in client.peer.take() for fields in events(answer)]  # type: ignore[arg-type]
    assert [fields[1] and fields[1].Text for fields in found] == ["small", None, "small"]
    assert max(map(len, client.peer.raw)) <= 2048


def test_a_modified_event_item_goes_on(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    item = listen(client, subscription, selecting("Message"))
    for number in range(4):
        happen(stage, str(number))
    result = client.modify(subscription, item, handle=7, queue=2, filter=selecting("Message", "Severity"))
    assert (result.StatusCode.name, result.RevisedQueueSize) == ("Good", 2)
    happen(stage, "next")
    found = told(stage, client)
    assert {fields[0] for fields in found} == {7}
    assert found[-1][1].Text == "next"


def test_modes_of_event_items(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    item = listen(client, subscription, selecting("Message"), mode=1)
    happen(stage, "sampled")
    assert told(stage, client) == []
    client.set_mode(subscription, 2, item)
    assert messages(stage, client) == ["sampled"]
    client.set_mode(subscription, 0, item)
    happen(stage, "unheard")
    client.set_mode(subscription, 2, item)
    happen(stage, "heard")
    assert messages(stage, client) == ["heard"]
    client.delete_items(subscription, item)
    happen(stage, "too late")
    client.publish()
    stage.sleep(0.5)
    assert client.heard() == []


def test_an_event_triggers_values(stage: Stage, client: Client) -> None:
    subscription = client.subscribe()
    stage.set("a", 5)
    trigger = listen(client, subscription, selecting("Message"))
    linked = client.watch(subscription, "a", handle=2, mode=1)
    client.trigger(subscription, trigger, add=[linked])
    client.publish()
    stage.sleep(0.1)
    assert client.heard() == [[]]
    happen(stage, "now")
    client.publish()
    stage.sleep(0.1)
    assert [change.value for change in client.heard()[0]] == [5]  # type: ignore[union-attr]


# --- Rights


def test_events_of_what_the_user_may_not_see_are_not_told(stage: Stage, client: Client) -> None:
    secret = stage.world.node("secret", None, OBJECT, permissions=OPERATORS)
    guest = stage.session("guest", [Role.Anonymous])
    for one in (client, guest):
        listen(one, one.subscribe(), selecting("Message"))
    happen(stage, "secret", secret)
    happen(stage, "open")
    assert messages(stage, client) == ["secret", "open"]
    assert messages(stage, guest) == ["open"]
    happen(stage, "secret", secret)
    client.become("anna", [Role.Anonymous])
    happen(stage, "secret", secret)
    client.publish()
    stage.sleep(0.5)
    assert all(not events(answer) for answer in client.peer.take())  # type: ignore[arg-type]


def test_listening_takes_the_right_to_receive_events(stage: Stage) -> None:
    stage.server.role_permissions = OPERATORS
    stage.world.space.touch()
    guest = stage.session("guest", [])
    (result,) = guest.create(
        guest.subscribe(), wanted(stage.server, attribute=12, filter=selecting("Message"))
    )
    assert result.StatusCode.name in {"BadNodeIdUnknown", "BadUserAccessDenied"}


# --- Changes of the model


def test_changes_of_the_model_are_events(stage: Stage, client: Client) -> None:
    listen(client, client.subscribe(), selecting("Changes", "SourceNode", "EventType"))
    world = stage.world
    with world.space.changing():
        made = world.node("new", world.objects, OBJECT, permissions=OPEN)
        world.link(made, 40, world.space.number(61))
    world.space.delete([made.key])
    first, second = told(stage, client)
    changes = {str(change.Affected.Identifier): change for change in first[1]}
    assert (first[2], first[3]) == (node_id(2253), node_id(2133))
    assert changes["new"].Verb & 1
    assert changes["new"].AffectedType == node_id(61)
    assert any(change.Verb == 2 and change.Affected.Identifier == "new" for change in second[1])


def test_changes_of_what_not_everybody_sees_are_told_to_nobody(stage: Stage, client: Client) -> None:
    listen(client, client.subscribe(), selecting("Changes"))
    world = stage.world
    with world.space.changing():
        world.node("open", world.objects, OBJECT, permissions=OPEN)
        world.node("secret", world.objects, OBJECT, permissions=OPERATORS)
    world.node("alone", None, OBJECT, permissions=OPERATORS)
    (only,) = told(stage, client)
    named = {str(change.Affected.Identifier) for change in only[1]}
    assert "open" in named
    assert not named & {"secret", "alone"}


def test_very_many_changes_are_told_without_a_list(stage: Stage, client: Client) -> None:
    listen(client, client.subscribe(), selecting("Changes", "EventType"))
    with stage.world.space.changing():
        for number in range(600):
            stage.world.node(f"n{number}", None, OBJECT)
    ((_, changes, kind),) = told(stage, client)
    assert (changes, kind) == (None, node_id(2132))


def test_the_source_has_a_name_and_a_time(stage: Stage, client: Client) -> None:
    listen(client, client.subscribe(), selecting("SourceName", "Time"))
    kind = stage.world.space.number(BASE)
    stage.engine.emitter.emit(Event(kind, stage.nodes["a"], "x", 1, time=EPOCH))
    ((_, name, time),) = told(stage, client)
    assert name == "P.a"
    assert (time.year, time.month) == (2022, 6)
