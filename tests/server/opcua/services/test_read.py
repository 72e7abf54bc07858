"""Read, service and plans: what is answered, and that no plan ever answers for another user."""

from __future__ import annotations

import struct
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from support.line import MACHINE
from support.nodes import (
    OPERATOR,
    access,
    point_key,
    read_request,
    request,
    session,
    small_space,
    variable,
)
from support.turns import counting_turns

from server.opcua.services import plans
from server.opcua.services.plans import Budget, Plan, ReadPlans
from server.opcua.services.read import Reading
from server.opcua.services.turns import Work, at_once
from server.opcua.sessions.session import Session
from server.opcua.space.permissions import ROLE_IDS, Permission, RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import LiveValue, StoredValue
from server.opcua.transport.limits import LIMITS
from server.opcua.types import AttributeIds, ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, numeric
from server.opcua.wire.writer import byte_string, int32, variant, variant_array
from server.plant.model import Role
from server.plant.values import Point, ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.quality import BAD_NO_COMMUNICATION, BAD_NOT_CONNECTED, GOOD, Quality
from sources.tag import Value

VALUE = int(AttributeIds.Value)
LIST = [point_key("Speed"), point_key("Level")] * 10
"""Long enough to be planned."""
Served = tuple[Space, ValueStore, Reading]
HELD_TAGS: dict[tuple[int, ...], tuple[Any, ...]] = {}
"""The same tuple for the same tags, as drivers have it."""


def feed(store: ValueStore, values: dict[str, Value], time: int | None = None) -> None:
    found = [store.points[f"{MACHINE}.{name}"].property.binding for name in values]
    tags = tuple(binding.tag for binding in found if binding)
    tags = HELD_TAGS.setdefault(tuple(map(id, tags)), tags)
    store.ingest(Batch(tags, list(values.values()), GOOD, None, time or now()))


def results(answer: Any) -> list[ua.DataValue]:
    """The DataValues of a response, by a codec that is not ours."""
    assert not isinstance(answer, Coroutine)
    data = Buffer(answer if isinstance(answer, bytes) else b"".join(answer))
    (count,) = struct.unpack("<i", data.read(4))
    found = [struct_from_binary(ua.DataValue, data) for _ in range(count)]
    assert bytes(data) == b"\xff\xff\xff\xff"
    return found


def read(reading: Reading, whose: Session, *nodes: Key, timestamps: int = 2) -> list[ua.DataValue]:
    body = read_request([(node, VALUE, None, None) for node in nodes], timestamps)
    return results(reading.read(whose, request(body)))


def codes(values: list[ua.DataValue]) -> list[str]:
    return [value.StatusCode.name if value.StatusCode else "Good" for value in values]


@pytest.fixture
def served() -> Served:
    space, store = small_space()
    return space, store, Reading(space, store)


def test_points_of_one_block_share_the_time_it_was_heard(served: Served) -> None:
    _, store, reading = served
    feed(store, {"Speed": 10.0, "State": 2}, 133_000_000_000_000_000)
    feed(store, {"Level": 5.0}, 133_000_000_010_000_000)
    found = read(reading, session(), *(point_key(name) for name in ("Speed", "State", "Level")))
    assert [value.Value.Value for value in found if value.Value] == [10.0, 2, 0.5]  # the level is scaled
    times = [value.ServerTimestamp for value in found]
    assert times[0] == times[1] != times[2]


def test_the_server_timestamp_goes_on_while_the_value_stays(
    served: Served,
) -> None:
    _, store, reading = served
    whose = session()
    feed(store, {"Speed": 10.0, "State": 2}, 133_000_000_000_000_000)
    (before,) = read(reading, whose, point_key("Speed"))
    feed(store, {"Speed": 10.0, "State": 2}, 133_000_000_050_000_000)
    (after,) = read(reading, whose, point_key("Speed"))
    assert after.SourceTimestamp == before.SourceTimestamp
    assert (after.ServerTimestamp - before.ServerTimestamp).total_seconds() == 5  # type: ignore[operator]


