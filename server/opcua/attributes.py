"""The attributes of a node record as the stack's variants (OPC 10000-3 §5)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

from asyncua import ua

from nodesets.records import (
    BuiltinType,
    DataTypeField,
    LocalizedText,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Structure,
    Variant,
)
from server.opcua.ids import Namespaces, UnknownNamespace, localized, localized_text
from server.opcua.structures import Unsupported, structure
from server.opcua.types import AttributeIds, UaError, status
from sources.clock import to_datetime
from sources.quality import BAD_NOT_SUPPORTED

log = logging.getLogger(__name__)

Attributes = dict[AttributeIds, ua.DataValue]

CURRENT_READ: Final = 0x01
WRITE: Final = 0x42
"""CurrentWrite and TimestampWrite (OPC 10000-3 §8.57): with a value its SourceTimestamp may be given."""

_A: Final = AttributeIds
_T: Final = ua.VariantType


def attributes(record: NodeRecord, namespaces: Namespaces, *, writable: bool = False) -> Attributes:
    """Every attribute of the node but its DataTypeDefinition. Raises UnknownNamespace.

    Nothing is writable but the values of the plant, so AccessLevel says what ``writable`` says.
    """
    shared = {
        _A.NodeId: _value(namespaces.node_id(record.node_id), _T.NodeId),
        _A.NodeClass: _shared(ua.NodeClass(record.node_class), _T.Int32),
        _A.BrowseName: _value(namespaces.qualified_name(record.browse_name), _T.QualifiedName),
        _A.DisplayName: _value(display_name(record), _T.LocalizedText),
        _A.WriteMask: _shared(0, _T.UInt32),
        _A.UserWriteMask: _shared(0, _T.UInt32),
    }
    if record.description:
        shared[_A.Description] = _value(localized(record.description), _T.LocalizedText)
    return shared | _of_class(record, namespaces, writable=writable)


def display_name(record: NodeRecord) -> ua.LocalizedText:
    """The display name; the browse name where none is given."""
    return (
        localized(record.display_name) if record.display_name else ua.LocalizedText(record.browse_name.name)
    )


def _of_class(record: NodeRecord, namespaces: Namespaces, *, writable: bool) -> Attributes:
    match record.node_class:
        case NodeClass.Variable:
            access = CURRENT_READ | (WRITE if writable else 0)
            found = _typed(record, namespaces) | {
                _A.AccessLevel: _shared(access, _T.Byte),
                _A.UserAccessLevel: _shared(access, _T.Byte),
                _A.Historizing: _shared(record.historizing, _T.Boolean),
            }
            if record.minimum_sampling_interval is not None:
                found[_A.MinimumSamplingInterval] = _shared(record.minimum_sampling_interval, _T.Double)
            return found
        case NodeClass.VariableType:
            return _typed(record, namespaces) | {_A.IsAbstract: _shared(record.is_abstract, _T.Boolean)}
        case NodeClass.Object:
            return {_A.EventNotifier: _shared(record.event_notifier, _T.Byte)}
        case NodeClass.View:
            return {
                _A.EventNotifier: _shared(record.event_notifier, _T.Byte),
                _A.ContainsNoLoops: _shared(False, _T.Boolean),
            }
        case NodeClass.Method:
            return {
                _A.Executable: _shared(False, _T.Boolean),
                _A.UserExecutable: _shared(False, _T.Boolean),
            }
        case NodeClass.ReferenceType:
            found = {
                _A.IsAbstract: _shared(record.is_abstract, _T.Boolean),
                _A.Symmetric: _shared(record.symmetric, _T.Boolean),
            }
            if record.inverse_name:
                found[_A.InverseName] = _value(localized(record.inverse_name), _T.LocalizedText)
            return found
        case NodeClass.ObjectType | NodeClass.DataType:
            return {_A.IsAbstract: _shared(record.is_abstract, _T.Boolean)}


def _typed(record: NodeRecord, namespaces: Namespaces) -> Attributes:
    """What variables and variable types share."""
    found = {
        _A.DataType: _shared(namespaces.node_id(record.data_type), _T.NodeId),
        _A.ValueRank: _shared(record.value_rank, _T.Int32),
    }
    if record.value_rank > 0:
        dimensions = record.array_dimensions or (0,) * record.value_rank
        found[_A.ArrayDimensions] = _value(list(dimensions), _T.UInt32, is_array=True)
    if record.value is not None:
        found[_A.Value] = _initial(record, record.value, namespaces)
    elif record.node_class is NodeClass.Variable:
        found[_A.Value] = ua.DataValue(ua.Variant())
    return found


def _initial(record: NodeRecord, value: Variant, namespaces: Namespaces) -> ua.DataValue:
    try:
        return ua.DataValue(variant(value, namespaces))
    except (Unsupported, UnknownNamespace) as error:
        log.warning("%s has no value here: %s", record.node_id, error)
        return ua.DataValue(ua.Variant(), status(BAD_NOT_SUPPORTED))


def _value(value: Any, kind: ua.VariantType, *, is_array: bool = False) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind, is_array=is_array))


@lru_cache(maxsize=4096)
def _shared(value: Any, kind: ua.VariantType) -> ua.DataValue:
    """One object for the same value in a hundred thousand nodes; nobody changes it."""
    return _value(value, kind)


def variant(value: Variant, namespaces: Namespaces) -> ua.Variant:
    """The stack's variant. Raises Unsupported, UnknownNamespace."""
    kind = ua.VariantType(value.type)
    dimensions = cast("Any", list(value.dimensions)) if len(value.dimensions) > 1 else None
    content = (
        [_plain(value.type, item, namespaces) for item in value.value or ()]
        if value.is_array
        else _plain(value.type, value.value, namespaces)
    )
    try:
        return ua.Variant(content, kind, dimensions, value.is_array)
    except UaError as error:
        raise Unsupported(str(error)) from error


