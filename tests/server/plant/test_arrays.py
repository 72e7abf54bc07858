"""Arrays as one value: what changes them, how they are converted, and what may be written to them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.devices import OneName

from server.audit.record import seal
from server.plant.commands import Caller, Commands
from server.plant.commands.trail import brief
from server.plant.convert import Cast, ConversionError, Elements, Linear, Lookup, fit_whole, raw_of
from server.plant.difference import difference, reconcile
from server.plant.model import (
    Binding,
    Enumeration,
    Equipment,
    EquipmentLevel,
    Plant,
    Property,
    PropertyType,
    Range,
    Role,
    WriteRule,
)
from server.plant.values import Point, ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.quality import BAD_DECODING_ERROR, GOOD, Quality, quality_name
from sources.tag import Part, ScanClass, Tag, Value, ValueType, same

ANNA = Caller("anna", frozenset({Role.AuthenticatedUser, Role.Operator}))
FAST = ScanClass("fast", 0.2)
NAN = math.nan


def array(name: str, kind: ValueType, length: int, rule: WriteRule | None = None, **more: Any) -> Property:
    each = more.pop("each", None)
    raw = each.raw_type if each is not None and not isinstance(each, Lookup) else more.pop("raw", kind)
    tag: Tag[Any] = Tag(f"Acme.{name}", None, raw, FAST, rule is not None, length)
    made = PropertyType(name, kind, write=rule, length=length, **more)
    return Property("Acme", made, binding=Binding("PLC", tag, Elements(raw, length, each)))


def plant(*properties: Property) -> Plant:
    return Plant("urn:p", "urn:t", (Equipment("Acme", EquipmentLevel.Site, properties),))


class Device(OneName):
    """Holds what is written, or what it makes of that."""

    def __init__(self, **held: tuple[Any, ...]) -> None:
        self.held: dict[str, tuple[Any, ...]] = {f"Acme.{name}": value for name, value in held.items()}
        self.written: list[Any] = []
        self.clamps: float | None = None

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        ((tag, value),) = pairs
        self.written.append(value)
        whole = value.within(self.held[tag.name]) if isinstance(value, Part) else value
        most = self.clamps
        self.held[tag.name] = whole if most is None else tuple(min(one, most) for one in whole)
        return [GOOD]

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        return Batch(tuple(tags), [self.held[tag.name] for tag in tags], GOOD, None, now())


class Rig:
    def __init__(self, *properties: Property, device: Device | None = None) -> None:
        self.store = ValueStore(plant(*properties), time=100)
        self.device = device or Device()
        self.kept: dict[str, Value] = {}
        self.commands = Commands(self.store, {"PLC": self.device}, enabled=True, keep=self._keep)
        self.changes: list[Value] = []
        self.store.listen(self._hear)
        self._tags = tuple(prop.binding.tag for prop in properties if prop.binding is not None)

    def _hear(self, changed: Sequence[Point]) -> None:
        self.changes += [point.value for point in changed]

    async def _keep(self, key: str, value: Value) -> None:
        self.kept[key] = value

    def send(self, *values: Value, at: int = 200) -> None:
        self.store.ingest(Batch(self._tags, list(values), GOOD, None, at))

    async def write(self, name: str, value: Any) -> str:
        return quality_name(await self.commands.write(ANNA, f"Acme.{name}", value))

    def held(self, name: str) -> Value:
        return self.store.points[f"Acme.{name}"].value


def test_nan_in_the_same_place_is_no_change_and_elsewhere_is_one() -> None:
    rig = Rig(array("Temps", ValueType.Double, 3))
    rig.send((1.0, float("nan"), 3.0))
    for at in (210, 220):  # the second and the third time, by the way of a block that is known
        rig.send((1.0, float("nan"), 3.0), at=at)
    assert len(rig.changes) == 1
    rig.send((1.0, 2.0, float("nan")), at=230)
    assert len(rig.changes) == 2
    point = rig.store.points["Acme.Temps"]
    assert (point.source_time, point.server_time) == (230, 230)
    rig.send((1.0, 2.0, float("nan")), at=240)
    assert len(rig.changes) == 2
    assert (point.source_time, point.server_time) == (230, 240)


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        ((1, 2), (1, 2), True),
        ((1, 2), (1, 3), False),
        ((1, 2), (1, 2, 3), False),
        ((float("nan"), 1.0), (float("nan"), 1.0), True),
        ((float("nan"), 1.0), (1.0, float("nan")), False),
        ((), (), True),
        ((1,), 1, False),
    ],
)
def test_arrays_are_the_same_element_by_element(old: Value, new: Value, equal: bool) -> None:
    assert same(old, new) is equal


def test_scaling_is_of_each_element_and_an_array_of_another_length_is_none() -> None:
    rig = Rig(array("Temps", ValueType.Double, 2, each=Linear(ValueType.Int16, ValueType.Double, 0.1, 5.0)))
    rig.send((10, 20))
    assert rig.held("Temps") == (6.0, 7.0)
    rig.send((10, 20, 30), at=300)
    assert (rig.held("Temps"), rig.store.points["Acme.Temps"].status) == (None, BAD_DECODING_ERROR)
    rig.send((10, 21), at=400)
    assert rig.held("Temps") == (6.0, 7.1)


def test_a_lookup_is_of_each_element_too() -> None:
    states = array("States", ValueType.Int32, 2, each=Lookup.of({0: 1, 4: 2}), raw=ValueType.UInt16)
    rig = Rig(states)
    rig.send((4, 0))
    assert rig.held("States") == (2, 1)
    rig.send((4, 3), at=300)
    assert rig.held("States") is None


def test_writes_are_converted_element_by_element() -> None:
    conversion = Elements(ValueType.Int16, 3, Linear(ValueType.Int16, ValueType.Double, 0.1, 0.0))
    assert raw_of((1.0, 2.0, 3.26), conversion, ValueType.Int16) == (10, 20, 33)
    assert raw_of(Part(1, (2.0,)), conversion, ValueType.Int16) == Part(1, (20,))
    with pytest.raises(ConversionError):
        raw_of((1.0, 1e9, 3.0), conversion, ValueType.Int16)
    with pytest.raises(ConversionError):
        raw_of(1.0, conversion, ValueType.Int16)
    wide = Elements(ValueType.Int16, 0, Cast(ValueType.Int16, ValueType.Int32))
    assert wide.to_engineering((1, 2)) == (1, 2)
    with pytest.raises(ConversionError):
        raw_of((70_000,), wide, ValueType.Int16)


@given(
    st.sampled_from([ValueType.Double, ValueType.Float, ValueType.Int16]),
    st.lists(st.one_of(st.integers(-(2**15), 2**15 - 1), st.floats(allow_nan=False)), max_size=5),
    st.sampled_from([0.1, -3.0, 1e300]),
)
def test_a_line_is_the_same_for_many_as_for_one(kind: ValueType, raw: list[float], gain: float) -> None:
    each = Linear(ValueType.Double, kind, gain, 5.0)
    whole = Elements(ValueType.Double, 0, each)
    try:
        alone = [each.to_engineering(one) for one in raw]
    except ConversionError:
        with pytest.raises(ConversionError):
            whole.to_engineering(tuple(raw))
        return
    found = whole.to_engineering(tuple(raw))
    assert same(found, tuple(alone))
    assert isinstance(found, tuple)
    assert [type(one) for one in found] == [type(one) for one in alone]


def test_kept_values_are_arrays_again() -> None:
    assert fit_whole([1, 2], ValueType.Double, 2) == (1.0, 2.0)
    for wrong in (1, [1, 2, 3], [1, "two"]):
        with pytest.raises(ConversionError):
            fit_whole(wrong, ValueType.Double, 2)
    with pytest.raises(ConversionError):
        fit_whole([1], ValueType.Double, None)


RULE = WriteRule(limits=Range(0.0, 100.0), max_step=10.0)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ((11.0, 22.0, 33.0), "Good"),
        (Part(1, (25.0, 35.0)), "Good"),
        ((11.0, 22.0), "BadTypeMismatch"),
        ((11.0, 22.0, 33.0, 44.0), "BadTypeMismatch"),
        (11.0, "BadTypeMismatch"),
        ((11.0, 22, 33.0), "BadTypeMismatch"),
        ((11.0, 22.0, 101.0), "BadOutOfRange"),
        ((11.0, NAN, 33.0), "BadOutOfRange"),
        ((11.0, 31.0, 33.0), "BadOutOfRange"),  # more than a step
        (Part(2, (41.0,)), "BadOutOfRange"),
        (Part(2, (33.0, 44.0)), "BadIndexRangeNoData"),
    ],
)
async def test_the_rules_hold_for_each_element(value: Any, answer: str) -> None:
    rig = Rig(array("Temps", ValueType.Double, 3, RULE), device=Device(Temps=(10.0, 20.0, 30.0)))
    rig.send((10.0, 20.0, 30.0))
    assert await rig.write("Temps", value) == answer
    assert bool(rig.device.written) is (answer == "Good")


async def test_a_part_is_written_alone_and_read_back() -> None:
    device = Device(Temps=(10.0, 20.0, 30.0))
    rig = Rig(array("Temps", ValueType.Double, 3, WriteRule()), device=device)
    rig.send((10.0, 20.0, 30.0))
    device.held["Acme.Temps"] = (99.0, 20.0, 30.0)  # the device's own doing, which is not overwritten
    assert await rig.write("Temps", Part(1, (21.0,))) == "Good"
    assert device.written == [Part(1, (21.0,))]
    assert rig.held("Temps") == (99.0, 21.0, 30.0)


async def test_what_the_device_made_of_a_write_is_judged_element_by_element() -> None:
    device = Device(Temps=(10.0, 20.0, 30.0))
    rig = Rig(array("Temps", ValueType.Double, 3, WriteRule()), device=device)
    rig.send((10.0, 20.0, 30.0))
    device.clamps = 40.0
    assert await rig.write("Temps", (15.0, 25.0, 50.0)) == "GoodClamped"
    assert rig.held("Temps") == (15.0, 25.0, 40.0)
    device.clamps = 14.0
    assert await rig.write("Temps", (15.0, 25.0, 50.0)) == "BadDeviceFailure"
    assert rig.held("Temps") == (14.0, 14.0, 14.0)


async def test_within_a_tolerance_every_element_may_differ() -> None:
    device = Device(Temps=(10.0, 20.0))
    rig = Rig(array("Temps", ValueType.Double, 2, WriteRule(tolerance=0.5)), device=device)
    rig.send((10.0, 20.0))
    device.clamps = 29.4
    assert await rig.write("Temps", (30.0, 30.0)) == "GoodClamped"
    device.clamps = 29.6
    assert await rig.write("Temps", (30.0, 30.0)) == "Good"


async def test_states_are_written_by_their_numbers() -> None:
    valve = Enumeration("valve", {0: "Closed", 1: "Open"})
    device = Device(Valves=(0, 0))
    rig = Rig(array("Valves", ValueType.Int32, 2, WriteRule(), enumeration=valve), device=device)
    rig.send((0, 0))
    assert await rig.write("Valves", (1, 2)) == "BadOutOfRange"
    assert await rig.write("Valves", (1, 0)) == "Good"


async def test_a_constant_takes_a_part_and_keeps_the_rest() -> None:
    kind = PropertyType("Recipe", ValueType.Int16, write=WriteRule(), length=3)
    rig = Rig(Property("Acme", kind, constant=(1, 2, 3)))
    assert await rig.write("Recipe", Part(1, (7,))) == "Good"
    assert rig.held("Recipe") == rig.kept["Acme.Recipe"] == (1, 7, 3)
    assert await rig.write("Recipe", Part(2, (7, 8))) == "BadIndexRangeNoData"


async def test_a_scalar_has_no_parts() -> None:
    kind = PropertyType("Speed", ValueType.Int16, write=WriteRule())
    rig = Rig(Property("Acme", kind, constant=1))
    assert await rig.write("Speed", Part(0, (7,))) == "BadWriteNotSupported"
    assert await rig.write("Speed", (7,)) == "BadTypeMismatch"


def test_another_length_is_another_value_that_begins_anew() -> None:
    before = plant(array("Temps", ValueType.Double, 3))
    for after, keeps in (
        (array("Temps", ValueType.Double, 4), False),
        (array("Temps", ValueType.Double, 3), None),
    ):
        found = difference(before, reconcile(before, plant(after)).plant)
        assert [change.keeps for change in found.changed] == ([] if keeps is None else [keeps])


async def test_an_array_of_any_length_has_an_end_all_the_same() -> None:
    device = Device(Log=())
    rig = Rig(array("Log", ValueType.Int16, 0, WriteRule()), device=device)
    rig.send(())
    assert await rig.write("Log", (1,) * 10_001) == "BadOutOfRange"
    assert await rig.write("Log", (1, 2)) == "Good"
    assert rig.held("Log") == (1, 2)


def test_what_is_recorded_of_an_array_is_json_whatever_it_holds() -> None:
    fields = {"asked": brief((1.0, NAN)), "old": brief(Part(1, (math.inf,))), "held": brief((1,) * 2000)}
    line, _ = seal(1, 0, "write", fields, "0" * 64)
    record = json.loads(line)
    assert (record["asked"], record["old"]) == ([1.0, "nan"], {"first": 1, "values": ["inf"]})
    assert len(record["held"]) < 200
