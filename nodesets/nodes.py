"""One node of a NodeSet2 file as a record (OPC 10000-6 §F.3 to §F.13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nodesets.attributes import (
    access_restrictions,
    boolean,
    integer,
    required,
    role_permissions,
    texts,
)
from nodesets.errors import BadTextError
from nodesets.records import (
    BASE_DATA_TYPE,
    BuiltinType,
    DataTypeDefinition,
    DataTypeField,
    NodeClass,
    NodeId,
    NodeRecord,
    Reference,
)
from nodesets.text import Names, parse_array_dimensions, parse_float
from nodesets.tree import Element
from nodesets.values import Values

NODE_CLASSES: Final[Mapping[str, NodeClass]] = {f"UA{kind.name}": kind for kind in NodeClass}


class NodeReader:
    """Reads the nodes of one file."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._values = Values(names)
        self._by_class: Final[dict[NodeClass, Callable[[NodeRecord, Element], None]]] = {
            NodeClass.Object: self._object,
            NodeClass.Variable: self._variable,
            NodeClass.Method: self._method,
            NodeClass.ObjectType: self._type,
            NodeClass.VariableType: self._variable_type,
            NodeClass.ReferenceType: self._reference_type,
            NodeClass.DataType: self._data_type,
            NodeClass.View: self._view,
        }

    def read(self, element: Element) -> NodeRecord:
        """The record of a UAObject, UAVariable and so on; `BadTextError` with its line where it has none."""
        try:
            return self._read(element)
        except BadTextError as error:
            raise error.at(element.line) from None

    def _read(self, element: Element) -> NodeRecord:
        attributes = element.attributes
        node_class = NODE_CLASSES[element.name]
        record = NodeRecord(
            self._names.reference(required(element, "NodeId")),
            node_class,
            self._names.qualified_name(required(element, "BrowseName")),
            texts(element, "DisplayName"),
            texts(element, "Description"),
            self._references(element),
            role_permissions=role_permissions(element, self._names),
            access_restrictions=access_restrictions(element),
            write_mask=integer(element, "WriteMask", BuiltinType.UInt32, 0),
            symbolic_name=attributes.get("SymbolicName", ""),
            release_status=attributes.get("ReleaseStatus", "Released"),
            design_tool_only=boolean(element, "DesignToolOnly"),
        )
        self._by_class[node_class](record, element)
        return record

    def _references(self, element: Element) -> list[Reference]:
        holder = element.find("References")
        if holder is None:
            return []
        found = []
        reference = self._names.reference
        for child in holder.children:
            try:
                kind = reference(required(child, "ReferenceType"))
                found.append(
                    Reference(kind, reference(child.text), boolean(child, "IsForward", default=True))
                )
            except BadTextError as error:
                raise error.at(child.line) from None
        return found

    def _data_type_of(self, element: Element) -> NodeId:
        text = element.attributes.get("DataType")
        return BASE_DATA_TYPE if text is None else self._names.reference(text)

    def _shape(self, record: NodeRecord, element: Element) -> None:
        record.data_type = self._data_type_of(element)
        record.value_rank = integer(element, "ValueRank", BuiltinType.Int32, -1)
        record.array_dimensions = parse_array_dimensions(element.attributes.get("ArrayDimensions", ""))
        record.value = self._values.variant(element.find("Value"))

    def _object(self, record: NodeRecord, element: Element) -> None:
        record.event_notifier = integer(element, "EventNotifier", BuiltinType.Byte, 0)

    def _view(self, record: NodeRecord, element: Element) -> None:
        self._object(record, element)
        record.contains_no_loops = boolean(element, "ContainsNoLoops")

    def _variable(self, record: NodeRecord, element: Element) -> None:
        self._shape(record, element)
        record.access_level = integer(element, "AccessLevel", BuiltinType.UInt32, 1)
        record.historizing = boolean(element, "Historizing")
        interval = element.attributes.get("MinimumSamplingInterval")
        record.minimum_sampling_interval = None if interval is None else parse_float(interval)

    def _method(self, record: NodeRecord, element: Element) -> None:
        record.executable = boolean(element, "Executable", default=True)
        declaration = element.attributes.get("MethodDeclarationId")
        record.method_declaration = None if declaration is None else self._names.reference(declaration)

    def _type(self, record: NodeRecord, element: Element) -> None:
        record.is_abstract = boolean(element, "IsAbstract")

    def _variable_type(self, record: NodeRecord, element: Element) -> None:
        self._type(record, element)
        self._shape(record, element)

    def _reference_type(self, record: NodeRecord, element: Element) -> None:
        self._type(record, element)
        record.symmetric = boolean(element, "Symmetric")
        record.inverse_name = texts(element, "InverseName")

    def _data_type(self, record: NodeRecord, element: Element) -> None:
        self._type(record, element)
        definition = element.find("Definition")
        if definition is None:
            return
        record.definition = DataTypeDefinition(
            self._names.qualified_name(required(definition, "Name")),
            tuple(self._field(child) for child in definition.children if child.name == "Field"),
            boolean(definition, "IsUnion"),
            boolean(definition, "IsOptionSet"),
        )

    def _field(self, element: Element) -> DataTypeField:
        attributes = element.attributes
        try:
            return DataTypeField(
                required(element, "Name"),
                self._data_type_of(element),
                integer(element, "ValueRank", BuiltinType.Int32, -1),
                parse_array_dimensions(attributes.get("ArrayDimensions", "")),
                integer(element, "MaxStringLength", BuiltinType.UInt32, 0),
                boolean(element, "IsOptional"),
                boolean(element, "AllowSubTypes"),
                integer(element, "Value", BuiltinType.Int64, -1),
                texts(element, "DisplayName"),
                texts(element, "Description"),
                attributes.get("SymbolicName", ""),
            )
        except BadTextError as error:
            raise error.at(element.line) from None
