"""Which packets to read: few services, few packets, none beyond the connection's size. Pure.

Within a structure or an array the values wanted are read together, as one whole structure
or one run of elements, where they make up enough of it; else each by its own name. What
is read then shares packets by multiple service requests. A tag that is an array is a read
of its own, one service.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from sources.ethernetip import changes, codec
from sources.ethernetip.config import Encoding, Segment
from sources.ethernetip.decode import Layout, Leaf, LogixTag, type_code
from sources.ethernetip.image import Image, Part
from sources.ethernetip.symbols import BOOL, Member, Place, Structure, Symbol, Type, leaves_of
from sources.tag import ScanClass

SHARE: Final = 0.3
"""From this share of its values on, a structure or a run of elements is read whole."""

_SEQUENCE: Final = 2
"""Bytes of a connection's packet before the service: its sequence count."""
_PACKET: Final = 64
"""What one more packet costs beside its bytes, in bytes."""
_TEXT: Final = 88
"""Bytes of a STRING, unless the controller has said that it has others."""

Located: TypeAlias = tuple[LogixTag, Place]


class Limits(NamedTuple):
    """What a packet may hold: ``size`` bytes in either direction, several services only if ``multiple``.

    ``guard`` is what the counters of the program say (`changes`), empty where there are
    none: then nothing is read that would need them.
    """

    size: int
    multiple: bool
    guard: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One read service: ``elements`` elements of ``type`` from ``segments`` on, and the values wanted of it.

    A type of None is one that the reply will tell; there is no layout then.
    ``whole`` says that its values have names of their own and could be read by these, and
    ``guarded`` that where they stand in it is not told by the reply's own type: another
    program may have the same type of the same name, its members in other places.
    """

    segments: tuple[Segment, ...]
    elements: int
    type: Type | None
    places: tuple[Located, ...]
    layout: Layout | None
    whole: bool
    guarded: bool = False
    path: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", codec.symbolic_path(self.segments))

    def typed(self, kind: Type) -> Read:
        """The same of a type that is known now: that of one value or element, as a reply named it."""
        fields = tuple((tag, Leaf(0, kind, place.bit, place.count)) for tag, place in self.places)
        layout = Layout(self.elements * kind.size, fields)
        return replace(self, type=kind, layout=layout)

    def __str__(self) -> str:
        name = ".".join(map(str, self.segments))
        return name if self.elements == 1 else f"{name} ({self.elements} elements)"

    @property
    def tags(self) -> tuple[LogixTag, ...]:
        """Its tags, in the order in which their values are decoded."""
        return tuple(tag for tag, _ in self.places) if self.layout is None else self.layout.tags

    @property
    def code(self) -> bytes | None:
        """The type that the reply must name."""
        return None if self.type is None else type_code(self.type)

    @property
    def size(self) -> int:
        """Bytes of the values it brings; of an unknown type, of the largest to be expected."""
        if self.type is None and any(tag.address.encoding is Encoding.string for tag, _ in self.places):
            return self.elements * _TEXT
        return self.elements * _size(self.type)

    @property
    def request(self) -> bytes:
        """The service."""
        return codec.read(self.path, self.elements)

    @property
    def reply_size(self) -> int:
        """Bytes of the service's reply, rounded up to an even number: some controllers pad it."""
        return codec.REPLY_HEAD + _code_size(self.type) + self.size + self.size % 2


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """One request: a read by itself, or several in a multiple service request.

    ``fragments`` is how many requests it takes: more than one where a value is larger than
    a packet. ``guard`` is what the counters of the program must say for its values to be
    what they seem, empty where none depend on it; ``asks_guard`` says that the request asks
    for them itself, else they are asked for when the values are there. ``typed`` are the
    reads with the types that replies have named so far, where ``reads`` know none. ``images``
    are good replies, and ``tags`` is in the order of their values.
    """

    scan: ScanClass
    reads: tuple[Read, ...]
    fragments: int = 1
    guard: bytes = b""
    asks_guard: bool = False
    typed: tuple[Read, ...] = ()
    request: bytes = field(init=False)
    images: tuple[Image, ...] = field(init=False)
    tags: tuple[LogixTag, ...] = field(init=False)

    def __post_init__(self) -> None:
        services = [changes.REQUEST] if self.asks_guard else []
        services += [read.request for read in self.reads]
        request = services[0] if len(services) == 1 else codec.multiple(services)
        object.__setattr__(self, "request", request)
        images = self._images()
        object.__setattr__(self, "images", images)
        tags = images[0].tags if images else tuple(tag for read in self.reads for tag in read.tags)
        object.__setattr__(self, "tags", tags)

    def _images(self) -> tuple[Image, ...]:
        """None where a reply's form is not known before it comes, or it does not come in one piece."""
        if self.fragments > 1 or (self.guard and not self.asks_guard):
            return ()
        parts = [Part(changes.SERVICE, self.guard)] if self.asks_guard else []
        for read in self.typed or self.reads:
            if read.code is None or read.layout is None:
                return ()
            parts.append(Part(codec.READ_TAG, read.code, read.layout))
        plain = Image(parts)
        return (plain, Image(parts, padded=True)) if any(part.size % 2 for part in parts) else (plain,)

    def __str__(self) -> str:
        first = str(self.reads[0])
        return first if len(self.reads) == 1 else f"{first} and {len(self.reads) - 1} more"


