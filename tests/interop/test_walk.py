"""An independent client on its way through every node of the address space, reading all there is to read.

What is wrong is collected and shown at once; exceptions stand here with their reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import walk
from support.node import NodeClient
from support.opcua import Running
from support.walk import Found, Walk

from nodesets.records import BuiltinType
from server.opcua.wire.nodeid import Key, split
from server.plant.model import Role
from sources.tag import Value

pytestmark = pytest.mark.interop

ADMIN, ADMIN_PASSWORD = "keeper", "of-all-the-keys"
SAFE = {"policy": "Aes256_Sha256_RsaPss", "mode": "SignAndEncrypt"}
ROOT = "ns=0;i=84"
VALUES: dict[str, Value] = {
    "Speed": 400,
    "SpeedSP": 420.0,
    "State": 2,
    "Mode": 1,
    "Level": 10,
    "Count": 7,
    "Recipe": "Cola",
}

OF_ALL = {*range(1, 8), walk.ROLE_PERMISSIONS, walk.USER_ROLE_PERMISSIONS, walk.ACCESS_RESTRICTIONS}
OF_VARIABLES = {walk.VALUE, walk.DATA_TYPE_OF, walk.VALUE_RANK, walk.ARRAY_DIMENSIONS}
ATTRIBUTES: dict[int, set[int]] = {
    walk.OBJECT: OF_ALL | {walk.EVENT_NOTIFIER},
    walk.VARIABLE: OF_ALL
    | OF_VARIABLES
    | {
        walk.ACCESS_LEVEL,
        walk.USER_ACCESS_LEVEL,
        walk.MINIMUM_SAMPLING_INTERVAL,
        walk.HISTORIZING,
        walk.ACCESS_LEVEL_EX,
    },
    walk.METHOD: OF_ALL | {walk.EXECUTABLE, walk.USER_EXECUTABLE},
    walk.OBJECT_TYPE: OF_ALL | {walk.IS_ABSTRACT},
    walk.VARIABLE_TYPE: OF_ALL | OF_VARIABLES | {walk.IS_ABSTRACT},
    walk.REFERENCE_TYPE: OF_ALL | {walk.IS_ABSTRACT, walk.SYMMETRIC, walk.INVERSE_NAME},
    walk.DATA_TYPE: OF_ALL | {walk.IS_ABSTRACT},
    walk.VIEW: OF_ALL | {walk.CONTAINS_NO_LOOPS, walk.EVENT_NOTIFIER},
}
"""What each NodeClass has (OPC 10000-3 §5), optional ones too; a DataTypeDefinition is looked at apart."""

DISABLED = "BadOutOfService"
"""The value of a property whose binding the configuration switches off."""

NUMERIC = {
    26: {"SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double"},
    27: {"SByte", "Int16", "Int32", "Int64"},
    28: {"Byte", "UInt16", "UInt32", "UInt64"},
}


@pytest.fixture(scope="module")
def found(
    node: NodeClient, served: Running, order: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Walk:
    """Everything an administrator finds, over a channel that is encrypted, once every source has spoken."""
    served.call(served.bench.users.add(ADMIN, ADMIN_PASSWORD, [Role.SecurityAdmin]))
    for name, value in VALUES.items():
        served.feed(name, value)
    file = tmp_path_factory.mktemp("walk") / "found.jsonl"
    node("connect", **{"as": "walker"}, **order, **SAFE, user=ADMIN, password=ADMIN_PASSWORD)
    node("walk", **{"as": "walker", "from": ROOT}, file=str(file))
    node("disconnect", **{"as": "walker"})
    return Walk(file)


def written(key: Key) -> str:
    """A NodeId as node-opcua writes it."""
    index, identifier = split(key)
    kind = {int: "i", str: "s", bytes: "b"}.get(type(identifier), "g")
    return f"ns={index};{kind}={identifier!s}"


def test_it_finds_every_node_there_is(found: Walk, served: Running) -> None:
    space = served.server._space
    assert space is not None
    there = {written(node.key) for node in space if isinstance(split(node.key)[1], int | str)}
    assert there - set(found.nodes) == set()
    assert len(found.nodes) > 5000


def test_every_attribute_a_node_has_is_read_and_no_other(found: Walk, served: Running) -> None:
    wrong = []
    disabled = served.bench.node("Spare")
    for one in found:
        has = ATTRIBUTES[one.node_class]
        for attribute in set(range(1, 28)) - {walk.DATA_TYPE_DEFINITION}:
            wanted = "Good" if attribute in has else "BadAttributeIdInvalid"
            if (one.node, attribute) == (disabled, walk.VALUE):
                wanted = DISABLED
            if one.status(attribute) != wanted:
                wrong.append(f"{one} attribute {attribute}: {one.status(attribute)}")
    assert not wrong


def test_an_anonymous_client_is_refused_nothing_but_permissions_and_values_that_are_not_its(
    node: NodeClient, order: dict[str, Any], found: Walk, tmp_path: Path
) -> None:
    node("connect", **{"as": "walker"}, **order)
    node("walk", **{"as": "walker", "from": ROOT}, file=str(tmp_path / "found.jsonl"))
    node("disconnect", **{"as": "walker"})
    seen = Walk(tmp_path / "found.jsonl")
    # Sessions show themselves in the server's own namespace, and come and go.
    come_and_go = {node for node in seen.nodes if node.startswith("ns=1;")}
    assert set(seen.nodes) - come_and_go <= set(found.nodes)
    refused = Counter(
        (attribute, one.status(attribute))
        for one in seen
        for attribute in range(1, 28)
        if one.status(attribute) not in {"Good", "BadAttributeIdInvalid", DISABLED}
    )
    unreadable = {"BadUserAccessDenied", "BadSecurityModeInsufficient"}
    assert {attribute for attribute, _ in refused} <= {walk.ROLE_PERMISSIONS, walk.VALUE}
    assert {status for _, status in refused} <= unreadable
    assert refused[walk.ROLE_PERMISSIONS, "BadUserAccessDenied"] == len(seen.nodes)
    values = sum(count for (attribute, _), count in refused.items() if attribute == walk.VALUE)
    assert values <= 20, "users, identities and the security of sessions"


# --- References


def test_every_reference_has_its_inverse(found: Walk) -> None:
    """But HasTypeDefinition and HasModellingRule, whose inverse no server has to keep: every node has one."""
    all_links = {(one.node, link) for one in found for link in one.links}
    lonely = [
        (node, link)
        for node, link in all_links
        if (link.target, walk.Link(link.kind, not link.forward, node)) not in all_links
    ]
    assert {link.kind for _, link in lonely} <= {walk.HAS_TYPE_DEFINITION, walk.HAS_MODELLING_RULE}
    assert all(link.forward for _, link in lonely)


def test_no_reference_is_there_twice_and_each_is_of_a_type_that_is_concrete(found: Walk) -> None:
    for one in found:
        assert len(set(one.links)) == len(one.links), one
    for kind in {link.kind for one in found for link in one.links}:
        assert found[kind].node_class == walk.REFERENCE_TYPE
        assert not found[kind].value(walk.IS_ABSTRACT), kind


def test_every_instance_has_its_one_type_and_every_type_its_one_supertype(found: Walk) -> None:
    wanted = {walk.OBJECT: walk.OBJECT_TYPE, walk.VARIABLE: walk.VARIABLE_TYPE}
    for one in found:
        kinds = [kind.node_class for kind in found.targets(one, walk.HAS_TYPE_DEFINITION)]
        expected = wanted.get(one.node_class)
        assert kinds == ([] if expected is None else [expected]), one
    tops = [
        one.name[1]
        for one in found.of(walk.OBJECT_TYPE, walk.VARIABLE_TYPE, walk.REFERENCE_TYPE, walk.DATA_TYPE)
        if len(found.line(one.node)) == 1
    ]
    assert sorted(tops) == ["BaseDataType", "BaseObjectType", "BaseVariableType", "References"]


def test_browse_names_are_unique_among_siblings(found: Walk) -> None:
    double = []
    instances = {one.node for one in found.instances()}
    for one in found:
        siblings = found.targets(one, found.hierarchical) if one.node in instances else found.children(one)
        counts = Counter(child.name for child in {child.node: child for child in siblings}.values())
        double += [f"{one}: {name}" for name, count in counts.items() if count > 1]
    assert not double


# --- Values


def test_every_value_is_of_its_data_type_rank_and_dimensions(found: Walk) -> None:
    wrong = []
    named = {one.name[1]: one.node for one in found.of(walk.DATA_TYPE)}
    for one in found.of(walk.VARIABLE, walk.VARIABLE_TYPE):
        data_type = one.value(walk.DATA_TYPE_OF)
        assert found[data_type].node_class == walk.DATA_TYPE, one
        if not dimensions_fit(one):
            wrong.append(f"{one}: ArrayDimensions {one.value(walk.ARRAY_DIMENSIONS)}")
        held = one.attributes[walk.VALUE - 1]
        if held["status"] != "Good" or held["type"] == "Null":
            continue
        if held["type"] not in built_ins(found, data_type):
            wrong.append(f"{one}: a {held['type']} for {found[data_type]}")
        if not rank_fits(one.value(walk.VALUE_RANK), held):
            wrong.append(f"{one}: ValueRank {one.value(walk.VALUE_RANK)}, {held['value']}")
        wrong += [
            f"{one}: a {structure} for {found[data_type]}"
            for structure in held.get("structures", ())
            if structure not in named or data_type not in found.line(named[structure])
        ]
    assert not wrong


def built_ins(found: Walk, data_type: str) -> set[str]:
    """The built-in types a value of that data type may have (OPC 10000-3 §5.8.2)."""
    for kind in found.line(data_type):
        number = int(kind.removeprefix("ns=0;i=")) if kind.startswith("ns=0;i=") else 0
        if number in NUMERIC:
            return NUMERIC[number]
        if number == 29:
            return {"Int32"}
        if number == 24:
            return set(BuiltinType.__members__)
        if 0 < number <= max(BuiltinType):
            return {BuiltinType(number).name}
    return set()


def rank_fits(rank: int, held: dict[str, Any]) -> bool:
    dimensions = len(held.get("dimensions") or [0]) if held["isArray"] else 0
    known = {-3: dimensions <= 1, -2: True, -1: dimensions == 0, 0: dimensions >= 1}
    return known.get(rank, dimensions == rank)


def dimensions_fit(one: Found) -> bool:
    rank, dimensions = one.value(walk.VALUE_RANK), one.value(walk.ARRAY_DIMENSIONS)
    if rank <= 0:
        return not dimensions
    held = one.value(walk.VALUE)
    longest = dimensions[0] if dimensions else 0
    too_long = rank == 1 and longest and isinstance(held, list) and len(held) > longest
    return dimensions is not None and len(dimensions) == rank and not too_long


def test_nothing_below_objects_is_without_a_value_but_the_properties_of_classes(found: Walk) -> None:
    empty = [
        one
        for one in found.instances()
        if one.node_class == walk.VARIABLE
        and one.status(walk.VALUE) == "Good"
        and one.attributes[walk.VALUE - 1]["type"] == "Null"
    ]
    assert [one for one in empty if ";s=@classes/" not in one.node] == []


def test_what_the_server_says_of_itself_is_there(found: Walk) -> None:
    def value(*names: str) -> Any:
        return found.child(found["ns=0;i=2253"], *names).value(walk.VALUE)

    assert value("NamespaceArray")[:2] == ["http://opcfoundation.org/UA/", "urn:test:isthmus"]
    assert value("ServerArray") == ["urn:test:isthmus"]
    assert value("ServerStatus", "State") == 0
    assert value("ServiceLevel") == 255
    assert value("ServerCapabilities", "OperationLimits", "MaxNodesPerRead") == 10_000
    assert value("ServerDiagnostics", "ServerDiagnosticsSummary", "CurrentSessionCount") >= 1
    uris = {
        found.child(one, "NamespaceUri").value(walk.VALUE)
        for one in found.children(found.child(found["ns=0;i=2253"], "Namespaces"))
    }
    assert uris == set(value("NamespaceArray"))


# --- Types


NO_ROLE_MANAGEMENT = {("AddRole",), ("RemoveRole",)}
"""Mandatory methods of RoleSetType, not given: roles are managed in the server's own users file."""


