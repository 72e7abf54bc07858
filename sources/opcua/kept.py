"""What is known of one server over all connections: what to read, its subscriptions, what was counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from sources.insight import Traffic
from sources.opcua import wire
from sources.opcua.config import DownstreamSettings, OpcUaTag
from sources.opcua.counts import Counts
from sources.opcua.importing import Importing
from sources.opcua.imports import Wanted
from sources.opcua.security import Surroundings
from sources.resolve import Resolver
from sources.statistics import ScanStatistics
from sources.tag import ScanClass

_EVERY: Final = -1
"""In the place of a type, no value's: whatever comes has to be fitted."""


def nobody() -> None:
    """There is no connection."""


@dataclass(slots=True)
class Subscription:
    """One subscription there: the tags it watches, the place of each its client handle.

    ``interval`` and ``keepalive`` are what the server granted, in seconds. ``sequence`` is the number of
    the last message that was taken.
    """

    id: int
    scan: ScanClass | None
    """None for the one that watches the server itself."""
    interval: float
    keepalive: float
    tags: tuple[OpcUaTag, ...] = ()
    expected: tuple[int, ...] = ()
    """Each tag's type, as a value has it that needs no fitting; of an array no type there is."""
    kinds: list[int] = field(default_factory=list)
    """The type the device was last seen to send."""
    sequence: int = 0
    lasted: float = 0.0
    """How long its last notification took to take in, in seconds."""
    heard: float = 0.0
    """When it was last heard of, by the loop's clock."""
    watched: tuple[bytes, ...] = ()
    """The imported variables it watches in place of tags, by their keys here."""
    wanted: Wanted | None = None
    """The import these are of."""
    taken_over: bool = False
    """Whether it was, and the word of that which is meant for the session before may still come to us."""
    mute: bool = False
    """Whether nothing has come of it since it was taken over, not even that nothing changed."""
    unheard: set[int] = field(default_factory=set)
    """Places of which nothing has come since it was taken over, or since a message of it was lost."""
    odd: set[int] = field(default_factory=set)
    """Places whose values do not fit their tags; told once."""
    refused: dict[int, int] = field(default_factory=dict)
    """Places that the server would not watch, and what it said."""
    items: list[int] = field(default_factory=list)
    """The id of each tag's monitored item."""
    room: int = 0
    """How many values the queues of its items hold: one message has no more."""
    beside: set[int] = field(default_factory=set)
    """Places that were read beside the subscription: it knows nothing of the values that came."""
    settle_at: float = math.inf
    """When the server is to tell of these anew, by the loop's clock."""
    halted: bool = False
    """Whether some items may be disabled, for a moment."""
    retired: set[int] = field(default_factory=set)
    """Places of tags that are read no more. A place is a client handle, which is never another tag's: what
    was on its way for one that went would be taken for the other's."""

    def grow(self, tags: Sequence[OpcUaTag]) -> range:
        """Watch these as well; their places."""
        before = len(self.tags)
        self.tags = (*self.tags, *tags)
        self.expected = (*self.expected, *(tag.type.value if tag.length is None else _EVERY for tag in tags))
        self.kinds += [wire.NOTHING] * len(tags)
        self.items += [0] * len(tags)
        return range(before, len(self.tags))

    def shrink(self, count: int) -> None:
        """Take back the places from there on, whose items were never made."""
        self.tags, self.expected = self.tags[:count], self.expected[:count]
        del self.kinds[count:], self.items[count:]
        for places in (self.retired, self.unheard, self.beside):
            places.difference_update([place for place in places if place >= count])

    def retire(self, there: AbstractSet[int]) -> None:
        """Report nothing more of tags that are not among these, which are given by their identities."""
        gone = {place for place, tag in enumerate(self.tags) if id(tag) not in there}
        self.retired |= gone
        self.unheard -= gone
        self.beside -= gone
        for place in gone & self.refused.keys():
            del self.refused[place]

    @property
    def living(self) -> list[OpcUaTag]:
        """The tags that are read."""
        return [tag for place, tag in enumerate(self.tags) if place not in self.retired]

    def read(self, place: int, now: float, sampling: float | None) -> None:
        """A place was read: a value between two samples may be gone before the server takes note of it."""
        if not self.beside:
            self.settle_at = now + (sampling or self.interval) + self.interval
        self.beside.add(place)

    def reported(self) -> set[int]:
        """The places of which the server reports values."""
        return set(range(len(self.tags or self.watched))) - self.refused.keys() - self.retired


@dataclass(slots=True)
class Plan:
    """What was made of the tags: their nodes there, and the subscriptions that watch them."""

    namespaces: tuple[str, ...]
    start_time: object
    nodes: dict[int, Any]
    """The NodeId of each tag, by the tag's identity."""
    missing: Mapping[int, str]
    """Why a tag has none, by the tag's identity."""
    tags: tuple[OpcUaTag, ...] = ()
    """What it was made for; while it lags behind the device's, of these those that stayed."""
    subscriptions: list[Subscription] = field(default_factory=list)
    places: dict[int, tuple[Subscription, int]] = field(default_factory=dict)
    """Which subscription watches a tag, at which place, by the tag's identity."""
    imports: tuple[Wanted, ...] = ()
    """Those that were carried out."""

    def retire(self, tags: Sequence[OpcUaTag]) -> None:
        """Know nothing more of tags that are not among these; their items are still to be deleted."""
        there = set(map(id, tags))
        self.tags = tuple([tag for tag in self.tags if id(tag) in there])
        self.nodes = {key: node for key, node in self.nodes.items() if key in there}
        self.missing = {key: why for key, why in self.missing.items() if key in there}
        self.places = {key: place for key, place in self.places.items() if key in there}
        for subscription in self.subscriptions:
            subscription.retire(there)


@dataclass(slots=True)
class Device:
    """One downstream server."""

    name: str
    settings: DownstreamSettings
    tags: tuple[OpcUaTag, ...]
    recheck: float
    """Seconds after which what is missing is looked for again."""
    surroundings: Surroundings = field(default_factory=Surroundings)
    resolver: Resolver = field(init=False)
    statistics: dict[str, ScanStatistics] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    plan: Plan | None = None
    """Of the last connection: its subscriptions may still be there."""
    imports: tuple[Wanted, ...] = ()
    importing: Importing | None = None
    """How imported nodes are named and reached there; None where nobody shows any."""
    counts: Counts | None = None
    """What passed on its way to whoever shows it."""
    wake: Callable[[], None] = nobody
    """Has whoever scans look at what is wanted."""
    told: set[str] = field(default_factory=set)
    """Tags whose lack stands in the log."""
    transfers: bool = True
    """Whether the server is asked to transfer subscriptions: not where one said nothing afterwards."""
    settles: bool = True
    """Whether the server is asked to tell of items anew: not where it refused it."""
    transferred: int = 0
    """How often subscriptions outlived a connection."""
    republished: int = 0
    """How many messages were asked for again."""
    lost_messages: int = 0
    """How many of these the server had no longer."""
    model_changes: int = 0
    on_retag: Callable[[], None] | None = None
    """Called when the tags are others, by whoever scans them. Must not raise."""

    def retag(self, tags: Sequence[OpcUaTag]) -> None:
        """Have other tags."""
        before, self.tags = self.tags, tuple(tags)
        there = set(map(id, self.tags))
        self.told -= {tag.name for tag in before if id(tag) not in there}
        if self.plan is not None:
            self.plan.retire(self.tags)
        if self.on_retag is not None:
            self.on_retag()

    def __post_init__(self) -> None:
        self.resolver = Resolver(self.settings.host, self.settings.port)
