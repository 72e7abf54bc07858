"""The equipment hierarchy and its properties (OPC 10030 §9.2)."""

from __future__ import annotations

from collections.abc import Container, Hashable

from nodesets import ua
from nodesets.isa95 import (
    DEFINED_BY_EQUIPMENT_CLASS,
    EQUIPMENT_PROPERTY_TYPE,
    EQUIPMENT_TYPE,
    HAS_ISA95_PROPERTY,
    IMPLEMENTED_BY,
    MADE_UP_OF_EQUIPMENT,
)
from nodesets.records import NodeClass, NodeId, NodeRecord, QualifiedName, Reference
from server.plant.build.assets import asset_id
from server.plant.build.classes import class_object_id, object_type_id
from server.plant.build.records import level_attribute, property_nodes, text
from server.plant.model import Equipment, Plant, Property


def node_ids(plant: Plant) -> dict[str, NodeId]:
    """The NodeId of every property's variable, by the property's key."""
    return {
        prop.key: _property_id(plant, prop) for equipment in plant.equipment for prop in equipment.properties
    }


def equipment_nodes(plant: Plant, paths: Container[str] | None = None) -> list[NodeRecord]:
    """Every equipment below its parent, the top ones in the Objects folder, without their properties.

    With ``paths`` these alone.
    """
    by_path = {equipment.path: equipment for equipment in plant.equipment}
    records: list[NodeRecord] = []
    for equipment in plant.equipment:
        if paths is None or equipment.path in paths:
            records += _equipment(plant, equipment, by_path)
    return records


def equipment_id(plant: Plant, equipment: Equipment) -> NodeId:
    """The object of an equipment."""
    return NodeId(plant.plant_uri, equipment.node_id)


def shape_key(prop: Property) -> Hashable:
    """What two properties have to share for their nodes to differ in nothing but their ids and values."""
    return id(prop.type), prop.declared_by is None, _sampling(prop)


def property_records(plant: Plant, equipment: Equipment, prop: Property) -> list[NodeRecord]:
    """The variable of a property, and its EngineeringUnits and EURange behind it."""
    return property_nodes(
        plant,
        prop.type,
        node_id=_property_id(plant, prop),
        parent=equipment_id(plant, equipment),
        reference=HAS_ISA95_PROPERTY,
        type_definition=EQUIPMENT_PROPERTY_TYPE,
        namespace=plant.types_uri if prop.declared_by else plant.plant_uri,
        value=prop.constant,
        sampling=_sampling(prop),
    )


def _property_id(plant: Plant, prop: Property) -> NodeId:
    return NodeId(plant.plant_uri, prop.node_id)


def _equipment(plant: Plant, equipment: Equipment, by_path: dict[str, Equipment]) -> list[NodeRecord]:
    node_id = equipment_id(plant, equipment)
    above = (
        Reference(ua.ORGANIZES, ua.OBJECTS_FOLDER, forward=False)
        if equipment.parent is None
        else Reference(MADE_UP_OF_EQUIPMENT, equipment_id(plant, by_path[equipment.parent]), forward=False)
    )
    references = [above]
    if equipment.class_name is None:
        references.append(Reference(ua.HAS_TYPE_DEFINITION, EQUIPMENT_TYPE))
    else:
        references += [
            Reference(ua.HAS_TYPE_DEFINITION, object_type_id(plant, equipment.class_name)),
            Reference(DEFINED_BY_EQUIPMENT_CLASS, class_object_id(plant, equipment.class_name)),
        ]
    if equipment.implemented_by is not None:
        references.append(Reference(IMPLEMENTED_BY, asset_id(plant, equipment.implemented_by)))
    return [
        NodeRecord(
            node_id,
            NodeClass.Object,
            QualifiedName(plant.plant_uri, equipment.name),
            text(equipment.display_name or equipment.name),
            text(equipment.description),
            references=references,
        ),
        level_attribute(node_id, equipment.level),
    ]


def _sampling(prop: Property) -> float:
    """MinimumSamplingInterval in ms: the scan period, or 0 (told at once) for a constant."""
    return prop.binding.tag.scan.period * 1000.0 if prop.binding else 0.0
