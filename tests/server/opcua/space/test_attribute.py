"""Every attribute of every class of node, as different users get it."""

from __future__ import annotations

import pytest
from asyncua import ua
from support.nodes import access
from support.spaces import ADMIN, NOBODY, OPERATOR, World, kind, read

from nodesets.records import NodeClass
from server.opcua.space.attribute import attribute
from server.opcua.space.node import Node
from server.opcua.space.permissions import ROLE_IDS, Permission, RolePermissions
from server.opcua.space.space import Space
from server.opcua.types import AttributeIds as A
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire import nodeid, structs
from server.opcua.wire.nodeid import key
from server.plant.model import Role

COMMON = {
    A.NodeId,
    A.NodeClass,
    A.BrowseName,
    A.DisplayName,
    A.Description,
    A.WriteMask,
    A.UserWriteMask,
    A.RolePermissions,
    A.UserRolePermissions,
    A.AccessRestrictions,
}
TYPED = {A.DataType, A.ValueRank, A.ArrayDimensions}
OF_CLASS = {
    NodeClass.Object: {A.EventNotifier},
    NodeClass.Variable: TYPED
    | {A.AccessLevel, A.UserAccessLevel, A.MinimumSamplingInterval, A.Historizing, A.AccessLevelEx},
    NodeClass.Method: {A.Executable, A.UserExecutable},
    NodeClass.ObjectType: {A.IsAbstract},
    NodeClass.VariableType: TYPED | {A.IsAbstract},
    NodeClass.ReferenceType: {A.IsAbstract, A.Symmetric, A.InverseName},
    NodeClass.DataType: {A.IsAbstract},
    NodeClass.View: {A.EventNotifier, A.ContainsNoLoops},
}
TYPES = {
    A.NodeId: "NodeId",
    A.NodeClass: "Int32",
    A.BrowseName: "QualifiedName",
    A.DisplayName: "LocalizedText",
    A.Description: "LocalizedText",
    A.WriteMask: "UInt32",
    A.UserWriteMask: "UInt32",
    A.IsAbstract: "Boolean",
    A.Symmetric: "Boolean",
    A.InverseName: "LocalizedText",
    A.ContainsNoLoops: "Boolean",
    A.EventNotifier: "Byte",
    A.DataType: "NodeId",
    A.ValueRank: "Int32",
    A.ArrayDimensions: "UInt32",
    A.AccessLevel: "Byte",
    A.UserAccessLevel: "Byte",
    A.MinimumSamplingInterval: "Double",
    A.Historizing: "Boolean",
    A.Executable: "Boolean",
    A.UserExecutable: "Boolean",
    A.DataTypeDefinition: "ExtensionObject",
    A.RolePermissions: "ExtensionObject",
    A.UserRolePermissions: "ExtensionObject",
    A.AccessRestrictions: "UInt16",
    A.AccessLevelEx: "UInt32",
}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def space(world: World) -> Space:
    return world.space


def property_node(space: Space, name: str) -> Node:
    return space.nodes[key(f"Acme/Line1/Filler.{name}", 4)]


def test_each_class_has_its_attributes_and_no_other(space: Space) -> None:
    for node in space:
        found = {number for number in range(28) if attribute(node, number, ADMIN) is not None}
        expected = COMMON | OF_CLASS[NodeClass(node.node_class)]
        assert found - {A.DataTypeDefinition} == expected, node
        assert A.DataTypeDefinition not in found or node.node_class == NodeClass.DataType
    assert attribute(node, A.Value, ADMIN) is None
    assert attribute(node, 4711, ADMIN) is None


def test_each_attribute_has_its_type(space: Space) -> None:
    for node in space:
        for number, name in TYPES.items():
            found = attribute(node, number, ADMIN)
            assert found is None or kind(found).name == name, (node, number)


def test_names_and_numbers_are_the_nodes_own(space: Space) -> None:
    for node in space:
        assert nodeid.key_of(read(node, A.NodeId)) == node.key
        assert read(node, A.NodeClass) == node.node_class
    speed = property_node(space, "Speed")
    assert read(speed, A.BrowseName) == ua.QualifiedName("Speed", 3)
    assert read(speed, A.DisplayName) == ua.LocalizedText("Speed")
    assert read(speed, A.Description) == ua.LocalizedText("Current speed")
    assert read(speed, A.MinimumSamplingInterval) == 200.0


def test_what_there_is_nothing_to_say_of_is_null(space: Space) -> None:
    references = space.number(ObjectIds.References)
    assert read(references, A.InverseName).Text is None
    assert read(references, A.Description).Text is None
    assert read(space.number(ObjectIds.Server_ServiceLevel), A.ArrayDimensions) is None
    assert read(space.number(ObjectIds.Server_NamespaceArray), A.ArrayDimensions) == [0]