def test_scattered_points_have_each_the_time_of_its_own_block(served: Served) -> None:
    _, store, reading = served
    whose = session()
    for second in (0, 3):
        feed(store, {"Speed": 10.0}, 133_000_000_000_000_000 + second * 10_000_000)
        feed(store, {"Level": 5.0}, 133_000_000_010_000_000 + second * 10_000_000)
        found = read(reading, whose, *LIST)  # planned at first, then by its plan
        times = {value.ServerTimestamp.second for value in found if value.ServerTimestamp}
        speeds, levels = found[::2], found[1::2]
        assert len(times) == 2
        assert {value.ServerTimestamp for value in speeds} != {value.ServerTimestamp for value in levels}
        assert [value.Value.Value for value in found if value.Value] == [10.0, 0.5] * 10


def test_a_point_that_moves_to_another_block_gets_its_time(served: Served) -> None:
    _, store, reading = served
    whose = session()
    feed(store, {"Speed": 10.0, "Level": 5.0}, 133_000_000_000_000_000)
    read(reading, whose, point_key("Speed"), point_key("Level"))
    feed(store, {"Level": 5.0}, 133_000_000_050_000_000)
    speed, level = read(reading, whose, point_key("Speed"), point_key("Level"))
    assert (level.ServerTimestamp - speed.ServerTimestamp).total_seconds() == 5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("timestamps", "source", "server"),
    [(0, True, False), (1, False, True), (2, True, True), (3, False, False)],
)
def test_the_timestamps_asked_for_come_and_no_others(
    served: Served, timestamps: int, source: bool, server: bool
) -> None:
    _, store, reading = served
    feed(store, {"Speed": 10.0})
    found = read(
        reading, session(), point_key("Speed"), point_key("Recipe"), numeric(9001, 4), timestamps=timestamps
    )
    for value in found:
        assert (value.SourceTimestamp is not None) is source
        assert (value.ServerTimestamp is not None) is server
    assert codes(found) == ["Good", "BadWaitingForInitialData", "Good"]


def test_a_bad_value_has_no_content(served: Served) -> None:
    _, store, reading = served
    feed(store, {"Speed": 10.0})
    binding = store.points[f"{MACHINE}.Speed"].property.binding
    assert binding is not None
    store.ingest(Batch((binding.tag,), None, BAD_NO_COMMUNICATION, None, now()))
    (value,) = read(reading, session(), point_key("Speed"))
    assert codes([value]) == ["BadNoCommunication"]
    assert value.Value is None or value.Value.Value is None


async def test_each_item_is_refused_for_its_own_reason(served: Served) -> None:
    _, _, reading = served
    body = read_request(
        [
            (point_key("Speed"), VALUE, None, None),
            (numeric(7, 7), VALUE, None, None),
            (point_key("Speed"), 99, None, None),
            (numeric(9002, 4), VALUE, None, None),
            (numeric(9003, 4), VALUE, None, None),
            (numeric(9001, 4), VALUE, "x", None),
            (numeric(9001, 4), VALUE, "9", None),
            (numeric(9001, 4), VALUE, None, "Default Binary"),
            (numeric(9001, 4), VALUE, None, "Default JSON"),
            (numeric(9001, 4), int(AttributeIds.BrowseName), None, "Default Binary"),
            (numeric(9001, 4), VALUE, "1:2", None),
        ]
    )
    answer = reading.read(session(), request(body))
    found = results(await answer if isinstance(answer, Coroutine) else answer)
    assert codes(found) == [
        "BadWaitingForInitialData",
        "BadNodeIdUnknown",
        "BadAttributeIdInvalid",
        "BadNodeIdUnknown",  # who may not browse it does not learn that it is there
        "BadUserAccessDenied",
        "BadIndexRangeInvalid",
        "BadIndexRangeNoData",
        "BadDataEncodingInvalid",
        "BadDataEncodingUnsupported",
        "BadDataEncodingInvalid",
        "Good",
    ]
    assert found[-1].Value is not None
    assert found[-1].Value.Value == "ra"


def test_arrays_are_read_by_range(served: Served) -> None:
    space, _, reading = served
    whole = variant_array(6, [int32(n) for n in (1, 2, 3)])
    space.add(variable(numeric(9010, 4), "Array", StoredValue(whole)))
    body = read_request([(numeric(9010, 4), VALUE, "1:7", None), (numeric(9010, 4), VALUE, "0,0", None)])
    part, wrong = results(reading.read(session(), request(body)))
    assert part.Value is not None
    assert part.Value.Value == [2, 3]
    assert codes([wrong]) == ["BadIndexRangeNoData"]


