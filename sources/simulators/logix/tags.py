"""Tags and their memory, and the way from a path to a place in it."""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sources.simulators.logix.cip import CipError, Extended, Status
from sources.simulators.logix.types import BOOL, Atomic, DataType, Structure, host

Step: TypeAlias = str | int
"""One step of a path: a member's name, or an index; several indices in a row for several dimensions."""

MAX_DIMENSIONS: Final = 3


class Access(enum.IntEnum):
    """What the outside may do with a tag (attribute 10 of its symbol)."""

    READ_WRITE = 0
    READ_ONLY = 2
    NONE = 3


@dataclass(slots=True, eq=False)
class Tag:
    """A tag and its memory.

    ``type`` and ``dimensions`` are as they stand in memory: an array of BOOL is one of
    DWORDs. ``failure`` makes every access answer this CIP status: a fault to order.
    """

    name: str
    type: DataType
    dimensions: tuple[int, ...] = ()
    access: Access = Access.READ_WRITE
    constant: bool = False
    data: bytearray = field(init=False)
    failure: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        self.data = bytearray(self.type.size * self.count)

    @property
    def count(self) -> int:
        """How many elements stand in memory."""
        return math.prod(self.dimensions)

    def whole(self) -> Place:
        """All of it."""
        return Place(self, self.type, 0, self.count, self.dimensions)


def declare(
    name: str,
    kind: DataType,
    dimensions: Sequence[int] = (),
    access: Access = Access.READ_WRITE,
    *,
    constant: bool = False,
) -> Tag:
    """A tag as a person declares it. Raises ValueError for impossible dimensions."""
    if len(dimensions) > MAX_DIMENSIONS or any(length < 1 for length in dimensions):
        raise ValueError(f"tag {name}: an array has one to three dimensions of at least one element")
    if kind is BOOL and dimensions:
        if len(dimensions) > 1:
            raise ValueError(f"tag {name}: an array of BOOL has one dimension")
        kind, words = host(kind, dimensions[0])
        dimensions = (words,)
    return Tag(name, kind, tuple(dimensions), access, constant)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: ``available`` elements of ``type`` from ``offset`` on.

    ``dimensions`` are those of an array that has been named and not indexed. ``bit`` makes
    it that bit of the byte at ``offset``.
    """

    tag: Tag
    type: DataType
    offset: int
    available: int
    dimensions: tuple[int, ...] = ()
    bit: int | None = None

    def span(self, count: int) -> slice:
        """The memory of ``count`` elements."""
        return slice(self.offset, self.offset + count * self.type.size)

    def element(self, *indices: int) -> Place:
        """An element of an array; the last index runs fastest.

        Raises CipError: 05 for no array or another number of dimensions, FF/2105 beyond its end.
        """
        if len(indices) != len(self.dimensions):
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        flat = 0
        for index, length in zip(indices, self.dimensions, strict=True):
            if index >= length:
                raise CipError(Status.GENERAL_ERROR, Extended.BEYOND_END)
            flat = flat * length + index
        return Place(self.tag, self.type, self.offset + flat * self.type.size, self.available - flat)

    def member(self, name: str) -> Place:
        """A member of a structure, by its name in any case.

        Raises CipError: 04 where there is none, 05 where this is an array of structures.
        """
        if self.dimensions:
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        member = self.type.by_name.get(name.casefold()) if isinstance(self.type, Structure) else None
        if member is None:
            raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
        dimensions = (member.count,) if member.count else ()
        return Place(
            self.tag, member.type, self.offset + member.offset, max(member.count, 1), dimensions, member.bit
        )

    def bool_at(self, index: int) -> Place:
        """One bit, counted from the lowest of the first element. The caller knows that it is there."""
        return Place(self.tag, BOOL, self.offset + index // 8, 1, bit=index % 8)


def locate(tag: Tag, steps: Sequence[Step]) -> Place:
    """Follow a path into a tag. Raises CipError as `Place.element` and `Place.member`."""
    place = tag.whole()
    for is_name, group in itertools.groupby(steps, lambda step: isinstance(step, str)):
        if is_name:
            for name in group:
                place = place.member(str(name))
        else:
            place = place.element(*(int(index) for index in group))
    return place


def structures_of(kind: DataType) -> list[Structure]:
    """A type's structures, the inner ones first."""
    if isinstance(kind, Atomic):
        return []
    inner = [found for member in kind.members for found in structures_of(member.type)]
    return [*dict.fromkeys(inner), kind]
