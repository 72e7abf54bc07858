"""Browse and BrowseNext by OPC 10000-4 §5.9.2 and §5.9.3, answers read by asyncua's codec."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from asyncua import ua
from support.nodes import access, request, session
from support.world import (
    DATA_TYPE,
    HAS_CHILD,
    HAS_COMPONENT,
    HAS_PROPERTY,
    HAS_SUBTYPE,
    HAS_TYPE_DEFINITION,
    HIDDEN,
    HIERARCHICAL,
    OBJECT,
    OBJECTS,
    ORGANIZES,
    VARIABLE,
    World,
    answered,
    decoded,
)

from server.opcua.limits import (
    MAX_BROWSE_BYTES,
    MAX_BROWSE_CONTINUATION_POINTS,
    MAX_NODES_PER_BROWSE,
    MAX_REFERENCES_PER_RESULT,
)
from server.opcua.services.browse import Browsing, ContinuationPoints
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Restriction, RolePermissions
from server.opcua.types import ServiceFault, StatusCodes, node_id
from server.opcua.wire import structs
from server.opcua.wire.nodeid import key, key_of, numeric, to_ua
from server.opcua.wire.reader import DecodingError
from server.opcua.wire.writer import int32
from server.plant.model import Role


def wanted(
    node: Node | ua.NodeId,
    direction: int = 0,
    by: int | None = None,
    *,
    subtypes: bool = True,
    classes: int = 0,
    fields: int = 0x3F,
) -> ua.BrowseDescription:
    make: Any = ua.BrowseDescription
    found: ua.BrowseDescription = make(
        NodeId=node if isinstance(node, ua.NodeId) else to_ua(node.key),
        BrowseDirection=ua.BrowseDirection(direction),
        ReferenceTypeId=node_id(by) if by is not None else ua.NodeId(),
        IncludeSubtypes=subtypes,
        NodeClassMask=classes,
        ResultMask=fields,
    )
    return found


def browse_request(
    *nodes: ua.BrowseDescription, limit: int = 0, view: ua.ViewDescription | None = None
) -> bytes:
    parameters = ua.BrowseParameters(
        View=view or ua.ViewDescription(), RequestedMaxReferencesPerNode=limit, NodesToBrowse=list(nodes)
    )
    return structs.encode(parameters)


class Client:
    """A session that browses."""

    def __init__(self, world: World, whose: Session | None = None) -> None:
        self.session = whose or session()
        self._service = Browsing(world.space)

    async def browse(self, *nodes: ua.BrowseDescription, limit: int = 0) -> list[ua.BrowseResult]:
        answer = self._service.browse(self.session, request(browse_request(*nodes, limit=limit)))
        return decoded(ua.BrowseResult, await answered(answer))

    async def next(self, *points: bytes | None, release: bool = False) -> list[ua.BrowseResult]:
        make: Any = ua.BrowseNextParameters
        body = structs.encode(make(ReleaseContinuationPoints=release, ContinuationPoints=list(points)))
        return decoded(
            ua.BrowseResult, await answered(self._service.browse_next(self.session, request(body)))
        )

    async def everything(self, node: ua.BrowseDescription, limit: int = 0) -> list[list[str]]:
        """The names on each page until there are no more."""
        (result,) = await self.browse(node, limit=limit)
        pages = [found(result)]
        while result.ContinuationPoint:
            (result,) = await self.next(result.ContinuationPoint)
            assert result.StatusCode.name == "Good"
            pages.append(found(result))
        return pages

    def raw(self, body: bytes) -> Any:
        return self._service.browse(self.session, request(body))


def found(result: ua.BrowseResult) -> list[str]:
    return [reference.BrowseName.Name for reference in result.References]


def codes(results: list[ua.BrowseResult]) -> list[str]:
    return [result.StatusCode.name for result in results]


@pytest.fixture
def world() -> World:
    made = World()
    plant = made.node("Plant", made.objects)
    made.link(plant, HAS_TYPE_DEFINITION, made.folder_type)
    made.node("Plant/Line", plant)
    made.node("Plant/Speed", plant, VARIABLE, HAS_COMPONENT)
    made.node("Plant/Maker", plant, VARIABLE, HAS_PROPERTY)
    made.node("Plant/Secret", plant, VARIABLE, HAS_COMPONENT, permissions=HIDDEN)
    return made


def plant(world: World) -> Node:
    return world.space.nodes[key("Plant", 2)]


def crowd(world: World, size: int) -> Node:
    """A folder with so many children."""
    folder = world.node("Crowd", world.objects)
    with world.space.changing():
        for number in range(size):
            world.node(f"Crowd/N{number}", folder, VARIABLE, HAS_COMPONENT)
    return folder


async def test_a_reference_is_described_in_full(world: World) -> None:
    (result,) = await Client(world).browse(wanted(node_id(OBJECTS), by=ORGANIZES))
    (reference,) = result.References
    assert reference.ReferenceTypeId == node_id(ORGANIZES)
    assert reference.IsForward
    assert (reference.NodeId.NamespaceIndex, reference.NodeId.Identifier) == (2, "Plant")
    assert reference.BrowseName == ua.QualifiedName("Plant", 2)
    assert reference.DisplayName == ua.LocalizedText("Plant")
    assert reference.NodeClass == ua.NodeClass.Object
    assert reference.TypeDefinition.Identifier == 61
    assert result.StatusCode.name == "Good"
    assert not result.ContinuationPoint


async def test_no_reference_type_means_every_one(world: World) -> None:
    (result,) = await Client(world).browse(wanted(plant(world), 2, subtypes=False))
    assert found(result) == ["Objects", "FolderType", "Line", "Speed", "Maker"]


@pytest.mark.parametrize(
    ("by", "subtypes", "expected"),
    [
        (HIERARCHICAL, True, ["Line", "Speed", "Maker"]),
        (HIERARCHICAL, False, []),
        (HAS_CHILD, True, ["Speed", "Maker"]),
        (HAS_COMPONENT, True, ["Speed"]),
        (HAS_PROPERTY, False, ["Maker"]),
    ],
)
async def test_reference_types_are_followed_with_their_subtypes_on_demand(
    world: World, by: int, subtypes: bool, expected: list[str]
) -> None:
    (result,) = await Client(world).browse(wanted(plant(world), by=by, subtypes=subtypes))
    assert found(result) == expected


async def test_the_direction_decides(world: World) -> None:
    client = Client(world)
    results = await client.browse(*(wanted(plant(world), direction, HIERARCHICAL) for direction in (0, 1, 2)))
    assert [found(result) for result in results] == [
        ["Line", "Speed", "Maker"],
        ["Objects"],
        ["Objects", "Line", "Speed", "Maker"],
    ]
    assert [reference.IsForward for reference in results[2].References] == [False, True, True, True]


async def test_a_type_does_not_list_its_instances(world: World) -> None:
    (result,) = await Client(world).browse(wanted(world.folder_type, 1))
    assert found(result) == ["BaseObjectType"]


async def test_the_class_mask_picks(world: World) -> None:
    client = Client(world)
    results = await client.browse(
        *(wanted(plant(world), classes=mask) for mask in (OBJECT, VARIABLE, OBJECT | VARIABLE, DATA_TYPE))
    )
    assert [len(result.References) for result in results] == [1, 2, 3, 0]


@pytest.mark.parametrize("bit", range(6))
async def test_each_bit_of_the_result_mask_brings_its_field(world: World, bit: int) -> None:
    (result,) = await Client(world).browse(wanted(node_id(OBJECTS), by=ORGANIZES, fields=1 << bit))
    (reference,) = result.References
    given = [
        not reference.ReferenceTypeId.is_null(),
        reference.IsForward,
        reference.NodeClass.value != 0,
        reference.BrowseName.Name is not None,
        reference.DisplayName.Text is not None,
        not reference.TypeDefinition.is_null(),
    ]
    assert given == [number == bit for number in range(6)]
    assert reference.NodeId.Identifier == "Plant"


async def test_what_is_wrong_with_one_node_is_said_of_that_node(world: World) -> None:
    results = await Client(world).browse(
        wanted(plant(world)),
        wanted(node_id(4711, 2)),
        wanted(ua.NodeId()),
        wanted(plant(world), by=4711),
        wanted(plant(world), by=OBJECTS),
        wanted(plant(world), 3),
        wanted(node_id("x" * 5000, 2)),
    )
    assert codes(results) == [
        "Good",
        "BadNodeIdUnknown",
        "BadNodeIdInvalid",
        "BadReferenceTypeIdInvalid",
        "BadReferenceTypeIdInvalid",
        "BadBrowseDirectionInvalid",
        "BadNodeIdInvalid",
    ]
    assert all(not result.References for result in results[1:])


async def test_a_direction_no_enumeration_has_is_invalid(world: World) -> None:
    body = browse_request(wanted(plant(world), 1))
    at = body.index(plant(world).key) + len(plant(world).key)
    odd = body[:at] + int32(77) + body[at + 4 :]
    (result,) = decoded(ua.BrowseResult, await answered(Client(world).raw(odd)))
    assert result.StatusCode.name == "BadBrowseDirectionInvalid"


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, StatusCodes.BadNothingToDo), (MAX_NODES_PER_BROWSE + 1, StatusCodes.BadTooManyOperations)],
)
async def test_nothing_and_too_much_are_refused(world: World, count: int, code: int) -> None:
    with pytest.raises(ServiceFault) as refused:
        Client(world).raw(browse_request(*[wanted(plant(world))] * count))
    assert refused.value.code == code
    with pytest.raises(ServiceFault) as refused:
        await Client(world).next(*[b"x" * 16] * count)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("view", "version", "timestamp", "code"),
    [
        (node_id(OBJECTS), 0, False, StatusCodes.BadViewIdUnknown),
        (ua.NodeId(), 1, False, StatusCodes.BadViewVersionInvalid),
        (ua.NodeId(), 1, True, StatusCodes.BadViewParameterMismatch),
    ],
)
async def test_there_is_no_view_and_no_former_version(
    world: World, view: ua.NodeId, version: int, timestamp: bool, code: int
) -> None:
    body = browse_request(
        wanted(plant(world)),
        view=ua.ViewDescription(ViewId=view, ViewVersion=version),
    )
    start = len(key_of(view))
    assert body[start : start + 8] != bytes(8)  # asyncua puts the time of now
    if not timestamp:
        body = body[:start] + bytes(8) + body[start + 8 :]
    with pytest.raises(ServiceFault) as refused:
        Client(world).raw(body)
    assert refused.value.code == code


async def test_a_timestamp_alone_is_answered_by_the_version_of_now(world: World) -> None:
    body = browse_request(wanted(plant(world)), view=ua.ViewDescription())
    assert body[2:10] != bytes(8)
    assert len(decoded(ua.BrowseResult, await answered(Client(world).raw(body)))) == 1


async def test_bytes_that_end_early_are_no_request(world: World) -> None:
    body = browse_request(wanted(plant(world)))
    for size in range(len(body)):
        with pytest.raises((DecodingError, ServiceFault)):
            Client(world).raw(body[:size])


# --- Permissions


async def test_what_may_not_be_browsed_is_not_there(world: World) -> None:
    secret = world.space.nodes[key("Plant/Secret", 2)]
    nobody, operator = Client(world), Client(world, session(Role.Anonymous, Role.Operator))
    assert codes(await nobody.browse(wanted(secret, 2))) == ["BadNodeIdUnknown"]
    assert codes(await operator.browse(wanted(secret, 2))) == ["Good"]
    assert "Secret" not in found((await nobody.browse(wanted(plant(world))))[0])
    assert "Secret" in found((await operator.browse(wanted(plant(world))))[0])


async def test_restrictions_hide_where_they_apply_to_browse(world: World) -> None:
    restricted = Restriction.EncryptionRequired | Restriction.ApplyRestrictionsToBrowse
    world.node("Plant/Safe", plant(world), restrictions=restricted)
    world.node("Plant/Half", plant(world), restrictions=Restriction.EncryptionRequired)
    signed, encrypted = Client(world), Client(world)
    signed.session.access = access(Role.Anonymous, signed=True, encrypted=False)
    assert found((await signed.browse(wanted(plant(world), by=ORGANIZES)))[0]) == ["Line", "Half"]
    assert found((await encrypted.browse(wanted(plant(world), by=ORGANIZES)))[0]) == ["Line", "Safe", "Half"]
    assert codes(await signed.browse(wanted(node_id("Plant/Safe", 2)))) == ["BadNodeIdUnknown"]


async def test_a_reference_type_that_may_not_be_browsed_is_none(world: World) -> None:
    hidden = world.standard(9000, "Hidden", 32, permissions=HIDDEN)
    world.link(world.space.number(HAS_CHILD), HAS_SUBTYPE, hidden)
    assert codes(await Client(world).browse(wanted(plant(world), by=9000))) == ["BadReferenceTypeIdInvalid"]


async def test_another_users_pages_are_gone_when_the_user_changes(world: World) -> None:
    client = Client(world)
    (result,) = await client.browse(wanted(plant(world)), limit=1)
    client.session.renounce()
    assert codes(await client.next(result.ContinuationPoint)) == ["BadContinuationPointInvalid"]


async def test_every_page_is_by_the_rights_of_its_time(world: World) -> None:
    client = Client(world, session(Role.Anonymous, Role.Operator))
    (result,) = await client.browse(wanted(plant(world), by=HAS_COMPONENT), limit=1)
    assert found(result) == ["Speed"]  # the next one would be Secret
    client.session.access = access(Role.Anonymous)
    assert found((await client.next(result.ContinuationPoint))[0]) == []


async def test_registered_handles_are_resolved(world: World) -> None:
    client = Client(world)
    client.session.handles[numeric(7, 1)] = plant(world).key
    (result,) = await client.browse(wanted(node_id(7, 1), by=ORGANIZES))
    assert found(result) == ["Line"]


# --- Pages


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_bring_each_reference_once_and_no_page_is_empty(world: World, limit: int) -> None:
    folder = crowd(world, 7)
    pages = await Client(world).everything(wanted(folder, by=HAS_COMPONENT), limit)
    assert [name for page in pages for name in page] == [f"N{number}" for number in range(7)]
    assert all(len(page) == limit for page in pages[:-1])
    assert 0 < len(pages[-1]) <= limit


async def test_a_page_that_just_fits_has_no_continuation_point(world: World) -> None:
    (result,) = await Client(world).browse(wanted(plant(world), by=HIERARCHICAL), limit=3)
    assert len(result.References) == 3
    assert not result.ContinuationPoint


async def test_what_is_filtered_out_does_not_count_towards_a_page(world: World) -> None:
    (result,) = await Client(world).browse(wanted(plant(world), by=HIERARCHICAL, classes=VARIABLE), limit=2)
    assert found(result) == ["Speed", "Maker"]
    assert not result.ContinuationPoint


async def test_whoever_asks_for_everything_gets_it_by_pages(world: World) -> None:
    size = 2 * MAX_REFERENCES_PER_RESULT + 1
    pages = await Client(world).everything(wanted(crowd(world, size), by=HAS_COMPONENT))
    assert [len(page) for page in pages] == [MAX_REFERENCES_PER_RESULT, MAX_REFERENCES_PER_RESULT, 1]
    assert sum(map(len, map(set, pages))) == size


async def test_a_continuation_point_is_used_up(world: World) -> None:
    client = Client(world)
    (first,) = await client.browse(wanted(plant(world)), limit=1)
    (second, again) = await client.next(first.ContinuationPoint, first.ContinuationPoint)
    assert codes([second, again]) == ["Good", "BadContinuationPointInvalid"]
    assert second.ContinuationPoint != first.ContinuationPoint
    assert len(second.ContinuationPoint) == 16


@pytest.mark.parametrize("point", [None, b"", b"x" * 16, b"y" * 1000])
async def test_what_is_no_continuation_point_is_said(world: World, point: bytes | None) -> None:
    assert codes(await Client(world).next(point)) == ["BadContinuationPointInvalid"]


async def test_a_continuation_point_is_of_its_session_alone(world: World) -> None:
    mine, other = Client(world), Client(world)
    (result,) = await mine.browse(wanted(plant(world)), limit=1)
    assert codes(await other.next(result.ContinuationPoint)) == ["BadContinuationPointInvalid"]
    assert codes(await mine.next(result.ContinuationPoint)) == ["Good"]


async def test_released_continuation_points_are_gone_and_answered_by_no_results(world: World) -> None:
    client = Client(world)
    results = await client.browse(*[wanted(plant(world))] * 2, limit=1)
    points = [result.ContinuationPoint for result in results]
    assert await client.next(*points, b"unknown", release=True) == []
    assert codes(await client.next(*points)) == ["BadContinuationPointInvalid"] * 2
    assert len(client.session.part(ContinuationPoints)) == 0


async def test_more_unfinished_nodes_than_there_are_points_are_refused(world: World) -> None:
    client, points = Client(world), MAX_BROWSE_CONTINUATION_POINTS
    many = [wanted(plant(world))] * (points + 2)
    results = await client.browse(*many, wanted(plant(world), by=ORGANIZES), limit=1)
    assert codes(results) == ["Good"] * points + ["BadNoContinuationPoints"] * 2 + ["Good"]
    assert all(not result.References for result in results[-3:-1])
    # What is unfinished can be finished all the same.
    more = await client.next(*(r.ContinuationPoint for r in results[:points]))
    assert set(codes(more)) == {"Good"}


async def test_a_new_request_takes_the_oldest_point_of_earlier_ones_when_none_is_left(world: World) -> None:
    client = Client(world)
    earlier = [
        (await client.browse(wanted(plant(world)), limit=1))[0].ContinuationPoint
        for _ in range(MAX_BROWSE_CONTINUATION_POINTS)
    ]
    (result,) = await client.browse(wanted(plant(world)), limit=1)
    assert codes([result]) == ["Good"]
    assert len(client.session.part(ContinuationPoints)) == MAX_BROWSE_CONTINUATION_POINTS
    oldest, *others = codes(await client.next(*earlier))
    assert oldest == "BadContinuationPointInvalid"
    assert set(others) == {"Good"}


async def test_pages_go_on_beside_deletions(world: World) -> None:
    folder = crowd(world, 30)
    client = Client(world)
    (result,) = await client.browse(wanted(folder, by=HAS_COMPONENT), limit=10)
    world.space.delete([key(f"Crowd/N{number}", 2) for number in range(5, 25)])
    (rest,) = await client.next(result.ContinuationPoint)
    assert found(rest) == [f"N{number}" for number in range(25, 30)]
    (result,) = await client.browse(wanted(folder, by=HAS_COMPONENT), limit=1)
    world.space.delete([folder.key])
    assert codes(await client.next(result.ContinuationPoint)) == ["BadContinuationPointInvalid"]


async def test_an_answer_is_bounded_in_bytes(world: World) -> None:
    folder = crowd(world, MAX_REFERENCES_PER_RESULT)
    answer = Client(world)
    body = browse_request(*[wanted(folder)] * 100)
    whole = await answered(answer.raw(body))
    assert len(whole) < MAX_BROWSE_BYTES + 100 * MAX_REFERENCES_PER_RESULT
    results = decoded(ua.BrowseResult, whole)
    sizes = [len(result.References) for result in results]
    assert sizes[0] == MAX_REFERENCES_PER_RESULT
    assert sizes.count(1) == MAX_BROWSE_CONTINUATION_POINTS - 1
    assert codes(results)[-1] == "BadNoContinuationPoints"


async def test_long_browses_let_others_have_their_turn(world: World) -> None:
    folder = crowd(world, 4000)
    answer = Client(world).raw(browse_request(*[wanted(folder, by=HAS_PROPERTY)] * 60))
    assert isinstance(answer, Coroutine)
    longest, done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        while not done:
            since = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - since)

    watcher = asyncio.ensure_future(watch())
    await answered(answer)
    done = True
    await watcher
    assert 0 < longest < 0.05


async def test_a_small_browse_answers_at_once(world: World) -> None:
    assert isinstance(Client(world).raw(browse_request(wanted(plant(world)))), list)


async def test_permissions_are_asked_once_for_all_nodes_that_share_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RolePermissions] = []
    original = RolePermissions.of

    def counted(self: RolePermissions, roles: frozenset[bytes]) -> int:
        asked.append(self)
        return original(self, roles)

    monkeypatch.setattr(RolePermissions, "of", counted)
    await Client(world).browse(wanted(crowd(world, 50)))
    assert len(asked) == 1
