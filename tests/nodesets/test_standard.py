"""The standard nodeset against asyncua's copy of it, and against what it says of itself."""

from __future__ import annotations

import json
import lzma
import re
from importlib import resources
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.server.address_space import (  # noqa: TID251  # what ours is made of
    AddressSpace,
    NodeData,
    NodeManagementService,
)
from asyncua.server.standard_address_space.standard_address_space import (  # noqa: TID251
    fill_address_space,
)
from asyncua.ua.attribute_ids import AttributeIds as A
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from nodesets import standard
from nodesets.standard import StandardNode, StandardNodeSet
from nodesets.tools.standard_facts import read_facts
from nodesets.tools.write_standard import table

LEFT_OUT = {A.NodeId, A.NodeClass, A.BrowseName, A.DisplayName, A.Description, A.Value, A.DataTypeDefinition}
OF_THE_USER = {A.UserWriteMask, A.UserAccessLevel, A.UserExecutable}
REFERENCE_TYPE, VARIABLE_TYPE, DATA_TYPE = 32, 16, 64


def decoded(data: bytes) -> ua.Variant:
    return variant_from_binary(cast("Any", Buffer)(data))


@pytest.fixture(scope="module")
def ours() -> StandardNodeSet:
    return standard.load()


@pytest.fixture(scope="module")
def nodes(ours: StandardNodeSet) -> dict[int, StandardNode]:
    return {node.number: node for node in ours.nodes}


@pytest.fixture(scope="module")
def theirs() -> dict[int, NodeData]:
    space = AddressSpace()
    fill_address_space(NodeManagementService(space))  # type: ignore[no-untyped-call]
    return {int(cast("int", node.Identifier)): space[node] for node in list(space.keys())}


def content(node: NodeData, attribute: int) -> Any:
    held = node.attributes.get(cast("Any", attribute))
    value = held.value if held is not None else None
    return value.Value.Value if value is not None and value.Value is not None else None


def test_the_nodes_are_the_same(nodes: dict[int, StandardNode], theirs: dict[int, NodeData]) -> None:
    assert list(nodes) == sorted(theirs)
    for number, node in theirs.items():
        assert nodes[number].node_class == content(node, A.NodeClass)
        assert ua.QualifiedName(nodes[number].browse_name, 0) == content(node, A.BrowseName)
        assert ua.LocalizedText(nodes[number].display_name) == content(node, A.DisplayName)


def test_the_references_are_the_same(ours: StandardNodeSet, theirs: dict[int, NodeData]) -> None:
    expected = set()
    for number, node in theirs.items():
        for one in node.references:
            kind, other = one.ReferenceTypeId.Identifier, one.NodeId.Identifier
            expected.add((number, kind, other) if one.IsForward else (other, kind, number))
    assert len(ours.references) == len(expected)
    assert set(ours.references) == expected


def test_the_values_are_the_same(nodes: dict[int, StandardNode], theirs: dict[int, NodeData]) -> None:
    filled = {15964}
    for number, node in theirs.items():
        value = nodes[number].value
        if number in filled:
            assert decoded(value or b"").Value == ""
        elif content(node, A.Value) is None:
            assert value is None
        else:
            held = node.attributes[cast("Any", A.Value)].value
            assert value is not None
            assert held is not None
            assert held.Value is not None
            assert value == variant_to_binary(held.Value)


def test_the_attributes_are_the_same_but_for_what_is_mended(
    nodes: dict[int, StandardNode], theirs: dict[int, NodeData]
) -> None:
    facts = read_facts()
    mended: set[tuple[int, str]] = set()
    for number, node in theirs.items():
        held = nodes[number].attributes
        for attribute in node.attributes:
            if attribute in LEFT_OUT or attribute in OF_THE_USER:
                continue
            expected = content(node, attribute)
            found = decoded(held[attribute]).Value if attribute in held else None
            if attribute == A.ArrayDimensions:
                rank = content(node, A.ValueRank)
                assert found == (None if rank <= 0 else list(expected or [0] * rank))
            elif found != expected and not (found is None and expected.Text is None):
                mended.add((number, A(attribute).name))
        assert {A(one) for one in held} <= set(node.attributes)
    of_types = {n for n in nodes if nodes[n].node_class in {REFERENCE_TYPE, VARIABLE_TYPE}}
    assert {n for n, name in mended if name == "DataType"} == facts.any
    assert {n for n, name in mended if name == "IsAbstract"} == of_types - facts.abstract
    assert {n for n, name in mended if name == "Symmetric"} == {
        n for n in of_types if nodes[n].node_class == REFERENCE_TYPE
    } - facts.symmetric
    assert {name for _, name in mended} == {"DataType", "IsAbstract", "Symmetric"}


