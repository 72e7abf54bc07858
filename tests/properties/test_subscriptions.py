"""Whatever clients, values and time do, they are told what the rules of OPC 10000-4 §5.13 and §5.14 say."""

from __future__ import annotations

import os
from typing import Any

import hypothesis.strategies as st
import pytest
from asyncua import ua
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import subscription_model as model
from support.subscribing import START, Client, Refusal, Stage, changes, data_filter, status_changes

from server.opcua.types import ServiceFault, status_name
from sources.quality import BAD_TIMEOUT, BAD_WAITING_FOR_INITIAL_DATA, GOOD
from sources.tag import ValueType

EXAMPLES = int(os.environ.get("ISTHMUS_STATE_EXAMPLES", "60"))

NODES = {"fast": (ValueType.Int32, 0.1), "slow": (ValueType.Int32, 0.2), "real": (ValueType.Double, 0.1)}

names = st.sampled_from(sorted(NODES))
modes = st.sampled_from((2, 2, 2, 1, 0))
samplings = st.sampled_from((0.0, -1.0, 300.0, 50.0, 150.0))
sizes = st.sampled_from((1, 1, 2, 3))
counts = st.sampled_from((1, 2, 3))
filters = st.sampled_from((None, None, None, (0, None), (2, None), (1, 2.0)))
picks = st.integers(0, 30)
seldom = st.integers(0, 3)


def heard(answer: ua.PublishResult | Refusal) -> Any:
    """What came, as the model has it."""
    if isinstance(answer, Refusal):
        return model.Fault(answer.name)
    message = answer.NotificationMessage
    return model.Message(
        answer.SubscriptionId,
        message.SequenceNumber,
        tuple(answer.AvailableSequenceNumbers),
        answer.MoreNotifications,
        tuple(tuple(change) for change in changes(answer)),
        "".join(status_changes(answer)),
        tuple(result.name for result in answer.Results),
    )


