"""What a MonitoredItem was asked for and what it got (OPC 10000-4 §7.21)."""

from __future__ import annotations

import copy
import math
import struct
from typing import TYPE_CHECKING, Final

from server.opcua.limits import (
    DEFAULT_EVENT_QUEUE_SIZE,
    MAX_EVENT_QUEUE_SIZE,
    MAX_MONITORED_ITEMS_QUEUE_SIZE,
    MAX_SAMPLING_INTERVAL,
)
from server.opcua.subscriptions.filters import DataFilter
from server.opcua.types import AttributeIds
from server.plant.values import Point

if TYPE_CHECKING:
    from server.opcua.space.node import Node
    from server.opcua.space.space import Space
    from server.opcua.subscriptions.event_filter import EventFilter

VALUE: Final = int(AttributeIds.Value)
EVENT_NOTIFIER: Final = int(AttributeIds.EventNotifier)
NO_FILTER: Final = b"\x00\x00\x00"
"""A null ExtensionObject."""

_EVENT_COST: Final = 10
"""An event takes as much room as so many values."""
_RESULT: Final = struct.Struct("<dI")
_FINE, _COARSE = 10.0, 100.0
_FINE_BELOW: Final = 1000.0


class Terms:
    """The terms of one item, or of many that have the same: never changed."""

    __slots__ = (
        "attribute",
        "cost",
        "discard_oldest",
        "encoding",
        "filter",
        "floor",
        "index_range",
        "plain",
        "queue_size",
        "requested",
        "result",
        "sampling",
        "timestamps",
    )

    def __init__(  # noqa: PLR0913  # each is a parameter of its own
        self,
        attribute: int,
        timestamps: int,
        requested: float,
        sampling: float,
        floor: float,
        queue_size: int,
        filter: DataFilter | EventFilter | None = None,  # noqa: A002  # as the specification calls it
        *,
        discard_oldest: bool = True,
        index_range: str = "",
        encoding: tuple[int, str] = (0, ""),
        filter_result: bytes = NO_FILTER,
    ) -> None:
        """``requested`` and ``sampling`` (revised) in milliseconds.

        ``floor`` is how often the value can change at most: an item that samples as often has
        nothing to do but to listen.
        """
        self.attribute = attribute
        self.timestamps = timestamps
        self.requested = requested
        self.sampling = sampling
        self.floor = floor
        self.queue_size = queue_size
        self.filter = filter
        self.discard_oldest = discard_oldest
        self.index_range = index_range
        self.encoding = encoding
        self.plain = attribute == VALUE and filter is None and not index_range and not encoding[1]
        """Whether every change of the value, as it is, is a notification."""
        self.cost = (queue_size - 1) * (_EVENT_COST if attribute == EVENT_NOTIFIER else 1)
        """What its queue takes of `MAX_QUEUED_NOTIFICATIONS`: nothing for a queue of one."""
        self.result = _RESULT.pack(sampling, queue_size) + filter_result
        """How a MonitoredItemCreateResult ends: revised interval and queue size, filter result."""

    def over(self, variable: Node, space: Space) -> Terms:
        """The terms as the variable's EURange and scan class have them now; itself where nothing differs.

        The revised interval stays what the client was told.
        """
        wanted, floor = self.filter, self.floor
        if isinstance(wanted, DataFilter):
            wanted = wanted.over(variable, space)
        if isinstance(variable.value, Point) and self.attribute == VALUE:
            floor = scan_interval(variable.value)
        if wanted == self.filter and (self.sampling > floor) is (self.sampling > self.floor):
            return self
        made = copy.copy(self)
        made.filter, made.floor = wanted, floor
        return made


def scan_interval(point: Point) -> float:
    """How often a value of the plant can change at most, in milliseconds."""
    binding = point.property.binding
    return 0.0 if binding is None else binding.tag.scan.period * 1000.0


def revise_sampling(requested: float, publishing: float, floor: float) -> float:
    """The revised sampling interval in milliseconds (OPC 10000-4 §5.13.1.2).

    Below zero means as often as published, zero as often as possible. Intervals longer than
    ``floor`` go up to a grid of 10 ms, from a second on 100 ms, so that they are few.
    """
    wanted = publishing if math.isnan(requested) or requested < 0 else requested
    if wanted <= floor:
        return floor
    wanted = min(wanted, MAX_SAMPLING_INTERVAL)
    step = _FINE if wanted <= _FINE_BELOW else _COARSE
    return max(math.ceil(wanted / step - 1e-6) * step, floor)


def revise_queue(requested: int) -> int:
    """The revised queue size of an item that watches values: at least one (OPC 10000-4 §7.21)."""
    return min(max(requested, 1), MAX_MONITORED_ITEMS_QUEUE_SIZE)


def revise_event_queue(requested: int) -> int:
    """The revised queue size of an item that watches events.

    0 asks for the default, 1 for the least and the highest number for the most there is.
    """
    return DEFAULT_EVENT_QUEUE_SIZE if requested == 0 else min(requested, MAX_EVENT_QUEUE_SIZE)
