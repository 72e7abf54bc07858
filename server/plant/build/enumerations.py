"""Enumerations as DataTypes with their strings (OPC 10000-3 §5.8.3)."""

from __future__ import annotations

from nodesets import ua
from nodesets.records import (
    BuiltinType,
    DataTypeDefinition,
    DataTypeField,
    LocalizedText,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
    Structure,
    Variant,
)
from server.plant.build.records import enumeration_id, text, ua_property
from server.plant.model import Enumeration, Plant


def enumeration_nodes(plant: Plant) -> list[NodeRecord]:
    """A DataType below Enumeration for each enumeration of the plant.

    Numbers 0, 1, 2, … without a gap are served as EnumStrings, all others as EnumValues.
    """
    return [
        node
        for enumeration in plant.enumerations.values()
        for node in data_type(enumeration_id(plant, enumeration.name), enumeration)
    ]


def data_type(node_id: NodeId, enumeration: Enumeration) -> list[NodeRecord]:
    """The DataType of an enumeration, and its strings."""
    name = QualifiedName(node_id.namespace, enumeration.name)
    members = sorted(enumeration.members.items())
    record = NodeRecord(
        node_id,
        NodeClass.DataType,
        name,
        text(enumeration.name),
        references=[Reference(ua.HAS_SUBTYPE, ua.ENUMERATION, forward=False)],
        definition=DataTypeDefinition(
            name,
            tuple(DataTypeField(label, value=number, display_name=text(label)) for number, label in members),
        ),
    )
    return [record, _strings(node_id, members)]


def _strings(node_id: NodeId, members: list[tuple[int, str]]) -> NodeRecord:
    if [number for number, _ in members] == list(range(len(members))):
        labels = [LocalizedText(label) for _, label in members]
        value = Variant(BuiltinType.LocalizedText, labels, is_array=True)
        return ua_property(node_id, "EnumStrings", ua.LOCALIZED_TEXT, value)
    entries = [
        Structure(
            ua.ENUM_VALUE_TYPE,
            {"Value": number, "DisplayName": LocalizedText(label), "Description": LocalizedText("")},
        )
        for number, label in members
    ]
    value = Variant(BuiltinType.ExtensionObject, entries, is_array=True)
    return ua_property(node_id, "EnumValues", ua.ENUM_VALUE_TYPE, value)
