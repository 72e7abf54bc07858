"""A node of the address space, its attributes encoded once (OPC 10000-3 §5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from server.opcua.space.permissions import RolePermissions
from server.opcua.space.value import Value
from server.opcua.wire import nodeid
from server.opcua.wire.nodeid import Key


class Reference(NamedTuple):
    """A reference as the node that holds it sees it (OPC 10000-3 §5.3)."""

    type: Node
    forward: bool
    target: Node


_NOTHING: Final[list[Reference]] = []
"""The references of a node that holds none itself: shared by many, so never changed."""


class Node:
    """A node. What is asked of it often is a slot; the rest of its attributes are encoded Variants.

    ``attributes`` holds, by AttributeId, every attribute the node has but NodeId, NodeClass,
    BrowseName, DisplayName, Value, RolePermissions, UserRolePermissions, AccessRestrictions,
    and those that depend on the user (UserWriteMask, UserAccessLevel, UserExecutable). The
    mapping may be shared with nodes like this one: replace it, never change it.

    Other kinds of node may derive these from what they share; whoever reads a node uses
    these names only.
    """

    __slots__ = (
        "access_restrictions",
        "alive",
        "attributes",
        "browse_name",
        "display_name",
        "key",
        "links",
        "node_class",
        "role_permissions",
        "type_definition",
        "value",
    )

    def __init__(  # each is one attribute
        self,
        key: Key,
        node_class: int,
        browse_name: bytes,
        display_name: bytes,
        attributes: Mapping[int, bytes],
        role_permissions: RolePermissions,
        access_restrictions: int = 0,
        value: Value | None = None,
    ) -> None:
        """``browse_name`` and ``display_name`` are an encoded QualifiedName and LocalizedText."""
        self.key = key
        self.node_class = node_class
        self.browse_name = browse_name
        self.display_name = display_name
        self.attributes = attributes
        self.role_permissions = role_permissions
        self.access_restrictions = access_restrictions
        self.value = value
        self.type_definition: Node | None = None
        self.links: list[Reference] = []
        """References held here, those to deleted nodes among them until they are swept out."""
        self.alive = True

    def _like(self, key: Key, pattern: Node) -> None:
        """Begin as a node of that key with everything a pattern has but its value and references."""
        self.key = key
        self.take_over(pattern)
        self.links = _NOTHING
        self.alive = True

    def take_over(self, pattern: Node) -> None:
        """Have everything a pattern has but its key, value and references. For `Space` alone."""
        self.node_class = pattern.node_class
        self.browse_name = pattern.browse_name
        self.display_name = pattern.display_name
        self.attributes = pattern.attributes
        self.role_permissions = pattern.role_permissions
        self.access_restrictions = pattern.access_restrictions

    def hold(self, reference: Reference) -> None:
        """Add a reference to those held here. For `Space` alone."""
        if self.links is _NOTHING:
            self.links = [reference]
        else:
            self.links.append(reference)

    def references(self) -> Iterator[Reference]:
        """Every reference of the node in both directions, in the order they were made.

        Inverse HasTypeDefinition and HasModellingRule references are not kept: a type does not
        list its instances (OPC 10000-3 §7.13 does not ask for it).
        """
        return (link for link in self.links if link.target.alive)

    def __repr__(self) -> str:
        return f"<Node {nodeid.text(self.key)}>"
