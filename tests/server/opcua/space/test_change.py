"""Nodes of one state of a plant become those of another while somebody holds, reads and watches them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from asyncua import ua
from support.changing import TIME, Changing, dumped
from support.line import MACHINE, MODES, bound, line
from support.subscribing import START, Stage, data_filter

from server.opcua.space import defaults
from server.opcua.space.node import Node
from server.opcua.space.space import (
    DATA_TYPE_CHANGED,
    NODE_ADDED,
    NODE_DELETED,
    REFERENCE_ADDED,
    REFERENCE_DELETED,
    TOLD,
    DuplicateNode,
    ModelChange,
)
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.item_services import ItemServices
from server.opcua.subscriptions.services import SubscriptionServices
from server.opcua.wire.nodeid import key, split
from server.plant.model import Equipment, EquipmentLevel, Import, Plant, Property, PropertyType, Range, Role
from sources.batch import Batch
from sources.quality import BAD_NODE_ID_UNKNOWN, BAD_WAITING_FOR_INITIAL_DATA, GOOD
from sources.tag import ScanClass, Tag, Value, ValueType

DESCRIPTION, DATA_TYPE = 5, 14


class Floor(Stage):
    """The line with subscriptions on it."""

    def __init__(self, plant: Plant) -> None:
        self.now = START
        self.changing = Changing(plant)
        self.store = self.changing.store
        self.nodes = _Nodes(self.changing)
        space = self.changing.space
        self.engine = Engine(space, self.store, clock=lambda: self.now, wall=self.wall, first=1)
        parts = (SubscriptionServices(self.engine), ItemServices(self.engine))
        self._services = {service.name: service for part in parts for service in part.services()}
        self._handles = itertools.count(1)
        self.told: list[ModelChange] = []
        space.on_change(self.told.extend)
        self.client = self.session()
        self.subscription = self.client.subscribe(100.0)
        for _ in range(20):
            self.client.publish()

    def feed(self, name: str, value: Value) -> None:
        point = self.store.points[f"{MACHINE}.{name}"]
        assert point.property.binding is not None
        self.store.ingest(Batch((point.property.binding.tag,), [value], GOOD, None, self.wall()))

    def news(self) -> list[tuple[Any, int]]:
        """Values and statuses that came since this was asked last."""
        self.sleep(0.2)
        found = self.client.heard()
        assert not any(isinstance(answer, str) for answer in found), found
        return [(change.value, change.status) for answer in found for change in answer]  # type: ignore[union-attr]

    def verbs(self) -> dict[str, int]:
        """What listeners of the model were told since this was asked last."""
        found, self.told[:] = list(self.told), []
        return {str(split(change.node.key)[1]): change.verb & TOLD for change in found if change.verb & TOLD}


class _Nodes(dict[str, Node]):
    def __init__(self, changing: Changing) -> None:
        super().__init__()
        self._changing = changing

    def __missing__(self, name: str) -> Node:
        found = self._changing.space.find(key(f"{MACHINE}.{name}", 4))
        assert found is not None, name
        return found


@pytest.fixture
def floor() -> Floor:
    return Floor(line())


def machine_with(change: Callable[[Property], Property | None]) -> Plant:
    """The line, with other properties of its machine."""
    plant = line()
    *above, machine = plant.equipment
    properties = tuple(made for prop in machine.properties if (made := change(prop)) is not None)
    return replace(plant, equipment=(*above, replace(machine, properties=properties)))


def of_type(name: str, **more: Any) -> Plant:
    """The line, with a property of another type."""

    def change(prop: Property) -> Property:
        return replace(prop, type=replace(prop.type, **more)) if prop.name == name else prop

    return machine_with(change)


def without(name: str) -> Plant:
    return machine_with(lambda prop: None if prop.name == name else prop)


def test_an_equal_plant_is_no_change(floor: Floor) -> None:
    before = dumped(floor.changing.space)
    generation = floor.changing.space.generation
    ready = floor.changing.change(line())
    assert (ready.outline.count.added, ready.outline.count.removed, ready.outline.count.changed) == (0, 0, 0)
    assert dumped(floor.changing.space) == before
    assert floor.changing.space.generation == generation


def test_preparing_touches_nothing(floor: Floor) -> None:
    before, generation = dumped(floor.changing.space), floor.changing.space.generation
    floor.changing.prepare(without("Speed"))
    assert dumped(floor.changing.space) == before
    assert floor.changing.space.generation == generation


def test_what_stays_keeps_its_node_its_point_and_its_value(floor: Floor) -> None:
    floor.feed("Count", 7)
    node, point = floor.nodes["Count"], floor.store.points[f"{MACHINE}.Count"]
    floor.changing.change(without("Speed"))
    assert floor.nodes["Count"] is node
    assert floor.store.points[f"{MACHINE}.Count"] is point
    assert (point.value, point.status) == (7, GOOD)
    assert floor.verbs() == {f"{MACHINE}.Speed": NODE_DELETED, MACHINE: REFERENCE_DELETED}


def test_items_of_a_node_that_goes_are_told_once_and_go_on_when_it_comes_back(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed")
    floor.client.watch(floor.subscription, "Count", handle=2)
    floor.feed("Speed", 1.5)
    floor.news()
    floor.changing.change(without("Speed"))
    assert floor.news() == [(None, BAD_NODE_ID_UNKNOWN)]
    assert floor.news() == []
    floor.changing.change(line())
    assert floor.news() == [(None, BAD_WAITING_FOR_INITIAL_DATA)]
    floor.feed("Speed", 2.5)
    floor.feed("Count", 3)
    assert sorted(floor.news()) == [(2.5, GOOD), (3, GOOD)]


def test_another_range_reaches_who_watches_it_and_nobody_else(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed")
    floor.client.watch(floor.subscription, "Speed.EURange", handle=2)
    floor.feed("Speed", 1.5)
    floor.news()
    floor.changing.change(of_type("Speed", range=Range(0, 500)))
    ((limits, status),) = floor.news()
    assert (limits.High, status) == (500, GOOD)
    assert floor.verbs() == {}
    floor.changing.change(of_type("Speed", range=None))
    assert floor.news() == [(None, BAD_NODE_ID_UNKNOWN)]
    assert floor.verbs() == {
        f"{MACHINE}.Speed.EURange": NODE_DELETED,
        f"{MACHINE}.Speed": REFERENCE_DELETED,
    }
    floor.changing.change(line())
    ((limits, status),) = floor.news()
    assert (limits.High, status) == (900, GOOD)
    assert floor.verbs() == {f"{MACHINE}.Speed": REFERENCE_ADDED}


def test_a_deadband_in_percent_is_one_of_the_range_of_now(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed", filter=data_filter(1, 2, 10.0))
    floor.feed("Speed", 0.0)
    floor.news()
    floor.feed("Speed", 50.0)
    assert floor.news() == []  # less than a tenth of 900
    floor.changing.change(of_type("Speed", range=Range(0, 100)))
    floor.news()
    floor.feed("Speed", 105.0)
    assert floor.news() == [(105.0, GOOD)]
    floor.feed("Speed", 112.0)
    assert floor.news() == []
    floor.feed("Speed", 116.0)
    assert floor.news() == [(116.0, GOOD)]


def test_without_a_range_every_change_is_told_until_there_is_one_again(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed", filter=data_filter(1, 2, 10.0))
    floor.feed("Speed", 0.0)
    floor.news()
    floor.changing.change(of_type("Speed", range=None))
    floor.news()
    for value in (50.0, 50.5):
        floor.feed("Speed", value)
        assert floor.news() == [(value, GOOD)]
    floor.changing.change(of_type("Speed", range=Range(0, 100)))
    floor.news()
    floor.feed("Speed", 60.0)
    assert floor.news() == []
    floor.feed("Speed", 61.0)
    assert floor.news() == [(61.0, GOOD)]


def test_members_of_a_variable_that_goes_go_with_it(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed.EURange")
    floor.news()
    floor.changing.change(without("Speed"))
    assert floor.news() == [(None, BAD_NODE_ID_UNKNOWN)]
    floor.changing.change(line())
    ((limits, _),) = floor.news()
    assert limits.High == 900


def test_an_attribute_that_changes_is_told(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed", attribute=DESCRIPTION)
    floor.news()
    floor.changing.change(of_type("Speed", description="How fast"))
    ((text, _),) = floor.news()
    assert text.Text == "How fast"
    assert floor.verbs() == {}


def test_an_attribute_is_sampled_no_more_often_than_asked_for(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Speed", attribute=DESCRIPTION, sampling=1000.0, queue=10)
    floor.news()
    for text in ("fast", "faster", "fastest"):
        floor.changing.change(of_type("Speed", description=text))
    floor.sleep(1.2)
    assert [text.Text for text, _ in floor.news()] == ["fastest"]


def test_a_value_that_is_scanned_faster_is_sampled_no_more_often_than_told(floor: Floor) -> None:
    def scanned(period: float) -> Plant:
        def change(prop: Property) -> Property:
            if prop.name != "Speed" or prop.binding is None:
                return prop
            tag = replace(prop.binding.tag, scan=ScanClass(f"every {period}", period))
            return replace(prop, binding=replace(prop.binding, tag=tag))

        return machine_with(change)

    (made,) = floor.client.create(floor.subscription, floor.client.stage_item("Speed", queue=10))
    period = floor.store.points[f"{MACHINE}.Speed"].property.binding.tag.scan.period  # type: ignore[union-attr]
    assert made.RevisedSamplingInterval == period * 1000
    floor.feed("Speed", 1.0)
    floor.news()
    floor.changing.change(scanned(0.01))
    floor.sleep(period)
    for value in (2.0, 3.0, 4.0):
        floor.feed("Speed", value)
    floor.sleep(period)
    assert floor.news() == [(4.0, GOOD)]
    floor.changing.change(scanned(period))
    floor.sleep(period)
    for value in (5.0, 6.0):
        floor.feed("Speed", value)
    assert floor.news() == [(5.0, GOOD), (6.0, GOOD)]


def test_another_data_type_begins_anew_under_the_same_node(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "Count")
    floor.feed("Count", 7)
    floor.news()
    node = floor.nodes["Count"]

    def change(prop: Property) -> Property:
        return bound(PropertyType("Count", ValueType.String)) if prop.name == "Count" else prop

    floor.changing.change(machine_with(change))
    assert floor.nodes["Count"] is node
    assert floor.verbs() == {f"{MACHINE}.Count": DATA_TYPE_CHANGED}
    assert floor.news() == [(None, BAD_WAITING_FOR_INITIAL_DATA)]
    floor.feed("Count", "seven")
    assert floor.news() == [("seven", GOOD)]


def test_a_value_that_arrives_for_a_tag_that_went_is_nobodys(floor: Floor) -> None:
    binding = floor.store.points[f"{MACHINE}.Count"].property.binding
    assert binding is not None
    late: tuple[Tag[Any], ...] = (binding.tag,)
    floor.store.ingest(Batch(late, [1], GOOD, None, TIME))
    floor.changing.change(without("Count"))
    floor.store.ingest(Batch(late, [2], GOOD, None, TIME + 1))
    floor.changing.change(line())
    floor.store.ingest(Batch(late, [3], GOOD, None, TIME + 2))
    assert floor.store.points[f"{MACHINE}.Count"].status == BAD_WAITING_FOR_INITIAL_DATA


def test_a_constant_of_the_skeleton_is_told_when_it_changes(floor: Floor) -> None:
    floor.client.watch(floor.subscription, "EquipmentLevel")
    assert floor.news() == [(int(EquipmentLevel.WorkUnit), GOOD)]
    plant = line()
    *above, machine = plant.equipment
    floor.changing.change(replace(plant, equipment=(*above, replace(machine, level=EquipmentLevel.Unit))))
    assert floor.news() == [(int(EquipmentLevel.Unit), GOOD)]


def test_a_property_with_an_id_of_its_own_follows_its_equipment_to_another_node() -> None:
    def pinned(equipment: str | None) -> Plant:
        plant = line()
        *above, machine = plant.equipment
        made = tuple(
            replace(prop, pinned_id="speed" if prop.name == "Speed" else None) for prop in machine.properties
        )
        return replace(plant, equipment=(*above, replace(machine, pinned_id=equipment, properties=made)))

    changing = Changing(pinned(None))
    point = changing.store.points[f"{MACHINE}.Speed"]
    changing.change(pinned("the machine"))
    assert dumped(changing.space) == dumped(Changing(pinned("the machine")).space)
    assert changing.store.points[f"{MACHINE}.Speed"] is point


def test_two_nodes_of_one_id_are_found_before_anything_is_touched(floor: Floor) -> None:
    before = dumped(floor.changing.space)
    plant = line()
    twin = Equipment("Acme/Twin", EquipmentLevel.WorkUnit, pinned_id=MACHINE)
    with pytest.raises(DuplicateNode, match=MACHINE):
        floor.changing.prepare(replace(plant, equipment=(*plant.equipment, twin)))
    assert dumped(floor.changing.space) == before


def test_a_large_change_is_made_in_steps(floor: Floor) -> None:
    plant = line()
    many = tuple(Equipment(f"Acme/M{number}", EquipmentLevel.WorkUnit) for number in range(2000))
    ready = floor.changing.prepare(replace(plant, equipment=(*plant.equipment, *many)))
    before = len(floor.changing.space)
    there = [len(floor.changing.space) - before for _ in ready.carry_out(floor.changing.change_points)]
    assert there[-1] == 4000
    assert len(there) >= 4
    assert floor.verbs()["Acme"] == REFERENCE_ADDED
    ready = floor.changing.prepare(line())
    assert len(list(ready.carry_out(floor.changing.change_points))) >= 4
    assert len(floor.changing.space) == before


def test_enumeration_members_change_in_the_type_and_its_definition(floor: Floor) -> None:
    members = {**MODES.members, 7: "Off"}
    other = replace(MODES, members=members)
    changed = of_type("Mode", enumeration=other)
    floor.changing.change(replace(changed, enumerations={**changed.enumerations, MODES.name: other}))
    fresh = Changing(floor.changing.plant)
    assert dumped(floor.changing.space) == dumped(fresh.space)


def test_verbs_are_those_of_the_specification() -> None:
    mask = ua.ModelChangeStructureVerbMask
    named = (
        mask.NodeAdded,
        mask.NodeDeleted,
        mask.ReferenceAdded,
        mask.ReferenceDeleted,
        mask.DataTypeChanged,
    )
    ours = (NODE_ADDED, NODE_DELETED, REFERENCE_ADDED, REFERENCE_DELETED, DATA_TYPE_CHANGED)
    assert tuple(int(one) for one in named) == ours


def test_who_may_call_chosen_methods_on_an_equipment_follows_its_import() -> None:
    before = line()
    (filler,) = (one for one in before.equipment if one.path == MACHINE)
    scan, roles = ScanClass("fast", 0.2), frozenset({Role.Operator})

    def holding(callers: frozenset[Role]) -> Plant:
        held = replace(filler, imported=Import("F", None, scan, callers=callers, nodes=("a method",)))
        return replace(before, equipment=tuple(held if one is filler else one for one in before.equipment))

    changing = Changing(before)
    node = changing.space.nodes[key(MACHINE, changing.names.index("urn:acme:plant"))]
    assert node.role_permissions is defaults.PLANT
    touched = changing.space.touched
    changing.change(holding(roles))
    assert node.role_permissions == defaults.plant_callers(roles)
    assert changing.space.touched > touched
    changing.change(holding(frozenset()))
    assert node.role_permissions is defaults.PLANT
