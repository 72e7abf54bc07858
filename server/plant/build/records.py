"""Small makers of node records that the plant's builders share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nodesets import ua
from nodesets.isa95 import EQUIPMENT_LEVEL_ENUM, HAS_ISA95_ATTRIBUTE, HAS_ISA95_CLASS_PROPERTY, ISA95
from nodesets.records import (
    UA,
    BuiltinType,
    LocalizedText,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
    Structure,
    Variant,
)
from server.plant.model import EquipmentLevel, Plant, PropertyType, Range, Unit
from sources.tag import Value

READ: Final = 0x01
READ_WRITE: Final = 0x03


def text(value: str) -> tuple[LocalizedText, ...]:
    """A display name or description; nothing where it is empty."""
    return (LocalizedText(value),) if value else ()


def folder(node_id: NodeId, name: str) -> NodeRecord:
    """A folder below Objects."""
    return NodeRecord(
        node_id,
        NodeClass.Object,
        QualifiedName(node_id.namespace, name),
        text(name),
        references=[
            Reference(ua.ORGANIZES, ua.OBJECTS_FOLDER, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, ua.FOLDER_TYPE),
        ],
    )


def child_id(parent: NodeId, name: str) -> NodeId:
    """The NodeId of a member: the parent's string identifier, a dot, the name."""
    if not isinstance(parent.identifier, str):
        raise TypeError(f"{parent} is no node of the plant: those have strings for ids")
    return NodeId(parent.namespace, f"{parent.identifier}.{name}")


def ua_property(parent: NodeId, name: str, data_type: NodeId, value: Variant) -> NodeRecord:
    """A Property of namespace 0 (EngineeringUnits, EURange, EnumStrings)."""
    return NodeRecord(
        child_id(parent, name),
        NodeClass.Variable,
        QualifiedName(UA, name),
        text(name),
        references=[
            Reference(ua.HAS_PROPERTY, parent, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, ua.PROPERTY_TYPE),
        ],
        data_type=data_type,
        value_rank=1 if value.is_array else -1,
        value=value,
    )


def string_attribute(parent: NodeId, name: str, type_definition: NodeId, value: str) -> NodeRecord:
    """An ISA-95 attribute that holds a String."""
    return NodeRecord(
        child_id(parent, name),
        NodeClass.Variable,
        QualifiedName(ISA95, name),
        text(name),
        references=[
            Reference(HAS_ISA95_ATTRIBUTE, parent, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, type_definition),
        ],
        data_type=NodeId(UA, BuiltinType.String.value),
        value=Variant(BuiltinType.String, value),
    )


def level_attribute(parent: NodeId, level: EquipmentLevel) -> NodeRecord:
    """The EquipmentLevel attribute of an equipment or a class."""
    return NodeRecord(
        child_id(parent, "EquipmentLevel"),
        NodeClass.Variable,
        QualifiedName(ISA95, "EquipmentLevel"),
        text("EquipmentLevel"),
        references=[
            Reference(HAS_ISA95_ATTRIBUTE, parent, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, ua.PROPERTY_TYPE),
        ],
        data_type=EQUIPMENT_LEVEL_ENUM,
        value=Variant(BuiltinType.Int32, int(level)),
    )


def enumeration_id(plant: Plant, name: str) -> NodeId:
    """The DataType of an enumeration."""
    return NodeId(plant.types_uri, f"@enums/{name}")


def property_nodes(  # noqa: PLR0913 - each is one attribute of the node
    plant: Plant,
    kind: PropertyType,
    *,
    parent: NodeId,
    reference: NodeId,
    type_definition: NodeId,
    namespace: str,
    mandatory: bool = False,
    value: Value = None,
    sampling: float | None = None,
    node_id: NodeId | None = None,
) -> list[NodeRecord]:
    """A property's variable and, where it has them, its EngineeringUnits and EURange.

    ``namespace`` is that of the BrowseName; ``sampling`` the scan period in milliseconds;
    ``node_id`` is made of the parent's where none is given.
    """
    node_id = node_id or child_id(parent, kind.name)
    builtin = BuiltinType(kind.type.value)
    data_type = (
        enumeration_id(plant, kind.enumeration.name) if kind.enumeration else NodeId(UA, kind.type.value)
    )
    record = NodeRecord(
        node_id,
        NodeClass.Variable,
        QualifiedName(namespace, kind.name),
        text(kind.name),
        text(kind.description),
        references=[
            Reference(reference, parent, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, type_definition),
            *_rule(mandatory),
        ],
        data_type=data_type,
        value_rank=-1 if kind.length is None else 1,
        array_dimensions=() if kind.length is None else (kind.length,),
        value=_constant(builtin, value),
        access_level=READ_WRITE if kind.write and reference != HAS_ISA95_CLASS_PROPERTY else READ,
        minimum_sampling_interval=sampling,
    )
    children = []
    if kind.unit is not None:
        children.append(ua_property(node_id, "EngineeringUnits", ua.EU_INFORMATION, _units(kind.unit)))
    if kind.range is not None:
        children.append(ua_property(node_id, "EURange", ua.RANGE, _range(kind.range)))
    for child in children:
        child.references += _rule(mandatory)
    return [record, *children]


def _constant(kind: BuiltinType, value: Value) -> Variant | None:
    if value is None:
        return None
    return Variant(kind, value, is_array=isinstance(value, tuple))


def _rule(mandatory: bool) -> Iterable[Reference]:
    return [Reference(ua.HAS_MODELLING_RULE, ua.MANDATORY)] if mandatory else []


def _units(unit: Unit) -> Variant:
    fields = {
        "NamespaceUri": unit.namespace_uri,
        "UnitId": unit.unit_id,
        "DisplayName": LocalizedText(unit.symbol),
        "Description": LocalizedText(unit.name),
    }
    return Variant(BuiltinType.ExtensionObject, Structure(ua.EU_INFORMATION, fields))


def _range(limits: Range) -> Variant:
    fields = {"Low": float(limits.low), "High": float(limits.high)}
    return Variant(BuiltinType.ExtensionObject, Structure(ua.RANGE, fields))
