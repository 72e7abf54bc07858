"""Gives standard nodes their values, and makes nodes by the declarations of their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from server.opcua.limits import MIN_SAMPLING_INTERVAL
from server.opcua.space import defaults, encode
from server.opcua.space.node import Node
from server.opcua.space.permissions import RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import LiveValue, StoredValue, Value
from server.opcua.types import AttributeIds, ObjectIds
from server.opcua.wire.nodeid import Key, key

OWN_NAMESPACE: Final = 1
"""The index of the server's own namespace (OPC 10000-5 §6.3.1)."""

_NO_EVENTS: Final = {
    int(AttributeIds.WriteMask): encode.uint32(0),
    int(AttributeIds.EventNotifier): encode.byte(0),
}
_SAMPLED: Final = encode.double(MIN_SAMPLING_INTERVAL)


def own_key(name: str) -> Key:
    """The key of a node the server makes for itself."""
    return key(name, OWN_NAMESPACE)


def store(space: Space, number: int, variant: bytes) -> StoredValue:
    """Give a standard node a value of its own; `StoredValue.set` changes it."""
    value = space.number(number).value = StoredValue(variant)
    return value


def live(space: Space, number: int, variant: Callable[[], bytes]) -> None:
    """Give a standard node a value that is worked out when it is read."""
    show(space.number(number), LiveValue(variant))


def show(node: Node, value: Value) -> None:
    """Give a node a value; one that has to be sampled says how often that makes sense."""
    node.value = value
    if isinstance(value, LiveValue):
        node.attributes = {**node.attributes, AttributeIds.MinimumSamplingInterval: _SAMPLED}


def declarations(space: Space, owner: Node) -> dict[str, Node]:
    """What a type, a declaration or an instance has below it by Aggregates, by name."""
    found = space.targets(owner, space.number(ObjectIds.Aggregates))
    return {name_of(child): child for child in found}


def name_of(node: Node) -> str:
    """The text of its BrowseName."""
    return node.browse_name[6:].decode("utf-8")


class Maker:
    """Makes instances of declarations. To be used within `Space.changing`."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._has_type = space.number(ObjectIds.HasTypeDefinition)
        self._has_component = space.number(ObjectIds.HasComponent)
        self._has_property = space.number(ObjectIds.HasProperty)
        self._property_type = space.number(ObjectIds.PropertyType)

    def object(self, parent: Node, its_key: Key, browse_name: bytes, type_number: int) -> Node:
        """A component of ``parent`` of an ObjectType, shown by its encoded BrowseName."""
        node = Node(
            its_key,
            1,
            browse_name,
            b"\x02" + browse_name[2:],  # a LocalizedText of nothing but the text
            _NO_EVENTS,
            defaults.STANDARD,
        )
        self._put(node, parent, self._has_component, self._space.number(type_number))
        return node

    def variable(  # each is one attribute
        self,
        parent: Node,
        its_key: Key,
        declaration: Node,
        value: Value,
        permissions: RolePermissions = defaults.STANDARD,
        restrictions: int = 0,
    ) -> Node:
        """A variable as it is declared, its type's references aside, with a value."""
        node = Node(
            its_key,
            declaration.node_class,
            declaration.browse_name,
            declaration.display_name,
            declaration.attributes,
            permissions,
            restrictions,
        )
        show(node, value)
        kind = declaration.type_definition or self._property_type
        is_property = kind is self._property_type
        self._put(node, parent, self._has_property if is_property else self._has_component, kind)
        return node

    def _put(self, node: Node, parent: Node, reference: Node, kind: Node) -> None:
        self._space.add(node)
        self._space.link(node, self._has_type, kind)
        self._space.link(parent, reference, node)
