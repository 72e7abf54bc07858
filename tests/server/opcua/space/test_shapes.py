"""Plant variables that follow from shapes are what nodes made of records would be."""

from __future__ import annotations

import gc

import pytest
from support.spaces import World

from nodesets import isa95, standard
from server.opcua.space.build import Builder
from server.opcua.space.node import Node
from server.opcua.space.shapes import Holder, Member, PlantVariable
from server.opcua.space.space import (
    NODE_DELETED,
    REFERENCE_DELETED,
    DuplicateNode,
    ModelChange,
    Space,
)
from server.opcua.space.standard import add_standard
from server.opcua.space.value import StoredValue
from server.opcua.wire.nodeid import Key, key, numeric
from server.plant.build import build_nodes

FILLER = key("Acme/Line1/Filler", 4)
SPEED = key("Acme/Line1/Filler.Speed", 4)
UNITS = key("Acme/Line1/Filler.Speed.EngineeringUnits", 4)


@pytest.fixture
def world() -> World:
    return World(writable=False)


def there(space: Space, node: Key) -> Node:
    found = space.find(node)
    assert found is not None
    return found


def standing(world: World) -> Space:
    """The same plant with every node an object of its own."""
    space = Space()
    add_standard(space, standard.load(), ())
    builder = Builder(space, world.names)
    builder.add(isa95.load().nodes)
    builder.add(build_nodes(world.plant))
    return space


def told(node: Node) -> dict[str, object]:
    return {
        "class": node.node_class,
        "names": (node.browse_name, node.display_name),
        "attributes": dict(node.attributes),
        "permissions": node.role_permissions.entries,
        "restrictions": node.access_restrictions,
        "type": node.type_definition.key if node.type_definition else None,
        "references": sorted((r.type.key, r.forward, r.target.key) for r in node.references()),
        "constant": node.value.head if isinstance(node.value, StoredValue) else None,
    }


def test_they_say_what_standing_nodes_say(world: World) -> None:
    other = standing(world)
    names = [node.key for node in world.space]
    assert sorted(names) == sorted(node.key for node in other)
    assert len(world.space) == len(other) == len(names)
    for name in names:
        one, two = told(there(world.space, name)), told(there(other, name))
        if isinstance(there(world.space, name), PlantVariable):
            two["constant"] = None  # a point here, and there a null value
        assert {**one, "constant": None} == {**two, "constant": None}
        assert (one["constant"] is None) == (two["constant"] is None)


def test_they_are_of_the_kinds_meant(world: World) -> None:
    assert isinstance(there(world.space, FILLER), Holder)
    assert isinstance(there(world.space, SPEED), PlantVariable)
    assert isinstance(there(world.space, UNITS), Member)


def test_a_member_is_one_object_while_it_is_held_and_none_after(world: World) -> None:
    held = there(world.space, UNITS)
    assert there(world.space, UNITS) is held
    (from_variable,) = (r.target for r in there(world.space, SPEED).references() if r.target.key == UNITS)
    assert from_variable is held
    del held, from_variable
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Member) and one.key == UNITS]


@pytest.mark.parametrize(
    "node",
    [
        key("Acme/Line1/Filler.Speed.Nothing", 4),
        key("Acme/Line1/Filler.Nothing.EURange", 4),
        key("Acme/Line1/Filler.Speed.", 4),
        key("Acme/Line1/Filler.State.EURange", 4),
        key("Acme/Line1/Filler.Speed.EURange", 3),
        key("EURange", 4),
        key(b"Acme/Line1/Filler.Speed.EURange", 4),
        numeric(7, 4),
    ],
)
def test_what_no_shape_has_is_not_found(world: World, node: Key) -> None:
    assert world.space.find(node) is None


def test_a_variable_that_is_deleted_takes_its_members_along(world: World) -> None:
    space, filler, units = world.space, there(world.space, FILLER), there(world.space, UNITS)
    count, changes = len(space), list[ModelChange]()
    space.on_change(changes.extend)
    assert space.delete([SPEED]) == 1
    assert len(space) == count - 3
    assert space.find(SPEED) is space.find(UNITS) is None
    assert not units.alive
    assert SPEED not in [r.target.key for r in filler.references()]
    verbs = {change.node.key: change.verb for change in changes}
    assert verbs[SPEED] == NODE_DELETED
    assert verbs[FILLER] & REFERENCE_DELETED


def test_what_is_deleted_does_not_pile_up(world: World) -> None:
    filler = there(world.space, FILLER)
    assert isinstance(filler, Holder)
    world.space.delete([variable.key for variable in filler.variables])
    assert len(filler.variables) <= 9
    assert not [r for r in filler.references() if isinstance(r.target, PlantVariable)]


def test_an_equipment_that_is_deleted_leaves_no_way_back(world: World) -> None:
    world.space.delete([FILLER])
    assert FILLER not in [r.target.key for r in there(world.space, SPEED).references()]


def test_a_variable_may_be_linked_like_any_node(world: World) -> None:
    space = world.space
    speed, level = there(space, SPEED), there(space, key("Acme/Line1/Filler.Level", 4))
    kind = space.number(35)
    assert space.link(speed, kind, level)
    assert not space.link(speed, kind, level)
    assert level in [r.target for r in speed.references() if r.type is kind]
    assert speed in [r.target for r in level.references() if r.type is kind]
    other = there(space, key("Acme/Line1/Filler.Mode", 4))
    assert not [r for r in other.references() if r.type is kind]  # nobody else's references changed
    assert space.unlink(speed, kind, level)
    assert level not in [r.target for r in speed.references()]


def test_two_variables_of_one_id_are_refused(world: World) -> None:
    speed = there(world.space, SPEED)
    assert isinstance(speed, PlantVariable)
    point = world.store.points["Acme/Line1/Filler.Speed"]
    again = PlantVariable(SPEED, speed.shape, speed.holder, point)
    with pytest.raises(DuplicateNode):
        world.space.add_variable(again)
