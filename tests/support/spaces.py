"""A whole address space over the little line, without a server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from support.line import line
from support.nodes import access

from nodesets import isa95
from nodesets.records import NodeRecord
from server.opcua.ids import Namespaces
from server.opcua.space.assemble import build_space
from server.opcua.space.attribute import attribute
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.space.value import LiveValue, StoredValue
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key
from server.plant.build import build_nodes, namespaces, node_ids
from server.plant.model import Role
from server.plant.values import ValueStore

ADMIN = access(Role.Anonymous, Role.AuthenticatedUser, Role.SecurityAdmin)
NOBODY = access(Role.Anonymous)
OPERATOR = access(Role.Anonymous, Role.AuthenticatedUser, Role.Operator)


@dataclass
class World:
    """The space, and what it was made of."""

    writable: bool = True
    methods: Collection[Key] = ()
    more: Collection[NodeRecord] = ()
    space: Space = field(init=False)

    def __post_init__(self) -> None:
        self.plant = line()
        self.store = ValueStore(self.plant)
        self.names = Namespaces("urn:test:isthmus", (isa95.ISA95, *namespaces(self.plant)))
        nodesets = [*isa95.load().nodes, *self.more]
        self.records = [*nodesets, *build_nodes(self.plant)]
        self.nodes = node_ids(self.plant)
        self.space = build_space(
            nodesets,
            self.names,
            self.plant,
            self.store.points,
            writable=self.writable,
            methods=self.methods,
        )

    def node(self, number: int) -> Node:
        return self.space.number(number)

    def value(self, node: int | Node) -> Any:
        return decoded(variant_of(self.node(node) if isinstance(node, int) else node))


def variant_of(node: Node) -> bytes:
    """The encoded Variant of a node's value, which is not a point."""
    match node.value:
        case StoredValue() as stored:
            return stored.variant
        case LiveValue() as live:
            return live.variant()
    raise AssertionError(f"{node} has {node.value}")


def decoded(data: bytes) -> Any:
    """The content of an encoded Variant that takes all of its bytes."""
    found = structs.decode_variant(data)
    again = structs.encode_variant(found)
    assert len(again) >= len(data) or again == data
    return found.Value


def read(node: Node, number: int, who: Any = NOBODY) -> Any:
    """An attribute's content."""
    found = attribute(node, number, who)
    assert found is not None, f"{node} has no attribute {number}"
    return structs.decode_variant(found).Value


def kind(data: bytes) -> ua.VariantType:
    """The type of an encoded Variant."""
    return structs.decode_variant(data).VariantType