def test_instances_have_what_is_mandatory_of_their_types(found: Walk) -> None:
    missing = []
    for one in found.instances():
        if one.node_class == walk.METHOD:
            continue
        (kind,) = found.targets(one, walk.HAS_TYPE_DEFINITION)
        for path in found.declared(kind.node):
            if one.name[1] == "RoleSet" and tuple(name for _, name in path[:1]) in NO_ROLE_MANAGEMENT:
                continue
            if not at(found, one, path):
                missing.append(f"{one}: {'/'.join(name for _, name in path)}")
    assert not missing


def at(found: Walk, node: Found, path: tuple[tuple[int, str], ...]) -> list[Found]:
    here = [node]
    for name in path:
        here = [child for one in here for child in found.children(one) if child.name == name]
    return here


def below(found: Walk, top: str) -> Iterator[Found]:
    return (one for one in found.of(walk.DATA_TYPE) if one.node != top and top in found.line(one.node))


def test_enumerations_have_their_names_and_their_definition(found: Walk) -> None:
    for one in below(found, "ns=0;i=29"):
        properties = {child.name[1] for child in found.children(one)}
        assert properties & {"EnumStrings", "EnumValues"}, one
        assert one.attributes[walk.DATA_TYPE_DEFINITION - 1].get("structures") == ["EnumDefinition"], one


