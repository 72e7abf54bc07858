"""The tags of a Logix controller as an inventory, whether uploaded or exported from Studio 5000."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from server.tools.inventory import Instance, Inventory, Leaf, LeftOut, Shape, Single
from sources.ethernetip.config import Encoding
from sources.ethernetip.symbols import BOOL, DWORD, Atomic, Structure, Symbol, Type

MAX_ARRAY: Final = 1000
"""Elements of an array of plain values, one value by itself."""
MAX_GRID: Final = 16
"""The same of several dimensions, where each element is one."""
MAX_LEAVES: Final = 2_000
"""Values of one structure: more are no equipment but a data block."""
MAX_ELEMENTS: Final = 10_000
"""Structures of one array."""

_PROGRAM: Final = "Program:"
_STEP: Final = re.compile(r"\.?([^.\[\]]+)(?:\[([0-9, ]+)\])?")


class Alias(NamedTuple):
    """Another name of a tag or of something in one: ``target`` is an address, seen from its program."""

    name: str
    target: str


@dataclass(frozen=True, slots=True)
class ControllerTags:
    """What is known of a controller. ``descriptions`` are by lower-case name, of members ``type.member``."""

    symbols: Sequence[Symbol]
    aliases: Sequence[Alias] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()


class _Unusable(Exception):
    """Something that no binding can mean; the text says why."""


def inventory(
    tags: ControllerTags, identity: Mapping[str, str], *, max_array: int | None = None
) -> Inventory:
    """Arrays of plain values are one value each, of several dimensions one for each element.

    ``max_array`` is how many elements they may have; None for `MAX_ARRAY` and `MAX_GRID`. Longer
    ones are left out.
    """
    return _Maker(tags, max_array or MAX_ARRAY, max_array or MAX_GRID).make(identity)


class _Maker:
    def __init__(self, tags: ControllerTags, max_array: int, max_grid: int) -> None:
        self._tags = tags
        self._longest, self._largest = max_array, max_grid
        self._shapes: dict[Structure, Shape | str] = {}
        """What a structure becomes, or why it becomes nothing."""
        self._visits = 0
        self._singles: list[Single] = []
        self._instances: list[Instance] = []
        self._left = list(tags.left_out)
        self._members: list[LeftOut] = []
        """Members of structures that are left out."""

    def make(self, identity: Mapping[str, str]) -> Inventory:
        """Everything there is."""
        for symbol in self._tags.symbols:
            try:
                self._add(symbol, symbol.name, symbol.name)
            except _Unusable as error:
                self._left.append(LeftOut(symbol.name, str(error)))
        by_name = {symbol.name.casefold(): symbol for symbol in self._tags.symbols}
        targets = {alias.name.casefold(): alias.target for alias in self._tags.aliases}
        for alias in self._tags.aliases:
            try:
                self._add_alias(alias, by_name, targets)
            except _Unusable as error:
                self._left.append(LeftOut(alias.name, str(error)))
        # A structure within several is looked at in each.
        left = [*self._left, *dict.fromkeys(self._members)]
        return Inventory(identity, self._singles, self._instances, left)

    def _add(self, symbol: Symbol, label: str, address: str) -> None:
        """A tag called ``label`` that is read at ``address``."""
        if not symbol.is_readable:
            raise _Unusable("its External Access is None")
        kind = symbol.type
        if kind is None:
            raise _Unusable(f"{symbol.type_name} has no counterpart, or its members are not known")
        scope, name = _scoped(label)
        description = self._tags.descriptions.get(label.casefold(), "")
        if _has_members(kind):
            self._add_structure(Symbol(label, kind, kind.name, symbol.dimensions), address, description)
            return
        dimensions = symbol.dimensions
        if len(dimensions) == 1:
            leaf = _leaf((name,), address, kind, dimensions, description, self._length(kind, dimensions))
            self._singles.append(Single(scope, leaf, label))
            return
        for indexes, element in self._elements(kind, dimensions):
            path = (name, *map(str, indexes))
            leaf = _leaf(path, address + element, kind, dimensions, description)
            self._singles.append(Single(scope, leaf, label))

    def _add_structure(self, symbol: Symbol, address: str, description: str) -> None:
        kind = symbol.type
        assert isinstance(kind, Structure)  # noqa: S101  # by its caller
        scope, name = _scoped(symbol.name)
        shape = self._shape(kind)
        indexes = ",".join(f"{{{number}}}" for number in range(len(symbol.dimensions)))
        prefix = f"{address}[{indexes}]." if indexes else f"{address}."
        made = Instance(scope, name, shape, prefix, symbol.name, symbol.dimensions, description)
        if made.count > MAX_ELEMENTS:
            raise _Unusable(f"an array of {made.count} structures; configure a part of it by for:")
        self._instances.append(made)

    def _add_alias(self, alias: Alias, by_name: Mapping[str, Symbol], targets: Mapping[str, str]) -> None:
        """Follow an alias, through others where it leads to one, to what has a type."""
        scope, _ = _scoped(alias.name)
        address = alias.target
        for _ in range(len(targets) + 1):
            root = _STEP.match(address)
            if root is None:
                raise _Unusable(f"{alias.target} is no tag")
            local = f"{_PROGRAM}{scope[0]}.{root[1]}".casefold() if scope else ""
            for key in (local, root[1].casefold()):
                if key in by_name:
                    symbol = by_name[key]
                    kind, dimensions = _walk(symbol, address)
                    full = address if key != local else f"{_PROGRAM}{scope[0]}.{address}"
                    seen = Symbol(alias.name, kind, symbol.type_name, dimensions, symbol.access)
                    self._add(seen, alias.name, full)
                    return
            further = targets.get(local) or targets.get(root[1].casefold())
            if further is None or further == address:
                break
            address = further + address[len(root[1]) :]
        raise _Unusable(f"it stands for {alias.target}, which is not in the list")

    def _length(self, kind: Type, dimensions: tuple[int, ...]) -> int:
        """How long an array of plain values is. Raises _Unusable where that is too long."""
        (length,) = dimensions
        total = 32 * length if kind is DWORD else length
        if total > self._longest:
            raise _too_long(total, kind, dimensions)
        return total

    def _elements(self, kind: Type, dimensions: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
        """Every element of an array; the one value where it is none."""
        if not dimensions:
            yield (), ""
            return
        lengths = [32 * length if kind is DWORD else length for length in dimensions]
        total = 1
        for length in lengths:
            total *= length
        if total > self._largest:
            raise _too_long(total, kind, dimensions)
        for number in range(total):
            indexes: list[int] = []
            for length in reversed(lengths):
                number, index = divmod(number, length)  # noqa: PLW2901
                indexes.insert(0, index)
            yield tuple(indexes), f"[{','.join(map(str, indexes))}]"

    def _shape(self, kind: Structure) -> Shape:
        if kind not in self._shapes:
            self._visits = 0
            try:
                leaves = list(self._leaves(kind, (), ""))
            except _Unusable as error:
                self._shapes[kind] = str(error)
            else:
                description = self._tags.descriptions.get(kind.name.casefold(), "")
                nothing = f"a {kind.name} has no value that could be read"
                self._shapes[kind] = Shape(kind.name, tuple(leaves), description) if leaves else nothing
        known = self._shapes[kind]
        if isinstance(known, str):
            raise _Unusable(known)
        return known

    def _leaves(self, kind: Structure, path: tuple[str, ...], before: str) -> Iterator[Leaf]:
        """The values of a structure; what is none is told of, once for each structure they are in."""
        for member in kind.by_name.values():
            self._visits += 1
            if self._visits > MAX_LEAVES:
                raise _Unusable(f"a structure of more than {MAX_LEAVES} values")
            its = member.type
            dimensions = (member.count,) if member.count else ()
            if its is None:
                self._members.append(
                    LeftOut(f"{kind.name}.{member.name}", "its type has no counterpart here")
                )
                continue
            description = self._tags.descriptions.get(f"{kind.name}.{member.name}".casefold(), "")
            try:
                if dimensions and not _has_members(its):
                    length = self._length(its, dimensions)
                    names = (*path, member.name)
                    yield _leaf(names, before + member.name, its, dimensions, description, length)
                    continue
                elements = list(self._elements(its, dimensions))
            except _Unusable as error:
                self._members.append(LeftOut(f"{kind.name}.{member.name}", str(error)))
                continue
            self._visits += len(elements) - 1
            for indexes, element in elements:
                names = (*path, member.name, *map(str, indexes))
                address = f"{before}{member.name}{element}"
                if isinstance(its, Structure) and _has_members(its):
                    yield from self._leaves(its, names, f"{address}.")
                else:
                    yield _leaf(names, address, its, dimensions, description)


def _scoped(name: str) -> tuple[tuple[str, ...], str]:
    """``Program:Packer.Speed`` is Speed of the program Packer."""
    if not name.startswith(_PROGRAM):
        return (), name
    program, _, rest = name[len(_PROGRAM) :].partition(".")
    return (program,), rest


def _has_members(kind: Type) -> bool:
    """Whether it is a structure, and no text."""
    return isinstance(kind, Structure) and kind.capacity is None


def _too_long(total: int, kind: Type, dimensions: tuple[int, ...]) -> _Unusable:
    return _Unusable(f"an array of {total} {_called(kind, dimensions)}; --max-array {total} takes it in")


def _leaf(  # what there is to say of a value
    path: tuple[str, ...],
    address: str,
    kind: Type,
    dimensions: tuple[int, ...],
    description: str,
    length: int | None = None,
) -> Leaf:
    if isinstance(kind, Structure):
        encoding = Encoding.string
    else:
        encoding = (BOOL if kind is DWORD and dimensions else kind).encodings[0]
    implied = encoding is not Encoding.lreal  # of a Double it would be real
    return Leaf(path, address, encoding.value, encoding.type, description, implied=implied, length=length)


def _called(kind: Type, dimensions: tuple[int, ...]) -> str:
    return BOOL.name if kind is DWORD and dimensions else kind.name


def _walk(symbol: Symbol, address: str) -> tuple[Type | None, tuple[int, ...]]:
    """The type of what an address means within a symbol, and its dimensions where it is an array still."""
    kind, dimensions, at = symbol.type, symbol.dimensions, 0
    first = True
    while at < len(address):
        step = _STEP.match(address, at)
        if step is None:
            raise _Unusable(f"{address} is no tag")
        at = step.end()
        if not first:
            if step[1].isdecimal() and isinstance(kind, Atomic) and kind.is_integer and not dimensions:
                return BOOL, ()
            member = kind.by_name.get(step[1].casefold()) if isinstance(kind, Structure) else None
            if member is None:
                raise _Unusable(f"{address} is not in the list")
            kind, dimensions = member.type, (member.count,) if member.count else ()
        first = False
        if step[2] is not None:
            kind, dimensions = (BOOL if kind is DWORD else kind), ()
    return kind, dimensions
