"""Equipment classes: for each a class object and an ObjectType (OPC 10030 §8.2)."""

from __future__ import annotations

from nodesets import ua
from nodesets.isa95 import (
    EQUIPMENT_CLASS_PROPERTY_TYPE,
    EQUIPMENT_CLASS_TYPE,
    EQUIPMENT_PROPERTY_TYPE,
    EQUIPMENT_TYPE,
    HAS_ISA95_CLASS_PROPERTY,
    HAS_ISA95_PROPERTY,
)
from nodesets.records import NodeClass, NodeId, NodeRecord, QualifiedName, Reference
from server.plant.build.records import folder, level_attribute, property_nodes, text
from server.plant.model import EquipmentClass, Plant, PropertyType


def object_type_id(plant: Plant, class_name: str) -> NodeId:
    """The ObjectType generated for a class: ``FillerType``."""
    return NodeId(plant.types_uri, f"{class_name}Type")


def class_object_id(plant: Plant, class_name: str) -> NodeId:
    """The class object that DefinedByEquipmentClass points to."""
    return NodeId(plant.types_uri, f"@classes/{class_name}")


def class_nodes(plant: Plant) -> list[NodeRecord]:
    """Every class as an ObjectType below EquipmentType and as an object in EquipmentClasses.

    The ObjectType serves clients that know types, the object those that know ISA-95:
    the specification has DefinedByEquipmentClass point to an object (OPC 10030 §8.2.4).
    """
    if not plant.classes:
        return []
    home = NodeId(plant.types_uri, "@classes")
    records = [folder(home, "EquipmentClasses")]
    for equipment_class in _bases_first(plant):
        records += _object_type(plant, equipment_class)
        records += _class_object(plant, equipment_class, home)
    return records


def _bases_first(plant: Plant) -> list[EquipmentClass]:
    done: dict[str, EquipmentClass] = {}

    def place(equipment_class: EquipmentClass) -> None:
        if equipment_class.extends and equipment_class.extends not in done:
            place(plant.classes[equipment_class.extends])
        done.setdefault(equipment_class.name, equipment_class)

    for equipment_class in plant.classes.values():
        place(equipment_class)
    return list(done.values())


def _object_type(plant: Plant, equipment_class: EquipmentClass) -> list[NodeRecord]:
    node_id = object_type_id(plant, equipment_class.name)
    base = object_type_id(plant, equipment_class.extends) if equipment_class.extends else EQUIPMENT_TYPE
    record = NodeRecord(
        node_id,
        NodeClass.ObjectType,
        QualifiedName(plant.types_uri, f"{equipment_class.name}Type"),
        text(f"{equipment_class.name}Type"),
        text(equipment_class.description),
        references=[Reference(ua.HAS_SUBTYPE, base, forward=False)],
    )
    declared = [
        node
        for kind in _own(equipment_class)
        for node in property_nodes(
            plant,
            kind,
            parent=node_id,
            reference=HAS_ISA95_PROPERTY,
            type_definition=EQUIPMENT_PROPERTY_TYPE,
            namespace=plant.types_uri,
            mandatory=True,
        )
    ]
    return [record, *declared]


def _class_object(plant: Plant, equipment_class: EquipmentClass, home: NodeId) -> list[NodeRecord]:
    node_id = class_object_id(plant, equipment_class.name)
    records = [
        NodeRecord(
            node_id,
            NodeClass.Object,
            QualifiedName(plant.types_uri, equipment_class.name),
            text(equipment_class.name),
            text(equipment_class.description),
            references=[
                Reference(ua.ORGANIZES, home, forward=False),
                Reference(ua.HAS_TYPE_DEFINITION, EQUIPMENT_CLASS_TYPE),
            ],
        )
    ]
    if equipment_class.level is not None:
        records.append(level_attribute(node_id, equipment_class.level))
    for kind in equipment_class.properties:
        records += property_nodes(
            plant,
            kind,
            parent=node_id,
            reference=HAS_ISA95_CLASS_PROPERTY,
            type_definition=EQUIPMENT_CLASS_PROPERTY_TYPE,
            namespace=plant.types_uri,
        )
    return records


def _own(equipment_class: EquipmentClass) -> list[PropertyType]:
    return [kind for kind in equipment_class.properties if kind.name in equipment_class.own]