class Subscriptions(RuleBasedStateMachine):
    """The engine and the model, side by side."""

    @initialize()
    def start(self) -> None:
        self.stage = Stage(NODES)
        self.model = model.Model(START)
        for name, (_, period) in NODES.items():
            sample = model.Sample(None, BAD_WAITING_FOR_INITIAL_DATA, START)
            self.model.nodes[name] = model.Node(sample, period)
        self.pairs: list[tuple[Client, model.Session]] = []
        for user in ("anna", "anna", "bert"):
            self.connect(user)
        for number in range(2):
            self.create_subscription(0, fast=number == 0, keep=2, more=2, most=0, enabled=True, priority=0)
        for number in range(4):
            self.create_item(number, sorted(NODES)[number % 3], 2, 0.0, 1 + number % 3, True, None)
        self.publish(0, [], 3)

    def connect(self, user: str) -> None:
        self.pairs.append((self.stage.session(user), model.Session(user)))

    # --- Whom and what a rule is about

    def session(self, pick: int) -> tuple[Client, model.Session]:
        return self.pairs[pick % len(self.pairs)]

    def owned(self, pick: int) -> tuple[Client, model.Subscription] | None:
        """A subscription that has a session."""
        found = [s for s in self.model.subscriptions.values() if s.session is not None]
        if not found:
            return None
        chosen = found[pick % len(found)]
        return next(client for client, session in self.pairs if session is chosen.session), chosen

    def item(self, pick: int) -> tuple[Client, model.Subscription, model.Item] | None:
        found = [
            (s, item)
            for s in self.model.subscriptions.values()
            if s.session is not None
            for item in s.items.values()
        ]
        if not found:
            return None
        subscription, item = found[pick % len(found)]
        client = next(client for client, session in self.pairs if session is subscription.session)
        return client, subscription, item

    def has_subscription(self) -> bool:
        return any(s.session is not None for s in self.model.subscriptions.values())

    def has_item(self) -> bool:
        return self.item(0) is not None

    # --- Subscriptions

    @rule(
        pick=picks,
        fast=st.booleans(),
        keep=counts,
        more=st.sampled_from((0, 2)),
        most=st.sampled_from((0, 1, 1, 3)),
        enabled=st.sampled_from((True, True, False)),
        priority=st.sampled_from((0, 0, 7)),
    )
    def create_subscription(
        self, pick: int, fast: bool, keep: int, more: int, most: int, enabled: bool, priority: int
    ) -> None:
        client, session = self.session(pick)
        interval, lifetime = (100.0 if fast else 250.0), 3 * keep + more
        made = client.create_subscription(interval, lifetime, keep, most, enabled, priority)
        mine = self.model.create(session, interval / 1000, lifetime, keep, most, enabled, priority)
        assert made.SubscriptionId == mine.id
        assert (made.RevisedPublishingInterval, made.RevisedLifetimeCount) == (interval, lifetime)

    @precondition(lambda self: self.has_subscription())
    @rule(
        pick=picks,
        fast=st.booleans(),
        keep=counts,
        more=st.sampled_from((0, 2)),
        most=st.sampled_from((0, 1, 1, 3)),
        priority=st.sampled_from((0, 7)),
    )
    def modify_subscription(
        self, pick: int, fast: bool, keep: int, more: int, most: int, priority: int
    ) -> None:
        client, subscription = self.owned(pick) or pytest.fail("none")
        interval, lifetime = (100.0 if fast else 250.0), 3 * keep + more
        client.modify_subscription(subscription.id, interval, lifetime, keep, most, priority)
        self.model.modify(subscription, interval / 1000, lifetime, keep, most, priority)

    @precondition(lambda self: self.has_subscription())
    @rule(pick=picks, enabled=st.booleans())
    def set_publishing(self, pick: int, enabled: bool) -> None:
        client, subscription = self.owned(pick) or pytest.fail("none")
        assert client.set_publishing(enabled, subscription.id) == ["Good"]
        self.model.set_publishing(subscription, enabled)

    @precondition(lambda self: self.has_subscription())
    @rule(pick=picks, indeed=seldom)
    def delete_subscription(self, pick: int, indeed: int) -> None:
        if indeed:
            return
        client, subscription = self.owned(pick) or pytest.fail("none")
        assert client.delete_subscriptions(subscription.id) == ["Good"]
        self.model.delete(subscription)
        self.settle()

    @precondition(lambda self: bool(self.model.subscriptions))
    @rule(pick=picks, to=picks, initial=st.booleans(), indeed=seldom)
    def transfer(self, pick: int, to: int, initial: bool, indeed: int) -> None:
        if indeed:
            return
        subscription = list(self.model.subscriptions.values())[pick % len(self.model.subscriptions)]
        client, session = self.session(to)
        kept = list(subscription.kept)
        (result,) = client.transfer(subscription.id, initial=initial)
        assert result.StatusCode.name == self.model.transfer(subscription, session, initial)
        assert result.AvailableSequenceNumbers == (kept if result.StatusCode.value == 0 else None)
        self.settle()

    @rule(pick=picks, keep=st.booleans(), indeed=seldom)
    def end_session(self, pick: int, keep: bool, indeed: int) -> None:
        if indeed:
            return
        client, session = self.session(pick)
        client.end(keep=keep)
        self.model.end_session(session, keep)
        self.compare(client, session)
        self.pairs.remove((client, session))
        self.connect(session.user)

    # --- Publishing

    @rule(
        pick=st.sampled_from((0, 0, 0, 1, 2)),
        acknowledge=st.lists(st.tuples(picks, st.booleans()), max_size=2),
        count=st.sampled_from((1, 1, 4)),
    )
    def publish(self, pick: int, acknowledge: list[tuple[int, bool]], count: int) -> None:
        for _ in range(count):
            self.publish_once(pick, acknowledge)

    def publish_once(self, pick: int, acknowledge: list[tuple[int, bool]]) -> None:
        client, session = self.session(pick)
        acknowledged = []
        for number, right in acknowledge:
            subscriptions = list(self.model.subscriptions.values())
            if not subscriptions:
                continue
            subscription = subscriptions[number % len(subscriptions)]
            kept = list(subscription.kept)
            acknowledged.append((subscription.id, kept[0] if kept and right else 99))
        handle, refused = 0, ""
        try:
            handle = client.publish(*acknowledged).handle
        except ServiceFault as fault:
            refused = status_name(fault.code)
        assert self.model.publish(session, handle, acknowledged) == refused

    @precondition(lambda self: self.has_subscription())
    @rule(pick=picks, oldest=st.booleans())
    def republish(self, pick: int, oldest: bool) -> None:
        client, subscription = self.owned(pick) or pytest.fail("none")
        subscription.lifetime_left = subscription.lifetime
        if not subscription.kept:
            with pytest.raises(ServiceFault) as fault:
                client.republish(subscription.id, 1)
            assert status_name(fault.value.code) == "BadMessageNotAvailable"
            return
        sequence = min(subscription.kept) if oldest else max(subscription.kept)
        message = client.republish(subscription.id, sequence)
        wrapped: Any = ua.PublishResult(NotificationMessage=message)
        assert message.SequenceNumber == sequence
        assert tuple(map(tuple, changes(wrapped))) == subscription.kept[sequence].notifications

    # --- Items

    @precondition(lambda self: self.has_subscription())
    @rule(
        pick=picks,
        name=names,
        mode=modes,
        sampling=samplings,
        size=sizes,
        oldest=st.booleans(),
        wanted=filters,
    )
    def create_item(
        self, pick: int, name: str, mode: int, sampling: float, size: int, oldest: bool, wanted: Any
    ) -> None:
        client, subscription = self.owned(pick) or pytest.fail("none")
        trigger, deadband = wanted or (1, None)
        mine = self.model.create_item(
            subscription, name, subscription.next_item, mode, sampling, size, oldest, trigger, deadband
        )
        item = client.stage_item(
            name,
            handle=mine.handle,
            mode=mode,
            sampling=sampling,
            queue=size,
            oldest=oldest,
            filter=_filter(wanted),
        )
        (result,) = client.create(subscription.id, item)
        assert (result.StatusCode.name, result.MonitoredItemId) == ("Good", mine.id)
        assert result.RevisedSamplingInterval == pytest.approx(mine.sampling * 1000)
        assert result.RevisedQueueSize == size

    @precondition(lambda self: self.has_item())
    @rule(
        pick=picks,
        handle=st.integers(100, 110),
        sampling=samplings,
        size=sizes,
        oldest=st.booleans(),
        wanted=filters,
    )
    def modify_item(
        self, pick: int, handle: int, sampling: float, size: int, oldest: bool, wanted: Any
    ) -> None:
        client, subscription, item = self.item(pick) or pytest.fail("none")
        result = client.modify(
            subscription.id,
            item.id,
            handle=handle,
            sampling=sampling,
            queue=size,
            oldest=oldest,
            filter=_filter(wanted),
        )
        assert result.StatusCode.name == "Good"
        trigger, deadband = wanted or (1, None)
        self.model.change_item(
            subscription,
            item,
            handle=handle,
            sampling=sampling,
            size=size,
            oldest=oldest,
            trigger=trigger,
            deadband=deadband,
        )

    @precondition(lambda self: self.has_item())
    @rule(pick=picks, mode=modes)
    def set_mode(self, pick: int, mode: int) -> None:
        client, subscription, item = self.item(pick) or pytest.fail("none")
        assert client.set_mode(subscription.id, mode, item.id) == ["Good"]
        subscription.lifetime_left = subscription.lifetime
        if mode != item.mode:
            self.model.change_item(subscription, item, mode=mode)

    @precondition(lambda self: self.has_item())
    @rule(pick=picks, other=picks, add=st.booleans())
    def set_triggering(self, pick: int, other: int, add: bool) -> None:
        client, subscription, item = self.item(pick) or pytest.fail("none")
        linked = list(subscription.items)[other % len(subscription.items)]
        links = list(subscription.links.get(item.id, []))
        known = linked in links
        self.model.settle(subscription, item)
        if add:
            assert client.trigger(subscription.id, item.id, add=[linked])[0] == ["Good"]
            after = links if known else [*links, linked]
        else:
            found = client.trigger(subscription.id, item.id, remove=[linked])[1]
            assert found == ["Good" if known else "BadMonitoredItemIdInvalid"]
            after = [number for number in links if number != linked]
        subscription.lifetime_left = subscription.lifetime
        if bool(after) != bool(links):
            self.model.change_item(subscription, item, links=after)
        elif after:
            subscription.links[item.id] = after

    @precondition(lambda self: self.has_item())
    @rule(pick=picks)
    def delete_item(self, pick: int) -> None:
        client, subscription, item = self.item(pick) or pytest.fail("none")
        assert client.delete_items(subscription.id, item.id) == ["Good"]
        self.model.delete_item(subscription, item)

    # --- The world

    @rule(
        scans=st.lists(
            st.tuples(names, st.integers(-3, 3), st.sampled_from((True, True, True, False))), max_size=6
        )
    )
    def scan(self, scans: list[tuple[str, int, bool]]) -> None:
        for name, value, good in scans:
            self.change(name, value, good)

    @rule(
        scans=st.lists(st.tuples(names, st.integers(-3, 3)), min_size=1, max_size=6),
        seconds=st.sampled_from((0.05, 0.1, 0.25)),
    )
    def scan_slowly(self, scans: list[tuple[str, int]], seconds: float) -> None:
        for name, value in scans:
            self.change(name, value, True)
            self.sleep(seconds)
        self.publish(0, [], 1)

    def change(self, name: str, value: int, good: bool) -> None:
        content = float(value) if NODES[name][0] is ValueType.Double else value
        self.stage.set(name, content, GOOD if good else BAD_TIMEOUT)
        self.model.change(name, content if good else None, GOOD if good else BAD_TIMEOUT)

    @rule(seconds=st.sampled_from((0.05, 0.1, 0.1, 0.3, 0.75)))
    def sleep(self, seconds: float) -> None:
        end = self.stage.now + seconds
        while (due := min(self.model.next, self.stage.engine.timers.next)) <= end:
            self.stage.now = self.model.now = max(self.stage.now, due)
            self.settle()
        self.stage.now = self.model.now = end
        self.settle()

    def settle(self) -> None:
        """Do what is due."""
        self.stage.engine.step()
        self.model.step([session for _, session in self.pairs])

    # --- What has to be the same

    @invariant()
    def same(self) -> None:
        for client, session in getattr(self, "pairs", ()):
            self.compare(client, session)
        if hasattr(self, "model"):
            assert list(self.stage.engine.subscriptions) == list(self.model.subscriptions)
            assert self.stage.engine.monitored_items == sum(
                len(s.items) for s in self.model.subscriptions.values()
            )

    def compare(self, client: Client, session: model.Session) -> None:
        answers, client.peer.answers = client.peer.answers, []
        assert [(handle, heard(answer)) for handle, answer in answers] == self.model.answers.pop(session, [])


def _filter(wanted: Any) -> Any:
    if wanted is None:
        return None
    trigger, deadband = wanted
    return data_filter(trigger, 0 if deadband is None else 1, deadband or 0.0)


TestSubscriptions = Subscriptions.TestCase
TestSubscriptions.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