def test_only_what_has_no_direction_has_no_inverse_name(nodes: dict[int, StandardNode]) -> None:
    for node in nodes.values():
        if node.node_class == REFERENCE_TYPE:
            symmetric = decoded(node.attributes[A.Symmetric]).Value
            assert symmetric is not (A.InverseName in node.attributes), node.browse_name


def test_an_array_has_as_many_dimensions_as_its_rank_says(nodes: dict[int, StandardNode]) -> None:
    for node in nodes.values():
        if A.ValueRank in node.attributes:
            rank = decoded(node.attributes[A.ValueRank]).Value
            given = node.attributes.get(A.ArrayDimensions)
            assert (given is None) if rank <= 0 else (len(decoded(given or b"").Value) == rank)


def definition(node: StandardNode) -> Any:
    return decoded(node.attributes[A.DataTypeDefinition]).Value


def test_structures_have_the_fields_of_the_type_dictionary(nodes: dict[int, StandardNode]) -> None:
    dictionary = decoded(nodes[7617].value or b"").Value.decode()
    checked = 0
    described = re.compile(r'<opc:StructuredType Name="(\w+)"[^>]*>(.*?)</opc:StructuredType>', re.DOTALL)
    given = {name: fields(body) for name, body in described.findall(dictionary)}
    for node in nodes.values():
        held = node.attributes.get(A.DataTypeDefinition)
        found = decoded(held).Value if held is not None else None
        if isinstance(found, ua.StructureDefinition) and node.browse_name in given:
            checked += 1
            assert [(f.Name, f.ValueRank == 1) for f in found.Fields] == given[node.browse_name]
    assert checked > 300


def fields(body: str) -> list[tuple[str, bool]]:
    """Names of a structure in a type dictionary, and which are arrays."""
    found = re.findall(r'<opc:Field Name="(\w+)" TypeName="(\w+:\w+)"([^>]*)', body)
    lengths = set(re.findall(r'LengthField="(\w+)"', body))
    return [(n, "LengthField" in rest) for n, kind, rest in found if n not in lengths and kind != "opc:Bit"]


def test_every_structure_and_enumeration_has_its_definition(
    ours: StandardNodeSet, nodes: dict[int, StandardNode]
) -> None:
    above = {target: source for source, kind, target in ours.references if kind == 45}
    encodings = {
        source: target
        for source, kind, target in ours.references
        if kind == 38 and nodes[target].browse_name == "Default Binary"
    }
    for node in nodes.values():
        chain = []
        number = node.number
        while number in above:
            number = above[number]
            chain.append(number)
        if node.node_class != DATA_TYPE or not {22, 29} & set(chain):
            continue
        found = definition(node)
        if 22 in chain:
            assert found.BaseDataType.Identifier == chain[0]
            assert found.DefaultEncodingId.Identifier == encodings.get(node.number, 0)
            inherited = [f.Name for f in definition(nodes[chain[0]]).Fields] if chain[0] != 22 else []
            assert [f.Name for f in found.Fields][: len(inherited)] == inherited
        else:
            assert found.Fields


def test_enumerations_agree_with_their_strings(ours: StandardNodeSet, nodes: dict[int, StandardNode]) -> None:
    checked = 0
    for source, kind, target in ours.references:
        value = nodes[target].value
        if kind != 46 or nodes[source].node_class != DATA_TYPE or value is None:
            continue
        told = decoded(value).Value
        members = [(f.Value, f.DisplayName.Text) for f in definition(nodes[source]).Fields]
        match nodes[target].browse_name:
            case "EnumStrings" | "OptionSetValues":
                strings = [(number, text.Text) for number, text in enumerate(told) if text.Text]
            case "EnumValues":
                strings = [(one.Value, one.DisplayName.Text) for one in told]
            case _:
                continue
        checked += 1
        named = [(n, text) for n, text in strings if text != "Reserved"]
        assert members == named or nodes[source].browse_name == "EventNotifierType"
    assert checked > 60


def test_the_file_is_what_the_tool_writes() -> None:
    packed = (resources.files("nodesets") / "standard.json.xz").read_bytes()
    assert json.loads(lzma.decompress(packed)) == json.loads(json.dumps(table()))


def test_loading_shares_what_is_equal(ours: StandardNodeSet) -> None:
    plain = [node for node in ours.nodes if node.node_class != DATA_TYPE]
    assert len({id(node.attributes) for node in plain}) < len(plain) / 10
