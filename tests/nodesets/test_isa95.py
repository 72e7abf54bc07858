from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import nodesets
from nodesets import isa95, ua
from nodesets.isa95 import ISA95
from nodesets.records import UA, BuiltinType, NodeClass, NodeId, NodeRecord, QualifiedName, Variant
from nodesets.tools.isa95_table import read_table
from nodesets.tools.write_isa95 import to_xml

CONSTANTS = {name: value for name, value in vars(isa95).items() if isinstance(value, NodeId)}


@pytest.fixture(scope="module")
def nodes() -> dict[NodeId, NodeRecord]:
    return {node.node_id: node for node in isa95.load().nodes}


def test_the_file_is_what_the_table_says() -> None:
    assert (Path(nodesets.__file__).parent / "isa95.xml").read_text("utf-8") == to_xml(read_table()), (
        "run: python -m nodesets.tools.write_isa95"
    )


def test_the_file_reads_back_as_the_table() -> None:
    assert isa95.load() == read_table()


def test_it_needs_the_base_model_only() -> None:
    (model,) = isa95.load().models
    assert (model.uri, model.version) == (ISA95, "1.00")
    assert [required.uri for required in model.required] == [UA]


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (NodeClass.ReferenceType, 26),
        (NodeClass.DataType, 31),
        (NodeClass.ObjectType, 17),
        (NodeClass.VariableType, 21),
    ],
)
def test_every_type_is_there_and_has_a_constant(
    nodes: dict[NodeId, NodeRecord], kind: NodeClass, number: int
) -> None:
    types = {node_id for node_id, node in nodes.items() if node.node_class is kind}
    assert len(types) == number
    assert types <= set(CONSTANTS.values())


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_named_after_its_type(nodes: dict[NodeId, NodeRecord], name: str) -> None:
    browse_name = nodes[CONSTANTS[name]].browse_name.name
    if name == "EQUIPMENT_LEVEL_ENUM":
        assert browse_name == "ISA95EquipmentElementLevelEnum"
    else:
        assert re.sub("_", "", name).casefold() == browse_name.casefold()


def test_every_reference_meets_a_node_or_leaves_the_namespace(nodes: dict[NodeId, NodeRecord]) -> None:
    for node in nodes.values():
        for reference in node.references:
            for end in (reference.type, reference.target):
                assert end.namespace == UA or end in nodes


def test_every_node_is_held_by_another_and_every_type_has_one_supertype(
    nodes: dict[NodeId, NodeRecord],
) -> None:
    for node in nodes.values():
        backward = [reference for reference in node.references if not reference.forward]
        assert len(backward) == 1
        if node.node_class.name.endswith("Type"):
            assert backward[0].type == ua.HAS_SUBTYPE


def test_equipment_is_made_of_equipment_with_properties_and_a_level(
    nodes: dict[NodeId, NodeRecord],
) -> None:
    below = {
        (node.browse_name.name, reference.type)
        for node in nodes.values()
        for reference in node.references
        if reference.target == isa95.EQUIPMENT_TYPE and not reference.forward
    }
    assert below == {
        ("<PropertyName>", isa95.HAS_ISA95_PROPERTY),
        ("<EquipmentClass>", isa95.DEFINED_BY_EQUIPMENT_CLASS),
        ("<TestSpecification>", isa95.TESTED_BY_EQUIPMENT_TEST),
        ("<Equipment>", isa95.MADE_UP_OF_EQUIPMENT),
        ("EquipmentLevel", isa95.HAS_ISA95_ATTRIBUTE),
        ("<PhysicalAsset>", isa95.IMPLEMENTED_BY),
        ("AssetAssignment", ua.HAS_COMPONENT),
    }


def test_the_levels_are_named_twice_and_alike(nodes: dict[NodeId, NodeRecord]) -> None:
    definition = nodes[isa95.EQUIPMENT_LEVEL_ENUM].definition
    assert definition is not None
    strings = nodes[NodeId(ISA95, 4872)].value
    assert strings is not None
    assert [field.value for field in definition.fields] == list(range(15))
    assert [field.name for field in definition.fields] == [text.text for text in strings.value]


def test_the_namespace_says_it_is_a_subset(nodes: dict[NodeId, NodeRecord]) -> None:
    metadata = nodes[NodeId(ISA95, "NamespaceMetadata")]
    assert metadata.browse_name == QualifiedName(ISA95, ISA95)
    assert metadata.references[0] == (ua.HAS_COMPONENT, ua.NAMESPACES, False)
    values = {
        node.browse_name.name: node.value
        for node in nodes.values()
        if any(reference.target == metadata.node_id for reference in node.references)
    }
    assert values == {
        "NamespaceUri": Variant(BuiltinType.String, ISA95),
        "NamespaceVersion": Variant(BuiltinType.String, "1.00"),
        "NamespacePublicationDate": Variant(BuiltinType.DateTime, datetime(2013, 11, 6, tzinfo=UTC)),
        "IsNamespaceSubset": Variant(BuiltinType.Boolean, value=True),
        "StaticNodeIdTypes": Variant(BuiltinType.Int32, [0], is_array=True),
        "StaticNumericNodeIdRange": Variant(BuiltinType.String, [], is_array=True),
        "StaticStringNodeIdPattern": Variant(BuiltinType.String, ""),
    }
