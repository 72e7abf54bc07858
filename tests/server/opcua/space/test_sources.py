"""The sources as a client finds them below Objects/Sources."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from support.nodes import access
from support.opcua import OBSERVER, OBSERVER_PASSWORD, Connect, Running, serving
from support.spaces import World, decoded, kind, read, variant_of
from support.uaclient import ua
from support.watched import FakeSource

from server.opcua.space.node import Node
from server.opcua.space.sources import SourceObjects
from server.opcua.types import AttributeIds as A
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import key
from server.plant.build.sources import SCAN_CLASS, SOURCE
from server.plant.model import Role
from sources.clock import from_datetime
from sources.insight import ImportFigures, PlannedBlock, Traffic
from sources.quality import BAD_TIMEOUT
from sources.statistics import Rates, ScanFigures
from sources.status import SourceState

WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


class Shown:
    """A world with sources in it."""

    def __init__(self, *sources: FakeSource) -> None:
        self.world = World()
        plant = self.world.plant
        self.objects = SourceObjects(
            self.world.space, self.world.names, types_uri=plant.types_uri, plant_uri=plant.plant_uri
        )
        for source in sources:
            self.objects.show(source)

    def node(self, text: str) -> Node:
        index = self.world.names.index(self.world.plant.plant_uri)
        return self.world.space.nodes[key(text, index)]

    def value(self, text: str) -> Any:
        return decoded(variant_of(self.node(text)))


@pytest.fixture
def source() -> FakeSource:
    made = FakeSource()
    made.status = replace(
        made.status,
        state=SourceState.Disconnected,
        tags=120,
        last_error="no reply within 1 s",
        last_error_cause=BAD_TIMEOUT,
        last_error_time=from_datetime(WHEN),
        last_success=from_datetime(WHEN),
        connects=7,
        scans={"fast": ScanFigures(0.2, 0.05, 0.08, 3, 100, 2), "normal": ScanFigures(1.0)},
        traffic=Traffic(10, 20, 30),
        rates=Rates(100.0, 5.0, 60.0, 1300.0),
        bad_point_count=2,
        bad_points=("Acme/Filler.Speed", "Acme/Filler.State"),
        stale=4,
        imports=(
            ImportFigures("Acme/A", 15, 8, 1, from_datetime(WHEN), 0.5),
            ImportFigures("Acme/B", error="the device has nothing there"),
        ),
    )
    made.blocks = [PlannedBlock("holding:0 to 124", "fast", "125 registers", 60, "device's maximum of 125")]
    return made


def test_everything_is_told(source: FakeSource) -> None:
    shown = Shown(source)
    expected = {
        "Address": "10.20.1.11:502",
        "State": 3,
        "LastError": "no reply within 1 s",
        "LastErrorCause": ua.StatusCode(ua.UInt32(BAD_TIMEOUT)),
        "LastErrorTime": WHEN.replace(tzinfo=None),
        "LastSuccess": WHEN.replace(tzinfo=None),
        "ConnectedSince": datetime(1601, 1, 1),  # noqa: DTZ001  # asyncua's are naive
        "Connects": 7,
        "Points": 120,
        "ValuesPerSecond": 100.0,
        "RequestsPerSecond": 5.0,
        "BytesPerSecondOut": 60.0,
        "BytesPerSecondIn": 1300.0,
        "BadPointCount": 2,
        "BadPoints": ["Acme/Filler.Speed", "Acme/Filler.State"],
        "StalePoints": 4,
        "ImportedNodes": 15,
        "ImportedVariables": 8,
        "RefusedVariables": 1,
        "LastWalk": WHEN.replace(tzinfo=None),
        "WalkDuration": 500.0,
        "ImportErrors": ["Acme/B: the device has nothing there"],
        "Plan": ["fast: holding:0 to 124, 125 registers for 60 points; ends: device's maximum of 125"],
    }
    assert set(expected) == {field.name for field in SOURCE}
    found = {name: shown.value(f"@sources/PLC/{name}") for name in expected}
    times = {"LastErrorTime", "LastSuccess", "ConnectedSince", "LastWalk"}
    assert {name: v.replace(tzinfo=None) if name in times else v for name, v in found.items()} == expected
    fast = {field.name: shown.value(f"@sources/PLC/ScanClasses/fast/{field.name}") for field in SCAN_CLASS}
    assert fast == {
        "PlannedPeriod": 200.0,
        "MeasuredScanTime": 50.0,
        "P99ScanTime": 80.0,
        "Blocks": 3,
        "Overruns": 2,
    }


def test_values_are_of_the_types_that_are_declared(source: FakeSource) -> None:
    shown = Shown(source)
    space = shown.world.space
    variables = [(f"@sources/PLC/{field.name}", field) for field in SOURCE]
    variables += [(f"@sources/PLC/ScanClasses/fast/{field.name}", field) for field in SCAN_CLASS]
    for text, field in variables:
        node = shown.node(text)
        declared = space.nodes[_key(read(node, A.DataType))]
        numbers = map(_number, (declared, *space.supertypes(declared)))
        number = next(number for number in numbers if number in _BUILT_IN or number == _ENUMERATION)
        expected = ua.VariantType.Int32 if number == _ENUMERATION else ua.VariantType(number)
        assert kind(variant_of(node)) is expected, text
        assert read(node, A.ValueRank) == (1 if field.is_array else -1)
        assert read(node, A.MinimumSamplingInterval) > 0


_BUILT_IN, _ENUMERATION = range(1, 26), 29


def _key(node_id: Any) -> bytes:
    return key(node_id.Identifier, node_id.NamespaceIndex)


def _number(node: Node) -> int:
    return next((number for number in (*_BUILT_IN, _ENUMERATION) if key(number, 0) == node.key), 0)


def test_each_instance_has_what_its_type_declares(source: FakeSource) -> None:
    shown = Shown(source)
    space = shown.world.space
    for text in ("@sources/PLC", "@sources/PLC/ScanClasses/fast"):
        node = shown.node(text)
        assert node.type_definition is not None
        declared = list(space.children(node.type_definition))
        assert {one.browse_name for one in space.children(node)} == {one.browse_name for one in declared}
    names = read(shown.node("@sources/PLC/State"), A.DataType)
    strings = next(space.children(space.nodes[_key(names)]))
    labels = [text.Text for text in shown.world.value(strings)]
    assert labels[3] == "Disconnected"
    assert len(labels) == len(SourceState)


@pytest.mark.parametrize("role", list(Role))
def test_who_has_no_role_in_the_plant_does_not_see_them(source: FakeSource, role: Role) -> None:
    shown = Shown(source)
    space = shown.world.space
    seen = role not in {Role.Anonymous, Role.AuthenticatedUser}
    for text in (
        "@sources",
        "@sources/PLC",
        "@sources/PLC/LastError",
        "@sources/PLC/ScanClasses/fast/Blocks",
    ):
        allowed = shown.node(text).role_permissions.of(access(role).roles)
        assert bool(allowed & 0x1) is bool(allowed & 0x20) is seen
        assert not allowed & 0x40
    assert shown.node("@sources") in list(space.children(space.number(ObjectIds.ObjectsFolder)))


def test_sources_come_and_go(source: FakeSource) -> None:
    shown = Shown(source)
    before = len(shown.world.space)
    other = FakeSource("Other", scans=("slow",))
    shown.objects.show(other)
    assert shown.value("@sources/Other/State") == 0
    shown.objects.hide("Other")
    shown.objects.hide("Other")
    assert len(shown.world.space) == before
    assert shown.value("@sources/PLC/State") == 3


def test_a_change_of_the_sources_is_followed_and_the_rest_left_alone(source: FakeSource) -> None:
    other = FakeSource("Other", ("slow",))
    shown = Shown(source, FakeSource("Gone"), FakeSource("Again"), other)
    state, before = shown.node("@sources/PLC/State"), shown.node("@sources/Again/State")
    other.scans = ("slow", "fast")
    shown.objects.follow([source, FakeSource("Again"), other, FakeSource("New")])
    assert shown.node("@sources/PLC/State") is state
    assert shown.node("@sources/Again/State") is not before
    assert shown.value("@sources/Other/ScanClasses/fast/Blocks") == 0
    assert shown.value("@sources/New/State") == 0
    with pytest.raises(KeyError):
        shown.node("@sources/Gone/State")


def test_a_long_plan_is_cut_and_not_made_for_every_reader() -> None:
    source = FakeSource()
    source.blocks = [
        PlannedBlock(f"holding:{n}", "fast", "1 register", 1, "gap of 9 registers") for n in range(1500)
    ]
    shown = Shown(source)
    plan = shown.value("@sources/PLC/Plan")
    assert len(plan) == 1001
    assert plan[-1] == "and 500 more"
    shown.value("@sources/PLC/Plan")
    assert source.looked <= 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("sources"), allow_none=True, anonymous=True) as running:
        yield running


async def test_an_observer_subscribes_to_a_source_and_a_stranger_finds_none(
    server: Running, connect: Connect
) -> None:
    source = server.bench.source
    index = server.bench.namespace_array.index(server.bench.plant.plant_uri)
    state = ua.NodeId("@sources/PLC/State", index)
    heard: asyncio.Queue[Any] = asyncio.Queue()

    class Handler:
        def datachange_notification(self, _node: Any, value: Any, _data: Any) -> None:
            heard.put_nowait(value)

    async with connect(server, user=OBSERVER, password=OBSERVER_PASSWORD) as client:
        objects: Any = client.nodes.objects
        found = await objects.get_child([f"{index}:Sources", f"{index}:PLC"])
        assert found.nodeid == ua.NodeId("@sources/PLC", index)
        subscription = await client.create_subscription(50, Handler())
        await subscription.subscribe_data_change(client.get_node(state))
        assert await asyncio.wait_for(heard.get(), 20) == 0
        source.status = replace(source.status, state=SourceState.Connected)
        assert await asyncio.wait_for(heard.get(), 20) == 2
        source.status = replace(source.status, state=SourceState.Stopped)
        await subscription.delete()

    async with connect(server) as stranger:
        children = await stranger.nodes.objects.get_children()
        assert ua.NodeId("@sources", index) not in [child.nodeid for child in children]
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await stranger.get_node(state).read_value()
        assert refused.value.code == ua.StatusCodes.BadNodeIdUnknown
