"""TranslateBrowsePathsToNodeIds by OPC 10000-4 §5.9.4."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from asyncua import ua
from support.nodes import request, session
from support.world import (
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_TYPE_DEFINITION,
    HIDDEN,
    HIERARCHICAL,
    OBJECTS,
    ORGANIZES,
    VARIABLE,
    World,
    answered,
    decoded,
)

from server.opcua.limits import MAX_NODES_PER_TRANSLATE, MAX_TRANSLATE_MATCHES
from server.opcua.services import paths
from server.opcua.services.paths import Paths
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, key, numeric
from server.opcua.wire.writer import array, int32, qualified_name
from server.plant.model import Role

Step = tuple[str | None, int | None, bool, bool]
"""Name, reference type, inverse, with subtypes."""


def down(*names: str | None, by: int | None = HIERARCHICAL, subtypes: bool = True) -> list[Step]:
    return [(name, by, False, subtypes) for name in names]


def path(start: Node | Key, steps: list[Step]) -> bytes:
    begin = start if isinstance(start, bytes) else start.key
    elements = [
        (numeric(by) if by is not None else numeric(0))
        + bytes((inverse, subtypes))
        + qualified_name(name, 2 if name not in {"Objects", "FolderType"} else 0)
        for name, by, inverse, subtypes in steps
    ]
    return begin + array(elements)


async def translate(world: World, *asked: bytes, whose: Session | None = None) -> list[tuple[str, list[str]]]:
    service = Paths(world.space)
    answer = service.translate(whose or session(), request(array(asked)))
    results = decoded(ua.BrowsePathResult, await answered(answer))
    for result in results:
        assert all(target.RemainingPathIndex == 0xFFFFFFFF for target in result.Targets)
    return [
        (result.StatusCode.name, [str(target.TargetId.Identifier) for target in result.Targets])
        for result in results
    ]


@pytest.fixture
def world() -> World:
    made = World()
    plant = made.node("Plant", made.objects)
    line = made.node("Plant/Line", plant)
    made.link(line, HAS_TYPE_DEFINITION, made.folder_type)
    made.node("Plant/Line/Speed", line, VARIABLE, HAS_COMPONENT)
    made.node("Plant/Line/Maker", line, VARIABLE, HAS_PROPERTY)
    hidden = made.node("Plant/Hidden", plant, permissions=HIDDEN)
    made.node("Plant/Hidden/Speed", hidden, VARIABLE, HAS_COMPONENT)
    return made


async def test_a_path_leads_to_its_node(world: World) -> None:
    assert await translate(world, path(world.objects, down("Plant", "Line", "Speed"))) == [
        ("Good", ["Plant/Line/Speed"])
    ]


async def test_each_path_has_its_own_result(world: World) -> None:
    plant = key("Plant", 2)
    assert await translate(
        world,
        path(plant, down("Line")),
        path(plant, down("Nowhere")),
        path(key("Nowhere", 2), down("Line")),
        path(numeric(0), down("Line")),
        path(plant, []),
        path(plant, down("Line", None)),
        path(plant, down(None, "Speed")),
        path(plant, down("Line", "")),
    ) == [
        ("Good", ["Plant/Line"]),
        ("BadNoMatch", []),
        ("BadNodeIdUnknown", []),
        ("BadNodeIdInvalid", []),
        ("BadNothingToDo", []),
        ("BadBrowseNameInvalid", []),
        ("BadBrowseNameInvalid", []),
        ("BadBrowseNameInvalid", []),
    ]


@pytest.mark.parametrize(
    ("by", "subtypes", "status"),
    [
        (HAS_COMPONENT, True, "Good"),
        (HAS_COMPONENT, False, "Good"),
        (HIERARCHICAL, True, "Good"),
        (HIERARCHICAL, False, "BadNoMatch"),
        (HAS_PROPERTY, True, "BadNoMatch"),
        (None, False, "Good"),
        (4711, True, "BadNoMatch"),
        (OBJECTS, True, "BadNoMatch"),
    ],
)
async def test_the_reference_type_is_followed(
    world: World, by: int | None, subtypes: bool, status: str
) -> None:
    asked = path(key("Plant/Line", 2), down("Speed", by=by, subtypes=subtypes))
    assert (await translate(world, asked))[0][0] == status


async def test_the_namespace_of_a_name_counts(world: World) -> None:
    element = numeric(HIERARCHICAL) + b"\x00\x01" + qualified_name("Line", 3)
    assert await translate(world, key("Plant", 2) + array([element])) == [("BadNoMatch", [])]


async def test_inverse_references_are_followed(world: World) -> None:
    asked = path(
        key("Plant/Line/Speed", 2), [("Line", HAS_COMPONENT, True, True), ("Plant", ORGANIZES, True, True)]
    )
    down_again = path(key("Plant/Line", 2), [("Plant", ORGANIZES, False, True)])
    assert await translate(world, asked, down_again) == [("Good", ["Plant"]), ("BadNoMatch", [])]


async def test_a_type_definition_is_reached_and_its_instances_are_not(world: World) -> None:
    to_type = path(key("Plant/Line", 2), [("FolderType", HAS_TYPE_DEFINITION, False, True)])
    back = path(numeric(61), [("Line", HAS_TYPE_DEFINITION, True, True)])
    assert await translate(world, to_type, back) == [("Good", ["61"]), ("BadNoMatch", [])]


async def test_every_target_of_that_name_is_told_in_the_order_of_the_references(world: World) -> None:
    plant = world.space.nodes[key("Plant", 2)]
    world.node("Other/Line", plant)
    world.node("Other/Line/Speed", world.space.nodes[key("Other/Line", 2)], VARIABLE, HAS_COMPONENT)
    assert await translate(world, path(plant, down("Line")), path(plant, down("Line", "Speed"))) == [
        ("Good", ["Plant/Line", "Other/Line"]),
        ("Good", ["Plant/Line/Speed", "Other/Line/Speed"]),
    ]


async def test_a_node_reached_in_two_ways_is_told_once(world: World) -> None:
    line = world.space.nodes[key("Plant/Line", 2)]
    world.link(line, ORGANIZES, world.space.nodes[key("Plant/Line/Speed", 2)])
    assert await translate(world, path(line, down("Speed"))) == [("Good", ["Plant/Line/Speed"])]


async def test_what_may_not_be_browsed_is_not_there(world: World) -> None:
    through = path(world.objects, down("Plant", "Hidden", "Speed"))
    start = path(key("Plant/Hidden", 2), down("Speed"))
    assert await translate(world, through, start) == [("BadNoMatch", []), ("BadNodeIdUnknown", [])]
    operator = session(Role.Anonymous, Role.Operator)
    assert {code for code, _ in await translate(world, through, start, whose=operator)} == {"Good"}


async def test_registered_handles_are_resolved(world: World) -> None:
    whose = session()
    whose.handles[numeric(9, 1)] = key("Plant/Line", 2)
    found = await translate(world, path(numeric(9, 1), down("Speed")), whose=whose)
    assert found == [("Good", ["Plant/Line/Speed"])]


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, StatusCodes.BadNothingToDo), (MAX_NODES_PER_TRANSLATE + 1, StatusCodes.BadTooManyOperations)],
)
async def test_nothing_and_too_much_are_refused(world: World, count: int, code: int) -> None:
    with pytest.raises(ServiceFault) as refused:
        await translate(world, *[path(numeric(OBJECTS), down("Plant"))] * count)
    assert refused.value.code == code


async def test_too_many_matches_are_not_returned(world: World) -> None:
    plant = world.space.nodes[key("Plant", 2)]
    for number in range(MAX_TRANSLATE_MATCHES + 1):
        world.node(f"Same{number}/Same", plant)
    assert await translate(world, path(plant, down("Same"))) == [("BadTooManyMatches", [])]


async def test_a_path_that_visits_too_much_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_TRANSLATE_VISITS", 4)
    assert await translate(
        world, path(world.objects, down("Plant", "Line", "Speed")), path(world.objects, down("Plant"))
    ) == [("BadQueryTooComplex", []), ("Good", ["Plant"])]


async def test_paths_that_visit_too_much_together_are_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "MAX_TRANSLATE_VISITS_PER_CALL", 20)
    asked = path(world.objects, down("Plant"))
    found = await translate(world, *[asked] * 50)
    assert found[0] == ("Good", ["Plant"])
    assert found[-1] == ("BadQueryTooComplex", [])


async def test_many_paths_through_one_large_node_take_linear_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.node("Crowd", world.objects)
    for number in range(2000):
        world.node(f"Crowd/N{number}", folder, VARIABLE, HAS_COMPONENT)
    scans = 0
    original = Node.references

    def counted(self: Node) -> Any:
        nonlocal scans
        scans += self is folder
        return original(self)

    monkeypatch.setattr(Node, "references", counted)
    asked = [path(folder, down(f"N{number}")) for number in range(500)]
    found = await translate(world, *asked, path(folder, down("Nobody")))
    assert found[:500] == [("Good", [f"Crowd/N{number}"]) for number in range(500)]
    assert found[500] == ("BadNoMatch", [])
    assert scans == 2


async def test_long_paths_let_others_have_their_turn(world: World) -> None:
    folder = world.node("Crowd", world.objects)
    for number in range(20_000):
        world.node(f"Crowd/N{number}", folder, VARIABLE, HAS_COMPONENT)
    asked = array([path(folder, down(f"N{number}")) for number in range(1000)])
    answer = Paths(world.space).translate(session(), request(asked))
    assert isinstance(answer, Coroutine)
    await answered(answer)


async def test_an_announcement_of_more_elements_than_there_are_bytes_is_refused(world: World) -> None:
    with pytest.raises(Exception, match="array"):
        await translate(world, numeric(OBJECTS) + int32(2**31 - 1))
