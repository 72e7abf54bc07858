"""MonitoredItems that queue the values of attributes (OPC 10000-4 §5.13.1)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from server.opcua.services.readvalue import BOTH, refined, timed
from server.opcua.space.value import head
from server.opcua.subscriptions.filters import DataFilter
from server.opcua.subscriptions.heads import overflown, same
from server.opcua.subscriptions.item import DISABLED, REPORTING, MonitoredItem, MonitoringMode
from server.opcua.types import ServiceFault
from server.opcua.wire.writer import ticks

if TYPE_CHECKING:
    from server.opcua.space.node import Node
    from server.opcua.subscriptions.sampler import Sampler
    from server.opcua.subscriptions.subscription import Subscription
    from server.opcua.subscriptions.terms import Terms


class DataItem(MonitoredItem):
    """Samples a value, and queues those samples that its filter lets pass.

    What a kind of value has to say is in `read`, `hook` and `unhook`.
    """

    __slots__ = ("_dirty", "_waiting", "last", "mode", "queue", "sampler")

    idle = False
    refused = False
    """Whether it tells no more than why there is no value."""

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
        self.queue: list[bytes] | None = None
        """Head and ServerTimestamp of each value that waits, the oldest first; None for none."""
        self.last: bytes | None = None
        """The head that was queued last."""
        self.sampler: Sampler | None = None
        self._waiting = False
        self._dirty = False

    @abstractmethod
    def read(self) -> tuple[bytes, bytes]:
        """Head and ServerTimestamp of the value now. Raises ServiceFault."""

    @abstractmethod
    def hook(self) -> None:
        """Have changes told, or take samples from time to time."""

    @abstractmethod
    def unhook(self) -> None:
        """The opposite."""

    # --- MonitoredItem

    def changed(self) -> None:
        """See `MonitoredItem`."""
        if self.sampler is None:
            self.take()
        elif not self._dirty:
            self._dirty = True
            self.sampler.mark(self, self.subscription.engine.clock())

    def start(self, old: MonitoredItem | None) -> None:
        """See `MonitoredItem`."""
        if self.mode is DISABLED:
            return
        self.hook()
        if isinstance(old, DataItem):
            self.queue, self.last = old.queue, old.last
            self._fit()
        elif old is not None:
            self.last, time = self._sample()
            if old.has_news():
                self.queue = [self.last, time]
        if self.last is None or self.refused or (isinstance(old, DataItem) and old.refused):
            self.take()
        elif isinstance(old, DataItem):
            # What changed since the other looked last it never told.
            DataItem.changed(self)
        if self.queue is not None and self.mode is REPORTING and not self._waiting:
            self._wait()

    def stop(self) -> None:
        """See `MonitoredItem`."""
        if self.mode is not DISABLED:
            self.unhook()

    def has_news(self) -> bool:
        """See `MonitoredItem`. What was not told yet is news, too."""
        return self.queue is not None or self.last is None or not same(self.last, self._sample()[0])

    def is_pending(self) -> bool:
        """See `MonitoredItem`."""
        return self._waiting

    def give(self, parts: list[bytes], most: int) -> int:
        """See `MonitoredItem`."""
        queue = self.queue
        if queue is None:
            self._waiting = False
            return 0
        count = len(queue) // 2
        if count > most:
            self.queue = queue[2 * most :]
            count = most
        else:
            self.queue = None
            self._waiting = False
        handle, timestamps = self.handle, self.terms.timestamps
        for at in range(0, 2 * count, 2):
            parts.append(handle)
            if timestamps == BOTH:
                parts.append(queue[at])
                parts.append(queue[at + 1])
            else:
                parts.append(timed(queue[at], queue[at + 1], timestamps))
                parts.append(b"")
        return count

    def resend(self) -> None:
        """See `MonitoredItem`."""
        if self.queue is None and self.last is not None:
            self.queue = [self.last, self._sample()[1]]
            if self.mode is REPORTING:
                self._wait()

    # --- Sampling

    def sampled(self) -> None:
        """Its sampler ticks."""
        self._dirty = False
        if self.sampler is not None:
            self.take()

    def take(self) -> None:
        """Take a sample."""
        whole, time = self._sample()
        last = self.last
        if last is not None:
            wanted = self.terms.filter
            if wanted is None:
                if same(last, whole):
                    return
            elif isinstance(wanted, DataFilter) and not wanted.passes(last, whole):
                return
        self.put(whole, time)

    def put(self, whole: bytes, time: bytes) -> None:
        """Queue a value (OPC 10000-4 §5.13.1.5)."""
        self.last = whole
        queue = self.queue
        if queue is None:
            self.queue = [whole, time]
        else:
            size = 2 * self.terms.queue_size
            if len(queue) < size:
                queue.append(whole)
                queue.append(time)
            else:
                self._overflow(queue, whole, time)
        if self.mode is REPORTING and not self._waiting:
            self._waiting = True
            self.subscription.pending.append(self)
        links = self.subscription.links
        if links and self.id in links:
            self.subscription.fired[self.id] = None

    def wait(self) -> None:
        """What is queued is to be sent: a trigger fired."""
        if self.queue is not None and not self._waiting:
            self._wait()

    def _wait(self) -> None:
        self._waiting = True
        self.subscription.pending.append(self)

    def _sample(self) -> tuple[bytes, bytes]:
        terms = self.terms
        try:
            whole, time = self.read()
            if terms.index_range or terms.encoding[1]:
                whole = refined(whole, terms.index_range, terms.encoding[1])
        except ServiceFault as fault:
            return head(b"", fault.code), ticks(self.subscription.engine.wall())
        return whole, time

    def _overflow(self, queue: list[bytes], whole: bytes, time: bytes) -> None:
        if len(queue) == 2:  # a queue of one is a buffer for the newest, and nothing flows over
            queue[0], queue[1] = whole, time
            return
        self.subscription.overflows += 1
        if self.terms.discard_oldest:
            del queue[:2]
            queue.append(whole)
            queue.append(time)
            queue[0] = overflown(queue[0])
        else:
            queue[-2], queue[-1] = overflown(whole), time

    def _fit(self) -> None:
        """Let a queue that was longer have no more than it may have now."""
        queue, size = self.queue, 2 * self.terms.queue_size
        if queue is None or len(queue) <= size:
            return
        if self.terms.discard_oldest or size == 2:
            self.queue = queue[-size:]
            if size > 2:
                self.queue[0] = overflown(self.queue[0])
        else:
            self.queue = queue[: size - 2] + queue[-2:]
            self.queue[-2] = overflown(self.queue[-2])
        self.subscription.overflows += size > 2

    def _listen_or_sample(self) -> None:
        """Where it samples less often than the value changes, a sampler paces it."""
        if self.terms.sampling > self.terms.floor:
            self.sampler = self.subscription.engine.sampler(self.terms.sampling)

    def _leave_sampler(self) -> None:
        if self.sampler is not None:
            self.subscription.engine.polled -= self.sampler.leave(self)
            self.sampler = None
