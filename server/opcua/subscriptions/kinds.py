"""The kinds of items that queue values, by where those come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from server.opcua.space.attribute import attribute
from server.opcua.space.points import encode_head, stamp
from server.opcua.space.value import LiveValue, StoredValue, head
from server.opcua.subscriptions.data import DataItem
from server.opcua.subscriptions.filters import DataFilter
from server.opcua.subscriptions.item import MonitoredItem, MonitoringMode, join, leave
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.writer import ticks
from server.plant.values import Point

S = TypeVar("S")

if TYPE_CHECKING:
    from server.opcua.space.node import Node
    from server.opcua.subscriptions.subscription import Subscription
    from server.opcua.subscriptions.terms import Terms


class Sourced(DataItem, Generic[S]):
    """A DataItem, and where its values come from."""

    __slots__ = ("source",)

    def __init__(  # as its base, and the source
        self,
        subscription: Subscription,
        number: int,
        handle: bytes,
        node: Node,
        terms: Terms,
        mode: MonitoringMode,
        source: S,
    ) -> None:
        super().__init__(subscription, number, handle, node, terms, mode)
        self.source = source


class PointItem(Sourced[Point]):
    """Of a value of the plant, with a queue or a filter."""

    __slots__ = ()

    def changed(self) -> None:
        """See `MonitoredItem`."""
        if self.sampler is None and self.terms.plain:
            point = self.source
            self.put(point.head or encode_head(point), point.block.stamp or stamp(point.block))
        else:
            super().changed()

    def read(self) -> tuple[bytes, bytes]:
        """See `DataItem`."""
        point = self.source
        return point.head or encode_head(point), stamp(point.block)

    def hook(self) -> None:
        """See `DataItem`."""
        wanted = self.terms.filter
        if isinstance(wanted, DataFilter) and wanted.polls:
            engine = self.subscription.engine
            self.sampler = engine.sampler(self.terms.sampling)
            self.sampler.poll(self, engine.clock())
            engine.polled += 1
            return
        self._listen_or_sample()
        join(self.source, self)

    def unhook(self) -> None:
        """See `DataItem`."""
        leave(self.source, self)
        self._leave_sampler()


class StoredItem(Sourced[StoredValue]):
    """Of a value the server holds."""

    __slots__ = ()

    def read(self) -> tuple[bytes, bytes]:
        """See `DataItem`."""
        return self.source.head, ticks(self.subscription.engine.wall())

    def hook(self) -> None:
        """See `DataItem`."""
        self._listen_or_sample()
        join(self.source, self)

    def unhook(self) -> None:
        """See `DataItem`."""
        leave(self.source, self)
        self._leave_sampler()


class LiveItem(Sourced[LiveValue]):
    """Of a value that has to be asked for."""

    __slots__ = ()

    def read(self) -> tuple[bytes, bytes]:
        """See `DataItem`. Nodes that come and go with sessions tell nobody that they went."""
        if not self.node.alive:
            raise ServiceFault(StatusCodes.BadNodeIdUnknown)
        return self.source.head, ticks(self.subscription.engine.wall())

    def hook(self) -> None:
        """See `DataItem`."""
        engine = self.subscription.engine
        engine.watch(self)
        self.sampler = engine.sampler(self.terms.sampling)
        self.sampler.poll(self, engine.clock())
        engine.polled += 1

    def unhook(self) -> None:
        """See `DataItem`."""
        self.subscription.engine.unwatch(self)
        self._leave_sampler()


class AttributeItem(DataItem):
    """Of an attribute that is no value: it changes with the model only."""

    __slots__ = ()

    def read(self) -> tuple[bytes, bytes]:
        """See `DataItem`."""
        access = self.subscription.access
        variant = None if access is None else attribute(self.node, self.terms.attribute, access)
        if variant is None:
            raise ServiceFault(StatusCodes.BadAttributeIdInvalid)
        return head(variant), ticks(self.subscription.engine.wall())

    def hook(self) -> None:
        """See `DataItem`."""
        self.subscription.engine.watch(self)
        self._listen_or_sample()

    def unhook(self) -> None:
        """See `DataItem`."""
        self.subscription.engine.unwatch(self)
        self._leave_sampler()


class RefusedItem(Sourced[int]):
    """Of what is there no more, or is nothing for this user any more: tells why, once."""

    __slots__ = ()

    refused = True

    def start(self, old: MonitoredItem | None) -> None:
        """See `MonitoredItem`. What was queued before is not told any more."""
        if isinstance(old, DataItem):
            old.queue = None
        super().start(old if isinstance(old, DataItem) else None)

    def has_news(self) -> bool:
        """See `MonitoredItem`. Whatever there is instead is news."""
        return True

    def read(self) -> tuple[bytes, bytes]:
        """See `DataItem`."""
        raise ServiceFault(self.source)

    def hook(self) -> None:
        """See `DataItem`."""
        self.subscription.engine.watch(self)

    def unhook(self) -> None:
        """See `DataItem`."""
        self.subscription.engine.unwatch(self)
