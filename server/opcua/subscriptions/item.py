"""What every MonitoredItem is (OPC 10000-4 §5.13), and the plainest of them."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from server.opcua.services.readvalue import timed
from server.opcua.space.points import encode_head, stamp

if TYPE_CHECKING:
    from server.opcua.space.node import Node
    from server.opcua.subscriptions.subscription import Subscription
    from server.opcua.subscriptions.terms import Terms
    from server.plant.values import Point


class MonitoringMode(enum.IntEnum):
    """MonitoringMode (OPC 10000-4 §7.23)."""

    Disabled = 0
    Sampling = 1
    Reporting = 2


DISABLED: Final = MonitoringMode.Disabled
SAMPLING: Final = MonitoringMode.Sampling
REPORTING: Final = MonitoringMode.Reporting

_FEW: Final = 8


class MonitoredItem(ABC):
    """One item of one subscription.

    An item never changes what it is: where a request or the model asks for another, a new one
    takes over its number, its handle and what it still has to tell. ``start`` and ``stop`` are
    called once each.
    """

    __slots__ = ("handle", "id", "node", "subscription", "terms")

    idle: bool
    """Whether all that `changed` would do is to clear this and to append the item to
    ``subscription.pending``: whoever has many items to tell may do that in its place."""
    mode: MonitoringMode

    def __init__(
        self, subscription: Subscription, number: int, handle: bytes, node: Node, terms: Terms
    ) -> None:
        self.subscription = subscription
        self.id = number
        self.handle = handle
        """The ClientHandle as it travels."""
        self.node = node
        self.terms = terms

    @abstractmethod
    def changed(self) -> None:
        """The value it watches has another head now. Synchronous; must neither block nor raise."""

    @abstractmethod
    def start(self, old: MonitoredItem | None) -> None:
        """Begin to watch. ``old`` is the stopped item whose place it takes, if any."""

    @abstractmethod
    def stop(self) -> None:
        """Watch no more. What is queued stays, for who takes its place."""

    @abstractmethod
    def has_news(self) -> bool:
        """Whether whoever takes its place has something to tell at once."""

    @abstractmethod
    def is_pending(self) -> bool:
        """Whether it stands in one of the subscription's lists of what is to be sent."""

    @abstractmethod
    def give(self, parts: list[bytes], most: int) -> int:
        """Move what is queued to ``parts``, at most so many notifications; how many they were."""

    def resend(self) -> None:  # noqa: B027  # events are not sent again
        """Tell the last value once more, where nothing is queued (OPC 10000-4 §5.14.7)."""


class PlainItem(MonitoredItem):
    """A value of the plant in Reporting mode, with a queue of one and no filter.

    It keeps no value: the newest is what its point has when the message is made. So it
    samples whenever its subscription publishes.
    """

    __slots__ = ("idle", "point")

    mode = REPORTING

    def __init__(  # as its base, and the point
        self, subscription: Subscription, number: int, handle: bytes, node: Node, terms: Terms, point: Point
    ) -> None:
        # Not through the base: a hundred thousand are made at a time.
        self.subscription = subscription
        self.id = number
        self.handle = handle
        self.node = node
        self.terms = terms
        self.point = point
        self.idle = True

    def changed(self) -> None:
        """See `MonitoredItem`."""
        if self.idle:
            self.idle = False
            self.subscription.pending.append(self)

    def start(self, old: MonitoredItem | None) -> None:
        """See `MonitoredItem`."""
        join(self.point, self)
        if old is None or old.has_news():
            self.idle = False
            self.subscription.pending.append(self)

    def stop(self) -> None:
        """See `MonitoredItem`."""
        leave(self.point, self)

    def has_news(self) -> bool:
        """See `MonitoredItem`."""
        return not self.idle

    def is_pending(self) -> bool:
        """See `MonitoredItem`."""
        return not self.idle

    def give(self, parts: list[bytes], most: int) -> int:
        """See `MonitoredItem`. For many at a time, `Subscription` does the same itself."""
        if most <= 0:
            return 0
        self.idle = True
        point = self.point
        parts += (self.handle, point.head or encode_head(point), stamp(point.block))
        return 1

    def resend(self) -> None:
        """See `MonitoredItem`."""
        self.changed()


class TimedPlainItem(PlainItem):
    """The same for a client that wants other timestamps than both."""

    __slots__ = ()

    def give(self, parts: list[bytes], most: int) -> int:
        """See `MonitoredItem`."""
        if most <= 0:
            return 0
        self.idle = True
        point = self.point
        whole = timed(point.head or encode_head(point), stamp(point.block), self.terms.timestamps)
        parts += (self.handle, whole, b"")
        return 1


def join(value: Any, item: MonitoredItem) -> None:
    """Have a Point or a StoredValue tell an item of its changes.

    A few stand in a tuple, which is small; many in a dict, from which each finds its way out.
    """
    items = value.items
    if items is None:
        value.items = (item,)
    elif len(items) < _FEW:
        value.items = (*items, item)
    else:
        if type(items) is not dict:
            items = value.items = dict.fromkeys(items)
        items[item] = None


def leave(value: Any, item: MonitoredItem) -> None:
    """The opposite."""
    items = value.items
    if items is None:
        return
    if type(items) is dict:
        items.pop(item, None)
        if len(items) < _FEW:
            value.items = tuple(items) or None
    else:
        value.items = tuple([other for other in items if other is not item]) or None
