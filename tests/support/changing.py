"""A plant's address space and values without a server, changed from one state to the next."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from nodesets import isa95
from server.opcua.ids import Namespaces
from server.opcua.space.assemble import build_space
from server.opcua.space.change import SpaceChange, prepare
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.wire.nodeid import Key
from server.plant.build import namespaces
from server.plant.difference import difference, reconcile
from server.plant.model import Plant
from server.plant.values import Point, ValueStore

TIME = 1000


class Changing:
    """What a server has of a plant, and how `server.change` changes it."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.store = ValueStore(plant, time=TIME)
        self.names = Namespaces("urn:test:isthmus", (isa95.ISA95, *namespaces(plant)))
        self.space = build_space(isa95.load().nodes, self.names, plant, self.store.points, writable=True)

    def prepare(self, plant: Plant) -> SpaceChange:
        """Ready to be `carry_out`; the state is as before."""
        self.new = reconcile(self.plant, plant).plant
        self.properties = difference(self.plant, self.new)
        self.made = {point.property.key: point for point in self.store.make(self.properties.added, TIME)}
        points: Mapping[str, Point] = ChainMap(self.made, self.store.points)  # type: ignore[arg-type]
        return prepare(self.space, self.names, self.plant, self.new, self.properties, points, writable=True)

    def change(self, plant: Plant) -> SpaceChange:
        """Be that plant from now on."""
        ready = self.prepare(plant)
        for _ in ready.carry_out(self.change_points):
            pass
        return ready

    def change_points(self) -> Iterator[None]:
        """What happens to the values between the nodes that go and those that come."""
        self.store.change(
            removed=self.properties.removed,
            changed=self.properties.changed,
            added=self.made.values(),
            time=TIME,
        )
        self.plant = self.new
        yield


def dumped(space: Space) -> dict[Key, dict[str, Any]]:
    """Everything clients can see of every node, but in which order its references come."""
    return {node.key: seen(node) for node in space}


def seen(node: Node) -> dict[str, Any]:
    """One of them."""
    references = [(one.type.key, one.forward, one.target.key) for one in node.references()]
    assert len(set(references)) == len(references), f"{node} refers twice"
    return {
        "class": node.node_class,
        "names": (node.browse_name, node.display_name),
        "attributes": dict(node.attributes),
        "permissions": node.role_permissions.entries,
        "restrictions": node.access_restrictions,
        "type": node.type_definition.key if node.type_definition else None,
        "value": _value(node),
        "references": sorted(references),
    }


def _value(node: Node) -> object:
    if isinstance(node.value, StoredValue):
        return node.value.variant
    return held(node.value) if isinstance(node.value, Point) else type(node.value)


def held(point: Point) -> tuple[Any, ...]:
    """What a point is and holds."""
    return (
        point.property,
        point.kind,
        point.conversion,
        point.value,
        type(point.value),
        point.status,
        point.source_time,
        point.server_time,
    )


def points_of(store: ValueStore) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every point by its key, sorted."""
    return iter(sorted((key, held(point)) for key, point in store.points.items()))
