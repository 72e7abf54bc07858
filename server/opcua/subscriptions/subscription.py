"""A subscription: its states, its sequence numbers, what it keeps for Republish (OPC 10000-4 §5.14.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

from server.opcua.limits import (
    MAX_NOTIFICATION_BYTES,
    MAX_NOTIFICATIONS_PER_PUBLISH,
    MAX_RETRANSMISSION_BYTES,
    MAX_RETRANSMISSION_BYTES_IN_ALL,
    MAX_RETRANSMISSION_MESSAGES,
)
from server.opcua.space.points import encode_head, stamp
from server.opcua.subscriptions import messages
from server.opcua.subscriptions.counts import Counts
from server.opcua.subscriptions.data import DataItem
from server.opcua.subscriptions.event_item import EventItem
from server.opcua.subscriptions.fitting import fitted_data, fitted_events
from server.opcua.subscriptions.item import REPORTING, SAMPLING, MonitoredItem, PlainItem
from server.opcua.subscriptions.links import Links
from server.opcua.subscriptions.settings import Settings
from server.opcua.subscriptions.timers import NEVER

if TYPE_CHECKING:
    from server.opcua.space.permissions import Access
    from server.opcua.subscriptions.engine import Engine
    from server.opcua.subscriptions.publishing import Publishing

LAST_SEQUENCE: Final = 0xFFFFFFFF
_RANK: Final = 256
_MOST: Final = MAX_NOTIFICATIONS_PER_PUBLISH
_FEW: Final = 64
"""Withdrawn items that wait for the next cycle to be cleared away, however few others there are."""


class Subscription:
    """One subscription. What it needs of others: an `Engine`, and the `Publishing` of its session.

    The publishing timer is `fire`; `Publishing` calls `publish` when it has a request for it.
    Of the states of §5.14.1.2, late is `late`, and keep-alive is a counter below its start.
    """

    def __init__(self, number: int, engine: Engine, publishing: Publishing, settings: Settings) -> None:
        self.id = number
        self.engine = engine
        self.publishing: Publishing | None = publishing
        """Of the session it is of; None once that has ended."""
        self.owner = publishing.session
        """The last session it was of: whose user may have it transferred."""
        self.access: Access | None = publishing.session.access
        """What its items were checked against."""
        self.touched = engine.space.touched
        """How often permissions had changed by then."""
        self.counts = Counts()
        self.items: dict[int, MonitoredItem] = {}
        self.pending: list[MonitoredItem] = []
        """Items that watch values and have something to tell, in the order in which they came to it."""
        self.pending_events: list[EventItem] = []
        self.links = Links()
        """Triggering items and those they trigger (§5.13.1.6)."""
        self.fired: dict[int, None] = {}
        """Triggering items that queued something since the last cycle."""
        self._owed: dict[int, None] = {}
        """Items to report in the next cycle by links that have changed since."""
        self.unacknowledged: OrderedDict[int, bytes] = OrderedDict()
        """NotificationMessages that were sent, by sequence number."""
        self.overflows = 0
        self.settings = settings
        self.enabled = settings.enabled
        self.due = NEVER
        self.entry = 0
        self.closed = False
        self.late = False
        """The timer expired with something to send, and no request has come since."""
        self.more = False
        """The last message did not take all there was."""
        self._cycle = NEVER
        self._sent_any = False
        self._sequence = 1
        self._kept_bytes = 0
        self._keep_alive = settings.keep_alive_count
        self._lifetime = settings.lifetime_count
        self._next_item = 1
        self._withdrawn: set[MonitoredItem] = set()
        self._left_data: list[bytes] = []
        """Parts of notifications that did not fit into the last message."""
        self._left_events: list[bytes] = []
        self._start_timer(engine.clock())

    @property
    def priority(self) -> int:
        """Of several that have something to send, the one with the highest sends first."""
        return self.settings.priority

    @property
    def sequence(self) -> int:
        """The sequence number of the next NotificationMessage."""
        return self._sequence

    @property
    def lifetime_left(self) -> int:
        """Cycles without a request after which it ends."""
        return self._lifetime

    @property
    def keep_alive_left(self) -> int:
        """Cycles without a message after which it sends a keep-alive."""
        return self._keep_alive

    # --- What services do to it

    def touch(self) -> None:
        """A service call was about it: its lifetime begins anew."""
        self._lifetime = self.settings.lifetime_count

    def modify(self, settings: Settings) -> None:
        """ModifySubscription (§5.14.3)."""
        old, self.settings = self.settings, settings
        self.touch()
        self._keep_alive = min(self._keep_alive, settings.keep_alive_count)
        if old.interval != settings.interval:
            self._start_timer(self.engine.clock())

    def set_publishing(self, *, enabled: bool) -> None:
        """SetPublishingMode (§5.14.4)."""
        self.enabled = enabled
        self.touch()
        self.more = False
        if not self.late and self.publishing is not None:
            self.publishing.ready.pop(self, None)

    def acknowledge(self, sequence: int) -> bool:
        """The client has that message; False where there is none to acknowledge."""
        message = self.unacknowledged.pop(sequence, None)
        if message is None:
            return False
        self._forget(message)
        return True

    def _forget(self, message: bytes) -> None:
        self._kept_bytes -= len(message)
        self.engine.kept_bytes -= len(message)

    def next_item(self) -> int:
        """A number for an item."""
        number, self._next_item = self._next_item, self._next_item + 1
        return number

    def withdraw(self, item: MonitoredItem) -> None:
        """What a stopped item has queued is not to be sent."""
        if item.is_pending():
            if isinstance(item, EventItem):
                self.pending_events.remove(item)
            else:
                self._withdrawn.add(item)
                if len(self._withdrawn) > max(_FEW, len(self.pending) // 2):
                    self._sweep()

    def settle(self, trigger: int) -> None:
        """The links of a triggering item are about to change: what it queued before fires by those it has."""
        if self.fired.pop(trigger, self) is None:
            self._owed.update(self.links.get(trigger, {}))

    def unlink(self, number: int) -> list[int]:
        """An item is no more; the items that trigger nothing any more, for it was the last."""
        self.fired.pop(number, None)
        self._owed.pop(number, None)
        return self.links.drop(number)

    def resend(self) -> None:
        """Tell every value once more (§5.14.7, OPC 10000-5 §9.2)."""
        for item in self.items.values():
            if item.mode is REPORTING:
                item.resend()

    def forget(self, refused: AbstractSet[bytes], *, events: bool) -> None:
        """Rights were lost: what was made of values and events under them is told no more.

        ``refused`` are the handles of items that are told no more; what is left of the others'
        values stays. Nothing that was sent can be had again, for who knows what is in it.
        """
        kept = {item.handle for item in self.items.values()} - refused if self._left_data else frozenset()
        left, self._left_data = self._left_data, []
        for at in range(0, len(left), 3):
            if left[at] in kept:
                self._left_data += left[at : at + 3]
        if events:
            self._left_events = []
        self._forget_sent()

    def _forget_sent(self) -> None:
        self.engine.kept_bytes -= self._kept_bytes
        self._kept_bytes = 0
        self.unacknowledged.clear()

    def attach(self, publishing: Publishing | None) -> None:
        """It is of another session now, or of none."""
        if self.publishing is not None:
            self.publishing.subscriptions.pop(self.id, None)
            self.publishing.ready.pop(self, None)
        self.publishing = publishing
        if publishing is not None:
            self.owner = publishing.session
            publishing.subscriptions[self.id] = self
            if self.late or self.more:
                publishing.ready[self] = None
                self.engine.touch(publishing)

    def close(self) -> None:
        """It is no more; the engine sees to its items."""
        self.closed = True
        self.engine.timers.drop(self)
        self.attach(None)
        self._forget_sent()
        self.links = Links()
        self.pending.clear()
        self.pending_events.clear()

    # --- The publishing timer

    def _start_timer(self, now: float) -> None:
        self._keep_phase(now, now)

    def _keep_phase(self, due: float, now: float) -> None:
        interval = self.settings.interval / 1000.0
        following = due + interval
        if following <= now:  # cycles that nobody had time for are left out
            following += (now - following) // interval * interval
            if following <= now:
                following += interval
        self._cycle = following
        self.engine.timers.set(self, following, _RANK - self.settings.priority)

    def fire(self, now: float) -> None:
        """The publishing timer expired (§5.14.1.2, Table 84)."""
        publishing = self.publishing
        if publishing is not None and publishing.has_request():
            self._lifetime = self.settings.lifetime_count
        else:
            self._lifetime -= 1
            if self._lifetime <= 0:
                self.engine.expire(self)
                return
        self._keep_phase(self._cycle, now)
        if self.late:
            if publishing is not None:  # a client that was backlogged may have caught up
                self.engine.touch(publishing)
            return
        self.engine.recheck(self)
        self._fire_triggers()
        if not (self.enabled and self.has_notifications()) and self._sent_any:
            self._keep_alive -= 1
            if self._keep_alive > 0:
                return
        self.late = True
        if publishing is not None:
            publishing.ready[self] = None
            self.engine.touch(publishing)
            if publishing.blocked or not publishing.has_request():
                self.counts.late += 1

    def has_notifications(self) -> bool:
        """Whether there is anything to tell."""
        self._sweep()
        return bool(self.pending or self.pending_events or self._left_data or self._left_events)

    def _sweep(self) -> None:
        if self._withdrawn:
            self.pending = [item for item in self.pending if item not in self._withdrawn]
            self._withdrawn.clear()

    def _fire_triggers(self) -> None:
        """Have the items report whose triggering items queued something (§5.13.1.6)."""
        if not self.fired and not self._owed:
            return
        fired, self.fired = self.fired, {}
        owed, self._owed = self._owed, {}
        for number in fired:
            owed.update(self.links.get(number, {}))
        for linked in owed:
            item = self.items.get(linked)
            if isinstance(item, DataItem | EventItem) and item.mode is SAMPLING:
                item.wait()

    # --- Messages

    def publish(self, beside: int) -> tuple[bytes, int]:
        """The next NotificationMessage, and how many notifications are in it: none in a keep-alive.

        ``beside`` are the bytes of the acknowledgements' results in the same response.
        """
        self.engine.recheck(self)
        self._fire_triggers()
        self.late = False
        self._sent_any = True
        self._keep_alive = self.settings.keep_alive_count
        self.touch()
        time = self.engine.wall()
        if not (self.enabled and self.has_notifications()):
            self.more = False
            return messages.keep_alive(self._sequence, time), 0
        most = min(self.settings.max_notifications or _MOST, _MOST)
        data = self._collect(most)
        changes = len(data) // 3
        events = self._collect_events(most - changes)
        message = messages.message(self._sequence, time, changes, data, events)
        room = self._room() - beside
        if len(message) > room:
            data, events = self._fit(data, events, room)
            changes = len(data) // 3
            message = messages.message(self._sequence, time, changes, data, events)
        self._keep(message)
        self.more = self.has_notifications()
        counts = self.counts
        counts.data_changes += changes
        counts.events += len(events)
        counts.messages += 1
        return message, changes + len(events)

    def _fit(self, data: list[bytes], events: list[bytes], room: int) -> tuple[list[bytes], list[bytes]]:
        """What of these fits into one message; the rest is for the next."""
        data, left = fitted_data(data, room)
        if left:
            self._left_data = left + self._left_data
            self._left_events = events + self._left_events
            return data, []
        events, rest = fitted_events(events, room - sum(map(len, data)), first=not data)
        self._left_events = rest + self._left_events
        return data, events

    def _room(self) -> int:
        """Bytes the client takes."""
        publishing = self.publishing
        limits = [MAX_NOTIFICATION_BYTES]
        if publishing is not None:
            session = publishing.session
            limits.append(session.about.max_response)
            if session.peer is not None:
                limits.append(session.peer.channel.largest)
        return min(limit for limit in limits if limit) - messages.OVERHEAD - 4 * len(self.unacknowledged)

    def _collect(self, most: int) -> list[bytes]:
        """Three parts a notification: ClientHandle, value, ServerTimestamp."""
        parts = self._left_data[: 3 * most]
        if parts:
            self._left_data = self._left_data[3 * most :]
            return parts
        pending = self.pending
        count = done = 0
        for item in pending:
            if count >= most:
                break
            if item.__class__ is PlainItem:
                item.idle = True
                point = item.point
                block = point.block
                parts += (item.handle, point.head or encode_head(point), block.stamp or stamp(block))
                count += 1
            else:
                count += item.give(parts, most - count)
                if item.is_pending():
                    break
            done += 1
        del pending[:done]
        return parts

    def _collect_events(self, most: int) -> list[bytes]:
        events = self._left_events[:most]
        if events:
            self._left_events = self._left_events[most:]
            return events
        pending = self.pending_events
        done = 0
        for item in pending:
            if len(events) >= most:
                break
            item.give(events, most - len(events))
            if item.is_pending():
                break
            done += 1
        del pending[:done]
        return events

    def _keep(self, message: bytes) -> None:
        """Keep a message for Republish, and forget the oldest where there are too many (§5.14.1.1)."""
        kept = self.unacknowledged
        kept[self._sequence] = message
        self._kept_bytes += len(message)
        engine = self.engine
        engine.kept_bytes += len(message)
        while len(kept) > MAX_RETRANSMISSION_MESSAGES or (
            len(kept) > 1
            and (
                self._kept_bytes > MAX_RETRANSMISSION_BYTES
                or engine.kept_bytes > MAX_RETRANSMISSION_BYTES_IN_ALL
            )
        ):
            self._forget(kept.popitem(last=False)[1])
            self.counts.discarded += 1
        self._sequence = 1 if self._sequence == LAST_SEQUENCE else self._sequence + 1
