"""What is published: one DataSet per equipment that has properties, and its DataSetMetaData."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

import orjson

from nodesets.records import BuiltinType, NodeId
from nodesets.uri import escape_uri
from server.mqtt.encode import Encoder, Json, data_value, encoder
from server.mqtt.topics import level
from server.plant.model import Enumeration, Equipment, Plant, Property, Range, Unit
from sources.quality import Quality
from sources.tag import Value, ValueType

_FIELD_IDS: Final = UUID("0f4b7a3e-6c1d-5d27-9a58-2f1f6f0b7c11")
"""Namespace of the DataSetFieldIds: they follow from the NodeId, so a restart keeps them."""
_EU_INFORMATION: Final = "i=887"
_RANGE: Final = "i=884"


@dataclass(frozen=True, slots=True)
class ConfigurationVersion:
    """VersionTimes: seconds since 2000-01-01 UTC (OPC 10000-14 §6.2.3.2.6)."""

    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """What one DataSetWriter publishes: every property of one equipment, in order."""

    key: str
    """Identifies the equipment over restarts and moves: its node's string identifier."""
    name: str
    """Its path in the plant."""
    writer_name: str
    """The path as one topic level."""
    description: str
    types_uri: str
    properties: tuple[Property, ...]
    node_ids: tuple[NodeId, ...]
    encoders: tuple[Encoder, ...]

    @property
    def size(self) -> int:
        """How many fields it has."""
        return len(self.properties)

    def field_name(self, index: int) -> str:
        """The name of a field."""
        return self.properties[index].name

    def encoded(self, index: int, value: Value, status: Quality, source_time: str) -> Json:
        """A DataValue of a field; ``source_time`` is ISO 8601."""
        return data_value(self.encoders[index], value, status, source_time)

    def metadata(self, namespaces: Sequence[str], version: ConfigurationVersion) -> Json:
        """The DataSetMetaDataType (OPC 10000-14 §6.2.3.2.3), Compact."""
        return {
            **self._base(namespaces),
            "Fields": [self._field(index) for index in range(len(self.properties))],
            "ConfigurationVersion": {"MajorVersion": version.major, "MinorVersion": version.minor},
        }

    def fingerprint(self, namespaces: Sequence[str], fields: int | None = None) -> str:
        """A digest of the metadata up to that many fields, all by default, without the version."""
        digest = hashlib.sha256(orjson.dumps(self._base(namespaces, enumerations=False)))
        for index, prop in enumerate(self.properties[:fields]):
            digest.update(orjson.dumps(self._field(index)))
            if prop.type.enumeration is not None:
                digest.update(orjson.dumps(_enum_description(self.types_uri, prop.type.enumeration)))
        return digest.hexdigest()

    def _base(self, namespaces: Sequence[str], *, enumerations: bool = True) -> Json:
        base: Json = {"Namespaces": list(namespaces)}
        if enumerations:
            used = {
                p.type.enumeration.name: p.type.enumeration for p in self.properties if p.type.enumeration
            }
            if used:
                base["EnumDataTypes"] = [_enum_description(self.types_uri, e) for e in used.values()]
        base["Name"] = self.name
        if self.description:
            base["Description"] = {"Text": self.description}
        return base

    def _field(self, index: int) -> Json:
        kind, node_id = self.properties[index].type, str(self.node_ids[index])
        field: Json = {"Name": kind.name}
        if kind.description:
            field["Description"] = {"Text": kind.description}
        builtin = BuiltinType.Int32.value if kind.enumeration else kind.type.value
        field |= {
            "FieldFlags": 0,
            "BuiltInType": builtin,
            "DataType": _enum_id(self.types_uri, kind.enumeration) if kind.enumeration else f"i={builtin}",
            "ValueRank": -1 if kind.length is None else 1,
            **({} if kind.length is None else {"ArrayDimensions": [kind.length]}),
            "MaxStringLength": 0,
            "DataSetFieldId": field_id(node_id),
            "Properties": [
                property_of("NodeId", BuiltinType.NodeId, node_id),
                *analog(kind.unit, kind.range),
            ],
        }
        return field


def datasets(plant: Plant, node_of: Mapping[str, NodeId]) -> list[DataSet]:
    """A DataSet for each equipment that has properties; ``node_of`` gives a property's node by its key."""
    encoders: dict[object, Encoder] = {}
    return [
        _dataset(plant, equipment, node_of, encoders) for equipment in plant.equipment if equipment.properties
    ]


def _dataset(
    plant: Plant, equipment: Equipment, node_of: Mapping[str, NodeId], encoders: dict[object, Encoder]
) -> DataSet:
    def shared(prop: Property) -> Encoder:
        enumeration = prop.type.enumeration
        array = prop.type.length is not None
        key = enumeration.name if enumeration else prop.type.type, array
        found = encoders.get(key)
        if found is None:
            found = encoders[key] = encoder(prop.type.type, enumeration, array=array)
        return found

    return DataSet(
        key=equipment.node_id,
        name=equipment.path,
        writer_name=level(equipment.path),
        description=equipment.description,
        types_uri=plant.types_uri,
        properties=equipment.properties,
        node_ids=tuple(node_of[prop.key] for prop in equipment.properties),
        encoders=tuple(shared(prop) for prop in equipment.properties),
    )


def _enum_id(types_uri: str, enumeration: Enumeration) -> str:
    return str(NodeId(types_uri, f"@enums/{enumeration.name}"))


def _enum_description(types_uri: str, enumeration: Enumeration) -> Json:
    return {
        "DataTypeId": _enum_id(types_uri, enumeration),
        "Name": f"nsu={escape_uri(types_uri)};{enumeration.name}",
        "EnumDefinition": {
            "Fields": [
                # Value is an Int64, which JSON holds as text.
                {"Value": str(number), "DisplayName": {"Text": name}, "Name": name}
                for number, name in enumeration.members.items()
            ]
        },
        "BuiltInType": BuiltinType.Int32.value,
    }


def field_id(node_id: str) -> str:
    """The DataSetFieldId of a variable."""
    return str(uuid5(_FIELD_IDS, node_id))


def property_of(key: str, kind: BuiltinType, value: object) -> Json:
    """A KeyValuePair of a field."""
    return {"Key": key, "Value": {"UaType": kind.value, "Value": value}}


def analog(unit: Unit | None, limits: Range | None) -> list[Json]:
    """EngineeringUnits and EURange of a field, as far as it has them."""
    found = []
    if unit is not None:
        information = {
            "UaTypeId": _EU_INFORMATION,
            "NamespaceUri": unit.namespace_uri,
            "UnitId": unit.unit_id,
            "DisplayName": {"Text": unit.symbol},
            "Description": {"Text": unit.name},
        }
        found.append(property_of("EngineeringUnits", BuiltinType.ExtensionObject, information))
    if limits is not None:
        double = encoder(ValueType.Double)
        span = {"UaTypeId": _RANGE, "Low": double(float(limits.low)), "High": double(float(limits.high))}
        found.append(property_of("EURange", BuiltinType.ExtensionObject, span))
    return found
