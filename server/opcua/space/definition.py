"""The DataTypeDefinition of a data type (OPC 10000-3 §8.47)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from asyncua import ua

from nodesets.records import DataTypeField, NodeRecord
from server.opcua.ids import Namespaces, localized
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.types import AttributeIds
from server.opcua.wire import nodeid, structs, writer

_STRUCTURE: Final = 22
_HAS_ENCODING: Final = 38
_DEFAULT_BINARY: Final = writer.qualified_name("Default Binary")

_STRUCTURE_TYPES: Final[Mapping[tuple[bool, bool, bool], ua.StructureType]] = {
    # (union, optional fields, subtyped values)
    (False, False, False): ua.StructureType.Structure,
    (False, True, False): ua.StructureType.StructureWithOptionalFields,
    (True, False, False): ua.StructureType.Union,
    (False, False, True): ua.StructureType.StructureWithSubtypedValues,
    (True, False, True): ua.StructureType.UnionWithSubtypedValues,
}


def data_type_definition(space: Space, node: Node, record: NodeRecord, namespaces: Namespaces) -> bytes:
    """What the record defines, as an encoded Variant; the node is linked, its supertype defined already.

    The fields of the supertype come first. Raises UnknownNamespace.
    """
    given = record.definition
    if given is None:
        raise ValueError(f"{record.node_id} defines nothing")
    above = list(space.supertypes(node))
    if space.number(_STRUCTURE) not in above:
        return _encoded(ua.EnumDefinition(Fields=[_enum_field(field) for field in given.fields]))
    optional = any(field.is_optional for field in given.fields)
    subtyped = any(field.allow_subtypes for field in given.fields)
    encodings = space.targets(node, space.number(_HAS_ENCODING))
    binary = next((one for one in encodings if one.browse_name == _DEFAULT_BINARY), None)
    return _encoded(
        ua.StructureDefinition(
            DefaultEncodingId=nodeid.to_ua(binary.key) if binary else ua.NodeId(),
            BaseDataType=nodeid.to_ua(above[0].key),
            StructureType=_STRUCTURE_TYPES.get(
                (given.is_union, optional, subtyped), ua.StructureType.Structure
            ),
            Fields=_inherited(above[0]) + [_structure_field(field, namespaces) for field in given.fields],
        )
    )


def _inherited(base: Node) -> list[ua.StructureField]:
    found = base.attributes.get(AttributeIds.DataTypeDefinition)
    if found is None:
        return []
    definition = structs.decode_variant(found).Value
    return list(definition.Fields) if isinstance(definition, ua.StructureDefinition) else []


def _encoded(definition: Any) -> bytes:
    return structs.encode_variant(ua.Variant(definition, ua.VariantType.ExtensionObject))


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
