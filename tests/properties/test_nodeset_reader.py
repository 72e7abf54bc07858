"""Whatever is written as a NodeSet2 file is read back as it was; whatever is broken is refused in words."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.nodesets import PLANT, read, write

from nodesets import isa95
from nodesets.errors import NodesetError
from nodesets.records import (
    UA,
    BuiltinType,
    DataTypeDefinition,
    DataTypeField,
    DataValue,
    LocalizedText,
    Model,
    NodeClass,
    NodeId,
    NodeRecord,
    NodeSet,
    QualifiedName,
    Reference,
    RequiredModel,
    RolePermission,
    Structure,
    Variant,
)
from nodesets.text import RANGES, XML_SPACE

# On a busy machine an example may take long; that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

URIS = (PLANT, "urn:other;with%signs", isa95.ISA95)

namespaces = st.sampled_from([UA, *URIS])
# What XML 1.0 can carry, without the carriage return, which it turns into a line feed.
characters = st.characters(
    codec="utf-8",
    exclude_categories=["Cs", "Cc"],
    include_characters="\t\n",
    exclude_characters="\ufffe\uffff",
)
texts = st.text(characters, max_size=20)
trimmed = texts.map(lambda text: text.strip(XML_SPACE))
tokens = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)

uint32 = st.integers(0, 2**32 - 1)
bytes_ = st.binary(max_size=20)
times = st.integers(0, 10**17).map(
    lambda micros: datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)
node_ids = st.builds(NodeId, namespaces, st.one_of(uint32, trimmed, st.uuids(), bytes_))
names = st.builds(QualifiedName, namespaces, texts)
localized = st.builds(LocalizedText, texts, st.sampled_from(["", "en", "de-DE"]))
some_texts = st.lists(localized, max_size=2).map(tuple)
dimensions = st.lists(uint32, max_size=3).map(tuple)
flags = st.booleans()

leaves = st.one_of(st.none(), st.text(characters, min_size=1, max_size=10), node_ids, names)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    repeated = st.lists(inner, min_size=2, max_size=3)
    return st.dictionaries(st.sampled_from("ABCDE"), st.one_of(inner, repeated), min_size=1, max_size=3)


fields = st.dictionaries(tokens, st.recursive(leaves, objects, max_leaves=6), max_size=4)
typed = st.builds(NodeId, namespaces, st.integers(1, 2**32 - 1))
structures = st.one_of(
    st.builds(Structure, typed, fields),
    st.builds(Structure, typed, st.just({}), st.binary(min_size=1, max_size=9)),
)

B = BuiltinType
simple: dict[BuiltinType, st.SearchStrategy[Any]] = {
    **{kind: st.integers(*RANGES[kind]) for kind in RANGES},
    B.Boolean: flags,
    B.Float: st.floats(width=32, allow_nan=False),
    B.Double: st.floats(allow_nan=False),
    B.String: texts,
    B.DateTime: times,
    B.Guid: st.uuids(),
    B.ByteString: bytes_,
    B.XmlElement: st.text(characters, min_size=1, max_size=9),
    B.NodeId: node_ids,
    B.ExpandedNodeId: node_ids,
    B.QualifiedName: names,
    B.LocalizedText: localized,
    B.ExtensionObject: structures,
}


@st.composite
def variants(draw: st.DrawFn, kinds: dict[BuiltinType, st.SearchStrategy[Any]]) -> Variant:
    kind = draw(st.sampled_from(sorted(kinds)))
    items = st.one_of(st.none(), kinds[kind])
    match draw(st.sampled_from(["scalar", "array", "matrix"])):
        case "scalar":
            return Variant(kind, draw(items))
        case "array":
            return Variant(kind, draw(st.lists(items, max_size=3)), is_array=True)
        case _:
            sizes = tuple(draw(st.lists(st.integers(1, 3), min_size=2, max_size=3)))
            number = math.prod(sizes)
            return Variant(kind, draw(st.lists(items, min_size=number, max_size=number)), True, sizes)


plain = variants(simple)
data_values = st.builds(DataValue, st.none() | plain, uint32, st.none() | times, st.none() | times)
arrays_of_variants = st.lists(st.none() | plain, max_size=3).map(
    lambda items: Variant(B.Variant, items, is_array=True)
)
values = st.one_of(plain, variants({B.DataValue: data_values}), arrays_of_variants)

permissions = st.none() | st.lists(st.builds(RolePermission, node_ids, uint32), max_size=2).map(tuple)
restrictions = st.none() | st.integers(0, 2**16 - 1)
definitions = st.builds(
    DataTypeDefinition,
    names,
    st.lists(
        st.builds(
            DataTypeField,
            texts,
            node_ids,
            st.integers(-3, 5),
            dimensions,
            uint32,
            flags,
            flags,
            st.integers(-(2**31), 2**63 - 1),
            some_texts,
            some_texts,
            tokens,
        ),
        max_size=3,
    ).map(tuple),
    flags,
    flags,
)

shape: dict[str, st.SearchStrategy[Any]] = {
    "data_type": node_ids,
    "value_rank": st.integers(-3, 5),
    "array_dimensions": dimensions,
    "value": st.none() | values,
}
abstract = {"is_abstract": flags}
own: dict[NodeClass, dict[str, st.SearchStrategy[Any]]] = {
    NodeClass.Object: {"event_notifier": st.integers(0, 255)},
    NodeClass.Variable: {
        **shape,
        "access_level": uint32,
        "minimum_sampling_interval": st.none() | st.floats(allow_nan=False),
        "historizing": flags,
    },
    NodeClass.Method: {"executable": flags, "method_declaration": st.none() | node_ids},
    NodeClass.ObjectType: abstract,
    NodeClass.VariableType: {**shape, **abstract},
    NodeClass.ReferenceType: {**abstract, "symmetric": flags, "inverse_name": some_texts},
    NodeClass.DataType: {**abstract, "definition": st.none() | definitions},
    NodeClass.View: {"event_notifier": st.integers(0, 255), "contains_no_loops": flags},
}


def records() -> st.SearchStrategy[NodeRecord]:
    return st.sampled_from(NodeClass).flatmap(
        lambda kind: st.builds(
            NodeRecord,
            node_ids,
            st.just(kind),
            names,
            some_texts,
            some_texts,
            st.lists(st.builds(Reference, node_ids, node_ids, flags), max_size=3),
            role_permissions=permissions,
            access_restrictions=restrictions,
            write_mask=uint32,
            symbolic_name=tokens,
            release_status=st.sampled_from(["Released", "Draft", "Deprecated"]),
            design_tool_only=flags,
            **own[kind],
        )
    )


models = st.builds(
    Model,
    st.sampled_from(URIS),
    tokens,
    tokens,
    st.lists(st.builds(RequiredModel, st.sampled_from(URIS), tokens, tokens), max_size=2).map(tuple),
    permissions,
    restrictions,
)


@patient
@given(st.lists(models, max_size=2), st.lists(records(), max_size=4))
def test_what_is_written_is_read_back(some: list[Model], nodes: list[NodeRecord]) -> None:
    assert read(write(nodes, some, URIS)) == NodeSet(tuple(some), nodes)


@patient
@given(values)
def test_every_value_is_read_back(value: Variant) -> None:
    node = NodeRecord(NodeId(PLANT, 1), NodeClass.Variable, QualifiedName(PLANT, "V"), value=value)
    (found,) = read(write([node], (), URIS)).nodes
    assert found.value == value
    assert repr(found.value) == repr(value)


SAMPLE = write(
    [
        NodeRecord(
            NodeId(PLANT, "V"),
            NodeClass.Variable,
            QualifiedName(PLANT, "V"),
            (LocalizedText("V", "en"),),
            references=[Reference(NodeId(UA, 47), NodeId(UA, 85), forward=False)],
            value=Variant(
                B.ExtensionObject, [Structure(NodeId(PLANT, 1), {"A": NodeId(UA, 2), "B": "b"})], True
            ),
        ),
        NodeRecord(
            NodeId(PLANT, 2),
            NodeClass.DataType,
            QualifiedName(PLANT, "D"),
            definition=DataTypeDefinition(QualifiedName(PLANT, "D"), (DataTypeField("F"),)),
        ),
    ],
    [Model(PLANT, "1", "2024-01-01T00:00:00Z", (RequiredModel(UA),))],
)


@patient
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_a_broken_file_is_read_or_refused_but_never_breaks_us(chance: random.Random, wounds: int) -> None:
    content = bytearray(SAMPLE)
    for _ in range(wounds):
        start = chance.randrange(len(content))
        end = min(len(content), start + chance.choice([0, 1, 1, 5, 60]))
        piece = chance.choice(
            [b"", b"<", b">", b"&", b'"', b"\xff", b"\x00", b"9", b"ns=9;", b"<a>", b"</a>"]
        )
        content[start:end] = piece
    match read_or_error(bytes(content)):
        case NodesetError() as error:
            assert error.file == "test.xml"
            assert str(error).startswith(f"test.xml:{error.line}: ")
        case found:
            assert all(isinstance(node, NodeRecord) for node in found.nodes)


def read_or_error(content: bytes) -> NodeSet | NodesetError:
    try:
        return read(content)
    except NodesetError as error:
        return error
