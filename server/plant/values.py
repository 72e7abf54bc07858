"""The value store: the live cell of every property. Values enter once, in batches; all readers look here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from server.plant.convert import Cast, Conversion, ConversionError
from server.plant.difference import PropertyChange
from server.plant.model import Plant, Property, PropertyType
from sources.batch import Batch
from sources.clock import now
from sources.quality import (
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_SERVICE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    Quality,
    is_bad,
)
from sources.tag import Tag, Value, ValueType, same

log = logging.getLogger(__name__)

ARRAY: Final = 0x80
"""What the number of a type has beside it for an array of it, as in a Variant (OPC 10000-6 §5.2.2.16)."""

_UNSET: Final = object()
_NOBODYS: Final = Property("", PropertyType("", ValueType.Int32))


class ScanBlock:
    """What the points of one block read share: when the device was last heard (ticks)."""

    __slots__ = ("layout", "raws", "stamp", "time", "types")

    def __init__(self, time: int) -> None:
        self.time = time
        self.raws: Sequence[Value] | None = None
        """What the points held when all of them were Good last, None where that is not known."""
        self.types: Sequence[type] = ()
        """The types of ``raws``: True is not 1."""
        self.layout = -1
        """The store's layout at that time: where it is another, points may have moved."""
        self.stamp: bytes | None = None
        """The time as a protocol encodes it: made by the first reader, forgotten by `heard`."""

    def heard(self, time: int) -> None:
        """The device was heard at that time."""
        self.time = time
        self.stamp = None


class Point:
    """The live cell of one property.

    ``value`` is None whenever ``status`` is Bad (OPC 10000-4 §7.11.1). ``source_time`` is
    the device's own time where it has one, else when value or status last changed
    (§7.11.3); ``server_time`` advances with every successful poll (§7.11.4). Times are ticks.
    """

    __slots__ = (
        "block",
        "conversion",
        "head",
        "items",
        "kind",
        "property",
        "raw",
        "source_time",
        "status",
        "value",
    )

    def __init__(self, prop: Property, time: int, block: ScanBlock | None = None) -> None:
        """``block`` is one for points that were never read; a constant has its own."""
        self.property = prop
        self.kind: int = _kind(prop.type)
        """The number of its ValueType; of an array with `ARRAY`."""
        self.block = block or ScanBlock(time)
        self.conversion = _conversion(prop)
        self.raw: object = _UNSET
        self.value: Value = None
        self.status: Quality = BAD_WAITING_FOR_INITIAL_DATA
        self.source_time = time
        self.head: bytes | None = None
        """Value, status and source time as a protocol encodes them: made by the first reader, kept
        until one of them changes. One for all, as OPC UA alone serves values beside MQTT."""
        self.items: Collection[Any] | None = None
        """What a protocol hung on it to be told of changes."""

    @property
    def server_time(self) -> int:
        """When this value was last known to be so."""
        return self.block.time


Listener: TypeAlias = Callable[[Sequence[Point]], None]
"""Takes the points whose value or status changed. Synchronous; must neither block nor raise."""


