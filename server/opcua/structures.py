"""Structures of namespace 0, from plain Python values or from the texts of a NodeSet2 file."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, Final, cast, get_args, get_origin
from uuid import UUID

from asyncua import ua
from asyncua.ua import ua_binary

from nodesets.records import UA, LocalizedText, NodeId, QualifiedName, Structure
from nodesets.uri import unescape_uri
from server.opcua.ids import Namespaces, UnknownNamespace, localized_text
from server.opcua.types import ObjectIds

_INTEGERS: Final = frozenset({"SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"})
_ENCODINGS: Final = ("_Encoding_DefaultXml", "_Encoding_DefaultBinary", "_Encoding_DefaultJson", "")


class Unsupported(Exception):
    """A value that cannot be turned into one of the stack; the text says which and why."""


def structure(value: Structure, namespaces: Namespaces) -> Any:
    """The stack's object for a structure. Raises Unsupported where it knows no such type."""
    kind = _class_of(value.type_id)
    if kind is None:
        raise Unsupported(f"structures of type {value.type_id} are not known")
    return _fill(kind, value.fields, namespaces)


@cache
def _classes() -> Mapping[int, type]:
    """The dataclass of a structure by the number of its DataType and of each of its encodings."""
    found: dict[int, type] = {}
    for kind in ua.extension_objects_by_typeid.values():
        for encoding in _ENCODINGS:
            number = getattr(ObjectIds, f"{kind.__name__}{encoding}", None)
            if number is not None:
                found[number] = kind
    return found


def _class_of(name: NodeId) -> type | None:
    if name.namespace != UA or not isinstance(name.identifier, int):
        return None
    return _classes().get(name.identifier)


def _fill(kind: type, fields: Mapping[str, Any], namespaces: Namespaces) -> Any:
    hints = ua_binary.get_safe_type_hints(kind, {"ua": ua})
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    strange = set(fields) - known
    if strange:
        raise Unsupported(f"{kind.__name__} has no field {', '.join(sorted(strange))}")
    try:
        return kind(**{name: convert(hints[name], value, namespaces) for name, value in fields.items()})
    except (ValueError, TypeError, UnknownNamespace) as error:
        raise Unsupported(f"{kind.__name__}: {error}") from error


def convert(hint: Any, value: Any, namespaces: Namespaces) -> Any:
    """``value`` as the type ``hint`` of a field.

    Raises Unsupported, ValueError or UnknownNamespace.
    """
    if get_origin(hint) is list:
        return [convert(get_args(hint)[0], item, namespaces) for item in _items(value)]
    if value is None or value == {}:
        return _default(hint)
    name = hint.__name__
    if name in _INTEGERS:
        return int(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        # In XML an enumeration is written Name_Number (OPC 10000-6 §5.3.4).
        return hint(int(value.rpartition("_")[2]) if isinstance(value, str) else int(value))
    reader = _READERS.get(name)
    if reader is not None:
        return reader(value, namespaces)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _fill(hint, value.fields if isinstance(value, Structure) else _mapping(value), namespaces)
    raise Unsupported(f"a field of type {name}")


def _default(hint: Any) -> Any:
    """What an element without content means."""
    if hint.__name__ in _INTEGERS:
        return 0
    if hint.__name__ in {"Float", "Double"}:
        return 0.0
    if hint.__name__ == "Boolean":
        return False
    if hint.__name__ in {"String", "ByteString", "CharArray", "DateTime"}:
        return None
    return hint()


def _items(value: Any) -> list[Any]:
    """The elements of an array: as a list, or as XML wraps them, ``{"UInt32": ["1", "2"]}``."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [item for found in value.values() for item in (found if isinstance(found, list) else [found])]
    return list(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unsupported(f"{value!r} where fields are expected")
    return value


def _boolean(value: Any, _: Namespaces) -> bool:
    return value.strip().lower() in {"true", "1"} if isinstance(value, str) else bool(value)


def _localized(value: Any, _: Namespaces) -> ua.LocalizedText:
    if isinstance(value, LocalizedText):
        return localized_text(value)
    if isinstance(value, str):
        return ua.LocalizedText(value)
    fields = _mapping(value)
    return ua.LocalizedText(fields.get("Text"), fields.get("Locale"))


def _qualified(value: Any, namespaces: Namespaces) -> ua.QualifiedName:
    if isinstance(value, QualifiedName):
        return namespaces.qualified_name(value)
    fields = _mapping(value)
    if int(fields.get("NamespaceIndex") or 0):
        raise Unsupported("a QualifiedName by namespace index; only its file knows which that is")
    return ua.QualifiedName(fields.get("Name"), 0)


def _node_id(value: Any, namespaces: Namespaces) -> ua.NodeId:
    if isinstance(value, NodeId):
        return namespaces.node_id(value)
    text = value if isinstance(value, str) else _mapping(value).get("Identifier")
    return namespaces.node_id(parse_node_id(text)) if text else ua.NodeId()


def parse_node_id(text: str) -> NodeId:
    """The inverse of ``str(NodeId)`` (OPC 10000-6 §5.1.12). Raises Unsupported, ValueError."""
    namespace, rest = UA, text.strip()
    if rest.startswith("nsu="):
        uri, _, rest = rest[4:].partition(";")
        namespace = unescape_uri(uri)
    elif rest.startswith("ns="):
        index, _, rest = rest[3:].partition(";")
        if int(index):
            raise Unsupported(f"{text}: a NodeId by namespace index; only its file knows which that is")
    kind, _, identifier = rest.partition("=")
    match kind:
        case "i":
            return NodeId(namespace, int(identifier))
        case "s":
            return NodeId(namespace, identifier)
        case "g":
            return NodeId(namespace, UUID(identifier))
        case "b":
            return NodeId(namespace, _bytes(identifier))
        case _:
            raise Unsupported(f"{text} is no NodeId")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise Unsupported(f"{value!r} is not base64") from error


def _guid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    return UUID(value if isinstance(value, str) else _mapping(value)["String"])


def _time(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_READERS: Final[Mapping[str, Callable[[Any, Namespaces], Any]]] = {
    "Boolean": _boolean,
    "Float": lambda value, _: float(value),
    "Double": lambda value, _: float(value),
    "String": lambda value, _: str(value),
    "CharArray": lambda value, _: str(value),
    "DateTime": lambda value, _: _time(value),
    "Guid": lambda value, _: _guid(value),
    "ByteString": lambda value, _: _bytes(value),
    "LocalizedText": _localized,
    "QualifiedName": _qualified,
    "NodeId": _node_id,
    "ExpandedNodeId": _node_id,
    "StatusCode": lambda value, _: cast("Any", ua.StatusCode)(int(value)),
}
