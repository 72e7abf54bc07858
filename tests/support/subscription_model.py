"""The rules of subscriptions (OPC 10000-4 §5.13, §5.14) once more, slow and plain.

Nothing here is shared with the server. Time is a number that `Model.advance` moves; what
clients are answered lands in `Model.answers`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DISABLED, SAMPLING, REPORTING = 0, 1, 2
STATUS, STATUS_VALUE, STATUS_VALUE_TIMESTAMP = 0, 1, 2
OVERFLOW = 0x480
MAX_REQUESTS = 100
MIN_POLL = 0.1
LARGEST_MESSAGE = 10_000


class Sample(NamedTuple):
    value: Any
    status: int
    source: float
    """When that came to be so."""


class Message(NamedTuple):
    """The answer to a Publish request."""

    subscription: int
    sequence: int
    available: tuple[int, ...]
    more: bool
    notifications: tuple[tuple[int, Any, int], ...] = ()
    """ClientHandle, value, status."""
    status_change: str = ""
    results: tuple[str, ...] = ()


class Fault(NamedTuple):
    name: str


@dataclass(eq=False)
class Node:
    sample: Sample
    period: float
    """Seconds between two scans."""


@dataclass(eq=False)
class Item:
    id: int
    handle: int
    node: Node
    mode: int
    size: int
    oldest: bool
    sampling: float
    """Revised, in seconds."""
    trigger: int = STATUS_VALUE
    deadband: float | None = None
    queue: list[tuple[Any, int]] = field(default_factory=list)
    last: Sample | None = None
    """What was queued last."""
    marked: bool = False
    """Of a buffer: its value is to be sent."""
    pending: int | None = None
    """Since when it stands among those that send, by a running number."""
    dirty: bool = False
    current: bool = False
    """Whether what it was before had the value there is now, as a buffer has."""
    hooked: int = 0
    """Since when it is told of changes, by a running number."""

    @property
    def polled(self) -> bool:
        return self.trigger == STATUS_VALUE_TIMESTAMP

    @property
    def floor(self) -> float:
        return max(self.node.period, MIN_POLL) if self.polled else self.node.period

    @property
    def paced(self) -> bool:
        """Whether it samples less often than its value changes."""
        return self.polled or self.sampling > self.floor


@dataclass(eq=False)
class Sampler:
    interval: float
    due: float = math.inf
    armed: int = 0
    waiting: list[tuple[Subscription, Item]] = field(default_factory=list)


@dataclass(eq=False)
class Request:
    handle: int
    results: tuple[str, ...]


@dataclass(eq=False)
class Session:
    user: str
    requests: list[Request] = field(default_factory=list)
    farewells: list[tuple[int, int, str]] = field(default_factory=list)
    ready: list[Subscription] = field(default_factory=list)
    ended: bool = False


@dataclass(eq=False)
class Subscription:
    id: int
    session: Session | None
    owner: Session
    interval: float
    lifetime: int
    keep_alive: int
    most: int
    enabled: bool
    priority: int
    due: float = 0.0
    armed: int = 0
    rank: int = 0
    """Its priority when its timer was set."""
    cycle: float = 0.0
    items: dict[int, Item] = field(default_factory=dict)
    links: dict[int, list[int]] = field(default_factory=dict)
    fired: list[int] = field(default_factory=list)
    owed: list[int] = field(default_factory=list)
    """Items to report by links that have changed since their trigger queued something."""
    kept: dict[int, Message] = field(default_factory=dict)
    sequence: int = 1
    next_item: int = 1
    lifetime_left: int = 0
    keep_alive_left: int = 0
    late: bool = False
    more: bool = False
    sent_any: bool = False
    closed: bool = False


class Model:
    """A server's subscriptions."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.nodes: dict[str, Node] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.answers: dict[Session, list[tuple[int, Message | Fault]]] = {}
        self.samplers: dict[float, Sampler] = {}
        self._running = itertools.count(1)
        self._numbers = itertools.count(1)
        self._polled: dict[float, list[tuple[Subscription, Item]]] = {}

    # --- Values

    def change(self, name: str, value: Any, status: int) -> None:
        """A scan brings a value."""
        node = self.nodes[name]
        if (value, status) == node.sample[:2]:
            return
        node.sample = Sample(value, status, self.now)
        for subscription in list(self.subscriptions.values()):
            for item in sorted(subscription.items.values(), key=lambda item: item.hooked):
                if item.node is not node or item.mode == DISABLED or item.polled:
                    continue
                if self._is_buffer(subscription, item):
                    if not item.marked:
                        item.marked = True
                        item.pending = next(self._running)
                elif not item.paced:
                    self._take(subscription, item)
                elif not item.dirty:
                    item.dirty = True
                    sampler = self._sampler(item.sampling)
                    sampler.waiting.append((subscription, item))
                    self._arm(sampler)

    def _is_buffer(self, subscription: Subscription, item: Item) -> bool:
        """A queue of one without a filter that may sample when it publishes: it sends the newest value."""
        return (
            item.mode == REPORTING
            and item.size == 1
            and item.trigger == STATUS_VALUE
            and item.deadband is None
            and (item.sampling <= item.floor or item.sampling <= subscription.interval)
            and item.id not in subscription.links
        )

    def _take(self, subscription: Subscription, item: Item) -> None:
        sample = item.node.sample
        if item.last is not None and not self._passes(item, item.last, sample):
            return
        self._put(subscription, item, sample)

    @staticmethod
    def _passes(item: Item, last: Sample, sample: Sample) -> bool:
        if item.trigger == STATUS:
            return sample.status != last.status
        if item.deadband is not None:
            if sample.status != last.status:
                return True
            if sample.value is None or last.value is None:
                return bool(sample.value != last.value)
            return bool(abs(sample.value - last.value) > item.deadband)
        if item.trigger == STATUS_VALUE_TIMESTAMP:
            return sample != last
        return sample[:2] != last[:2]

    def _put(self, subscription: Subscription, item: Item, sample: Sample) -> None:
        item.last = sample
        entry = (sample.value, sample.status)
        if len(item.queue) < item.size:
            item.queue.append(entry)
        elif item.size == 1:
            item.queue = [entry]
        elif item.oldest:
            item.queue = [*item.queue[1:], entry]
            item.queue[0] = overflown(item.queue[0])
        else:
            item.queue[-1] = overflown(entry)
        if item.mode == REPORTING and item.pending is None:
            item.pending = next(self._running)
        if item.id in subscription.links and item.id not in subscription.fired:
            subscription.fired.append(item.id)

    # --- Items

    def create_item(  # noqa: PLR0913, PLR0917  # each is a parameter of the service
        self,
        subscription: Subscription,
        name: str,
        handle: int,
        mode: int,
        sampling: float,
        size: int,
        oldest: bool,
        trigger: int = STATUS_VALUE,
        deadband: float | None = None,
    ) -> Item:
        subscription.lifetime_left = subscription.lifetime
        item = Item(
            subscription.next_item, handle, self.nodes[name], mode, size, oldest, 0.0, trigger, deadband
        )
        item.sampling = revised_sampling(sampling, subscription.interval, item.floor)
        subscription.next_item += 1
        subscription.items[item.id] = item
        self._begin(subscription, item)
        return item

    def _begin(self, subscription: Subscription, item: Item) -> None:
        """The first sample is told in any case."""
        if item.mode == DISABLED:
            return
        item.hooked = next(self._running)
        if self._is_buffer(subscription, item):
            item.marked, item.pending = True, next(self._running)
            return
        self._watch(subscription, item)
        item.last = None
        self._take(subscription, item)

    def _watch(self, subscription: Subscription, item: Item) -> None:
        if item.polled and item.mode != DISABLED:
            self._polled.setdefault(item.sampling, []).append((subscription, item))
            self._arm(self._sampler(item.sampling))

    def _unwatch(self, subscription: Subscription, item: Item) -> None:
        for several in self._polled.values():
            if (subscription, item) in several:
                several.remove((subscription, item))
        for sampler in self.samplers.values():
            if (subscription, item) in sampler.waiting:
                sampler.waiting.remove((subscription, item))

    def settle(self, subscription: Subscription, item: Item) -> None:
        """The links of an item are about to change."""
        if item.id in subscription.fired:
            subscription.fired.remove(item.id)
            subscription.owed += subscription.links.get(item.id, [])

    def change_item(self, subscription: Subscription, item: Item, **to: Any) -> None:
        """Modify an item, its mode, or what it triggers."""
        subscription.lifetime_left = subscription.lifetime
        was_mode = item.mode
        self._halt(subscription, item)
        links = to.pop("links", None)
        if links is not None:
            if links:
                subscription.links[item.id] = links
            else:
                subscription.links.pop(item.id, None)
        sampling = to.pop("sampling", None)
        for name, value in to.items():
            setattr(item, name, value)
        if sampling is not None:
            item.sampling = revised_sampling(sampling, subscription.interval, item.floor)
        if item.mode == DISABLED:
            item.queue, item.last = [], None
        elif was_mode == DISABLED:
            self._begin(subscription, item)
        else:
            self._resume(subscription, item)

    def _halt(self, subscription: Subscription, item: Item) -> None:
        """It is about to become another; what it has to tell stays."""
        self._unwatch(subscription, item)
        item.current = self._is_buffer(subscription, item)
        if item.current:
            item.last = item.node.sample
            item.queue = [(item.last.value, item.last.status)] if item.marked else []
        item.marked, item.pending, item.dirty = False, None, False

    def _resume(self, subscription: Subscription, item: Item) -> None:
        """Go on with what it has queued, and with a look at the value there is now."""
        item.hooked = next(self._running)
        if self._is_buffer(subscription, item):
            if item.queue or item.last is None or item.last[:2] != item.node.sample[:2]:
                item.marked, item.pending = True, next(self._running)
            item.queue = []
            return
        self._watch(subscription, item)
        self._fit(item)
        if not item.paced:
            self._take(subscription, item)
        elif not item.current:
            item.dirty = True
            sampler = self._sampler(item.sampling)
            sampler.waiting.append((subscription, item))
            self._arm(sampler)
        if item.queue and item.mode == REPORTING and item.pending is None:
            item.pending = next(self._running)

    @staticmethod
    def _fit(item: Item) -> None:
        if len(item.queue) <= item.size:
            return
        if item.size == 1:
            item.queue = item.queue[-1:]
        elif item.oldest:
            item.queue = item.queue[-item.size :]
            item.queue[0] = overflown(item.queue[0])
        else:
            item.queue = [*item.queue[: item.size - 1], overflown(item.queue[-1])]

    def delete_item(self, subscription: Subscription, item: Item) -> None:
        subscription.lifetime_left = subscription.lifetime
        self._unwatch(subscription, item)
        del subscription.items[item.id]
        subscription.links.pop(item.id, None)
        subscription.fired = [number for number in subscription.fired if number != item.id]
        subscription.owed = [number for number in subscription.owed if number != item.id]
        for number in sorted(subscription.links):
            links = subscription.links[number]
            if links == [item.id]:
                self.change_item(subscription, subscription.items[number], links=[])
            elif item.id in links:
                links.remove(item.id)

    # --- Subscriptions

    def create(  # each is a parameter of the service
        self,
        session: Session,
        interval: float,
        lifetime: int,
        keep_alive: int,
        most: int,
        enabled: bool,
        priority: int,
    ) -> Subscription:
        made = Subscription(
            next(self._numbers), session, session, interval, lifetime, keep_alive, most, enabled, priority
        )
        made.lifetime_left, made.keep_alive_left = lifetime, keep_alive
        self._start_timer(made)
        self.subscriptions[made.id] = made
        return made

    def modify(
        self,
        subscription: Subscription,
        interval: float,
        lifetime: int,
        keep_alive: int,
        most: int,
        priority: int,
    ) -> None:
        buffers = [i for i in subscription.items.values() if self._is_buffer(subscription, i)]
        before, subscription.interval = subscription.interval, interval
        subscription.lifetime, subscription.keep_alive = lifetime, keep_alive
        subscription.most, subscription.priority = most, priority
        subscription.lifetime_left = lifetime
        subscription.keep_alive_left = min(subscription.keep_alive_left, keep_alive)
        if before != interval:
            self._start_timer(subscription)
        for item in subscription.items.values():
            if (item in buffers) != self._is_buffer(subscription, item):
                subscription.interval = before
                self._halt(subscription, item)
                subscription.interval = interval
                self._resume(subscription, item)

    def set_publishing(self, subscription: Subscription, enabled: bool) -> None:
        subscription.enabled = enabled
        subscription.lifetime_left = subscription.lifetime
        subscription.more = False
        if not subscription.late and subscription.session and subscription in subscription.session.ready:
            subscription.session.ready.remove(subscription)

    def delete(self, subscription: Subscription) -> None:
        for item in list(subscription.items.values()):
            self._unwatch(subscription, item)
        subscription.closed = True
        del self.subscriptions[subscription.id]
        self._detach(subscription)

    def _detach(self, subscription: Subscription) -> None:
        session, subscription.session = subscription.session, None
        if session is not None and subscription in session.ready:
            session.ready.remove(subscription)

    def transfer(self, subscription: Subscription, session: Session, initial: bool) -> str:
        if subscription.owner.user != session.user:
            return "BadUserAccessDenied"
        if subscription.session is session:
            return "BadNothingToDo"
        former = subscription.session
        self._detach(subscription)
        subscription.session = subscription.owner = session
        subscription.lifetime_left = subscription.lifetime
        if subscription.late or subscription.more:
            session.ready.append(subscription)
        if former is not None:
            former.farewells.append((subscription.id, subscription.sequence, "GoodSubscriptionTransferred"))
        if initial:
            self.resend(subscription)
        return "Good"

    def resend(self, subscription: Subscription) -> None:
        """Every value once more, where nothing is queued."""
        for item in subscription.items.values():
            if item.mode != REPORTING:
                continue
            if self._is_buffer(subscription, item):
                if not item.marked:
                    item.marked, item.pending = True, next(self._running)
            elif not item.queue and item.last is not None:
                item.queue = [(item.last.value, item.last.status)]
                if item.pending is None:
                    item.pending = next(self._running)

    def end_session(self, session: Session, keep: bool) -> None:
        session.ended = True
        for request in session.requests:
            self._answer(session, request, Fault("BadSessionClosed"))
        session.requests = []
        for subscription in [s for s in self.subscriptions.values() if s.session is session]:
            if keep:
                self._detach(subscription)
            else:
                self.delete(subscription)

    def _of(self, session: Session) -> list[Subscription]:
        return [s for s in self.subscriptions.values() if s.session is session]

    # --- Publishing

    def publish(self, session: Session, handle: int, acknowledged: list[tuple[int, int]]) -> str:
        """A Publish request; what it is refused with, if it is at once."""
        own = self._of(session)
        if not own and not session.farewells:
            return "BadNoSubscription"
        results = []
        for number, sequence in acknowledged:
            subscription = self.subscriptions.get(number)
            if subscription is None or subscription.session is not session:
                results.append("BadSubscriptionIdInvalid")
            elif subscription.kept.pop(sequence, None) is None:
                results.append("BadSequenceNumberUnknown")
            else:
                results.append("Good")
        for subscription in own:
            subscription.lifetime_left = subscription.lifetime
        if len(session.requests) >= MAX_REQUESTS:
            self._answer(session, session.requests.pop(0), Fault("BadTooManyPublishRequests"))
        session.requests.append(Request(handle, tuple(results)))
        self.serve(session)
        return ""

    def serve(self, session: Session) -> None:
        """Answer what can be answered."""
        while session.requests:
            if session.farewells:
                number, sequence, code = session.farewells.pop(0)
                request = session.requests.pop(0)
                message = Message(number, sequence, (), False, (), code, request.results)
                self._answer(session, request, message)
            elif not self._of(session):
                for request in session.requests:
                    self._answer(session, request, Fault("BadNoSubscription"))
                session.requests = []
            elif not session.ready:
                return
            else:
                highest = max(s.priority for s in session.ready)
                chosen = next(s for s in session.ready if s.priority == highest)
                session.ready.remove(chosen)
                request = session.requests.pop(0)
                message = self._message(chosen)
                if chosen.more:
                    session.ready.append(chosen)
                self._answer(session, request, message._replace(results=request.results))

    def serve_all(self, sessions: list[Session]) -> None:
        for session in sessions:
            if not session.ended:
                self.serve(session)

    def _answer(self, session: Session, request: Request, answer: Message | Fault) -> None:
        self.answers.setdefault(session, []).append((request.handle, answer))

    def _pending(self, subscription: Subscription) -> list[Item]:
        found = [item for item in subscription.items.values() if item.pending is not None]
        return sorted(found, key=lambda item: item.pending or 0)

    def _fire_triggers(self, subscription: Subscription) -> None:
        owed, subscription.owed = subscription.owed, []
        fired, subscription.fired = subscription.fired, []
        for number in fired:
            owed += subscription.links.get(number, [])
        for other in owed:
            item = subscription.items.get(other)
            if item is not None and item.mode == SAMPLING and item.queue and item.pending is None:
                item.pending = next(self._running)

    def _message(self, subscription: Subscription) -> Message:
        self._fire_triggers(subscription)
        subscription.late, subscription.more, subscription.sent_any = False, False, True
        subscription.keep_alive_left = subscription.keep_alive
        subscription.lifetime_left = subscription.lifetime
        if not subscription.enabled or not self._pending(subscription):
            available = tuple(subscription.kept)
            return Message(subscription.id, subscription.sequence, available, False)
        most = min(subscription.most or LARGEST_MESSAGE, LARGEST_MESSAGE)
        taken: list[tuple[int, Any, int]] = []
        for item in self._pending(subscription):
            if len(taken) >= most:
                break
            if self._is_buffer(subscription, item):
                taken.append((item.handle, item.node.sample.value, item.node.sample.status))
                item.marked, item.pending = False, None
                continue
            while item.queue and len(taken) < most:
                taken.append((item.handle, *item.queue.pop(0)))
            if not item.queue:
                item.pending = None
        subscription.more = bool(self._pending(subscription))
        message = Message(subscription.id, subscription.sequence, (), subscription.more, tuple(taken))
        subscription.kept[subscription.sequence] = message
        subscription.sequence += 1
        return message._replace(available=tuple(subscription.kept))

    # --- Time

    def _start_timer(self, subscription: Subscription) -> None:
        due = self.now + subscription.interval
        if subscription.due != due:
            subscription.cycle = subscription.due = due
            subscription.armed, subscription.rank = next(self._running), subscription.priority

    def _sampler(self, interval: float) -> Sampler:
        return self.samplers.setdefault(interval, Sampler(interval))

    def _arm(self, sampler: Sampler) -> None:
        if sampler.due == math.inf:
            tick = (self.now // sampler.interval + 1) * sampler.interval
            sampler.due = tick if tick > self.now else tick + sampler.interval
            sampler.armed = next(self._running)

    @property
    def next(self) -> float:
        """When something is due next."""
        times = [s.due for s in self.subscriptions.values()] + [s.due for s in self.samplers.values()]
        return min(times, default=math.inf)

    def step(self, sessions: list[Session]) -> None:
        """Do what is due now: samples first, then subscriptions by priority, then answers."""
        while self.next <= self.now:
            samplers = [s for s in self.samplers.values() if s.due <= self.now]
            for sampler in sorted(samplers, key=lambda s: (s.due, s.armed)):
                self._tick(sampler)
            due = [s for s in self.subscriptions.values() if s.due <= self.now]
            for subscription in sorted(due, key=lambda s: (s.due, -s.rank, s.armed)):
                self._expire(subscription)
        self.serve_all(sessions)

    def _tick(self, sampler: Sampler) -> None:
        waiting, sampler.waiting = sampler.waiting, []
        sampler.due = math.inf
        polled = list(self._polled.get(sampler.interval, []))
        for subscription, item in waiting + polled:
            item.dirty = False
            self._take(subscription, item)
        if sampler.waiting or self._polled.get(sampler.interval):
            self._arm(sampler)

    def _expire(self, subscription: Subscription) -> None:
        session = subscription.session
        if session is not None and session.requests:
            subscription.lifetime_left = subscription.lifetime
        else:
            subscription.lifetime_left -= 1
            if subscription.lifetime_left <= 0:
                self.delete(subscription)
                if session is not None:
                    session.farewells.append((subscription.id, subscription.sequence, "BadTimeout"))
                return
        subscription.cycle += subscription.interval
        subscription.due = subscription.cycle
        subscription.armed, subscription.rank = next(self._running), subscription.priority
        if subscription.late:
            return
        self._fire_triggers(subscription)
        if not (subscription.enabled and self._pending(subscription)) and subscription.sent_any:
            subscription.keep_alive_left -= 1
            if subscription.keep_alive_left > 0:
                return
        subscription.late = True
        if session is not None and subscription not in session.ready:
            session.ready.append(subscription)


def overflown(entry: tuple[Any, int]) -> tuple[Any, int]:
    return entry[0], entry[1] | OVERFLOW


def revised_sampling(requested: float, publishing: float, floor: float) -> float:
    """Seconds, of milliseconds that were requested and seconds that hold."""
    wanted = publishing * 1000 if math.isnan(requested) or requested < 0 else requested
    if wanted <= floor * 1000:
        return floor
    step = 10.0 if wanted <= 1000 else 100.0
    return max(math.ceil(wanted / step - 1e-6) * step, floor * 1000) / 1000
