"""Reads ``isa95.txt``, the facts of OPC 10030, into node records."""

from __future__ import annotations

import re
from datetime import datetime
from importlib import resources
from typing import Any, Final, NamedTuple

from nodesets import ua
from nodesets.isa95 import ISA95
from nodesets.records import (
    BASE_DATA_TYPE,
    UA,
    BuiltinType,
    DataTypeDefinition,
    DataTypeField,
    LocalizedText,
    Model,
    NodeClass,
    NodeId,
    NodeRecord,
    NodeSet,
    QualifiedName,
    Reference,
    RequiredModel,
    Variant,
)

_VERSION: Final = "1.00"
_PUBLISHED: Final = "2013-11-06T00:00:00Z"
_READ_WRITE: Final = 3
_METADATA: Final = "NamespaceMetadata"
_WORD_BEGINS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class _Block(NamedTuple):
    """A type and the indented lines below it, each with its depth."""

    head: list[str]
    body: list[tuple[int, list[str]]]


def read_table() -> NodeSet:
    """The nodeset the table describes, in its order, followed by its NamespaceMetadata."""
    text = (resources.files("nodesets.tools") / "isa95.txt").read_text("utf-8")
    blocks: list[_Block] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        if depth:
            blocks[-1].body.append((depth, words))
        else:
            blocks.append(_Block(words, []))
    table = _Table(blocks)
    nodes = [record for block in blocks for record in table.read(block)]
    model = Model(ISA95, _VERSION, _PUBLISHED, (RequiredModel(UA, "1.04", "2019-05-01T00:00:00Z"),))
    return NodeSet((model,), [*nodes, *_metadata()])


class _Table:
    def __init__(self, blocks: list[_Block]) -> None:
        self._types: dict[str, tuple[NodeClass, NodeId]] = {}
        for kind, number, name, *_ in (block.head for block in blocks):
            self._types[name] = (NodeClass[kind], NodeId(ISA95, int(number)))

    def read(self, block: _Block) -> list[NodeRecord]:
        """A type, then what hangs on it."""
        kind = self._type(block.head)
        records, above, fields = [kind], [kind], list[DataTypeField]()
        for depth, words in block.body:
            match words:
                case ["field", name, data_type, *rank]:
                    fields.append(DataTypeField(name, self._id(data_type), 1 if rank else -1))
                case ["member", name]:
                    fields.append(DataTypeField(name, value=len(fields)))
                case ["encoding", number, *name]:
                    records.append(_encoding(kind.node_id, int(number), " ".join(name)))
                case _:
                    child = self._declaration(words, above[depth - 1].node_id)
                    if words[1] == "EnumStrings":
                        child.browse_name = QualifiedName(UA, "EnumStrings")
                        child.value_rank = 1
                        child.value = _array(
                            BuiltinType.LocalizedText, [LocalizedText(f.name) for f in fields]
                        )
                    above[depth:] = [child]
                    records.append(child)
        if fields:
            kind.definition = DataTypeDefinition(kind.browse_name, tuple(fields))
        return records

    def _type(self, words: list[str]) -> NodeRecord:
        class_name, number, name, _, supertype, *rest = words
        facts = dict(word.partition("=")[::2] for word in rest)
        record = _record(NodeId(ISA95, int(number)), NodeClass[class_name], name)
        record.references.append(Reference(ua.HAS_SUBTYPE, self._id(supertype), forward=False))
        record.is_abstract = "abstract" in facts
        record.data_type = self._id(facts.get("data", "BaseDataType"))
        record.value_rank = int(facts.get("rank", -1))
        if "inverse" in facts:
            record.inverse_name = (LocalizedText(facts["inverse"]),)
        return record

    def _declaration(self, words: list[str], parent: NodeId) -> NodeRecord:
        number, name, reference, type_, rule, *rest = words
        is_object = type_ in self._types and self._types[type_][0] is NodeClass.ObjectType
        record = _record(
            NodeId(ISA95, int(number)), NodeClass.Object if is_object else NodeClass.Variable, name
        )
        record.references += [
            Reference(self._id(reference), parent, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, self._id(type_)),
            Reference(ua.HAS_MODELLING_RULE, self._id(rule)),
        ]
        data_types = [word for word in rest if word != "rw"]
        record.data_type = self._id(data_types[0]) if data_types else BASE_DATA_TYPE
        record.access_level = _READ_WRITE if "rw" in rest else 1
        return record

    def _id(self, name: str) -> NodeId:
        if name in self._types:
            return self._types[name][1]
        standard: NodeId = getattr(ua, _WORD_BEGINS.sub("_", name).upper())
        return standard


def _record(node_id: NodeId, node_class: NodeClass, name: str, namespace: str = ISA95) -> NodeRecord:
    return NodeRecord(node_id, node_class, QualifiedName(namespace, name), (LocalizedText(name),))


def _array(kind: BuiltinType, items: list[Any]) -> Variant:
    return Variant(kind, items, is_array=True)


def _encoding(structure: NodeId, number: int, name: str) -> NodeRecord:
    record = _record(NodeId(ISA95, number), NodeClass.Object, name, UA)
    record.references += [
        Reference(ua.HAS_ENCODING, structure, forward=False),
        Reference(ua.HAS_TYPE_DEFINITION, ua.DATA_TYPE_ENCODING_TYPE),
    ]
    return record


def _metadata() -> list[NodeRecord]:
    """What a server says of the namespace (OPC 10000-5 §6.3.13); the official nodeset has no such object.

    Its identifiers are strings: the Foundation numbers this namespace and may take any number
    next, never a string. StaticNodeIdTypes says the same: only the numeric NodeIds are static.
    """
    node_id = NodeId(ISA95, _METADATA)
    metadata = _record(node_id, NodeClass.Object, ISA95)
    metadata.references += [
        Reference(ua.HAS_COMPONENT, ua.NAMESPACES, forward=False),
        Reference(ua.HAS_TYPE_DEFINITION, ua.NAMESPACE_METADATA_TYPE),
    ]
    numeric = 0
    return [
        metadata,
        _property("NamespaceUri", ua.STRING, Variant(BuiltinType.String, ISA95)),
        _property("NamespaceVersion", ua.STRING, Variant(BuiltinType.String, _VERSION)),
        _property(
            "NamespacePublicationDate",
            ua.DATE_TIME,
            Variant(BuiltinType.DateTime, datetime.fromisoformat(_PUBLISHED)),
        ),
        _property("IsNamespaceSubset", ua.BOOLEAN, Variant(BuiltinType.Boolean, value=True)),
        _property("StaticNodeIdTypes", ua.ID_TYPE, _array(BuiltinType.Int32, [numeric])),
        _property("StaticNumericNodeIdRange", ua.NUMERIC_RANGE, _array(BuiltinType.String, [])),
        _property("StaticStringNodeIdPattern", ua.STRING, Variant(BuiltinType.String, "")),
    ]


def _property(name: str, data_type: NodeId, value: Variant) -> NodeRecord:
    record = _record(NodeId(ISA95, f"{_METADATA}.{name}"), NodeClass.Variable, name, UA)
    record.references += [
        Reference(ua.HAS_PROPERTY, NodeId(ISA95, _METADATA), forward=False),
        Reference(ua.HAS_TYPE_DEFINITION, ua.PROPERTY_TYPE),
    ]
    record.data_type, record.value = data_type, value
    record.value_rank = 1 if value.is_array else -1
    return record
