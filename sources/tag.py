"""Tag: one value of one device, its address already parsed by the driver that reads it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

Scalar: TypeAlias = bool | int | float | str
"""One value, or an element of an array: plain Python."""

Value: TypeAlias = Scalar | tuple[Scalar, ...] | None
"""What a driver hands up, typed by its tag: a scalar, or an array as a tuple; None means no value."""


def same(old: Value, new: Value) -> bool:
    """Equal in type and value, where NaN equals NaN and True is not 1.

    The elements of an array are taken to be of one type.
    """
    if type(old) is not type(new):
        return False
    if old == new or (old != old and new != new):  # noqa: PLR0124
        return True
    if not isinstance(old, tuple) or not isinstance(new, tuple):
        return False
    return len(old) == len(new) and all(map(same, old, new))


ANY_LENGTH: Final = 0
"""The length of an array that may have any number of elements, as ArrayDimensions have it."""
MAX_LENGTH: Final = 10_000
"""Elements an array of fixed length may have."""

AddressT_co = TypeVar("AddressT_co", covariant=True)


class ValueType(enum.Enum):
    """The scalar built-in types of OPC UA a value may have (OPC 10000-6 §5.1.2).

    The enum's value is the type's number, which is also its NodeId in namespace 0.
    """

    Boolean = 1
    SByte = 2
    Byte = 3
    Int16 = 4
    UInt16 = 5
    Int32 = 6
    UInt32 = 7
    Int64 = 8
    UInt64 = 9
    Float = 10
    Double = 11
    String = 12
    DateTime = 13
    """Values are ticks (`sources.clock`)."""

    @property
    def is_integer(self) -> bool:
        """True for the eight integer types (not for Boolean)."""
        return self in INTEGER_LIMITS

    @property
    def is_number(self) -> bool:
        """True for the integer types, Float and Double."""
        return self.is_integer or self in {ValueType.Float, ValueType.Double}


INTEGER_LIMITS: Final[dict[ValueType, tuple[int, int]]] = {
    ValueType.SByte: (-(2**7), 2**7 - 1),
    ValueType.Byte: (0, 2**8 - 1),
    ValueType.Int16: (-(2**15), 2**15 - 1),
    ValueType.UInt16: (0, 2**16 - 1),
    ValueType.Int32: (-(2**31), 2**31 - 1),
    ValueType.UInt32: (0, 2**32 - 1),
    ValueType.Int64: (-(2**63), 2**63 - 1),
    ValueType.UInt64: (0, 2**64 - 1),
}


@dataclass(frozen=True, slots=True)
class Stale:
    """How old a last value may grow, in scans of its class.

    After ``uncertain_after`` scans without a word of it, though not before ``at_least``
    seconds, or at once where the connection is lost, it is Uncertain; after ``bad_after``
    scans as such, Bad.
    """

    uncertain_after: int = 3
    bad_after: int = 3
    at_least: float = 2.0


@dataclass(frozen=True, slots=True)
class ScanClass:
    """How often a tag is read: a name, a period in seconds, and when its values are stale."""

    name: str
    period: float
    stale: Stale = Stale()


@dataclass(frozen=True, slots=True)
class Part:
    """Elements of an array that are to be written alone: ``values`` from the index ``first`` on."""

    first: int
    values: tuple[Scalar, ...]

    @property
    def end(self) -> int:
        """The first index behind it."""
        return self.first + len(self.values)

    @property
    def index_range(self) -> str:
        """As a NumericRange (OPC 10000-4 §7.27): ``2`` or ``2:5``."""
        last = self.end - 1
        return str(last) if last == self.first else f"{self.first}:{last}"

    def within(self, whole: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        """The array with these elements in their place."""
        return (*whole[: self.first], *self.values, *whole[self.end :])


Written: TypeAlias = Value | Part
"""What is written: a whole value, or a part of an array."""


@dataclass(frozen=True, slots=True)
class Tag(Generic[AddressT_co]):
    """One value of one device.

    ``name`` is unique within its source; ``type`` is that of the values the driver hands
    up and takes for writing: the device's own, before any scaling. ``length`` is None for a
    scalar, else how many elements of that type its array has, or ANY_LENGTH.
    """

    name: str
    address: AddressT_co
    type: ValueType
    scan: ScanClass
    writable: bool = False
    length: int | None = None
