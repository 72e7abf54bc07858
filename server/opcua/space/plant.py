"""The plant's nodes: its skeleton by records, its properties by shapes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from nodesets.records import NodeId, NodeRecord
from server.opcua.ids import Namespaces
from server.opcua.space.build import Builder
from server.opcua.space.node import Node, Reference
from server.opcua.space.shapes import Holder, PlantVariable, Shape
from server.opcua.space.space import Space
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import key
from server.plant.build import equipment_id, property_records, shape_key, skeleton
from server.plant.model import Equipment, Plant, Property, Role
from server.plant.values import Point
from server.progress import Progress, followed, silent


def callers(plant: Plant) -> dict[NodeId, frozenset[Role]]:
    """Equipment that may hold methods of a device's, and who may call these."""
    return {
        equipment_id(plant, one): one.imported.callers
        for one in plant.equipment
        if one.imported is not None and one.imported.nodes
    }


class PlantBuilder:
    """Adds a plant. The nodesets it refers to are there already."""

    def __init__(self, space: Space, namespaces: Namespaces, builder: Builder, plant: Plant) -> None:
        self._space = space
        self._namespaces = namespaces
        self._builder = builder
        self._plant = plant
        self._shapes: dict[Hashable, Shape] = {}
        builder.callers = callers(plant)

    def add(self, points: Mapping[str, Point], progress: Progress = silent) -> None:
        """Add every node of the plant; ``points`` are by the property's key.

        Raises UnknownNamespace, DuplicateNode.
        """
        plant, space = self._plant, self._space
        index = self._namespaces.index(plant.plant_uri)
        with space.changing():
            # Equipment without properties may be given some later.
            holders = {equipment_id(plant, one) for one in plant.equipment}
            self._builder.add(skeleton(plant), holders)
            for equipment in followed(plant.equipment, "building the address space", progress):
                if not equipment.properties:
                    continue
                holder = space.nodes[key(equipment.node_id, index)]
                assert isinstance(holder, Holder)  # noqa: S101  # made so above
                for prop in equipment.properties:
                    shape = self.shape(equipment, prop)
                    node = key(prop.node_id, index)
                    space.add_variable(PlantVariable(node, shape, holder, points[prop.key]))

    def shape(self, equipment: Equipment, prop: Property) -> Shape:
        """The shape of a property's variable. Touches nothing that is shared."""
        alike = shape_key(prop)
        found = self._shapes.get(alike)
        if found is None:
            found = self._shapes[alike] = self._new_shape(equipment, prop)
        return found

    def _new_shape(self, equipment: Equipment, prop: Property) -> Shape:
        variable, *members = property_records(self._plant, equipment, prop)
        has_property = self._space.number(ObjectIds.HasProperty)
        return Shape(
            self._builder.node(variable, prop),
            self._typed(variable),
            self._there(next(r for r in variable.references if not r.forward).type),
            has_property,
            {_last_part(record.node_id): self._member(record) for record in members},
            self._space.members,
        )

    def _member(self, record: NodeRecord) -> Node:
        node = self._builder.node(record)
        node.type_definition = self._typed(record).target
        return node

    def _typed(self, record: NodeRecord) -> Reference:
        """The first reference forward: its type definition."""
        found = next(r for r in record.references if r.forward)
        return Reference(self._there(found.type), True, self._there(found.target))

    def _there(self, name: NodeId) -> Node:
        return self._space.nodes[key(name.identifier, self._namespaces.index(name.namespace))]


def _last_part(name: NodeId) -> bytes:
    """What stands behind the last dot of a NodeId's text."""
    return str(name.identifier).rpartition(".")[2].encode()
