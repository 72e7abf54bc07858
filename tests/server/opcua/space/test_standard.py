"""Namespace 0 as it is served: every type, and only what works of the rest."""

from __future__ import annotations

import pytest
from support.spaces import NOBODY, World, read, variant_of

from nodesets import standard
from server.opcua.space.node import Node
from server.opcua.space.permissions import Permission
from server.opcua.space.standard import NOT_SERVED
from server.opcua.types import AttributeIds as A
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import numeric, split
from server.plant.values import Point

TYPES = {8, 16, 32, 64}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def instances(world: World) -> list[Node]:
    """What the Objects folder leads to in namespace 0."""
    found, waiting = {world.node(ObjectIds.ObjectsFolder)}, [world.node(ObjectIds.ObjectsFolder)]
    while waiting:
        for child in world.space.children(waiting.pop()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return [node for node in found if split(node.key)[0] == 0]


def test_no_type_is_missing(world: World) -> None:
    for row in standard.load().nodes:
        if row.node_class in TYPES:
            assert world.space.find(numeric(row.number)) is not None, row.browse_name


@pytest.mark.parametrize("name", NOT_SERVED)
def test_what_nothing_stands_behind_is_left_out(world: World, name: str) -> None:
    assert world.space.find(numeric(getattr(ObjectIds, name))) is None


def test_only_served_methods_are_there() -> None:
    def methods(world: World) -> set[bytes]:
        return {node.key for node in instances(world) if node.node_class == 4}

    served = numeric(ObjectIds.Server_GetMonitoredItems)
    assert methods(World()) == set()
    world = World(methods={served})
    assert methods(world) == {served}
    arguments = list(world.space.children(world.space.nodes[served]))
    assert len(arguments) == 2


def test_every_node_is_reached_from_the_root(world: World) -> None:
    space = world.space
    root = world.node(ObjectIds.RootFolder)
    found, waiting = {root}, [root]
    kinds = (ObjectIds.HierarchicalReferences, ObjectIds.HasEncoding, ObjectIds.HasDescription)
    while waiting:
        node = waiting.pop()
        for kind in kinds:
            for target in space.targets(node, space.number(kind)):
                if target not in found:
                    found.add(target)
                    waiting.append(target)
    lost = [node for node in space if node not in found and split(node.key)[0] in {0, 1}]
    assert lost == []


def test_every_node_has_a_type(world: World) -> None:
    for node in world.space:
        has_type = node.type_definition is not None and node.type_definition.alive
        assert has_type is (node.node_class in {1, 2}), node


def test_every_variable_is_good(world: World) -> None:
    for node in world.space:
        assert (node.value is not None) is (node.node_class in {2, 16} or isinstance(node.value, Point)), node
        if node.value is not None and not isinstance(node.value, Point):
            assert variant_of(node)
            assert not node.value.head[0] & 0x02, node


def test_nothing_of_it_can_be_written(world: World) -> None:
    for node in world.space:
        if split(node.key)[0] == 0 and node.node_class == 2:
            assert read(node, A.AccessLevel) == 0x01


def test_everybody_may_look_and_hear_of_the_servers_events(world: World) -> None:
    server = world.node(ObjectIds.Server)
    assert server.role_permissions.of(NOBODY.roles) == (
        Permission.Browse | Permission.Read | Permission.ReceiveEvents | Permission.Call
    )
    folder = world.node(ObjectIds.ObjectsFolder)
    assert folder.role_permissions.of(NOBODY.roles) == Permission.Browse | Permission.Read


def test_the_roles_are_those_there_are(world: World) -> None:
    roles = world.space.children(world.node(ObjectIds.Server_ServerCapabilities_RoleSet))
    names = {read(role, A.BrowseName).Name for role in roles}
    assert names == {
        "Anonymous",
        "AuthenticatedUser",
        "Observer",
        "Operator",
        "Engineer",
        "Supervisor",
        "ConfigureAdmin",
        "SecurityAdmin",
    }


def test_modelling_rules_are_listed(world: World) -> None:
    folder = world.node(ObjectIds.Server_ServerCapabilities_ModellingRules)
    assert {numeric(n) for n in (78, 80, 83, 11508, 11510)} == {n.key for n in world.space.children(folder)}