def test_a_writable_value_is_writable_for_its_roles(space: Space) -> None:
    set_point = property_node(space, "SpeedSP")
    assert read(set_point, A.AccessLevel) == read(set_point, A.AccessLevelEx) == 0x43
    assert read(set_point, A.UserAccessLevel, NOBODY) == 0x01
    assert read(set_point, A.UserAccessLevel, OPERATOR) == 0x43
    assert read(property_node(space, "Speed"), A.UserAccessLevel, OPERATOR) == 0x01
    name = set_point.browse_name
    declared = [node for node in space if node.browse_name == name and node is not set_point]
    assert declared
    assert {read(node, A.AccessLevel) for node in declared} == {0x01}


def test_no_value_is_writable_where_the_server_is_not() -> None:
    space = World(writable=False).space
    set_point = property_node(space, "SpeedSP")
    assert read(set_point, A.AccessLevel) == 0x01
    assert read(set_point, A.UserAccessLevel, OPERATOR) == 0x01


def test_restrictions_and_permissions_show_in_what_the_user_may_do(space: Space) -> None:
    security = space.number(
        ObjectIds.Server_ServerDiagnostics_SessionsDiagnosticsSummary_SessionSecurityDiagnosticsArray
    )
    assert read(security, A.AccessRestrictions) == 3
    assert read(security, A.UserAccessLevel, ADMIN) == 0x01
    plain = access(Role.SecurityAdmin, encrypted=False)
    assert read(security, A.UserAccessLevel, plain) == 0
    assert read(security, A.UserAccessLevel, OPERATOR) == 0


def test_only_who_may_read_permissions_does(space: Space) -> None:
    set_point = property_node(space, "SpeedSP")
    with pytest.raises(ServiceFault) as refused:
        attribute(set_point, A.RolePermissions, OPERATOR)
    assert refused.value.code == StatusCodes.BadUserAccessDenied
    entries = {nodeid.key_of(e.RoleId): int(e.Permissions) for e in read(set_point, A.RolePermissions, ADMIN)}
    assert entries == set_point.role_permissions.entries
    assert entries[ROLE_IDS[Role.Operator]] & Permission.Write
    assert not entries[ROLE_IDS[Role.Observer]] & Permission.Write
    own = read(set_point, A.UserRolePermissions, OPERATOR)
    assert {nodeid.key_of(e.RoleId) for e in own} == OPERATOR.roles


def test_methods_are_executable_for_those_who_may_call() -> None:
    served = nodeid.numeric(ObjectIds.Server_GetMonitoredItems)
    space = World(methods={served}).space
    method = space.nodes[served]
    assert read(method, A.Executable) is True
    assert read(method, A.UserExecutable, NOBODY) is True
    declared = space.number(ObjectIds.ServerType_GetMonitoredItems)
    assert read(declared, A.UserExecutable, ADMIN) is False
    method.role_permissions = RolePermissions({ROLE_IDS[Role.Operator]: Permission.Browse | Permission.Call})
    assert read(method, A.UserExecutable, NOBODY) is False
    assert read(method, A.UserExecutable, OPERATOR) is True


@pytest.mark.parametrize(
    ("permission", "left"),
    [
        (Permission.WriteAttribute, 1 << 5),
        (Permission.WriteHistorizing, 1 << 9),
        (Permission.WriteRolePermissions, 1 << 23),
        (Permission.Write, 0),
    ],
)
def test_each_bit_of_the_write_mask_has_its_permission(permission: Permission, left: int) -> None:
    mask = ua.Variant((1 << 5) | (1 << 9) | (1 << 23), ua.VariantType.UInt32)
    held = {int(A.WriteMask): structs.encode_variant(mask)}
    roles = RolePermissions({ROLE_IDS[Role.Anonymous]: permission})
    node = Node(key("n", 1), 1, b"\x00\x00\xff\xff\xff\xff", b"\x00", held, roles)
    assert read(node, A.UserWriteMask) == left


def test_history_bits_need_the_permissions_for_history() -> None:
    held = {int(A.AccessLevel): b"\x03\x1d"}
    for given, level in (
        (Permission.Read, 0x11),
        (Permission.ReadHistory, 0x14),
        (Permission.InsertHistory, 0x18),
    ):
        roles = RolePermissions({ROLE_IDS[Role.Anonymous]: given})
        node = Node(key("n", 1), 2, b"\x00\x00\xff\xff\xff\xff", b"\x00", held, roles)
        assert read(node, A.UserAccessLevel) == level
