"""The parameters of monitored items: read from requests, and revised (OPC 10000-4 §5.13.2, §7.21)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from server.opcua.limits import MAX_QUEUED_NOTIFICATIONS
from server.opcua.services.readvalue import ReadValueId
from server.opcua.space.node import Node
from server.opcua.space.permissions import Permission
from server.opcua.space.value import LiveValue
from server.opcua.subscriptions.conceive import Visible
from server.opcua.subscriptions.event_filter import EVENT, EventFilter, event_filter
from server.opcua.subscriptions.filters import DATA_CHANGE, DataFilter, data_filter
from server.opcua.subscriptions.item import MonitoringMode
from server.opcua.subscriptions.terms import (
    EVENT_NOTIFIER,
    NO_FILTER,
    VALUE,
    Terms,
    revise_event_queue,
    revise_queue,
    revise_sampling,
    scan_interval,
)
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire.nodeid import NULL, Key, numeric
from server.opcua.wire.reader import DecodingError, Reader
from server.plant.values import Point

if TYPE_CHECKING:
    from server.opcua.space.permissions import Access
    from server.opcua.subscriptions.subscription import Subscription

SMALLEST_CREATE: Final = 40
SMALLEST_MODIFY: Final = 24
NEITHER: Final = 3
"""The last of TimestampsToReturn."""

_STRING: Final = 3
"""The first byte of a NodeId that is a String."""
_TAIL_SIZE: Final = 38
"""Bytes behind the NodeId where there is no IndexRange, no DataEncoding and no filter."""
_MODES: Final = {int(mode): mode for mode in MonitoringMode}
_AGGREGATE: Final = numeric(ObjectIds.AggregateFilter_Encoding_DefaultBinary)
_SUBSCRIBE_TO_EVENTS: Final = 0x01


class Parameters(NamedTuple):
    """MonitoringParameters (§7.21)."""

    handle: bytes
    sampling: float
    filter: Key
    body: bytes | None
    queue_size: int
    discard_oldest: bool


class Wanted(NamedTuple):
    """MonitoredItemCreateRequest (§5.13.2)."""

    node: Key
    attribute: int
    index_range: str
    encoding: tuple[int, str]
    mode: int
    parameters: Parameters


def read_parameters(reader: Reader) -> Parameters:
    """Decode them. Raises DecodingError."""
    handle, sampling = reader.take(4), reader.double()
    kind, body = reader.extension_object()
    return Parameters(handle, sampling, kind, body, reader.uint32(), reader.boolean())


class Alike:
    """Requests that differ in node and ClientHandle only, and ask for whole values without a filter."""

    __slots__ = ("by_floor", "mode", "wanted")

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        """One of them."""
        self.mode = monitoring_mode(wanted.mode)
        self.by_floor: dict[float, Terms] = {}
        """What they get, by how often the value can change."""


class PlainWanted(NamedTuple):
    """One of many that are alike, of a node that is there."""

    node: Node
    handle: bytes
    alike: Alike


class Decoder:
    """Decodes the MonitoredItemCreateRequests of a call.

    They come by the thousand, alike but for node and handle: those are recognised by their
    bytes, and what they ask for is decoded once.
    """

    def __init__(self, reader: Reader, find: Callable[[Key], Node | None]) -> None:
        self._reader = reader
        self._find = find
        self._known: dict[bytes, Alike] = {}

    def add(self, found: list[PlainWanted | Wanted], count: int) -> None:
        """Decode so many more. Raises DecodingError."""
        reader, find, known = self._reader, self._find, self._known
        data, end = reader.data, reader.end
        for _ in range(count):
            at = reader.at
            tail = at + 7
            if end - tail >= _TAIL_SIZE and data[at] == _STRING:
                size = int.from_bytes(data[at + 3 : tail], "little")
                tail += size
                if size <= end - tail - _TAIL_SIZE and (node := find(data[at:tail])) is not None:
                    raw = data[tail : tail + 18] + data[tail + 22 : tail + _TAIL_SIZE]
                    alike = known.get(raw)
                    if alike is None and (alike := _alike(Reader(data, at))) is not None:
                        known[raw] = alike
                    if alike is not None:
                        found.append(PlainWanted(node, data[tail + 18 : tail + 22], alike))
                        reader.at = tail + _TAIL_SIZE
                        continue
            found.append(read_wanted(reader))


def _alike(reader: Reader) -> Alike | None:
    """What the request there has in common with others; None where it is not plain."""
    at = reader.at
    wanted = read_wanted(reader)
    plain = (
        wanted.attribute == VALUE
        and not wanted.index_range
        and not wanted.encoding[1]
        and wanted.parameters.filter == NULL
        and wanted.mode in _MODES
        and reader.at - at == len(wanted.node) + _TAIL_SIZE
    )
    return Alike(wanted) if plain else None


def read_wanted(reader: Reader) -> Wanted:
    """Decode one. Raises DecodingError."""
    node = reader.key()
    attribute = reader.uint32()
    index_range = reader.string() or ""
    namespace, name = reader.qualified_name()
    mode = reader.int32()
    return Wanted(node, attribute, index_range, (namespace, name or ""), mode, read_parameters(reader))


def monitoring_mode(number: int) -> MonitoringMode:
    """The mode of that number. Raises ServiceFault (BadMonitoringModeInvalid)."""
    mode = _MODES.get(number)
    if mode is None:
        raise ServiceFault(StatusCodes.BadMonitoringModeInvalid)
    return mode


def check_timestamps(number: int) -> int:
    """TimestampsToReturn. Raises ServiceFault (BadTimestampsToReturnInvalid)."""
    if not 0 <= number <= NEITHER:
        raise ServiceFault(StatusCodes.BadTimestampsToReturnInvalid)
    return number


def check_node(subscription: Subscription, access: Access, wanted: Wanted) -> Node:
    """The node, if what is asked of it may be watched. Raises ServiceFault."""
    node = subscription.engine.values.check(access, ReadValueId(*wanted[:4]))
    if wanted.attribute == EVENT_NOTIFIER:
        encoded = node.attributes.get(EVENT_NOTIFIER)
        if encoded is None or not encoded[1] & _SUBSCRIBE_TO_EVENTS:
            raise ServiceFault(StatusCodes.BadNotSupported, "no notifier of events")
        if not node.role_permissions.of(access.roles) & Permission.ReceiveEvents:
            raise ServiceFault(StatusCodes.BadUserAccessDenied)
    return node


class Negotiation:
    """Makes the terms of a call's items; those that are asked for alike share theirs."""

    def __init__(self, subscription: Subscription, access: Access, timestamps: int) -> None:
        self._subscription = subscription
        self._visible = Visible(access)
        self._timestamps = timestamps
        self._known: dict[tuple[object, ...], Terms] = {}

    def terms(self, node: Node, wanted: Wanted) -> Terms:
        """What an item gets. Raises ServiceFault and, with the EventFilterResult, FilterRefused."""
        _, sampling, kind, body, queue_size, discard = wanted.parameters
        attribute = wanted.attribute
        floor = self._floor(node, attribute)
        chosen, result = self._filter(node, attribute, kind, body)
        if isinstance(chosen, EventFilter):
            return Terms(
                attribute,
                self._timestamps,
                sampling,
                0.0,
                0.0,
                self._grant(revise_event_queue(queue_size)),
                chosen,
                discard_oldest=discard,
                filter_result=result,
            )
        if isinstance(chosen, DataFilter) and chosen.polls:
            floor = max(floor, self._subscription.engine.least_polling)
        size = self._grant(revise_queue(queue_size)) if queue_size > 1 else 1
        key = (attribute, sampling, floor, size, discard, chosen, wanted.index_range, wanted.encoding)
        found = self._known.get(key)
        if found is None:
            interval = self._subscription.settings.interval
            found = self._known[key] = Terms(
                attribute,
                self._timestamps,
                sampling,
                revise_sampling(sampling, interval, floor),
                floor,
                size,
                chosen,
                discard_oldest=discard,
                index_range=wanted.index_range,
                encoding=wanted.encoding,
            )
        return found

    def plain_terms(self, plain: PlainWanted) -> Terms | None:
        """What one of many gets whose node needs no closer look; None where it does."""
        node, _, alike = plain
        value = node.value
        if not (type(value) is Point and node.alive and self._visible.may_read(node)):
            return None
        binding = value.property.binding
        terms = alike.by_floor.get(0.0 if binding is None else binding.tag.scan.period * 1000.0)
        if terms is not None and terms.queue_size > 1 and self._grant(terms.queue_size) == 1:
            return None
        return terms

    def _filter(
        self, node: Node, attribute: int, kind: Key, body: bytes | None
    ) -> tuple[DataFilter | EventFilter | None, bytes]:
        space = self._subscription.engine.space
        if attribute == EVENT_NOTIFIER:
            if kind != EVENT:
                raise ServiceFault(StatusCodes.BadEventFilterInvalid)
            try:
                return event_filter(body, space)
            except DecodingError as error:
                raise ServiceFault(StatusCodes.BadEventFilterInvalid, str(error)) from error
        if kind == NULL:
            return None, NO_FILTER
        if kind == EVENT or (kind in {DATA_CHANGE, _AGGREGATE} and attribute != VALUE):
            raise ServiceFault(StatusCodes.BadFilterNotAllowed)
        if kind == _AGGREGATE:
            raise ServiceFault(StatusCodes.BadMonitoredItemFilterUnsupported)
        if kind != DATA_CHANGE:
            raise ServiceFault(StatusCodes.BadMonitoredItemFilterInvalid)
        try:
            return data_filter(body, node, space, self._subscription.engine.types), NO_FILTER
        except DecodingError as error:
            raise ServiceFault(StatusCodes.BadMonitoredItemFilterInvalid, str(error)) from error

    def _floor(self, node: Node, attribute: int) -> float:
        """How often the attribute can change at most, in milliseconds."""
        if attribute != VALUE:
            return 0.0
        value = node.value
        if isinstance(value, Point):
            return scan_interval(value)
        return self._subscription.engine.least_polling if isinstance(value, LiveValue) else 0.0

    def _grant(self, size: int) -> int:
        """What of a queue there is room for; the items count it when they are put in place."""
        return size if self._subscription.engine.queued + size <= MAX_QUEUED_NOTIFICATIONS else 1
