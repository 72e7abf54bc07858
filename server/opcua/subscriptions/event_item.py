"""MonitoredItems that watch for events (OPC 10000-4 §5.13.1, §7.22.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from server.opcua.space.permissions import Permission
from server.opcua.subscriptions.event_filter import EventFilter
from server.opcua.subscriptions.events import SERVER, Event
from server.opcua.subscriptions.item import DISABLED, REPORTING, MonitoredItem, MonitoringMode
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import numeric

if TYPE_CHECKING:
    from server.opcua.space.node import Node
    from server.opcua.subscriptions.subscription import Subscription
    from server.opcua.subscriptions.terms import Terms

_OVERFLOW: Final = numeric(ObjectIds.EventQueueOverflowEventType)
_SEVERITY: Final = 500


class EventItem(MonitoredItem):
    """Queues the events of a notifier that its filter lets pass, as what is sent of them."""

    __slots__ = ("_overflow", "_waiting", "mode", "queue")

    idle = False

    def __init__(  # as its base, and the mode
        self,
        subscription: Subscription,
        number: int,
        handle: bytes,
        node: Node,
        terms: Terms,
        mode: MonitoringMode,
    ) -> None:
        super().__init__(subscription, number, handle, node, terms)
        self.mode = mode
        self.queue: list[bytes] = []
        """EventFieldLists, the oldest first."""
        self._overflow: bytes | None = None
        """That of them which says that others were lost."""
        self._waiting = False

    @property
    def filter(self) -> EventFilter:
        """Its filter."""
        return cast("EventFilter", self.terms.filter)

    def changed(self) -> None:
        """See `MonitoredItem`. An attribute's value is nothing to it."""

    def start(self, old: MonitoredItem | None) -> None:
        """See `MonitoredItem`."""
        if self.mode is DISABLED:
            return
        self.subscription.engine.emitter.listen(self)
        if isinstance(old, EventItem):
            self.queue, self._overflow = old.queue, old._overflow  # noqa: SLF001  # of this class
            if old.handle != self.handle:
                overflow = self._overflow
                at = next((at for at, event in enumerate(self.queue) if event is overflow), None)
                self.queue = [self.handle + event[4:] for event in self.queue]
                self._overflow = None if at is None else self.queue[at]
            if old.terms.discard_oldest is not self.terms.discard_oldest:
                self._move_overflow()
            while len(self.queue) - (self._overflow is not None) > self.terms.queue_size:
                self._make_room()
        if self.queue and self.mode is REPORTING:
            self._wait()

    def stop(self) -> None:
        """See `MonitoredItem`."""
        self.subscription.engine.emitter.leave(self)

    def has_news(self) -> bool:
        """See `MonitoredItem`."""
        return bool(self.queue)

    def is_pending(self) -> bool:
        """See `MonitoredItem`."""
        return self._waiting

    def give(self, parts: list[bytes], most: int) -> int:
        """See `MonitoredItem`; a part is an EventFieldList."""
        given, self.queue = self.queue[:most], self.queue[most:]
        if self._overflow is not None and any(event is self._overflow for event in given):
            self._overflow = None
        self._waiting = bool(self.queue)
        parts += given
        return len(given)

    def wait(self) -> None:
        """What is queued is to be sent: a trigger fired."""
        if self.queue and not self._waiting:
            self._wait()

    def offer(self, event: Event) -> None:
        """An event of the notifier."""
        access = self.subscription.access
        if access is None or not event.source.role_permissions.of(access.roles) & Permission.ReceiveEvents:
            return
        if event.guarded and not (
            access.encrypted and event.type.role_permissions.of(access.roles) & Permission.ReceiveEvents
        ):
            return
        if not self.filter.passes(event):
            return
        if len(self.queue) - (self._overflow is not None) >= self.terms.queue_size:
            self._make_room()
        self.queue.append(self._fields(event))
        if self._overflow is not None and not self.terms.discard_oldest:
            self._move_overflow_to_the_end()
        if self.mode is REPORTING and not self._waiting:
            self._wait()
        links = self.subscription.links
        if links and self.id in links:
            self.subscription.fired[self.id] = None

    def forget(self) -> None:
        """What is queued is not for its user any more."""
        self.subscription.withdraw(self)
        self.queue, self._overflow, self._waiting = [], None, False

    def _make_room(self) -> None:
        """Discard an event, and say so once (§5.13.1.5): this one is beyond the size of the queue."""
        oldest = self.terms.discard_oldest
        if oldest:
            del self.queue[0 if self._overflow is None else 1]
        else:
            del self.queue[-1 if self._overflow is None else -2]
        if self._overflow is None:
            self._overflow = self._fields(self._lost())
            self.queue.insert(0 if oldest else len(self.queue), self._overflow)
            self.subscription.counts.event_overflows += 1

    def _move_overflow_to_the_end(self) -> None:
        self.queue.append(self.queue.pop(-2))

    def _move_overflow(self) -> None:
        """Have it stand where events are discarded now: at the beginning or at the end (§5.13.1.5)."""
        overflow = self._overflow
        if overflow is not None:
            others = [event for event in self.queue if event is not overflow]
            self.queue = [overflow, *others] if self.terms.discard_oldest else [*others, overflow]

    def _lost(self) -> Event:
        space = self.subscription.engine.space
        return Event(
            space.nodes[_OVERFLOW],
            space.nodes[SERVER],
            "Events were lost: the queue of a monitored item was full",
            _SEVERITY,
            source_name="Internal/EventQueueOverflow",
        )

    def _fields(self, event: Event) -> bytes:
        return self.handle + self.filter.fields(event)

    def _wait(self) -> None:
        self._waiting = True
        self.subscription.pending_events.append(self)