def plan(located: Collection[Located], limits: Limits, alone: Collection[str] = ()) -> list[Packet]:
    """Packets that read every tag once, by scan class.

    ``alone`` names tags that are read by their own names only: a whole that holds them was
    refused.
    """
    classes: dict[ScanClass, list[Located]] = defaultdict(list)
    arrays: dict[ScanClass, list[Located]] = defaultdict(list)
    for tag, place in located:
        (classes if place.count is None else arrays)[tag.scan].append((tag, place))
    packets: list[Packet] = []
    for scan in {tag.scan: None for tag, _ in located}:
        members = classes[scan]
        single = [item for item in members if item[0].name in alone]
        others = [item for item in members if item[0].name not in alone]
        reads = [read for root in _roots(others) for read in _Cheapest(limits).reads(root)]
        reads += [read for root in _roots(single) for read in _singly(root)]
        reads += [_list(tag, place) for tag, place in arrays[scan]]
        packets += _pack(scan, reads, limits)
    return packets


def _list(tag: LogixTag, place: Place) -> Read:
    """A tag that is an array, by its own name."""
    read = Read(place.segments, place.elements, None, ((tag, place),), None, whole=False)
    return read if place.type is None else read.typed(place.type)


def singly(read: Read, scan: ScanClass, limits: Limits) -> list[Packet]:
    """What a whole is made of, each value by its own name."""
    return _pack(scan, [each for root in _roots(read.places) for each in _singly(root)], limits)


class _Value:
    """A value that a path leads to: what is wanted of it, and of its members."""

    __slots__ = ("bit", "members", "segments", "tags", "type")

    def __init__(self, segments: tuple[Segment, ...], kind: Type | None, bit: int | None = None) -> None:
        self.segments = segments
        self.type = kind
        self.bit = bit
        """Of a BOOL that is a member: its bit within the structure's byte."""
        self.tags: list[Located] = []
        """The tags for the value itself, or for bits of it."""
        self.members: dict[Member, _Value | _Array] = {}

    @property
    def used(self) -> int:
        """How many different values in it are wanted."""
        return bool(self.tags) + sum(child.used for child in self.members.values())

    def leaves(self, offset: int, *, inside: bool) -> Iterator[tuple[LogixTag, Leaf]]:
        """Where each wanted value stands in a read that has this one at ``offset``, perhaps inside others."""
        if self.type is None:
            return
        for tag, place in self.tags:
            bit = (self.bit if inside else None) if self.type is BOOL else place.bit
            yield tag, Leaf(offset, self.type, bit)
        for member, child in self.members.items():
            yield from child.leaves(offset + member.offset, inside=True)

    def places(self) -> Iterator[Located]:
        """Every tag within it."""
        yield from self.tags
        for child in self.members.values():
            yield from child.places()

    def read(self) -> Read:
        """The value by its own path, with all that is wanted in it."""
        layout = None if self.type is None else Layout(self.type.size, tuple(self.leaves(0, inside=False)))
        whole = bool(self.members)
        guarded = whole and not _is_text(self.type)
        return Read(self.segments, 1, self.type, tuple(self.places()), layout, whole=whole, guarded=guarded)


