"""RegisterNodes and UnregisterNodes by OPC 10000-4 §5.9.5 and §5.9.6."""

from __future__ import annotations

import pytest
from support.nodes import request, session
from support.world import HIDDEN, World

from server.opcua.limits import MAX_NODES_PER_REGISTER_NODES
from server.opcua.services import registered
from server.opcua.services.plans import Budget, Plan, ReadPlans
from server.opcua.services.registered import Registering
from server.opcua.sessions.session import Session
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, key, numeric, split
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import array
from server.plant.model import Role

LONG = "Acme/Lyon/Packaging/Line1/Filler.Speed"


@pytest.fixture
def world() -> World:
    made = World()
    made.node(LONG, made.objects)
    made.node("Secret/Recipe", made.objects, permissions=HIDDEN)
    return made


def register(world: World, whose: Session, *keys: Key) -> list[Key]:
    answer = Registering(world.space).register(whose, request(array(keys)))
    assert isinstance(answer, bytes)
    reader = Reader(answer)
    found = [reader.key() for _ in range(reader.count(2))]
    assert reader.left == 0
    return found


def unregister(world: World, whose: Session, *keys: Key) -> None:
    assert Registering(world.space).unregister(whose, request(array(keys))) == b""


def test_a_handle_is_short_numeric_and_leads_to_the_node(world: World) -> None:
    whose = session()
    (handle,) = register(world, whose, key(LONG, 2))
    assert len(handle) == 4
    namespace, number = split(handle)
    assert namespace == 1
    assert isinstance(number, int)
    assert whose.resolve(handle) == key(LONG, 2)
    assert whose.resolve(key(LONG, 2)) == key(LONG, 2)


def test_a_handle_holds_in_its_session_only(world: World) -> None:
    mine, other = session(), session()
    (handle,) = register(world, mine, key(LONG, 2))
    assert other.resolve(handle) == handle
    mine.end()
    assert mine.resolve(handle) == handle


def test_nodes_that_are_not_known_are_registered_as_themselves(world: World) -> None:
    whose = session()
    asked = [key("Nowhere/Near/Here", 2), key("Secret/Recipe", 2)]
    assert register(world, whose, *asked) == asked
    assert not whose.handles
    operator = session(Role.Anonymous, Role.Operator)
    assert register(world, operator, *asked)[1] != asked[1]


def test_a_node_id_that_is_short_already_stays(world: World) -> None:
    assert register(world, session(), world.objects.key) == [world.objects.key]


def test_order_and_size_are_those_of_the_request(world: World) -> None:
    whose = session()
    found = register(world, whose, key(LONG, 2), key("Nowhere/Near/Here", 2), key(LONG, 2))
    assert [whose.resolve(handle) for handle in found] == [
        key(LONG, 2),
        key("Nowhere/Near/Here", 2),
        key(LONG, 2),
    ]


def test_a_handle_may_be_registered_again(world: World) -> None:
    whose = session()
    (first,) = register(world, whose, key(LONG, 2))
    (second,) = register(world, whose, first)
    unregister(world, whose, first)
    assert whose.resolve(second) == key(LONG, 2)


def test_unregistered_handles_are_gone_and_never_come_back(world: World) -> None:
    whose = session()
    (first,) = register(world, whose, key(LONG, 2))
    unregister(world, whose, first, first, key(LONG, 2), numeric(4711, 1))
    assert whose.resolve(first) == first
    (second,) = register(world, whose, key(LONG, 2))
    assert second != first


def test_no_handle_is_the_node_id_of_a_node(world: World) -> None:
    for number in range(1, 4):
        world.put(numeric(number, 1), 1, b"\x00\x00\x00\x00\x00\x00", "Taken")
    (handle,) = register(world, session(), key(LONG, 2))
    assert handle == numeric(4, 1)


def test_beyond_the_limit_a_node_is_registered_as_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registered, "MAX_REGISTERED_NODES", 2)
    whose = session()
    found = register(world, whose, *[key(LONG, 2)] * 3)
    assert found[2] == key(LONG, 2)
    unregister(world, whose, found[0])
    assert register(world, whose, key(LONG, 2)) != [key(LONG, 2)]


def test_read_plans_do_not_outlive_the_handles_they_were_made_with(world: World) -> None:
    whose = session()
    assert whose.access is not None
    plan = Plan([], 0, whose.access, 0)
    whose.part(ReadPlans).keep(b"list", plan, Budget())
    (handle,) = register(world, whose, key(LONG, 2))
    assert len(whose.part(ReadPlans)) == 0
    whose.part(ReadPlans).keep(b"list", plan, Budget())
    unregister(world, whose, handle)
    assert len(whose.part(ReadPlans)) == 0


@pytest.mark.parametrize("bad", [numeric(0), key("x" * 4097, 2)])
def test_a_malformed_node_id_fails_the_call(world: World, bad: Key) -> None:
    whose = session()
    with pytest.raises(ServiceFault) as refused:
        register(world, whose, key(LONG, 2), bad)
    assert refused.value.code == StatusCodes.BadNodeIdInvalid
    assert not whose.handles


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, StatusCodes.BadNothingToDo), (MAX_NODES_PER_REGISTER_NODES + 1, StatusCodes.BadTooManyOperations)],
)
def test_nothing_and_too_much_are_refused(world: World, count: int, code: int) -> None:
    for call in (register, unregister):
        with pytest.raises(ServiceFault) as refused:
            call(world, session(), *[key(LONG, 2)] * count)
        assert refused.value.code == code
