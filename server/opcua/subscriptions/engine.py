"""The engine of all subscriptions: their timers, their items, what they share (OPC 10000-4 §5.13, §5.14)."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from server.opcua.limits import (
    MAX_SUBSCRIPTIONS,
    MAX_SUBSCRIPTIONS_PER_SESSION,
    MIN_PUBLISHING_INTERVAL,
    MIN_SAMPLING_INTERVAL,
)
from server.opcua.services.datatypes import DataTypes
from server.opcua.services.readvalue import ValueReader
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access
from server.opcua.space.shapes import PlantVariable
from server.opcua.space.space import NODE_ADDED, NODE_DELETED, SUPERSEDED, ModelChange, Space
from server.opcua.space.value import StoredValue
from server.opcua.subscriptions import messages
from server.opcua.subscriptions.conceive import Visible, reconsider, replace
from server.opcua.subscriptions.emitter import Emitter
from server.opcua.subscriptions.event_item import EventItem
from server.opcua.subscriptions.item import MonitoredItem
from server.opcua.subscriptions.kinds import AttributeItem, RefusedItem
from server.opcua.subscriptions.publishing import Publishing
from server.opcua.subscriptions.sampler import Sampler
from server.opcua.subscriptions.settings import Settings
from server.opcua.subscriptions.subscription import Subscription
from server.opcua.subscriptions.timers import NEVER, Timers
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key
from server.plant.values import Point, ValueStore
from sources.clock import now as wall_clock

log = logging.getLogger(__name__)

_TURN: Final = 0.005
"""Seconds of work before others have their turn on the loop."""
_FEW_SUBSCRIPTIONS: Final = 250
_LONG_INTERVAL: Final = 100.0
_POLLING: Final = ((1_000, 1.0), (10_000, 10.0))
"""Up to how many polled items, how much longer than the minimum their interval is at least."""
_SLOWEST_POLLING: Final = 100.0
_AT_ONCE: Final = 2000
"""Items of ended subscriptions cleared away in one step."""


class Engine:
    """All subscriptions of a server. One task, `run`, keeps its time; services call it directly."""

    def __init__(
        self,
        space: Space,
        store: ValueStore | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = wall_clock,
        first: int | None = None,
    ) -> None:
        """``clock`` in seconds, ``wall`` in ticks; ``first`` is the first SubscriptionId.

        Without it the ids begin at random, so that a client that missed a restart does not
        find another's subscription under the id of its own.
        """
        self.space = space
        self.clock = clock
        self.wall = wall
        self.values = ValueReader(space)
        self.types = DataTypes(space)
        self.timers = Timers(self.wake)
        self.emitter = Emitter(self)
        self.subscriptions: dict[int, Subscription] = {}
        self.monitored_items = 0
        self.queued = 0
        """What the queues of all items may hold beyond one each."""
        self.kept_bytes = 0
        """Of all messages that wait for acknowledgement."""
        self.polled = 0
        """Items that have to be sampled whether their value changed or not."""
        self.notifications = 0
        """Handed to clients since the start."""
        self.created = 0
        """Subscriptions since the start."""
        self._numbers = itertools.count(first if first is not None else 1 + secrets.randbelow(1 << 30))
        self._samplers: dict[float, Sampler] = {}
        self._watchers: dict[Key, dict[MonitoredItem, None]] = {}
        self._touched: dict[Publishing, None] = {}
        self._refuse: list[list[MonitoredItem]] = []
        """Items of subscriptions that are no more, to be stopped."""
        self._wake: asyncio.Event | None = None
        self._endings = [space.on_change(self._model_changed)]
        if store is not None:
            self._endings.append(store.listen(self._points_changed))

    def close(self) -> None:
        """Hear of nothing any more."""
        endings, self._endings = self._endings, []
        for ending in endings:
            ending()

    # --- Time

    async def run(self) -> None:
        """Keep time until cancelled."""
        loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        try:
            while True:
                if self._turn():
                    await asyncio.sleep(0)
                    continue
                self._wake.clear()
                due = self.timers.asleep_until = self.timers.next
                handle = None
                if due != NEVER:
                    handle = loop.call_later(max(due - self.clock(), 0.0), self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    self.timers.asleep_until = -NEVER
                    if handle is not None:
                        handle.cancel()
        finally:
            self._wake = None

    def step(self) -> None:
        """Do all that is due by now: what `run` does, without letting others in between."""
        while self._turn(budget=NEVER):
            pass

    def flush(self) -> None:
        """Sample and publish what waits, whatever the intervals say: the server is about to end."""
        now = self.clock()
        for sampler in list(self._samplers.values()):
            sampler.fire(now)
        for subscription in list(self.subscriptions.values()):
            subscription.fire(now)
        self.step()

    def _turn(self, budget: float = _TURN) -> bool:
        """Do some of what is due; whether there is more."""
        start = self.clock()
        while (timed := self.timers.pop(start)) is not None:
            try:
                timed.fire(start)
            except Exception:
                log.exception("%s failed when it was due: a fault of ours", type(timed).__name__)
                if isinstance(timed, Subscription):
                    self._end(timed, StatusCodes.BadInternalError)
            if budget != NEVER and self.clock() - start > budget:
                break
        self._serve()
        try:
            self._stop_some()
        except Exception:
            log.exception("an item could not be stopped: a fault of ours")
        return self.timers.next <= self.clock() or bool(self._touched) or bool(self._refuse)

    def _serve(self) -> None:
        touched, self._touched = self._touched, {}
        for publishing in touched:
            try:
                if not publishing.serve():
                    self._touched[publishing] = None
            except Exception:
                log.exception("publishing to %s failed: a fault of ours", publishing.session.client)

    def touch(self, publishing: Publishing) -> None:
        """Something may be sent to that session."""
        self._touched[publishing] = None
        self.wake()

    def wake(self) -> None:
        """There is something to do."""
        if self._wake is not None:
            self._wake.set()

    # --- Sessions and subscriptions

    def publishing(self, session: Session) -> Publishing:
        """A session's part in publishing."""
        part = session.part(Publishing)
        if not part.bound:
            part.bound = True
            part.engine, part.session = self, session
            session.at_end(lambda: self._session_ended(part))
            session.at_move(part.moved)
        return part

    def create(self, session: Session, settings: Settings) -> Subscription:
        """A new subscription. Raises ServiceFault (BadTooManySubscriptions)."""
        publishing = self.publishing(session)
        if len(publishing.subscriptions) >= MAX_SUBSCRIPTIONS_PER_SESSION:
            raise ServiceFault(StatusCodes.BadTooManySubscriptions)
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS and not self.make_room():
            raise ServiceFault(StatusCodes.BadTooManySubscriptions)
        number = next(self._numbers)
        subscription = Subscription(number, self, publishing, settings)
        self.subscriptions[number] = publishing.subscriptions[number] = subscription
        self.created += 1
        return subscription

    def make_room(self) -> bool:
        """End the oldest subscription whose session has ended; False where there is none.

        They wait for a client that may come back, but not at the cost of those that are there.
        """
        for subscription in self.subscriptions.values():
            if subscription.publishing is None:
                log.info(
                    "subscription %d of %s ended: others wait", subscription.id, subscription.owner.client
                )
                self.delete(subscription)
                return True
        return False

    def find(self, session: Session, number: int) -> Subscription:
        """The subscription of that id, if it is the session's. Raises ServiceFault."""
        found = self.publishing(session).subscriptions.get(number)
        if found is None:
            raise ServiceFault(StatusCodes.BadSubscriptionIdInvalid)
        return found

    def delete(self, subscription: Subscription) -> None:
        """End a subscription; its items are cleared away in turns."""
        publishing = subscription.publishing
        if self.subscriptions.pop(subscription.id, None) is None:
            return
        items = list(subscription.items.values())
        subscription.close()
        subscription.items = {}
        self.monitored_items -= len(items)
        self.queued -= sum(item.terms.cost for item in items)
        if items:
            self._refuse.append(items)
            self.wake()
        if publishing is not None:
            self.touch(publishing)

    def expire(self, subscription: Subscription) -> None:
        """Its lifetime is over (§5.14.1.2): its client is told when it asks again."""
        log.info(
            "subscription %d of %s ended: no request in its lifetime",
            subscription.id,
            subscription.owner.client,
        )
        self._end(subscription, StatusCodes.BadTimeout)

    def _end(self, subscription: Subscription, code: int) -> None:
        publishing = subscription.publishing
        message = messages.status_change(subscription.sequence, self.wall(), code)
        self.delete(subscription)
        if publishing is not None:
            publishing.farewell(subscription.id, message)

    def transfer(self, subscription: Subscription, session: Session) -> None:
        """Give it to another session; the one that had it is told (§5.14.7)."""
        former = subscription.publishing
        subscription.attach(self.publishing(session))
        subscription.touch()
        if former is not None:
            message = messages.status_change(
                subscription.sequence, self.wall(), StatusCodes.GoodSubscriptionTransferred
            )
            former.farewell(subscription.id, message)

    def _session_ended(self, publishing: Publishing) -> None:
        keeps = publishing.session.keeps_subscriptions
        publishing.refuse_all(StatusCodes.BadSessionClosed)
        self.timers.drop(publishing)
        for subscription in list(publishing.subscriptions.values()):
            if keeps:
                subscription.attach(None)
            else:
                self.delete(subscription)
        self._touched.pop(publishing, None)

    def _stop_some(self) -> None:
        left = _AT_ONCE
        while self._refuse and left > 0:
            items = self._refuse[-1]
            while items and left > 0:
                left -= 1
                items.pop().stop()  # taken first: one that fails is not tried again
            if not items:
                self._refuse.pop()

    # --- Items

    @property
    def least_interval(self) -> float:
        """The shortest publishing interval there is now, in milliseconds: longer for the many."""
        return MIN_PUBLISHING_INTERVAL if len(self.subscriptions) < _FEW_SUBSCRIPTIONS else _LONG_INTERVAL

    @property
    def least_polling(self) -> float:
        """The shortest sampling interval of what has to be polled, in milliseconds: longer for the many."""
        few = next((factor for most, factor in _POLLING if self.polled < most), _SLOWEST_POLLING)
        return MIN_SAMPLING_INTERVAL * few

    def sampler(self, interval: float) -> Sampler:
        """The sampler of an interval in milliseconds."""
        found = self._samplers.get(interval)
        if found is None:
            found = self._samplers[interval] = Sampler(interval / 1000.0, self.timers)
        return found

    def watch(self, item: MonitoredItem) -> None:
        """Have an item told when its node comes, goes or changes."""
        self._watchers.setdefault(item.node.key, {})[item] = None

    def unwatch(self, item: MonitoredItem) -> None:
        """The opposite."""
        watchers = self._watchers.get(item.node.key)
        if watchers is not None:
            watchers.pop(item, None)
            if not watchers:
                del self._watchers[item.node.key]

    def _points_changed(self, points: Sequence[Point]) -> None:
        left = iter(points)
        while True:
            try:
                for point in left:
                    items = point.items
                    if items is not None:
                        for item in items:
                            if item.idle:
                                item.idle = False
                                item.subscription.pending.append(item)
                            else:
                                item.changed()
            except Exception:
                log.exception("a monitored item failed to take a change: a fault of ours")
            else:
                return

    def _model_changed(self, changes: Sequence[ModelChange]) -> None:
        for node, verb in changes:
            if verb & (NODE_ADDED | NODE_DELETED | SUPERSEDED):
                for item in self._items_of(node):
                    replace(item)
            else:
                for item in list(self._watchers.get(node.key, ())):
                    if isinstance(item, AttributeItem):
                        item.changed()
            if isinstance(node, PlantVariable) and node.alive:
                if self._watchers:
                    self._members_came(node)
                self._terms_changed(node)
        if not self.space.quiet:  # sessions that come and go are no change of the model
            self.emitter.model_changed(changes)

    def _members_came(self, variable: PlantVariable) -> None:
        """Nobody tells of the members of a variable that came or is another; items may wait for them."""
        for key in variable.member_keys():
            for item in list(self._watchers.get(key, ())):
                if isinstance(item, RefusedItem) and not item.subscription.closed:
                    replace(item)

    def _terms_changed(self, variable: PlantVariable) -> None:
        """Of a percentage its EURange (OPC 10000-8 §7.2) may be another now, or how often it is scanned."""
        value = variable.value
        for item in list(value.items or ()) if isinstance(value, Point) else ():
            if (now := item.terms.over(variable, self.space)) is not item.terms:
                replace(item, terms=now)

    def _items_of(self, node: Node) -> list[MonitoredItem]:
        """Those that watch that node, except for events."""
        found = list(self._watchers.get(node.key, ()))
        value = node.value
        if isinstance(value, Point | StoredValue):
            found += [item for item in value.items or () if item.node is node]
        return [item for item in found if not item.subscription.closed]

    def recheck(self, subscription: Subscription) -> None:
        """Look again what its user may see, if user, roles, permissions or the model changed since."""
        publishing = subscription.publishing
        access = publishing.session.access if publishing is not None else None
        if access is None or (access is subscription.access and self.space.touched == subscription.touched):
            return
        former = subscription.access
        same = access == former
        lost = former is None or not _has_all_of(access, former)
        refused: set[bytes] = set()
        subscription.access, subscription.touched = access, self.space.touched
        may = Visible(access)
        for item in list(subscription.items.values()):
            if isinstance(item, EventItem):
                if lost:  # it looks at every event, but those it has queued came under another access
                    item.forget()
            elif isinstance(item, RefusedItem):
                reconsider(item)
            elif not may.see(item):
                refused.add(item.handle)
                replace(item)
            elif isinstance(item, AttributeItem) and not same:
                item.changed()
        if lost or refused:
            subscription.forget(refused, events=lost)


def _has_all_of(access: Access, former: Access) -> bool:
    """Whether there is nothing that the former access saw and this one does not."""
    return (
        former.roles <= access.roles
        and former.signed <= access.signed
        and former.encrypted <= access.encrypted
    )