def _plain(kind: BuiltinType, value: Any, namespaces: Namespaces) -> Any:
    match value:
        case Structure():
            return structure(value, namespaces)
        case LocalizedText():
            return localized_text(value)
        case QualifiedName():
            return namespaces.qualified_name(value)
        case NodeId():
            return namespaces.node_id(value)
        case Variant():
            return variant(value, namespaces)
        case int() if kind is BuiltinType.StatusCode:
            return status(value)
        case int() if kind is BuiltinType.DateTime:
            return to_datetime(value)
        case _:
            return value


_STRUCTURE_TYPES: Final[Mapping[tuple[bool, bool, bool], ua.StructureType]] = {
    # (union, optional fields, subtyped values)
    (False, False, False): ua.StructureType.Structure,
    (False, True, False): ua.StructureType.StructureWithOptionalFields,
    (True, False, False): ua.StructureType.Union,
    (False, False, True): ua.StructureType.StructureWithSubtypedValues,
    (True, False, True): ua.StructureType.UnionWithSubtypedValues,
}


def definition(
    record: NodeRecord, namespaces: Namespaces, *, base: ua.NodeId, encoding: ua.NodeId, is_structure: bool
) -> ua.DataValue | None:
    """The DataTypeDefinition (OPC 10000-3 §8.47), None where the record gives none.

    ``base`` is the supertype, ``encoding`` the Default Binary encoding. Raises UnknownNamespace.
    """
    given = record.definition
    if given is None:
        return None
    if not is_structure:
        members = [_enum_field(field) for field in given.fields]
        return _value(ua.EnumDefinition(Fields=members), _T.ExtensionObject)
    optional = any(field.is_optional for field in given.fields)
    subtyped = any(field.allow_subtypes for field in given.fields)
    kind = _STRUCTURE_TYPES.get((given.is_union, optional, subtyped), ua.StructureType.Structure)
    fields = [_structure_field(field, namespaces) for field in given.fields]
    return _value(
        ua.StructureDefinition(
            DefaultEncodingId=encoding, BaseDataType=base, StructureType=kind, Fields=fields
        ),
        _T.ExtensionObject,
    )


def _enum_field(field: DataTypeField) -> ua.EnumField:
    made = cast("Any", ua.EnumField)(
        Value=field.value,
        DisplayName=localized(field.display_name) if field.display_name else ua.LocalizedText(field.name),
        Description=localized(field.description),
        Name=field.name,
    )
    return cast("ua.EnumField", made)


def _structure_field(field: DataTypeField, namespaces: Namespaces) -> ua.StructureField:
    made = cast("Any", ua.StructureField)(
        Name=field.name,
        Description=localized(field.description),
        DataType=namespaces.node_id(field.data_type),
        ValueRank=field.value_rank,
        ArrayDimensions=list(field.array_dimensions),
        MaxStringLength=field.max_string_length,
        IsOptional=field.is_optional or field.allow_subtypes,
    )
    return cast("ua.StructureField", made)