class _Array:
    """The elements wanted of an array, counted through all its dimensions."""

    __slots__ = ("elements", "type")

    def __init__(self, kind: Type | None) -> None:
        self.type = kind
        self.elements: dict[int, _Value] = {}

    @property
    def used(self) -> int:
        return sum(element.used for element in self.elements.values())

    def leaves(self, offset: int, *, inside: bool) -> Iterator[tuple[LogixTag, Leaf]]:
        size = 0 if self.type is None else self.type.size
        for index, element in self.elements.items():
            yield from element.leaves(offset + index * size, inside=inside)

    def places(self) -> Iterator[Located]:
        for element in self.elements.values():
            yield from element.places()

    def run(self, kind: Type, first: int, last: int) -> Read:
        """A run of elements; the first and the last are wanted."""
        within = {index: value for index, value in self.elements.items() if first <= index <= last}
        count = last - first + 1
        fields = [
            field
            for index, value in within.items()
            for field in value.leaves((index - first) * kind.size, inside=True)
        ]
        places = tuple(place for value in within.values() for place in value.places())
        layout = Layout(count * kind.size, fields)
        return Read(
            self.elements[first].segments, count, kind, places, layout, whole=True, guarded=self.guarded(kind)
        )

    def guarded(self, kind: Type) -> bool:
        """Whether a run's type alone does not tell which values are in it."""
        # The elements of a grid follow each other by its dimensions.
        grid = any(len(element.segments[-1].indexes) > 1 for element in self.elements.values())
        return grid or (isinstance(kind, Structure) and not _is_text(kind))


def _roots(located: Sequence[Located]) -> list[_Value | _Array]:
    """The tags as trees, one for each tag of the controller; of unknown ones, one for each path."""
    roots: dict[Symbol | str, _Value | _Array] = {}
    for tag, place in located:
        symbol = place.symbol
        if symbol is None:
            path = ".".join(map(str, place.segments)).casefold()
            value = roots.setdefault(path, _Value(place.segments, None))
        else:
            # The steps that are members take a name each; indexes stand with their names.
            depth = len(place.segments) - sum(isinstance(step, Member) for step in place.steps)
            value = roots.get(symbol) or roots.setdefault(
                symbol, _made(symbol.type, place.segments[:depth], array=bool(symbol.dimensions))
            )
            value = _descend(value, place, depth)
        if isinstance(value, _Value):
            value.tags.append((tag, place))
    return list(roots.values())


def _made(
    kind: Type | None, segments: tuple[Segment, ...], bit: int | None = None, *, array: bool
) -> _Value | _Array:
    return _Array(kind) if array else _Value(segments, kind, bit)


def _descend(at: _Value | _Array, place: Place, depth: int) -> _Value | _Array:
    """The node of the value that a place means, made where it is not there yet."""
    for step in place.steps:
        if isinstance(step, Member):
            depth += 1
            if isinstance(at, _Value):
                made = _made(step.type, place.segments[:depth], step.bit, array=bool(step.count))
                at = at.members.setdefault(step, made)
        elif isinstance(at, _Array):
            at = at.elements.setdefault(step, _Value(place.segments[:depth], at.type))
    return at


def _singly(node: _Value | _Array) -> list[Read]:
    """Every value by its own path."""
    if isinstance(node, _Array):
        return [read for _, element in sorted(node.elements.items()) for read in _singly(element)]
    reads = [read for child in node.members.values() for read in _singly(child)]
    if node.tags:
        own = _Value(node.segments, node.type, node.bit)
        own.tags = node.tags
        reads.append(own.read())
    return reads


