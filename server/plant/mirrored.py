"""Values beside the plant's own that are published as they are: sets of fields, and the data types they need.

Whoever has them says so with a `Mirrored`; whoever publishes them looks at a field's cell when there is
something to tell. Names are text with namespace URIs: ``nsu=urn:maker:filler#F1;s=Filler.Speed``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server.plant.model import Range, Unit
from sources.quality import Quality

MARK = "@"
"""In the key of every set: what stands before it names what holds it."""


class Cell(Protocol):
    """The value of one variable now."""

    @property
    def value(self) -> bytes | None:
        """An encoded Variant with namespace indexes of this server, None for no value."""
        ...

    @property
    def status(self) -> Quality:
        """Its StatusCode."""
        ...

    @property
    def source_time(self) -> int:
        """In ticks: the device's own time where it gave one."""
        ...


class Form(enum.Enum):
    """What a data type is."""

    Simple = 0
    """A built-in type by another name."""
    Enumeration = 1
    Structure = 2
    Optional = 3
    """A structure with optional fields."""
    Union = 4


@dataclass(frozen=True, slots=True)
class StructureField:
    """A field of a structure; ``rank`` as ValueRank."""

    name: str
    data_type: str
    built_in: int
    rank: int = -1
    optional: bool = False


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type that is none of the built-in ones, as far as values of it need it."""

    id: str
    name: str
    """A QualifiedName: ``nsu=urn:maker:filler#F1;State``."""
    form: Form
    built_in: int
    base: str = ""
    members: Mapping[int, str] = field(default_factory=dict)
    """Of an enumeration."""
    encoding: str = ""
    """The NodeId of a structure's binary encoding."""
    fields: tuple[StructureField, ...] = ()


@dataclass(frozen=True, slots=True)
class DataTypes:
    """Data types by their NodeIds, and those of structures by their encodings."""

    by_id: Mapping[str, DataType] = field(default_factory=dict)
    by_encoding: Mapping[str, DataType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MirroredField:
    """One variable. ``built_in`` is 24 (Variant) where each value says its own type."""

    name: str
    node_id: str
    cell: Cell
    built_in: int
    data_type: str
    value_rank: int = -1
    dimensions: tuple[int, ...] = ()
    description: str = ""
    unit: Unit | None = None
    range: Range | None = None


@dataclass(frozen=True, slots=True)
class MirroredSet:
    """The variables of one object. ``key`` identifies it over restarts, ``name`` is its path."""

    key: str
    name: str
    fields: tuple[MirroredField, ...]
    types: DataTypes
    apart: str
    """Its name where the plant has an equipment of the other one."""


@dataclass(frozen=True, slots=True)
class Mirroring:
    """All that is to be published now.

    ``pending`` are those of which nothing is known since the start: by what their keys begin with, what
    their names begin with. ``left_out`` counts variables that are not published, by the reason.
    """

    sets: Sequence[MirroredSet] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    hints: Sequence[str] = ()
    """What of the configuration came to nothing, in words for people."""


class Mirrored(Protocol):
    """Whoever has such values."""

    async def mirroring(self) -> Mirroring:
        """What is to be published; may take its time."""
        ...

    def name_of(self, index: int) -> str:
        """The URI of a namespace by its index. Raises IndexError."""
        ...

    def follow(self, values: Callable[[Sequence[Cell]], None], sets: Callable[[], None]) -> None:
        """Tell of values that changed, and when `mirroring` gives something else. They must not raise."""
        ...
