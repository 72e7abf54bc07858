"""What must not be left behind, and what must not end the engine."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from support.subscribing import Change, Client, Refusal, Stage

from server.opcua.subscriptions import engine, item_services
from server.opcua.subscriptions.subscription import Subscription
from server.opcua.subscriptions.timers import NEVER, Timers
from server.opcua.types import ServiceFault
from server.plant.model import Role
from sources.tag import ValueType


@pytest.fixture
def stage() -> Stage:
    return Stage(dict.fromkeys("abcdefgh", (ValueType.Int32, 0.1)))


def test_a_flush_samples_what_would_be_sampled_later(stage: Stage) -> None:
    client = stage.session()
    subscription = client.subscribe(100.0)
    client.watch(subscription, "a", sampling=5000.0)
    client.publish()
    client.publish()
    stage.sleep(0.5)
    client.heard()
    stage.set("a", 7)
    stage.engine.flush()
    assert client.heard() == [[Change(1, 7)]]


@pytest.mark.parametrize("lost", [[Role.Anonymous], []])
def test_rights_that_change_while_items_are_made_count_for_all_of_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, lost: list[Role]
) -> None:
    monkeypatch.setattr(item_services, "_AT_ONCE", 2)
    client = stage.session()
    subscription = client.subscribe(100.0)
    real = item_services._still
    turns = 0

    def still(*given: Any) -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            client.become("anonymous", lost)
        real(*given)

    monkeypatch.setattr(item_services, "_still", still)
    with pytest.raises(ServiceFault, match="rights changed"):
        client.create(subscription, *(client.stage_item(name) for name in "abcdefgh"))
    assert stage.engine.monitored_items == 0
    assert stage.engine.subscriptions[subscription].items == {}
    stage.set("a", 7)
    client.publish()
    stage.sleep(1.5)
    assert client.heard() in ([[]], [])  # a keep-alive at most


def test_timers_of_what_is_gone_do_not_pile_up(stage: Stage) -> None:
    client = stage.session()
    client.subscribe(100.0)  # alive, and due before all that follows
    for _ in range(2000):
        client.delete_subscriptions(client.subscribe(3_000_000.0))
    assert len(stage.engine.timers._heap) < 200


def test_a_timer_that_is_set_again_and_again_has_one_live_entry() -> None:
    timers = Timers(lambda: None)
    fired: list[str] = []

    def timed(name: str) -> Any:
        return SimpleNamespace(due=NEVER, entry=0, fire=lambda _now: fired.append(name), name=name)

    one, other, gone = timed("one"), timed("other"), timed("gone")
    timers.set(other, 5.0, 0)
    timers.set(gone, 4.0, 0)
    for step in range(5000):
        timers.set(one, 1000.0 - step / 10, 0)
    timers.drop(gone)
    assert len(timers._heap) < 300
    assert timers.next == 5.0
    found = []
    while (due := timers.pop(1e9)) is not None:
        found.append(due)
    assert found == [other, one]


def test_an_item_that_cannot_be_stopped_ends_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = stage.session()
    doomed, kept = client.subscribe(100.0), client.subscribe(100.0)
    for name in "abc":
        client.watch(doomed, name)
    client.watch(kept, "d")
    item = stage.engine.subscriptions[doomed].items[2]

    def broken(_self: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(type(item), "stop", broken)
    with caplog.at_level(logging.ERROR):
        client.delete_subscriptions(doomed)
        stage.sleep(0.2)
    assert "could not be stopped: a fault of ours" in caplog.text
    client.publish()
    stage.sleep(0.5)
    assert len(client.heard()) == 1  # what it was when the item was made
    stage.set("d", 5)
    client.publish()
    stage.sleep(0.5)
    assert [Change(1, 5)] in client.heard()


def test_a_request_whose_message_cannot_be_made_is_answered_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Client = stage.session()
    client.watch(client.subscribe(100.0), "a")

    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(Subscription, "publish", broken)
    client.publish()
    stage.sleep(0.5)
    (answer,) = client.peer.take()
    assert isinstance(answer, Refusal)
    assert answer.name == "BadInternalError"


def test_subscriptions_nobody_has_make_room_for_those_of_clients(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_SUBSCRIPTIONS", 3)
    monkeypatch.setattr(item_services, "MAX_MONITORED_ITEMS", 4)
    gone, here = stage.session(), stage.session()
    left = [gone.subscribe(100.0), gone.subscribe(100.0)]
    gone.watch(left[0], "a")
    gone.watch(left[1], "b")
    gone.end(keep=True)
    own = here.subscribe(100.0)
    another = here.subscribe(100.0)  # the oldest that nobody has goes
    assert sorted(stage.engine.subscriptions) == [left[1], own, another]
    for name in "cdef":  # and the other one for items
        here.watch(own, name)
    assert sorted(stage.engine.subscriptions) == [own, another]
    with pytest.raises(AssertionError, match="BadTooManyMonitoredItems"):
        here.watch(own, "g")
    here.subscribe(100.0)
    with pytest.raises(ServiceFault, match="BadTooManySubscriptions"):
        here.subscribe(100.0)


def test_what_is_withdrawn_does_not_pile_up_while_nobody_asks(stage: Stage) -> None:
    client = stage.session()
    subscription = client.subscribe(lifetime=1_000_000)
    item = client.watch(subscription, "a", queue=2)
    others = [client.watch(subscription, "a", handle=2 + number) for number in range(10)]
    stage.sleep(0.5)
    assert stage.engine.subscriptions[subscription].late
    for number in range(300):
        client.modify(subscription, item, queue=2, handle=1000 + number)
        client.delete_items(subscription, client.watch(subscription, "a"))
    found = stage.engine.subscriptions[subscription]
    assert len(found._withdrawn) <= 100
    assert len(found.pending) <= 200
    client.publish()
    (heard,) = client.heard()
    assert sorted(change.handle for change in heard if isinstance(change, Change)) == [
        *range(2, 2 + len(others)),
        1299,
    ]


def test_items_that_a_sampler_waits_for_do_not_pile_up(stage: Stage) -> None:
    client = stage.session()
    subscription = client.subscribe(lifetime=1_000_000)
    item = client.watch(subscription, "a", queue=2, sampling=3_600_000.0)
    for number in range(300):
        client.modify(subscription, item, queue=2, handle=number, sampling=3_600_000.0)
    assert len(stage.engine._samplers[3_600_000.0].waiting) <= 100
    assert next(iter(stage.engine.subscriptions[subscription].items.values())) in (
        stage.engine._samplers[3_600_000.0].waiting
    )
