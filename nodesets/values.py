"""The Value of a Variable or VariableType: the XML encoding of a Variant (OPC 10000-6 §5.3.1.17, §F.14)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from nodesets.errors import BadTextError
from nodesets.records import (
    NULL,
    BuiltinType,
    DataValue,
    LocalizedText,
    NodeId,
    QualifiedName,
    Structure,
    Variant,
)
from nodesets.text import (
    RANGES,
    XML_SPACE,
    Names,
    parse_boolean,
    parse_bytes,
    parse_date_time,
    parse_float,
    parse_guid,
    parse_integer,
)
from nodesets.tree import Element, to_xml

TYPES_NAMESPACE: Final = "http://opcfoundation.org/UA/2008/02/Types.xsd"

_NIL: Final = "http://www.w3.org/2001/XMLSchema-instance nil"
_LIST: Final = "ListOf"
_BUILTIN: Final = {kind.name: kind for kind in BuiltinType}


class Values:
    """Reads values of one file; its names give the namespaces."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._scalars: dict[BuiltinType, Callable[[Element], Any]] = {
            BuiltinType.Boolean: lambda e: parse_boolean(e.text),
            BuiltinType.Float: lambda e: parse_float(e.text, BuiltinType.Float),
            BuiltinType.Double: lambda e: parse_float(e.text),
            BuiltinType.String: lambda e: e.text,
            BuiltinType.DateTime: lambda e: parse_date_time(e.text),
            BuiltinType.Guid: lambda e: parse_guid(_inner(e, "String") or _ZERO_GUID),
            BuiltinType.ByteString: lambda e: parse_bytes(e.text),
            BuiltinType.XmlElement: lambda e: "".join(map(to_xml, e.children)) or e.text,
            BuiltinType.NodeId: self._node_id,
            BuiltinType.ExpandedNodeId: self._node_id,
            BuiltinType.StatusCode: lambda e: parse_integer(_inner(e, "Code") or "0", BuiltinType.StatusCode),
            BuiltinType.QualifiedName: self._qualified_name,
            BuiltinType.LocalizedText: _localized_text,
            BuiltinType.ExtensionObject: self.extension_object,
            BuiltinType.DataValue: self._data_value,
            BuiltinType.Variant: lambda e: self.variant(e.find("Value")),
        }

    def variant(self, holder: Element | None) -> Variant | None:
        """What an element named Value holds: None where it is empty."""
        if holder is None:
            return None
        _no_text(holder)
        if not holder.children:
            return None
        element = holder.children[0]
        if len(holder.children) > 1:
            raise BadTextError(
                "a Value holds one element; write an array as ListOf…", holder.children[1].line
            )
        if element.name == "Matrix":
            return self._matrix(element)
        if element.name.startswith(_LIST):
            kind = self._kind(element, element.name.removeprefix(_LIST))
            return Variant(kind, [self._scalar(child, kind) for child in element.children], is_array=True)
        kind = self._kind(element, element.name)
        if kind is BuiltinType.Variant:
            # A Variant directly in a Variant is not allowed; what it holds is meant.
            return self.variant(element.find("Value"))
        return Variant(kind, self._scalar(element, kind))

    def _matrix(self, matrix: Element) -> Variant | None:
        sizes, holder = matrix.find("Dimensions"), matrix.find("Elements")
        if sizes is None or holder is None:
            raise BadTextError("a Matrix needs Dimensions and Elements", matrix.line)
        try:
            dimensions = tuple(parse_integer(size.text, BuiltinType.UInt32) for size in sizes.children)
        except BadTextError as error:
            raise error.at(sizes.line) from None
        if math.prod(dimensions) != len(holder.children) or not dimensions:
            raise BadTextError(
                f"a Matrix of dimensions {list(dimensions)} cannot have {len(holder.children)} elements",
                matrix.line,
            )
        if not holder.children:
            return None
        kind = self._kind(holder.children[0], holder.children[0].name)
        return Variant(kind, [self._scalar(e, kind) for e in holder.children], True, dimensions)

    @staticmethod
    def _kind(element: Element, name: str) -> BuiltinType:
        kind = _BUILTIN.get(name)
        if kind is None or kind is BuiltinType.DiagnosticInfo:
            raise BadTextError(
                f"<{element.name}> cannot be a Value; use a built-in type such as Int32, ListOfString or "
                "ExtensionObject",
                element.line,
            )
        return kind

    def _scalar(self, element: Element, kind: BuiltinType) -> Any:
        if element.name != kind.name:
            raise BadTextError(f"<{element.name}> stands among elements of {kind.name}", element.line)
        if is_nil(element):
            return None
        try:
            if kind in _NUMBERS:
                return parse_integer(element.text, kind)
            return self._scalars[kind](element)
        except BadTextError as error:
            raise error.at(element.line) from None

    def _node_id(self, element: Element) -> NodeId:
        return self._names.node_id(_inner(element, "Identifier"))

    def _qualified_name(self, element: Element) -> QualifiedName:
        return QualifiedName(
            self._names.namespace(_inner(element, "NamespaceIndex")), _inner(element, "Name")
        )

    def _data_value(self, element: Element) -> DataValue:
        _no_text(element)
        status, source, server = map(element.find, ("StatusCode", "SourceTimestamp", "ServerTimestamp"))
        return DataValue(
            self.variant(element.find("Value")),
            0 if status is None else self._scalar(status, BuiltinType.StatusCode) or 0,
            None if source is None or is_nil(source) else parse_date_time(source.text),
            None if server is None or is_nil(server) else parse_date_time(server.text),
        )

    def extension_object(self, element: Element) -> Structure | None:
        """An ExtensionObject; None where it has neither type nor body."""
        _no_text(element)
        type_element, body = element.find("TypeId"), element.find("Body")
        type_id = NULL if type_element is None else self._node_id(type_element)
        content = body.children[0] if body is not None and body.children else None
        if content is None:
            return None if type_id == NULL else Structure(type_id, {})
        if content.name == "ByteString" and content.namespace == TYPES_NAMESPACE:
            return Structure(type_id, {}, parse_bytes(content.text))
        fields = self._fields(content.children)
        return Structure(type_id, fields)

    def _fields(self, children: Sequence[Element]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        repeated: set[str] = set()
        for child in children:
            value = self._field(child)
            if child.name not in fields:
                fields[child.name] = value
            elif child.name in repeated:
                fields[child.name].append(value)
            else:
                repeated.add(child.name)
                fields[child.name] = [fields[child.name], value]
        return fields

    def _field(self, element: Element) -> Any:
        """A field of a structure, without knowing its type: what speaks of namespaces shows by its parts."""
        if is_nil(element):
            return None
        if not element.children:
            return element.text or None
        parts = {child.name for child in element.children if child.namespace == TYPES_NAMESPACE}
        try:
            if len(parts) == len(element.children):
                if parts == {"Identifier"}:
                    return self._node_id(element)
                if parts in ({"NamespaceIndex", "Name"}, {"NamespaceIndex"}):
                    return self._qualified_name(element)
                if parts in ({"TypeId", "Body"}, {"TypeId"}):
                    return self.extension_object(element)
        except BadTextError as error:
            raise error.at(element.line) from None
        return self._fields(element.children)


_NUMBERS: Final = RANGES.keys() - {BuiltinType.StatusCode}
_ZERO_GUID: Final = "00000000-0000-0000-0000-000000000000"


def is_nil(element: Element) -> bool:
    """Whether the element says it stands for null (xsi:nil)."""
    return element.attributes.get(_NIL, "").strip(XML_SPACE) in {"true", "1"}


def _inner(element: Element, name: str) -> str:
    _no_text(element)
    child = element.find(name)
    return "" if child is None else child.text


def _no_text(element: Element) -> None:
    """Text where elements belong would be lost, and a null be read instead."""
    if element.text.strip(XML_SPACE):
        raise BadTextError(f"<{element.name}> holds text where elements belong", element.line)


def _localized_text(element: Element) -> LocalizedText:
    return LocalizedText(_inner(element, "Text"), _inner(element, "Locale").strip(XML_SPACE))