def test_what_only_an_encrypted_channel_may_carry_is_not_told_over_another(
    served: Served,
) -> None:
    _, _, reading = served
    whose = session()
    whose.access = access(Role.Anonymous, encrypted=False)
    assert codes(read(reading, whose, numeric(9004, 4))) == ["BadSecurityModeInsufficient"]
    assert codes(read(reading, session(), numeric(9004, 4))) == ["Good"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (struct.pack("<dIi", 0, 2, 0), "BadNothingToDo"),
        (struct.pack("<dIi", 0, 2, -1), "BadNothingToDo"),
        (struct.pack("<dIi", 0, 4, 0), "BadTimestampsToReturnInvalid"),
        (struct.pack("<dIi", -1.0, 2, 0), "BadMaxAgeInvalid"),
        (struct.pack("<dIi", float("nan"), 2, 0), "BadMaxAgeInvalid"),
        (read_request([(numeric(1), VALUE, None, None)] * 10_001), "BadTooManyOperations"),
    ],
)
def test_a_senseless_call_is_refused_as_a_whole(served: Served, body: bytes, code: str) -> None:
    with pytest.raises(ServiceFault) as refused:
        served[2].read(session(), request(body))
    assert refused.value.code == getattr(StatusCodes, code)


async def test_a_long_list_that_is_not_plain_lets_others_in_between(
    served: Served,
) -> None:
    _, _, reading = served
    body = read_request([(numeric(9001, 4), int(AttributeIds.DisplayName), None, None)] * 3000)
    answer: Any = reading.read(session(), request(body))
    async with counting_turns() as turns:
        assert len(results(await answer)) == 3000
    assert turns.count >= 5


async def test_an_answer_nobody_may_have_is_not_built(served: Served) -> None:
    """Values made for each reader, such as diagnostics, may be large: together they fill a memory."""
    space, _, reading = served
    made = 0

    def large() -> bytes:
        nonlocal made
        made += 1
        return variant(15, byte_string(bytes(1 << 20)))

    node = numeric(9009, 4)
    space.add(variable(node, "Large", LiveValue(large)))
    body = read_request([(node, VALUE, None, None)] * 1000)
    answer: Any = reading.read(session(), request(body))
    with pytest.raises(ServiceFault) as refused:
        await answer
    assert refused.value.code == StatusCodes.BadResponseTooLarge
    assert made <= LIMITS.response // (1 << 20) + 1


async def test_parts_of_a_large_array_let_others_in_between(served: Served) -> None:
    """All of it is decoded for each of them."""
    space, _, reading = served
    node = numeric(9009, 4)
    large = StoredValue(variant_array(6, [int32(number) for number in range(200_000)]))
    space.add(variable(node, "Large", large, attributes={int(AttributeIds.ValueRank): variant(6, int32(1))}))
    body = read_request([(node, VALUE, "7", None)] * 20)
    answer: Any = reading.read(session(), request(body))
    async with counting_turns() as turns:
        found = results(await answer)
    assert [value.Value.Value for value in found if value.Value] == [[7]] * 20
    assert turns.count >= 10


async def test_a_list_that_is_read_when_its_session_ends_leaves_no_plan(served: Served) -> None:
    reading, whose = served[2], session()
    body = read_request([(numeric(9001, 4), int(AttributeIds.DisplayName), None, None)] * 3000)
    answer: Any = reading.read(whose, request(body))
    whose.end()
    await answer
    assert reading._budget.used == 0


class Refresher:
    def __init__(self, store: ValueStore, failed: Mapping[str, Quality]) -> None:
        self.store, self.failed = store, failed
        self.asked: list[list[str]] = []

    async def __call__(self, points: Collection[Point]) -> Mapping[str, Quality]:
        self.asked.append([point.property.name for point in points])
        if not self.failed:
            feed(self.store, {point.property.name: 77.0 for point in points})
        return self.failed


@pytest.mark.parametrize(("max_age", "asks"), [(0.0, True), (1.0, True), (60_000.0, False), (2.0**32, False)])
async def test_the_device_is_asked_for_values_older_than_allowed(max_age: float, asks: bool) -> None:
    space, store = small_space()
    refresh = Refresher(store, {})
    reading = Reading(space, store, refresh)
    feed(store, {"Speed": 10.0}, now() - 10_000_000)
    body = read_request(
        [(point_key("Speed"), VALUE, None, None), (point_key("Make"), VALUE, None, None)], 2, max_age
    )
    answer: Any = reading.read(session(), request(body))
    if isinstance(answer, Coroutine):
        answer = await answer
    speed, make = results(answer)
    assert refresh.asked == ([["Speed"]] if asks else [])
    assert (speed.Value and speed.Value.Value) == (77.0 if asks else 10.0)
    assert (make.Value and make.Value.Value) == "KHS"