class _Cheapest:
    """Chooses between a whole and its parts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._guards = bool(limits.guard) and limits.multiple

    def reads(self, node: _Value | _Array) -> list[Read]:
        """Reads for all that is wanted of a value or of an array."""
        return self._array(node) if isinstance(node, _Array) else self._value(node)

    def _value(self, value: _Value) -> list[Read]:
        # All of a value is asked for (a number, a text): what is wanted inside it comes along.
        if value.tags or value.type is None:
            return [value.read()]
        parts = [read for child in value.members.values() for read in self.reads(child)]
        cost = self._cost(len(codec.symbolic_path(value.segments)), 1, value.type)
        pays = self._guards and value.used >= SHARE * leaves_of(value.type) and cost <= self._sum(parts)
        return [value.read()] if pays else parts

    def _array(self, array: _Array) -> list[Read]:
        """Elements in runs; a run grows as long as reading it whole pays."""
        kind = array.type
        if kind is None:
            return _singly(array)
        guarded = array.guarded(kind)
        if guarded and not self._guards:
            return [read for _, element in sorted(array.elements.items()) for read in self._value(element)]
        room = _room(self._limits, kind) - (_guard_size(self._limits) if guarded else 0)
        most = max(1, room // kind.size)
        reads: list[Read] = []
        run: list[Read] = []
        first = last = used = cost = path = 0
        for index, element in sorted(array.elements.items()):
            own = self._value(element)
            apart = cost + self._sum(own)
            count = index - first + 1
            grown = self._cost(path, count, kind)
            total = used + element.used
            if run and count <= most and total >= SHARE * leaves_of(kind) * count and grown <= apart:
                last, used, cost = index, total, grown
                continue
            reads += [array.run(kind, first, last)] if last > first else run
            run, first, last, used = own, index, index, element.used
            cost, path = self._sum(own), len(codec.symbolic_path(element.segments))
        return reads + ([array.run(kind, first, last)] if last > first else run)

    def _sum(self, reads: Iterable[Read]) -> int:
        return sum(self._cost(len(read.path), read.elements, read.type) for read in reads)

    def _cost(self, path: int, elements: int, kind: Type | None) -> int:
        """Bytes on the wire, both ways, of one read within a packet."""
        size = elements * _size(kind)
        packets = _fragments(size, kind, self._limits) - 1
        around = 1 + 2 + codec.REPLY_HEAD + _code_size(kind) + 2 * codec.MULTI_EACH
        return path + around + size + size % 2 + _PACKET * packets


def _is_text(kind: Type | None) -> bool:
    """Whether it is a string: a length and characters, in every program the same."""
    return isinstance(kind, Structure) and kind.capacity is not None


def _code_size(kind: Type | None) -> int:
    """Bytes that name the type; of an unknown one, the most."""
    return 4 if kind is None or isinstance(kind, Structure) else 2


def _room(limits: Limits, kind: Type | None) -> int:
    """Bytes of values that a packet takes."""
    return limits.size - _SEQUENCE - codec.REPLY_HEAD - _code_size(kind)


def _size(kind: Type | None) -> int:
    """Bytes of one value; of an unknown type, of the largest elementary one."""
    return 8 if kind is None else kind.size


def _fragments(size: int, kind: Type | None, limits: Limits) -> int:
    """How many packets a read of so many bytes needs for itself."""
    return max(1, math.ceil(size / _room(limits, kind)))


def _guard_size(limits: Limits) -> int:
    """Bytes by which a reply grows that brings the counters of the program with a single read."""
    return codec.MULTI_REPLY_HEAD + 2 * codec.MULTI_EACH + codec.REPLY_HEAD + len(limits.guard)


def _pack(scan: ScanClass, reads: Iterable[Read], limits: Limits) -> list[Packet]:
    """Reads that need the guard share packets with it, all others go without."""
    guarded: list[Read] = []
    plain: list[Read] = []
    for read in reads:
        (guarded if read.guarded else plain).append(read)
    return _pack_alike(scan, guarded, limits, limits.guard) + _pack_alike(scan, plain, limits, b"")


def _pack_alike(scan: ScanClass, reads: Iterable[Read], limits: Limits, guard: bytes) -> list[Packet]:
    packets: list[Packet] = []
    group: list[Read] = []
    inside = bool(guard)
    asks_first = _SEQUENCE + codec.MULTI_HEAD
    answers_first = _SEQUENCE + codec.MULTI_REPLY_HEAD
    if guard:
        asks_first += len(changes.REQUEST) + codec.MULTI_EACH
        answers_first += codec.REPLY_HEAD + len(guard) + codec.MULTI_EACH
    asked = answered = 0
    for read in reads:
        asks = len(read.request) + codec.MULTI_EACH
        answers = read.reply_size + codec.MULTI_EACH
        if not limits.multiple or asks > limits.size - asks_first or answers > limits.size - answers_first:
            packets.append(Packet(scan, (read,), _fragments(read.size, read.type, limits), guard))
            continue
        if group and (asked + asks > limits.size or answered + answers > limits.size):
            packets.append(Packet(scan, tuple(group), 1, guard, inside))
            group = []
        if not group:
            asked, answered = asks_first, answers_first
        group.append(read)
        asked += asks
        answered += answers
    if group:
        packets.append(Packet(scan, tuple(group), 1, guard, inside))
    return packets