def test_option_sets_have_their_names_and_their_definition(found: Walk) -> None:
    sets = [
        one
        for one in found.of(walk.DATA_TYPE)
        if "OptionSetValues" in {child.name[1] for child in found.children(one)}
    ]
    assert len(sets) > 10
    for one in sets:
        structure = "ns=0;i=22" in found.line(one.node)
        wanted = ["StructureDefinition"] if structure else ["EnumDefinition"]
        assert one.attributes[walk.DATA_TYPE_DEFINITION - 1].get("structures") == wanted, one


def test_structures_have_their_definition_and_the_binary_encoding_it_names(found: Walk) -> None:
    for one in below(found, "ns=0;i=22"):
        assert one.attributes[walk.DATA_TYPE_DEFINITION - 1].get("structures") == ["StructureDefinition"], one
        encodings = {child.name[1]: child.node for child in found.targets(one, walk.HAS_ENCODING)}
        definition = one.value(walk.DATA_TYPE_DEFINITION)
        if one.value(walk.IS_ABSTRACT) or json_only(found, one):
            continue
        assert definition["defaultEncodingId"] == encodings["Default Binary"], one
        for field in definition.get("fields") or ():
            assert found[field["dataType"]].node_class == walk.DATA_TYPE, one


def json_only(found: Walk, one: Found) -> bool:
    """The messages of PubSub over JSON, to which OPC 10000-14 gives no binary encoding."""
    return one.name[1].startswith("Json") and not found.targets(one, walk.HAS_ENCODING)


