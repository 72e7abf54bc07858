"""Node records as nodes: what is kept, what is shared, what is told."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from asyncua import ua
from support.spaces import ADMIN, World, decoded, read, variant_of

from nodesets import ua as standard
from nodesets.isa95 import ISA95
from nodesets.records import (
    UA,
    BuiltinType,
    DataTypeDefinition,
    DataTypeField,
    DataValue,
    LocalizedText,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
    RolePermission,
    Structure,
    Variant,
)
from server.opcua.ids import UnknownNamespace
from server.opcua.space import defaults
from server.opcua.space.node import Node
from server.opcua.space.permissions import ROLE_IDS, Permission
from server.opcua.space.space import DuplicateNode
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds as A
from server.opcua.types import ObjectIds
from server.opcua.wire import nodeid, structs
from server.opcua.wire.nodeid import key, numeric, split
from server.plant.model import Role
from sources.quality import BAD_NOT_SUPPORTED

PLANT = "urn:acme:plant"
ONE_WAY = {numeric(37), numeric(40)}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def record(name: str, node_class: NodeClass = NodeClass.Variable, **more: object) -> NodeRecord:
    made = NodeRecord(NodeId(PLANT, name), node_class, QualifiedName(PLANT, name))
    made.references = [Reference(standard.ORGANIZES, standard.OBJECTS_FOLDER, forward=False)]
    for attribute, value in more.items():
        setattr(made, attribute, value)
    return made


def built(*records: NodeRecord) -> Node:
    """The first of the records as a node of a whole space."""
    world = World(more=records)
    return world.space.nodes[key(str(records[0].node_id.identifier), 4)]


def test_every_record_is_a_node_and_nothing_is_invented(world: World) -> None:
    uris = world.names.uris
    expected = Counter(uris.index(r.node_id.namespace) for r in world.records)
    found = Counter(split(node.key)[0] for node in world.space)
    assert {index: found[index] for index in found if index} == dict(expected)


def test_every_reference_of_the_records_is_there_both_ways(world: World) -> None:
    key_of = {r.node_id: nodeid.key_of(world.names.node_id(r.node_id)) for r in world.records}
    for r in world.records:
        for reference in r.references:
            kind, target = (nodeid.key_of(world.names.node_id(n)) for n in (reference.type, reference.target))
            ends = [(key_of[r.node_id], target), (target, key_of[r.node_id])]
            source, other = ends if reference.forward else ends[::-1]
            held = world.space.find(source[0])
            assert held is not None
            assert any(
                link.type.key == kind and link.forward and link.target.key == source[1]
                for link in held.references()
            )
            assert other == source[::-1]
    ways = Counter(
        (node, link.type, link.target, link.forward) for node in world.space for link in node.references()
    )
    assert max(ways.values()) == 1
    alone = [w for w in ways if w[1].key not in ONE_WAY and (w[2], w[1], w[0], not w[3]) not in ways]
    assert alone == []
    assert not [w for w in ways if w[1].key in ONE_WAY and not w[3]]


def test_a_value_of_the_plant_is_its_point(world: World) -> None:
    for name, node_id in world.nodes.items():
        node = world.space.nodes[nodeid.key_of(world.names.node_id(node_id))]
        assert node.value is world.store.points[name]


def test_only_writers_may_write_and_known_users_hear_of_events(world: World) -> None:
    set_point = world.space.nodes[key("Acme/Line1/Filler.SpeedSP", 4)]
    speed = world.space.nodes[key("Acme/Line1/Filler.Speed", 4)]

    def may(node: Node, role: Role) -> int:
        return node.role_permissions.entries[ROLE_IDS[role]]

    assert {role for role in Role if may(set_point, role) & Permission.Write} == {
        Role.Operator,
        Role.Engineer,
        Role.Supervisor,
    }
    assert not any(may(speed, role) & Permission.Write for role in Role)
    assert may(speed, Role.Anonymous) == Permission.Browse | Permission.Read
    assert may(speed, Role.Observer) == Permission.Browse | Permission.Read | Permission.ReceiveEvents
    assert may(speed, Role.SecurityAdmin) & Permission.ReadRolePermissions
    assert world.node(ObjectIds.BaseObjectType).role_permissions is defaults.STANDARD


def test_equal_nodes_share_what_is_equal(world: World) -> None:
    one, other = (world.space.find(key(f"Acme/Line1/Filler.{n}.EURange", 4)) for n in ("Speed", "SpeedSP"))
    assert one is not None
    assert other is not None
    assert one.attributes is other.attributes
    assert one.value is other.value
    assert one.browse_name is other.browse_name
    assert one.role_permissions is other.role_permissions
    assert decoded(variant_of(one)) == ua.Range(0.0, 900.0)


def test_units_are_encoded(world: World) -> None:
    units = world.space.find(key("Acme/Line1/Filler.Speed.EngineeringUnits", 4))
    assert units is not None
    assert decoded(variant_of(units)) == ua.EUInformation(
        "urn:acme:units", -1, ua.LocalizedText("bottle/min"), ua.LocalizedText("bottles per minute")
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Variant(BuiltinType.Int32, 7), 7),
        (Variant(BuiltinType.Double, [1.5, -0.0], is_array=True), [1.5, -0.0]),
        (Variant(BuiltinType.LocalizedText, LocalizedText("Hallo", "de")), ua.LocalizedText("Hallo", "de")),
        (Variant(BuiltinType.QualifiedName, QualifiedName(PLANT, "Q")), ua.QualifiedName("Q", 4)),
        (Variant(BuiltinType.NodeId, NodeId(ISA95, 5)), nodeid.to_ua(numeric(5, 2))),
        (Variant(BuiltinType.Int32, [1, 2, 3, 4], is_array=True, dimensions=(2, 2)), [[1, 2], [3, 4]]),
        (None, None),
    ],
)
def test_values_are_encoded(given: Variant | None, expected: object) -> None:
    assert decoded(variant_of(built(record("V", value=given)))) == expected


def test_a_data_value_within_a_value_keeps_its_status() -> None:
    inner = DataValue(Variant(BuiltinType.Int32, 7), 0x80000000)
    found = decoded(variant_of(built(record("V", value=Variant(BuiltinType.DataValue, inner)))))
    assert (found.Value.Value, found.StatusCode.value) == (7, 0x80000000)


def test_a_value_that_cannot_be_told_is_bad_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    unknown = Variant(BuiltinType.ExtensionObject, Structure(NodeId(PLANT, 1), {}))
    with caplog.at_level(logging.WARNING):
        node = built(record("V", value=unknown))
    assert isinstance(node.value, StoredValue)
    assert node.value.head[1:5] == BAD_NOT_SUPPORTED.to_bytes(4, "little")
    assert "nsu=urn:acme:plant;s=V has no value here" in caplog.text


def test_references_to_nowhere_are_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    nowhere = NodeId(PLANT, "nowhere")
    lost = [
        record(
            f"V{n}",
            references=[
                Reference(standard.ORGANIZES, nowhere),
                Reference(standard.ORGANIZES, NodeId("urn:other", 1)),
                Reference(NodeId(PLANT, "no type"), standard.OBJECTS_FOLDER),
            ],
        )
        for n in range(9)
    ]
    with caplog.at_level(logging.WARNING):
        node = built(*lost)
    assert list(node.references()) == []
    (warning,) = [r for r in caplog.records if "left out" in r.message]
    assert "references to 3 nodes" in warning.message


def test_a_record_may_refer_to_a_later_one() -> None:
    node = built(
        record("First", references=[Reference(standard.HAS_COMPONENT, NodeId(PLANT, "Then"))]), record("Then")
    )
    (link,) = node.references()
    assert (link.forward, link.target.key) == (True, key("Then", 4))


def test_two_records_of_one_node_are_refused() -> None:
    with pytest.raises(DuplicateNode, match="ns=4;s=V"):
        built(record("V"), record("V"))


def test_a_namespace_nobody_named_is_refused() -> None:
    stray = record("V")
    stray.node_id = NodeId("urn:other", "V")
    with pytest.raises(UnknownNamespace):
        World(more=[stray])


def test_permissions_and_restrictions_of_a_record_are_kept() -> None:
    given = (RolePermission(NodeId(UA, 15680), 33),)
    node = built(record("V", role_permissions=given, access_restrictions=3))
    assert node.role_permissions.entries == {ROLE_IDS[Role.Operator]: 33}
    assert node.access_restrictions == 3


def test_array_dimensions_follow_the_rank() -> None:
    assert read(built(record("V", value_rank=2)), A.ArrayDimensions) == [0, 0]
    assert read(built(record("V", value_rank=1, array_dimensions=(5,))), A.ArrayDimensions) == [5]
    assert read(built(record("V", value_rank=-2)), A.ArrayDimensions) is None


def test_a_view_and_a_method_are_told_of_as_they_are() -> None:
    view = built(record("V", NodeClass.View, contains_no_loops=True, event_notifier=1))
    assert (read(view, A.ContainsNoLoops), read(view, A.EventNotifier)) == (True, 1)
    method = built(record("M", NodeClass.Method))
    assert (read(method, A.Executable), read(method, A.UserExecutable, ADMIN)) == (False, False)


def data_type(name: str, base: NodeId, *fields: DataTypeField) -> NodeRecord:
    made = record(name, NodeClass.DataType, references=[Reference(standard.HAS_SUBTYPE, base, forward=False)])
    made.definition = DataTypeDefinition(QualifiedName(PLANT, name), fields)
    return made


def definition(node: Node) -> ua.StructureDefinition | ua.EnumDefinition:
    found = structs.decode_variant(node.attributes[A.DataTypeDefinition]).Value
    assert isinstance(found, ua.StructureDefinition | ua.EnumDefinition)
    return found


def test_a_structure_tells_of_its_supertypes_fields_first() -> None:
    base = data_type("Base", standard.STRUCTURE, DataTypeField("A", standard.INT32))
    sub = data_type(
        "Sub", NodeId(PLANT, "Base"), DataTypeField("B", standard.STRING, value_rank=1, is_optional=True)
    )
    binary = record("Binary", NodeClass.Object, references=[])
    binary.browse_name = QualifiedName(UA, "Default Binary")
    binary.references = [Reference(standard.HAS_ENCODING, NodeId(PLANT, "Sub"), forward=False)]
    found = definition(built(sub, base, binary))
    assert isinstance(found, ua.StructureDefinition)
    assert [(f.Name, f.DataType.Identifier, f.ValueRank, f.IsOptional) for f in found.Fields] == [
        ("A", 6, -1, False),
        ("B", 12, 1, True),
    ]
    assert found.StructureType == ua.StructureType.StructureWithOptionalFields
    assert nodeid.key_of(found.BaseDataType) == key("Base", 4)
    assert nodeid.key_of(found.DefaultEncodingId) == key("Binary", 4)


def test_an_enumeration_tells_of_its_members() -> None:
    members = (
        DataTypeField("Off", value=0),
        DataTypeField("On", value=5, display_name=(LocalizedText("Ein"),)),
    )
    found = definition(built(data_type("E", standard.ENUMERATION, *members)))
    assert [(f.Value, f.Name, f.DisplayName.Text) for f in found.Fields] == [
        (0, "Off", "Off"),
        (5, "On", "Ein"),
    ]
