"""Values of node records as the stack's variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from asyncua import ua

from nodesets.records import (
    BuiltinType,
    DataValue,
    LocalizedText,
    NodeId,
    QualifiedName,
    Structure,
    Variant,
)
from server.opcua.ids import Namespaces, localized_text
from server.opcua.structures import Unsupported, structure
from server.opcua.types import UaError, status, ua_time
from sources.clock import to_datetime


def to_variant(value: Variant, namespaces: Namespaces) -> ua.Variant:
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
            return to_variant(value, namespaces)
        case DataValue():
            return _data_value(value, namespaces)
        case int() if kind is BuiltinType.StatusCode:
            return status(value)
        case int() if kind is BuiltinType.DateTime:
            return to_datetime(value)
        case _:
            return value


def _data_value(value: DataValue, namespaces: Namespaces) -> ua.DataValue:
    content = to_variant(value.value, namespaces) if value.value is not None else None
    found = ua.DataValue(content, status(value.status))
    if value.source_timestamp is not None:
        found = replace(found, SourceTimestamp=ua_time(value.source_timestamp))
    if value.server_timestamp is not None:
        found = replace(found, ServerTimestamp=ua_time(value.server_timestamp))
    return found
