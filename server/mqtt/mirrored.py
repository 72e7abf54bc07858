"""DataSets of values that are not the plant's own: see `server.plant.mirrored`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

import orjson

from nodesets.records import BuiltinType
from nodesets.uri import unescape_uri
from server.mqtt.dataset import ConfigurationVersion, analog, field_id, property_of
from server.mqtt.encode import Json, status_code
from server.mqtt.topics import level
from server.mqtt.variants import TooLarge, Unencodable, VariantEncoder
from server.plant.mirrored import Cell, DataType, Form, MirroredField, MirroredSet
from sources.quality import GOOD

_UA: Final = "http://opcfoundation.org/UA/"
_ENCODING_ERROR: Final = 0x80060000
_LIMITS_EXCEEDED: Final = 0x80080000
_STRUCTURE_TYPES: Final = {Form.Structure: 0, Form.Optional: 1, Form.Union: 2}


class MirroredDataSet:
    """What `server.mqtt.dataset.DataSet` is for an equipment, for the variables of an imported object."""

    __slots__ = ("_encoder", "_name_of", "_refused", "fields", "key", "name", "of", "writer_name")

    def __init__(
        self,
        of: MirroredSet,
        name_of: Callable[[int], str],
        refused: Callable[[str, str], None],
        name: str = "",
    ) -> None:
        """``refused`` is told of a value that cannot be encoded: its NodeId, and why."""
        self.of = of
        self.key = of.key
        self.name = name or of.name
        self.writer_name = level(self.name)
        self.fields = of.fields
        self._name_of = name_of
        self._encoder = VariantEncoder(of.types, name_of)
        self._refused = refused

    def beside(self, taken: Container[str]) -> MirroredDataSet:
        """The same by the name it has beside sets of these names: itself where that is the one it has."""
        name = self.of.apart if self.of.name in taken else self.of.name
        return self if name == self.name else MirroredDataSet(self.of, self._name_of, self._refused, name)

    @property
    def size(self) -> int:
        """See DataSet."""
        return len(self.fields)

    def field_name(self, index: int) -> str:
        """See DataSet."""
        return self.fields[index].name

    @property
    def cells(self) -> Sequence[Cell]:
        """Where the values of its fields are."""
        return [field.cell for field in self.fields]

    def encoded(self, index: int, value: bytes | None, status: int, source_time: str) -> Json:
        """See DataSet; a value that cannot be encoded is none."""
        field = self.fields[index]
        found: Json = {"Value": None}
        if value is not None:
            try:
                found = self._encoder.value(value, field.built_in, field.data_type)
            except Unencodable as error:
                status = _LIMITS_EXCEEDED if isinstance(error, TooLarge) else _ENCODING_ERROR
                self._refused(field.node_id, str(error))
        if status != GOOD:
            found["Status"] = status_code(status)
        found["SourceTimestamp"] = source_time
        return found

    def metadata(self, _namespaces: Sequence[str], version: ConfigurationVersion) -> Json:
        """See DataSet; it names the namespaces it needs, whatever else the server has."""
        return {
            **self._base(),
            "Fields": [_field(field) for field in self.fields],
            "ConfigurationVersion": {"MajorVersion": version.major, "MinorVersion": version.minor},
        }

    def fingerprint(self, _namespaces: Sequence[str], fields: int | None = None) -> str:
        """See DataSet. Other data types make another set, whatever field they are for."""
        digest = hashlib.sha256(orjson.dumps(self._base()))
        for field in self.fields[:fields]:
            digest.update(orjson.dumps(_field(field)))
        return digest.hexdigest()

    def _base(self) -> Json:
        kinds = [one for one in self.of.types.by_id.values() if not one.id.startswith("i=")]
        named = (*(field.node_id for field in self.fields), *(one.id for one in kinds))
        uris = [unescape_uri(text[4:].partition(";")[0]) for text in named if text.startswith("nsu=")]
        base: Json = {"Namespaces": list(dict.fromkeys((_UA, *uris)))}
        for name, forms, describe in (
            ("StructureDataTypes", set(_STRUCTURE_TYPES), _structure),
            ("EnumDataTypes", {Form.Enumeration}, _enumeration),
            ("SimpleDataTypes", {Form.Simple}, _simple),
        ):
            described = [describe(one) for one in kinds if one.form in forms]
            if described:
                base[name] = described
        base["Name"] = self.name
        return base


def _field(field: MirroredField) -> Json:
    found: Json = {"Name": field.name}
    if field.description:
        found["Description"] = {"Text": field.description}
    found |= {
        "FieldFlags": 0,
        "BuiltInType": field.built_in,
        "DataType": field.data_type,
        "ValueRank": field.value_rank,
    }
    if field.dimensions:
        found["ArrayDimensions"] = list(field.dimensions)
    return found | {
        "MaxStringLength": 0,
        "DataSetFieldId": field_id(field.node_id),
        "Properties": [
            property_of("NodeId", BuiltinType.NodeId, field.node_id),
            *analog(field.unit, field.range),
        ],
    }


def _named(kind: DataType) -> dict[str, Any]:
    return {"DataTypeId": kind.id, "Name": kind.name}


def _enumeration(kind: DataType) -> Json:
    fields = [
        {"Value": str(number), "DisplayName": {"Text": name}, "Name": name}
        for number, name in kind.members.items()
    ]
    return _named(kind) | {"EnumDefinition": {"Fields": fields}, "BuiltInType": kind.built_in}


def _simple(kind: DataType) -> Json:
    return _named(kind) | {"BaseDataType": kind.base, "BuiltInType": kind.built_in}


def _structure(kind: DataType) -> Json:
    return _named(kind) | {
        "StructureDefinition": {
            "DefaultEncodingId": kind.encoding,
            "BaseDataType": kind.base,
            "StructureType": _STRUCTURE_TYPES[kind.form],
            "Fields": [
                {
                    "Name": one.name,
                    "DataType": one.data_type,
                    "ValueRank": one.rank,
                    "IsOptional": one.optional,
                }
                for one in kind.fields
            ],
        }
    }
