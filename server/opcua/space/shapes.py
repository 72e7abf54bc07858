"""Variables of the plant by the hundred thousand: what is alike in them stands once, in their shape.

A property of the plant is one `PlantVariable`. Its EngineeringUnits and EURange are no
objects of their own: a `Member` is made when somebody looks, and gone when nobody does any
more. The references between equipment, property and member follow from the shape, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from server.opcua.space.node import Node, Reference
from server.opcua.wire.nodeid import Key
from server.opcua.wire.writer import int32
from server.plant.values import Point

_STRING: Final = 3
_TEXT: Final = 7
"""Where the text begins in the key of a NodeId that is a String."""
_DOT: Final = b"."


class Shape(NamedTuple):
    """What plant variables of one kind have in common."""

    pattern: Node
    """A variable like them, in no space: its names, attributes and permissions are theirs."""
    typed: Reference
    """Their HasTypeDefinition."""
    held_by: Node
    """The type of the reference by which their equipment holds them."""
    has_property: Node
    members: Mapping[bytes, Node]
    """Their members by the name behind the dot, each a pattern like ``pattern``."""
    made: Members
    """Those members that are held now."""


def _member_key(owner: PlantVariable, name: bytes) -> Key:
    text = owner.key[_TEXT:] + _DOT + name
    return owner.key[:3] + int32(len(text)) + text


class Members:
    """The members somebody holds at this moment, so that each is one object as long as it lasts."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Key, Member] = WeakValueDictionary()

    def of(self, owner: PlantVariable, name: bytes, pattern: Node) -> Member:
        """The member of that name."""
        key = _member_key(owner, name)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Member(key, pattern, owner)
        return found

    def part(self, owner: PlantVariable) -> list[Member]:
        """Those of a variable that somebody holds; they are its members no longer."""
        if not self._known:
            return []
        return [found for key in owner.member_keys() if (found := self._known.pop(key, None)) is not None]

    def find(self, nodes: Mapping[Key, Node], key: Key) -> Member | None:
        """The member of a key, None where no variable has one of that name."""
        if key[0] != _STRING:
            return None
        text, dot, name = key[_TEXT:].rpartition(_DOT)
        owner = nodes.get(key[:3] + int32(len(text)) + text) if dot else None
        if not isinstance(owner, PlantVariable):
            return None
        pattern = owner.shape.members.get(name)
        return None if pattern is None else self.of(owner, name, pattern)


class PlantVariable(Node):
    """The variable of a property: see the module."""

    __slots__ = ("holder", "shape")

    def __init__(self, key: Key, shape: Shape, holder: Holder, point: Point) -> None:
        """``holder`` is its equipment."""
        self._like(key, shape.pattern)
        self.value = point
        self.type_definition = shape.typed.target
        self.shape = shape
        self.holder = holder

    def reshape(self, shape: Shape) -> None:
        """Be a variable of another shape. For `Space` alone."""
        self.take_over(shape.pattern)
        self.type_definition = shape.typed.target
        self.shape = shape

    def members(self) -> Iterator[Member]:
        """Its members."""
        shape = self.shape
        return (shape.made.of(self, name, pattern) for name, pattern in shape.members.items())

    def member_keys(self) -> list[Key]:
        """The keys of its members, which need not be made for that."""
        return [_member_key(self, name) for name in self.shape.members]

    def references(self) -> Iterator[Reference]:
        """See `Node`."""
        shape = self.shape
        if self.holder.alive:
            yield Reference(shape.held_by, False, self.holder)
        yield shape.typed
        for member in self.members():
            yield Reference(shape.has_property, True, member)
        yield from super().references()


class Member(Node):
    """A property of a plant variable."""

    __slots__ = ("__weakref__", "owner")

    def __init__(self, key: Key, pattern: Node, owner: PlantVariable) -> None:
        self._like(key, pattern)
        self.value = pattern.value
        self.type_definition = pattern.type_definition
        self.owner = owner
        self.alive = owner.alive

    @property
    def name(self) -> bytes:
        """What stands behind the dot of its key."""
        return self.key[_TEXT:].rpartition(_DOT)[2]

    def references(self) -> Iterator[Reference]:
        """See `Node`."""
        if self.owner.alive:
            yield Reference(self.owner.shape.has_property, False, self.owner)
        if self.type_definition is not None:
            yield Reference(self.owner.shape.typed.type, True, self.type_definition)
        yield from super().references()


class Holder(Node):
    """An equipment, which holds plant variables."""

    __slots__ = ("variables",)

    def __init__(self, pattern: Node) -> None:
        """The node that ``pattern`` is, as one that can hold variables."""
        self._like(pattern.key, pattern)
        self.value = None
        self.type_definition = pattern.type_definition
        self.links = pattern.links
        self.variables: list[PlantVariable] = []

    def references(self) -> Iterator[Reference]:
        """See `Node`."""
        yield from super().references()
        for variable in self.variables:
            if variable.alive:
                yield Reference(variable.shape.held_by, True, variable)
