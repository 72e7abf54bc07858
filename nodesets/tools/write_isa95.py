"""Writes ``nodesets/isa95.xml`` from ``isa95.txt``: ``python -m nodesets.tools.write_isa95``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from nodesets import ua
from nodesets.records import (
    BASE_DATA_TYPE,
    UA,
    DataTypeField,
    LocalizedText,
    NodeClass,
    NodeId,
    NodeRecord,
    NodeSet,
    QualifiedName,
    Variant,
)
from nodesets.tools.isa95_table import read_table

_PATH: Final = Path(__file__).parents[1] / "isa95.xml"
_HEAD: Final = """<?xml version="1.0" encoding="utf-8"?>
<!--
  The ISA-95 information model (OPC 10030 v1.00) under its official namespace and NodeIds, written
  anew. Made by nodesets/tools/write_isa95.py from nodesets/tools/isa95.txt, which says what
  differs from the official nodeset and why: change the table, not this file.

  A subset: without the type dictionaries and without placeholders that nothing refers to. Each
  reference stands once, at the type or instance declaration that it describes.
-->
"""
_STANDARD: Final = {
    ua.HAS_SUBTYPE: "HasSubtype",
    ua.HAS_COMPONENT: "HasComponent",
    ua.HAS_PROPERTY: "HasProperty",
    ua.HAS_ENCODING: "HasEncoding",
    ua.HAS_TYPE_DEFINITION: "HasTypeDefinition",
    ua.HAS_MODELLING_RULE: "HasModellingRule",
    ua.BOOLEAN: "Boolean",
    ua.BYTE: "Byte",
    ua.INT32: "Int32",
    ua.DOUBLE: "Double",
    ua.STRING: "String",
    ua.DATE_TIME: "DateTime",
    ua.NODE_ID: "NodeId",
    ua.LOCALIZED_TEXT: "LocalizedText",
    ua.STRUCTURE: "Structure",
    ua.EU_INFORMATION: "EUInformation",
    ua.ID_TYPE: "IdType",
    ua.NUMERIC_RANGE: "NumericRange",
}
_INSTANCES: Final = {NodeClass.Object, NodeClass.Variable}
_NO_PARENT: Final = {ua.HAS_ENCODING}


def to_xml(nodeset: NodeSet) -> str:
    """A nodeset of one namespace as NodeSet2 XML: the attributes and values that the table's nodes use."""
    return _HEAD + "\n".join(_Writer(nodeset).lines()) + "\n"


class _Writer:
    def __init__(self, nodeset: NodeSet) -> None:
        self._nodeset = nodeset
        (self._model,) = nodeset.models
        own = {NodeClass.ReferenceType, NodeClass.DataType}
        self._aliases = _STANDARD | {
            r.node_id: r.browse_name.name for r in nodeset.nodes if r.node_class in own
        }

    def lines(self) -> Iterator[str]:
        model = self._model
        yield '<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd">'
        yield f"  <NamespaceUris>\n    <Uri>{escape(model.uri)}</Uri>\n  </NamespaceUris>"
        yield f"  <Models>\n    <Model{_model(model.uri, model.version, model.publication_date)}>"
        yield from (f"      <RequiredModel{_model(*required)}/>" for required in model.required)
        yield "    </Model>\n  </Models>\n  <Aliases>"
        for node_id, name in self._aliases.items():
            yield f"    <Alias{_attributes(Alias=name)}>{self._id(node_id)}</Alias>"
        yield "  </Aliases>"
        for record in self._nodeset.nodes:
            yield from self._node(record)
        yield "</UANodeSet>"

    def _node(self, record: NodeRecord) -> Iterator[str]:
        tag = f"UA{record.node_class.name}"
        holder = record.references[0]
        has_parent = record.node_class in _INSTANCES and holder.type not in _NO_PARENT
        attributes = _attributes(
            NodeId=self._id(record.node_id),
            BrowseName=self._name(record.browse_name),
            ParentNodeId=self._id(holder.target) if has_parent else None,
            IsAbstract="true" if record.is_abstract else None,
            DataType=None if record.data_type == BASE_DATA_TYPE else self._alias(record.data_type),
            ValueRank=None if record.value_rank == -1 else str(record.value_rank),
            AccessLevel=None if record.access_level == 1 else str(record.access_level),
        )
        yield f"  <{tag}{attributes}>"
        yield from (f"    <DisplayName>{escape(text.text)}</DisplayName>" for text in record.display_name)
        yield "    <References>"
        for reference in record.references:
            backward = None if reference.forward else "false"
            named = _attributes(ReferenceType=self._alias(reference.type), IsForward=backward)
            yield f"      <Reference{named}>{self._id(reference.target)}</Reference>"
        yield "    </References>"
        yield from (f"    <InverseName>{escape(text.text)}</InverseName>" for text in record.inverse_name)
        if record.definition is not None:
            yield f"    <Definition{_attributes(Name=self._name(record.definition.name))}>"
            yield from (self._field(field) for field in record.definition.fields)
            yield "    </Definition>"
        if record.value is not None:
            yield from _value(record.value)
        yield f"  </{tag}>"

    def _field(self, field: DataTypeField) -> str:
        attributes = _attributes(
            Name=field.name,
            DataType=None if field.data_type == BASE_DATA_TYPE else self._alias(field.data_type),
            ValueRank=None if field.value_rank == -1 else str(field.value_rank),
            Value=None if field.value == -1 else str(field.value),
        )
        return f"      <Field{attributes}/>"

    def _id(self, node_id: NodeId) -> str:
        kind = "i" if isinstance(node_id.identifier, int) else "s"
        return f"{'' if node_id.namespace == UA else 'ns=1;'}{kind}={escape(str(node_id.identifier))}"

    def _alias(self, node_id: NodeId) -> str:
        return self._aliases.get(node_id) or self._id(node_id)

    @staticmethod
    def _name(name: QualifiedName) -> str:
        return name.name if name.namespace == UA else f"1:{name.name}"


def _model(uri: str, version: str, date: str) -> str:
    return _attributes(ModelUri=uri, Version=version, PublicationDate=date)


def _attributes(**values: str | None) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items() if value is not None)


def _value(value: Variant) -> Iterator[str]:
    kind = value.type.name
    xmlns = 'xmlns="http://opcfoundation.org/UA/2008/02/Types.xsd"'
    yield "    <Value>"
    if value.is_array:
        yield f"      <ListOf{kind} {xmlns}>"
        yield from (f"        <{kind}>{_text(item)}</{kind}>" for item in value.value)
        yield f"      </ListOf{kind}>"
    else:
        yield f"      <{kind} {xmlns}>{_text(value.value)}</{kind}>"
    yield "    </Value>"


def _text(value: Any) -> str:
    match value:
        case LocalizedText():
            return f"<Text>{escape(value.text)}</Text>"
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            return escape(str(value))


if __name__ == "__main__":
    _PATH.write_text(to_xml(read_table()), "utf-8")