class ValueStore:
    """All points of a plant, and who wants to hear of their changes."""

    def __init__(self, plant: Plant, time: int | None = None) -> None:
        """Every bound point starts as BadWaitingForInitialData, a disabled one as BadOutOfService."""
        start = now() if time is None else time
        self.layout = 0
        """Grows when points move to other blocks."""
        unread = ScanBlock(start)
        self._points = {p.key: Point(p, start, unread if p.binding else None) for p in plant.properties()}
        self.points: Mapping[str, Point] = self._points
        """Every point by its property's key; `change` changes it."""
        self._by_tag: dict[int, Point] = {}
        """By the identity of the tag, which lives as long as its point's property."""
        self._blocks: dict[int, tuple[tuple[Tag[Any], ...], list[Point], ScanBlock]] = {}
        self._listeners: list[Listener] = []
        for point in self.points.values():
            self._begin(point, start)

    def _begin(self, point: Point, time: int, held: Mapping[str, Value] = MappingProxyType({})) -> None:
        """Have a point hold what it holds before anything was read; ``held`` has values of constants."""
        binding = point.property.binding
        if binding is None:
            prop = point.property
            self._store(point, held.get(prop.key, prop.constant), GOOD, time)
        elif not binding.enabled:
            point.status = BAD_OUT_OF_SERVICE
        else:
            self._by_tag[id(binding.tag)] = point

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have every change told; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def make(self, properties: Iterable[Property], time: int | None = None) -> list[Point]:
        """Points that are not in the store yet. Touches nothing that is shared."""
        start = now() if time is None else time
        unread = ScanBlock(start)
        return [Point(p, start, unread if p.binding else None) for p in properties]

    def change(
        self,
        *,
        removed: Iterable[Property] = (),
        changed: Iterable[PropertyChange] = (),
        added: Iterable[Point] = (),
        unknown: Iterable[Property] = (),
        held: Mapping[str, Value] = MappingProxyType({}),
        time: int | None = None,
    ) -> None:
        """Have other properties, and tell the listeners whose value or status is another by that.

        A changed property keeps its point, with all that hangs on it; where it does not keep its
        value it begins again as a new one does. ``added`` come from `make`. ``unknown`` are those
        that stay and are read from another device from now on: they wait for its first answer.
        ``held`` are values that constants which begin have in place of the configuration's, by key.
        """
        moment = now() if time is None else time
        told: list[Point] = []
        for prop in removed:
            self._forget_tag(self._points.pop(prop.key))
        for change in changed:
            point = self._points[change.new.key]
            if self._renew(point, change, moment, held):
                told.append(point)
        for point in added:
            self._points[point.property.key] = point
            self._begin(point, moment, held)
        for prop in unknown:
            point = self._points[prop.key]
            if self._mark(point, BAD_WAITING_FOR_INITIAL_DATA, moment):
                told.append(point)
        # What the blocks hold of their points may be another's now; the living come back at once.
        self._blocks.clear()
        self.layout += 1
        self._tell(told)

    def _renew(self, point: Point, change: PropertyChange, time: int, held: Mapping[str, Value]) -> bool:
        """Make a point that of another state of its property; whether it holds something else by that."""
        self._forget_tag(point)
        point.property = change.new
        point.kind = _kind(change.new.type)
        point.conversion = _conversion(change.new)
        binding = change.new.binding
        if change.keeps:
            if binding is not None and binding.enabled:
                self._by_tag[id(binding.tag)] = point
            return False
        before = point.value, point.status
        point.block = ScanBlock(time)
        point.value, point.raw, point.head = None, _UNSET, None
        point.status, point.source_time = BAD_WAITING_FOR_INITIAL_DATA, time
        self._begin(point, time, held)
        return before != (point.value, point.status)

    def _forget_tag(self, point: Point) -> None:
        binding = point.property.binding
        if binding is not None and self._by_tag.get(id(binding.tag)) is point:
            del self._by_tag[id(binding.tag)]

    def ingest(self, batch: Batch) -> None:
        """Take a batch in and tell the listeners what it changed.

        Without values an Uncertain quality keeps each point's last value; a point that
        has none becomes BadNoCommunication. A Bad quality empties the point.
        """
        points, block = self._block(batch.tags)
        if batch.places is not None:
            block.raws = None
            self._tell(self._some(points, block, batch, batch.places))
        elif batch.values is None or batch.qualities != GOOD or batch.device_times is not None:
            block.raws = None
            self._tell(self._each(points, block, batch))
        elif block.raws is None or block.layout != self.layout:
            changed = self._each(points, block, batch)
            block.raws, block.types = batch.values, list(map(type, batch.values))
            block.layout = self.layout
            self._tell(changed)
        else:
            block.heard(batch.received)
            types = list(map(type, batch.values))
            if block.raws != batch.values or block.types != types:
                self._tell(self._differing(points, block.raws, batch.values, batch.received))
                block.raws, block.types = batch.values, types

    def _each(self, points: list[Point], block: ScanBlock, batch: Batch) -> list[Point]:
        """Take a batch in point by point; the points it changed."""
        one = batch.qualities if isinstance(batch.qualities, int) else None
        if batch.values is not None and (one is None or not is_bad(one)):
            block.heard(batch.received)
        times = batch.device_times
        changed: list[Point] = []
        for index, point in enumerate(points):
            quality = batch.qualities[index] if not isinstance(batch.qualities, int) else batch.qualities
            time = batch.received if times is None else times[index] or batch.received
            if point.block is not block:
                point.block = block
                self.layout += 1
            if batch.values is None or is_bad(quality):
                if self._mark(point, quality, time):
                    changed.append(point)
            elif self._take(point, batch.values[index], quality, time, own_time=times is not None):
                changed.append(point)
        return changed

    def _some(
        self, points: list[Point], block: ScanBlock, batch: Batch, places: Sequence[int]
    ) -> list[Point]:
        """Take in what a device reported of some points of a block; the points it changed."""
        if block.layout != self.layout:
            for point in points:
                if point.block is not block:
                    point.block = block
                    self.layout += 1
            block.layout = self.layout
        values, qualities, times = batch.values, batch.qualities, batch.device_times
        if values is not None:
            block.heard(batch.received)
        changed: list[Point] = []
        for index, place in enumerate(places):
            point = points[place]
            quality = qualities if isinstance(qualities, int) else qualities[index]
            time = batch.received if times is None else times[index] or batch.received
            if values is None or is_bad(quality):
                if self._mark(point, quality, time):
                    changed.append(point)
            elif self._take(point, values[index], quality, time, own_time=times is not None):
                changed.append(point)
        return changed

    def _take(self, point: Point, raw: Value, quality: Quality, time: int, *, own_time: bool) -> bool:
        """Take one point's value in; whether that changed it."""
        if raw == point.raw and quality == point.status and type(raw) is type(point.raw):
            if own_time:
                point.source_time, point.head = time, None
            return False
        return self._convert(point, raw, quality, time)

    def _differing(
        self, points: list[Point], before: Sequence[Value], values: Sequence[Value], time: int
    ) -> list[Point]:
        """Take in the values of a block that is Good, and was; the points that changed."""
        changed: list[Point] = []
        for point, old, raw in zip(points, before, values, strict=True):
            if raw == old and type(raw) is type(old):
                continue
            if point.conversion is not None or point.status != GOOD:
                if self._convert(point, raw, GOOD, time):
                    changed.append(point)
            elif raw == raw or old == old:  # noqa: PLR0124  # NaN after NaN is no change
                point.raw = point.value = raw
                point.source_time, point.head = time, None
                changed.append(point)
        return changed

    def set(self, key: str, value: Value, time: int | None = None, source_time: int | None = None) -> None:
        """Give a constant another value, known at ``time`` (now) and so since ``source_time`` (the same)."""
        point = self.points[key]
        moment = now() if time is None else time
        point.block.heard(moment)
        if self._store(point, value, GOOD, moment if source_time is None else source_time):
            self._tell([point])

    def _block(self, tags: tuple[Tag[Any], ...]) -> tuple[list[Point], ScanBlock]:
        known = self._blocks.get(id(tags))
        if known is not None and known[0] is tags:
            return known[1], known[2]
        # What arrives for tags that are no more, as a read under way may bring it, is nobody's. A point of
        # its own takes it: one that was in several blocks would go from one to the other for ever.
        points = [self._by_tag.get(id(tag)) or Point(_NOBODYS, 0) for tag in tags]
        block = ScanBlock(max((p.block.time for p in points), default=0))
        if len(self._blocks) > 2 * len(self.points) + 100:
            # Blocks of plans that are no more, and of single reads: the living come back at once.
            self._blocks.clear()
        self._blocks[id(tags)] = (tags, points, block)
        return points, block

    def _convert(self, point: Point, raw: Value, quality: Quality, time: int) -> bool:
        value = raw
        if point.conversion is not None:
            try:
                value = point.conversion.to_engineering(raw)
            except ConversionError as error:
                if point.status != BAD_DECODING_ERROR:
                    log.warning("%s: %s", point.property.key, error)
                point.raw = _UNSET
                return self._mark(point, BAD_DECODING_ERROR, time)
        point.raw = raw
        return self._store(point, value, quality, time)

    @staticmethod
    def _mark(point: Point, quality: Quality, time: int) -> bool:
        if not is_bad(quality) and point.value is None:
            quality = BAD_NO_COMMUNICATION
        if is_bad(quality):
            point.value, point.raw = None, _UNSET
        if point.status == quality:
            return False
        point.raw = _UNSET
        point.status, point.source_time, point.head = quality, time, None
        return True

    @staticmethod
    def _store(point: Point, value: Value, quality: Quality, time: int) -> bool:
        if point.status == quality and same(point.value, value):
            return False
        point.value, point.status, point.source_time, point.head = value, quality, time, None
        return True

    def _tell(self, changed: list[Point]) -> None:
        if changed:
            for listener in self._listeners:
                listener(changed)


def _kind(kind: PropertyType) -> int:
    return kind.type.value if kind.length is None else kind.type.value | ARRAY


def _conversion(prop: Property) -> Conversion | None:
    """What makes its raw values served ones; None where they are that already."""
    conversion = prop.binding.conversion if prop.binding else None
    return None if isinstance(conversion, Cast) and conversion.widens else conversion
