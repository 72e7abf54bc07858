"""What a device has, by whatever protocol or export it became known."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sources.tag import ValueType


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value.

    ``path`` are the names that lead to it from its owner, ``address`` how the driver writes
    it behind the owner's prefix, ``encoding`` the device's own type as ``as:`` names it, or
    None where the address says that. ``keys`` are further keys of its property and their
    values, ``binding`` those of its binding. ``implied`` says that the driver takes that
    encoding by itself for a property of this type. ``length`` is that of an array, whose first
    element the address names; None for one value, ANY_LENGTH where it may have any.
    """

    path: tuple[str, ...]
    address: str
    encoding: str | None
    type: ValueType
    description: str = ""
    keys: tuple[tuple[str, Any], ...] = ()
    binding: tuple[tuple[str, Any], ...] = ()
    implied: bool = False
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What several instances have in common: a user-defined type."""

    name: str
    leaves: tuple[Leaf, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Single:
    """A value that stands by itself; ``label`` is what the device calls it."""

    scope: tuple[str, ...]
    leaf: Leaf
    label: str


@dataclass(frozen=True, slots=True)
class Instance:
    """A value of a shape, or an array of them, counted from 0 in each dimension.

    ``prefix`` goes before the address of each leaf; of an array, ``{0}``, ``{1}`` … in it
    stand for the indexes. ``addresses`` are those of its leaves where they are not the shape's.
    """

    scope: tuple[str, ...]
    name: str
    shape: Shape
    prefix: str
    label: str
    dimensions: tuple[int, ...] = ()
    description: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        total = 1
        for length in self.dimensions:
            total *= length
        return total


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is there and cannot be configured as it is, and why."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything, in the order of the device. ``identity`` are the device's words on itself."""

    identity: Mapping[str, str]
    singles: Sequence[Single] = ()
    instances: Sequence[Instance] = ()
    left_out: Sequence[LeftOut] = ()

    @property
    def values(self) -> int:
        """How many values there are to be read."""
        return len(self.singles) + sum(each.count * len(each.shape.leaves) for each in self.instances)

    def matching(self, pattern: str | None) -> Inventory:
        """What of it has a name that matches a pattern of the shell's kind, whatever the case."""
        if pattern is None:
            return self
        wanted = pattern.casefold()

        def fits(label: str) -> bool:
            return fnmatch.fnmatchcase(label.casefold(), wanted)

        return replace(
            self,
            singles=[each for each in self.singles if fits(each.label)],
            instances=[each for each in self.instances if fits(each.label)],
            left_out=[each for each in self.left_out if fits(each.label)],
        )