def test_other_data_types_have_no_definition(found: Walk) -> None:
    defined = {
        *(one.node for one in below(found, "ns=0;i=22")),
        *(one.node for one in below(found, "ns=0;i=29")),
    }
    for one in found.of(walk.DATA_TYPE):
        if one.node in defined or "OptionSetValues" in {child.name[1] for child in found.children(one)}:
            continue
        assert one.status(walk.DATA_TYPE_DEFINITION) == "BadAttributeIdInvalid", one


TYPES_OF_UNITS = (
    "RationalNumber NormalizedString DecimalString DateString TimeString DurationString Decimal "
    "BitFieldMaskDataType KeyValuePair AssociatedWith EUInformation OrderedListType AudioVariableType "
    "CartesianCoordinates Orientation Frame HasOrderedComponent IsDeprecated ImageBMP ImageGIF ImageJPG "
    "ImagePNG OptionSet Range StatusResult UriString SemanticVersionString IsExecutableOn IsExecutingOn "
    "Controls Utilizes Requires IsPhysicallyConnectedTo RepresentsSameEntityAs RepresentsSameHardwareAs "
    "RepresentsSameFunctionalityAs IsHostedBy HasPhysicalComponent HasContainedComponent "
    "HasAttachedComponent HasReferenceDescription TrimmedString Handle PortableNodeId "
    "PortableQualifiedName ContentFilter Argument ServerType HasStructuredComponent"
)


def test_the_types_that_conformance_units_ask_for_are_there(found: Walk) -> None:
    kinds = {
        one.name[1]
        for one in found.of(walk.OBJECT_TYPE, walk.VARIABLE_TYPE, walk.REFERENCE_TYPE, walk.DATA_TYPE)
        if one.name[0] == 0
    }
    assert set(TYPES_OF_UNITS.split()) - kinds == set()