async def test_a_value_that_cannot_be_had_anew_is_not_served_as_new() -> None:
    space, store = small_space()
    reading = Reading(space, store, Refresher(store, {"PLC": BAD_NOT_CONNECTED}))
    feed(store, {"Speed": 10.0})
    body = read_request(
        [(point_key("Speed"), VALUE, None, None), (point_key("Make"), VALUE, None, None)], 2, 0
    )
    answer: Any = reading.read(session(), request(body))
    assert codes(results(await answer)) == ["BadNotConnected", "Good"]


# Plans


def test_a_repeated_list_is_planned_once(served: Served) -> None:
    space, store, reading = served
    whose = session()
    read(reading, whose, *LIST)
    kept = whose.part(ReadPlans)
    body = read_request([(node, VALUE, None, None) for node in LIST])
    plan = kept.find(body[8:], whose.access, space.lasting)  # type: ignore[arg-type]
    assert plan is not None
    store.points[f"{MACHINE}.Speed"].head = None
    read(reading, whose, *LIST)
    assert kept.find(body[8:], whose.access, space.lasting) is plan  # type: ignore[arg-type]


def test_sessions_that_come_and_go_void_no_plan(served: Served) -> None:
    space, _, reading = served
    whose = session()
    read(reading, whose, *LIST)
    with space.changing(quiet=True):
        space.add(variable(numeric(77, 1), "Session", StoredValue(b"")))
    body = read_request([(node, VALUE, None, None) for node in LIST])
    assert whose.part(ReadPlans).find(body[8:], whose.access, space.lasting) is not None  # type: ignore[arg-type]
    space.touch()
    assert whose.part(ReadPlans).find(body[8:], whose.access, space.lasting) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [1, 20])
def test_a_role_that_is_taken_away_takes_its_plans_along(served: Served, times: int) -> None:
    space, store, reading = served
    point = store.points[f"{MACHINE}.Speed"]
    node = space.find(point_key("Speed"))
    assert node is not None
    node.role_permissions = RolePermissions({OPERATOR: Permission.Browse | Permission.Read})
    space.touch()
    feed(store, {"Speed": 10.0})
    whose = session(Role.Operator)
    assert codes(read(reading, whose, *[point_key("Speed")] * times)) == ["Good"] * times
    whose.access = access(Role.Observer)  # even where nobody told the session to renounce
    assert codes(read(reading, whose, *[point_key("Speed")] * times)) == ["BadNodeIdUnknown"] * times
    assert point.value == 10.0


def test_a_deleted_node_is_gone_from_a_planned_list(served: Served) -> None:
    space, store, reading = served
    whose = session()
    feed(store, {"Speed": 10.0, "Level": 1.0})
    assert codes(read(reading, whose, *LIST)) == ["Good", "Good"] * 10
    space.delete([point_key("Speed")])
    assert codes(read(reading, whose, *LIST)) == ["BadNodeIdUnknown", "Good"] * 10


@pytest.mark.parametrize("times", [1, 20])
def test_permissions_that_change_on_a_node_void_plans(served: Served, times: int) -> None:
    space, store, reading = served
    whose = session()
    feed(store, {"Speed": 10.0})
    assert codes(read(reading, whose, *[point_key("Speed")] * times)) == ["Good"] * times
    node = space.find(point_key("Speed"))
    assert node is not None
    node.role_permissions = RolePermissions({ROLE_IDS[Role.SecurityAdmin]: 0xFFFF})
    space.touch()
    assert codes(read(reading, whose, *[point_key("Speed")] * times)) == ["BadNodeIdUnknown"] * times


def withdraw(space: Space) -> None:
    """Nobody but an administrator may read the speed any more."""
    node = space.find(point_key("Speed"))
    assert node is not None
    node.role_permissions = RolePermissions({ROLE_IDS[Role.SecurityAdmin]: 0xFFFF})
    space.touch()


