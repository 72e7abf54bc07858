"""Our own schema of the JSON messages of OPC 10000-14 §7.2.5, to check every message against."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

_GUID = {"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$"}
_NODE_ID = {"type": "string", "pattern": r"^(nsu=[^;]+;|ns=\d+;)?(i=\d+|s=.+|g=.+|b=.+)$"}
_UINT16 = {"type": "integer", "minimum": 1, "maximum": 0xFFFF}
_UINT32 = {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFF}
_NAME = {"type": "string", "minLength": 1}
_TEXT = {
    "type": "object",
    "properties": {"Locale": {"type": "string"}, "Text": {"type": "string"}},
    "additionalProperties": False,
}
_STATUS_CODE = {
    "type": "object",
    "required": ["Code"],
    "properties": {"Code": {**_UINT32, "minimum": 1}, "Symbol": _NAME},
    "additionalProperties": False,
}
_DATA_VALUE = {
    "type": "object",
    "required": ["Value"],
    "properties": {
        "UaType": {"type": "integer", "minimum": 1, "maximum": 25},
        "Value": {"type": ["boolean", "number", "string", "null", "array", "object"]},
        "Dimensions": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2},
        # The parts of the specification disagree on the key; we write Status.
        "Status": _STATUS_CODE,
        "StatusCode": _STATUS_CODE,
        "SourceTimestamp": _TIME,
        "ServerTimestamp": _TIME,
    },
    "additionalProperties": False,
}
_VERSION = {
    "type": "object",
    "required": ["MajorVersion", "MinorVersion"],
    "properties": {"MajorVersion": {**_UINT32, "minimum": 1}, "MinorVersion": {**_UINT32, "minimum": 1}},
    "additionalProperties": False,
}
_VARIANT = {
    "type": "object",
    "required": ["UaType", "Value"],
    "properties": {"UaType": {"type": "integer", "minimum": 1, "maximum": 25}, "Value": {}},
    "additionalProperties": False,
}
_DATA_SET_MESSAGE = {
    "type": "object",
    "required": ["DataSetWriterId", "SequenceNumber", "MinorVersion", "Timestamp", "MessageType"],
    "properties": {
        "DataSetWriterId": _UINT16,
        "SequenceNumber": _UINT32,
        "MinorVersion": {**_UINT32, "minimum": 1},
        "Timestamp": _TIME,
        "Status": _STATUS_CODE,
        "MessageType": {"enum": ["ua-keyframe", "ua-deltaframe", "ua-keepalive"]},
        "Payload": {"type": "object", "additionalProperties": _DATA_VALUE, "minProperties": 1},
    },
    "additionalProperties": False,
    "if": {"properties": {"MessageType": {"const": "ua-keepalive"}}},
    "then": {"not": {"required": ["Payload"]}},
    "else": {"required": ["Payload"]},
}
_FIELD = {
    "type": "object",
    "required": ["Name", "BuiltInType", "DataType", "ValueRank", "DataSetFieldId"],
    "properties": {
        "Name": _NAME,
        "Description": _TEXT,
        "FieldFlags": {"type": "integer", "minimum": 0, "maximum": 0xFFFF},
        "BuiltInType": {"type": "integer", "minimum": 1, "maximum": 25},
        "DataType": _NODE_ID,
        "ValueRank": {"type": "integer", "minimum": -3},
        "ArrayDimensions": {"type": "array", "items": _UINT32, "minItems": 1},
        "MaxStringLength": _UINT32,
        "DataSetFieldId": _GUID,
        "Properties": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["Key", "Value"],
                "properties": {"Key": _NAME, "Value": _VARIANT},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_ENUM = {
    "type": "object",
    "required": ["DataTypeId", "Name", "EnumDefinition", "BuiltInType"],
    "properties": {
        "DataTypeId": _NODE_ID,
        "Name": {"type": "string", "pattern": "^(nsu=[^;]+;)?.+$"},
        "EnumDefinition": {
            "type": "object",
            "required": ["Fields"],
            "properties": {
                "Fields": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Name", "Value"],
                        "properties": {
                            "Value": {"type": "string", "pattern": r"^-?\d+$"},
                            "DisplayName": _TEXT,
                            "Description": _TEXT,
                            "Name": _NAME,
                        },
                        "additionalProperties": False,
                    },
                }
            },
            "additionalProperties": False,
        },
        "BuiltInType": {"const": 6},
    },
    "additionalProperties": False,
}
_QUALIFIED = {"type": "string", "pattern": "^(nsu=[^;]+;)?.+$"}
_STRUCTURE = {
    "type": "object",
    "required": ["DataTypeId", "Name", "StructureDefinition"],
    "properties": {
        "DataTypeId": _NODE_ID,
        "Name": _QUALIFIED,
        "StructureDefinition": {
            "type": "object",
            "required": ["DefaultEncodingId", "BaseDataType", "StructureType", "Fields"],
            "properties": {
                "DefaultEncodingId": _NODE_ID,
                "BaseDataType": _NODE_ID,
                "StructureType": {"type": "integer", "minimum": 0, "maximum": 4},
                "Fields": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Name", "DataType", "ValueRank"],
                        "properties": {
                            "Name": _NAME,
                            "DataType": _NODE_ID,
                            "ValueRank": {"type": "integer"},
                            "IsOptional": {"type": "boolean"},
                        },
                        "additionalProperties": False,
                    },
                },
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
_SIMPLE = {
    "type": "object",
    "required": ["DataTypeId", "Name", "BaseDataType", "BuiltInType"],
    "properties": {
        "DataTypeId": _NODE_ID,
        "Name": _QUALIFIED,
        "BaseDataType": _NODE_ID,
        "BuiltInType": {"type": "integer", "minimum": 1, "maximum": 25},
    },
    "additionalProperties": False,
}
_METADATA = {
    "type": "object",
    "required": ["Name", "Fields", "ConfigurationVersion"],
    "properties": {
        "Namespaces": {"type": "array", "items": _NAME},
        "EnumDataTypes": {"type": "array", "items": _ENUM},
        "StructureDataTypes": {"type": "array", "items": _STRUCTURE},
        "SimpleDataTypes": {"type": "array", "items": _SIMPLE},
        "Name": _NAME,
        "Description": _TEXT,
        "Fields": {"type": "array", "items": _FIELD, "minItems": 1},
        "DataSetClassId": _GUID,
        "ConfigurationVersion": _VERSION,
    },
    "additionalProperties": False,
}
_TYPED = {"type": "object", "required": ["UaTypeId"], "properties": {"UaTypeId": _NODE_ID}}
_WRITER = {
    "type": "object",
    "required": ["Name", "DataSetWriterId", "DataSetName", "TransportSettings", "MessageSettings"],
    "properties": {
        "Name": _NAME,
        "Enabled": {"type": "boolean"},
        "DataSetWriterId": _UINT16,
        "DataSetFieldContentMask": _UINT32,
        "KeyFrameCount": _UINT32,
        "DataSetName": _NAME,
        "TransportSettings": {**_TYPED, "required": ["UaTypeId", "QueueName", "MetaDataQueueName"]},
        "MessageSettings": {**_TYPED, "required": ["UaTypeId", "DataSetMessageContentMask"]},
    },
    "additionalProperties": False,
}
_GROUP = {
    "type": "object",
    "required": ["Name", "WriterGroupId", "PublishingInterval", "DataSetWriters"],
    "properties": {
        "Name": _NAME,
        "Enabled": {"type": "boolean"},
        "SecurityMode": {"enum": [1, 2, 3]},
        "WriterGroupId": _UINT16,
        "PublishingInterval": {"type": "number", "exclusiveMinimum": 0},
        "KeepAliveTime": {"type": "number", "exclusiveMinimum": 0},
        "HeaderLayoutUri": _NAME,
        "TransportSettings": _TYPED,
        "MessageSettings": {**_TYPED, "required": ["UaTypeId", "NetworkMessageContentMask"]},
        "DataSetWriters": {"type": "array", "items": _WRITER},
    },
    "additionalProperties": False,
}
# Address and ReaderGroups have no place in it (§7.2.5.5.6).
_CONNECTION = {
    "type": "object",
    "required": ["Name", "PublisherId", "TransportProfileUri", "WriterGroups"],
    "properties": {
        "Name": _NAME,
        "Enabled": {"type": "boolean"},
        "PublisherId": _VARIANT,
        "TransportProfileUri": {"const": "http://opcfoundation.org/UA-Profile/Transport/pubsub-mqtt-json"},
        "WriterGroups": {"type": "array", "items": _GROUP},
    },
    "additionalProperties": False,
}


def _message(kind: str, required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["MessageId", "MessageType", "PublisherId", *required],
        "properties": {
            "MessageId": _NAME,
            "MessageType": {"const": kind},
            "PublisherId": _NAME,
            **properties,
        },
        "additionalProperties": False,
    }


_VALIDATORS = {
    kind: Draft202012Validator(_message(kind, required, properties))
    for kind, required, properties in (
        (
            "ua-data",
            ["Messages"],
            {"Messages": {"type": "array", "items": _DATA_SET_MESSAGE, "minItems": 1}},
        ),
        (
            "ua-metadata",
            ["DataSetWriterId", "WriterGroupName", "DataSetWriterName", "Timestamp", "MetaData"],
            {
                "DataSetWriterId": _UINT16,
                "WriterGroupName": _NAME,
                "DataSetWriterName": _NAME,
                "Timestamp": _TIME,
                "MetaData": _METADATA,
            },
        ),
        (
            "ua-status",
            ["IsCyclic", "Status"],
            {
                "IsCyclic": {"type": "boolean"},
                "Status": {"type": "integer", "minimum": 0, "maximum": 4},
                "Timestamp": _TIME,
                "NextReportTime": _TIME,
            },
        ),
        ("ua-connection", ["Timestamp", "Connection"], {"Timestamp": _TIME, "Connection": _CONNECTION}),
    )
}


def validate(message: dict[str, Any]) -> None:
    """Check one decoded message; raises AssertionError that names every fault."""
    kind = message.get("MessageType")
    validator = _VALIDATORS.get(str(kind))
    assert validator is not None, f"MessageType {kind!r} is none of {sorted(_VALIDATORS)}"
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(message)]
    if kind == "ua-metadata" and not faults:
        faults += _metadata_faults(message["MetaData"])
    assert not faults, f"{kind} message {message.get('MessageId')}: " + "; ".join(faults)


def _metadata_faults(metadata: dict[str, Any]) -> list[str]:
    faults = []
    names = [field["Name"] for field in metadata["Fields"]]
    ids = [field["DataSetFieldId"] for field in metadata["Fields"]]
    if len(set(names)) != len(names) or len(set(ids)) != len(ids):
        faults.append("names and ids of fields must be unique")
    version = metadata["ConfigurationVersion"]
    if version["MinorVersion"] < version["MajorVersion"]:
        faults.append("MinorVersion is older than MajorVersion")
    kinds = ("EnumDataTypes", "StructureDataTypes", "SimpleDataTypes")
    known = {one["DataTypeId"] for kind in kinds for one in metadata.get(kind, ())}
    return faults + [
        f"{field['Name']}: nothing describes the DataType {field['DataType']}"
        for field in metadata["Fields"]
        if field["DataType"] not in known and not field["DataType"].startswith("i=")
    ]


def validate_data(message: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Check a data message against the schema and against its writer's metadata message."""
    validate(message)
    fields = {field["Name"]: field["BuiltInType"] for field in metadata["MetaData"]["Fields"]}
    kinds = {one["DataTypeId"] for one in metadata["MetaData"].get("EnumDataTypes", ())}
    enums = {f["Name"] for f in metadata["MetaData"]["Fields"] if f["DataType"] in kinds}
    for part in message["Messages"]:
        assert part["DataSetWriterId"] == metadata["DataSetWriterId"]
        assert part["MinorVersion"] == metadata["MetaData"]["ConfigurationVersion"]["MinorVersion"]
        payload = part.get("Payload", {})
        assert payload.keys() <= fields.keys(), f"fields the metadata does not know: {payload.keys()}"
        if part["MessageType"] == "ua-keyframe":
            assert list(payload) == list(fields), "a key frame holds every field, in order"
        for name, value in payload.items():
            _check_type(name, value["Value"], fields[name], is_enum=name in enums)


_SHAPES = {
    **dict.fromkeys((13, 14, 15, 16, 17, 18, 20), str),
    **dict.fromkeys((19, 21, 22, 23), dict),
    24: object,
}
"""What a value of a built-in type is that is no plain number or text."""


def _check_type(name: str, value: object, builtin: int, *, is_enum: bool) -> None:
    if value is None:
        return
    if isinstance(value, list):
        for one in value:
            _check_type(name, one, builtin, is_enum=is_enum)
        return
    shape = _SHAPES.get(builtin)
    if shape is not None:
        right = isinstance(value, shape)
    elif (is_enum and builtin == 6) or builtin in {8, 9, 12}:
        right = isinstance(value, str)
        if builtin in {8, 9} and right:
            int(str(value))
    elif builtin == 1:
        right = isinstance(value, bool)
    elif builtin in {10, 11}:
        right = (isinstance(value, int | float) and not isinstance(value, bool)) or value in {
            "NaN",
            "Infinity",
            "-Infinity",
        }
    else:
        right = isinstance(value, int) and not isinstance(value, bool)
    assert right, f"{name}: {value!r} is no value of built-in type {builtin}"