LONG = [(point_key("Level"), int(AttributeIds.DisplayName), None, None)] * 200
SPEED = (point_key("Speed"), VALUE, None, None)


@pytest.mark.parametrize(("wanted", "at"), [([SPEED, *LONG], 0), ([*LONG, SPEED], -1)])
@pytest.mark.parametrize("planned", [False, True])
async def test_permissions_that_change_between_turns_count_for_the_rest(
    served: Served, wanted: list[Any], at: int, planned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, store, reading = served
    whose, body = session(), read_request(wanted)
    feed(store, {"Speed": 10.0})
    if planned:
        await maybe(reading.read(whose, request(body)))
    works: list[Work] = []
    with monkeypatch.context() as held:
        held.setattr("server.opcua.services.read.in_turns", lambda work, _: works.append(work))
        reading.read(whose, request(body))
    (work,) = works
    if not planned or at:
        next(work)
    withdraw(space)
    found = results(at_once(work))
    assert codes(found)[at] == "BadNodeIdUnknown"
    assert len(found) == len(wanted)
    assert codes(found).count("Good") == len(LONG)
    assert codes(results(await maybe(reading.read(whose, request(body)))))[at] == "BadNodeIdUnknown"


async def maybe(answer: Any) -> Any:
    return await answer if isinstance(answer, Coroutine) else answer


@pytest.mark.parametrize("others", [0, 200])
async def test_permissions_that_change_while_a_device_is_asked_count(others: int) -> None:
    space, store = small_space()

    async def refresh(_: Collection[Point]) -> Mapping[str, Quality]:
        withdraw(space)
        return {}

    reading = Reading(space, store, refresh)
    feed(store, {"Speed": 10.0})
    answer: Any = reading.read(session(), request(read_request([SPEED, *LONG[:others]], 2, 0)))
    assert codes(results(await answer))[0] == "BadNodeIdUnknown"


@pytest.mark.parametrize("times", [1, 20])
def test_plans_are_each_sessions_own(served: Served, times: int) -> None:
    space, store, reading = served
    node = space.find(point_key("Speed"))
    assert node is not None
    node.role_permissions = RolePermissions({OPERATOR: Permission.Browse | Permission.Read})
    space.touch()
    feed(store, {"Speed": 10.0})
    assert codes(read(reading, session(Role.Operator), *[point_key("Speed")] * times)) == ["Good"] * times
    assert (
        codes(read(reading, session(Role.Observer), *[point_key("Speed")] * times))
        == ["BadNodeIdUnknown"] * times
    )


def test_plans_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MAX_BYTES", 10_000)
    whose, budget, held = access(), Budget(15_000), [ReadPlans(), ReadPlans()]
    for number in range(500):
        for one in held:
            one.keep(number.to_bytes(100, "little"), Plan([], 0, whose, 0), budget)
    assert sum(one.bytes for one in held) == budget.used <= budget.limit
    assert all(0 < one.bytes <= 10_000 for one in held)
    assert held[0].find((499).to_bytes(100, "little"), whose, 0) is not None
    assert held[0].find((0).to_bytes(100, "little"), whose, 0) is None
    for one in held:
        one.clear()
    assert budget.used == 0


def test_a_list_too_large_to_keep_is_read_all_the_same(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MAX_BYTES", 10)
    whose = session()
    assert len(read(served[2], whose, *LIST)) == 20
    assert len(whose.part(ReadPlans)) == 0


def test_what_a_session_planned_is_given_back_at_its_end(served: Served) -> None:
    whose = session()
    read(served[2], whose, *LIST)
    budget = served[2]._budget
    assert budget.used > 0
    whose.end()
    assert budget.used == 0


def test_a_registered_handle_reads_its_node(served: Served) -> None:
    _, store, reading = served
    feed(store, {"Speed": 10.0})
    whose = session()
    whose.handles[numeric(5, 1)] = point_key("Speed")
    (value,) = read(reading, whose, numeric(5, 1))
    assert (value.Value and value.Value.Value) == 10.0
    assert codes(read(reading, session(), numeric(5, 1))) == ["BadNodeIdUnknown"]


def test_a_variant_of_a_constant_is_read(served: Served) -> None:
    space, _, reading = served
    space.add(variable(numeric(9011, 4), "Flag", StoredValue(variant(1, b"\x01"))))
    (value,) = read(reading, session(), numeric(9011, 4))
    assert (value.Value and value.Value.Value) is True
