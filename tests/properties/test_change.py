"""A plant that was changed while it ran is what it would be had it started so."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.changing import Changing, dumped, points_of

from server.plant.convert import Elements, Linear
from server.plant.model import (
    Asset,
    Binding,
    Enumeration,
    Equipment,
    EquipmentClass,
    EquipmentLevel,
    Plant,
    Property,
    PropertyType,
    Range,
    Unit,
    WriteRule,
)
from sources.tag import ScanClass, Tag, ValueType

EXAMPLES = int(os.environ.get("ISTHMUS_CHANGE_EXAMPLES", "10"))

PATHS = ("Acme", "Acme/L1", "Acme/L1/F", "Acme/L1/P", "Acme/L2", "Acme/L2/F")
NAMES = ("Speed", "State", "Make")
UNIT = Unit("bpm", -1, "urn:acme:units", "bottle/min", "bottles per minute")
LIMITS = (Range(0, 900), Range(0, 100))
SCALE = Linear(ValueType.UInt16, ValueType.Double, 0.1, 0.0)

maybe = st.booleans()
levels = st.sampled_from((EquipmentLevel.WorkUnit, EquipmentLevel.Other))
numbers = st.sampled_from((("Off", "On"), ("Off", "Auto", "On"), ("Off",)))


@st.composite
def types(draw: Any, name: str, enumeration: Enumeration) -> PropertyType:
    if name == "State":
        return PropertyType(name, ValueType.Int32, enumeration=enumeration)
    if name == "Make":
        return PropertyType(
            name,
            ValueType.String,
            draw(st.sampled_from(("", "Who made it"))),
            length=draw(st.sampled_from((None, None, 2, 0))),
        )
    return PropertyType(
        name,
        draw(st.sampled_from((ValueType.Double, ValueType.Double, ValueType.UInt16))),
        unit=draw(st.sampled_from((None, UNIT))),
        range=draw(st.sampled_from((None, *LIMITS))),
        write=draw(st.sampled_from((None, WriteRule(), WriteRule(limits=LIMITS[1])))),
        length=draw(st.sampled_from((None, None, 3, 4, 0))),
    )


@st.composite
def properties(
    draw: Any, path: str, kind: PropertyType, declared_by: str | None, pin: str | None
) -> Property:
    if kind.type is ValueType.String:
        made = draw(st.sampled_from(("KHS", "Krones")))
        made = made if kind.length is None else (made,) * (kind.length or 2)
        return Property(path, kind, declared_by, constant=made, pinned_id=pin)
    scan = draw(st.sampled_from((ScanClass("fast", 0.2), ScanClass("slow", 2.0))))
    tag: Tag[Any] = Tag(f"{path}.{kind.name}", draw(st.integers(0, 1)), kind.type, scan, length=kind.length)
    each = draw(st.sampled_from((None, SCALE))) if kind.type is ValueType.Double else None
    conversion = each if kind.length is None else Elements(kind.type, kind.length, each)
    source, enabled = draw(st.sampled_from(("A", "B"))), draw(st.sampled_from((True, True, False)))
    return Property(path, kind, declared_by, Binding(source, tag, conversion, enabled), pinned_id=pin)


@st.composite
def plants(draw: Any) -> Plant:
    members = {number * draw(st.sampled_from((1, 2))): name for number, name in enumerate(draw(numbers))}
    enumeration = Enumeration("modes", members)
    declared = [draw(types(name, enumeration)) for name in NAMES if draw(maybe)]
    base = EquipmentClass("Machine", tuple(declared[:1]), frozenset(kind.name for kind in declared[:1]))
    own = frozenset(kind.name for kind in declared[1:])
    derived = EquipmentClass(
        "Filler", tuple(declared), own, draw(st.sampled_from((None, "Machine"))), draw(levels), "It fills"
    )
    if derived.extends is None:
        derived = replace(derived, own=frozenset(kind.name for kind in declared))
    made: list[Equipment] = []
    there: set[str] = set()
    for path in PATHS:
        parent = path.rpartition("/")[0]
        if (parent and parent not in there) or (made and not draw(maybe)):
            continue
        there.add(path)
        made.append(draw(equipment(path, derived, enumeration)))
    ids = [one.node_id for one in made] + [prop.node_id for one in made for prop in one.properties]
    assume(len(set(ids)) == len(ids))
    asset = Asset("KHS-1", draw(st.sampled_from(("KHS", ""))), "Innofill", draw(st.sampled_from(("", "47"))))
    return Plant(
        "urn:acme:plant",
        "urn:acme:types",
        tuple(made),
        {"Machine": base, "Filler": derived},
        {"KHS-1": asset},
        {"modes": enumeration},
    )


@st.composite
def equipment(draw: Any, path: str, kind: EquipmentClass, enumeration: Enumeration) -> Equipment:
    pin = draw(st.sampled_from((None, None, None, "one", "two")))
    pin = pin and f"{pin}-{path.count('/')}-{path[-1]}"
    mine = draw(maybe)
    chosen: list[tuple[PropertyType, str | None]] = []
    if mine:
        chosen += [(one, "Filler") for one in kind.properties]
    taken = {one.name for one, _ in chosen}
    chosen += [(draw(types(name, enumeration)), None) for name in NAMES if name not in taken and draw(maybe)]
    made = []
    for one, declared_by in chosen:
        its = f"{pin}.{one.name}" if pin else None
        if one.name == "Speed" and draw(st.sampled_from((False, False, True))):
            its = f"speed-of-{path[-1]}-{path.count('2')}"
        made.append(draw(properties(path, one, declared_by, its)))
    return Equipment(
        path,
        draw(levels),
        tuple(made),
        "Filler" if mine else None,
        draw(st.sampled_from((None, "KHS-1"))),
        draw(st.sampled_from(("", "Old"))),
        draw(st.sampled_from(("", "Name"))),
        pin,
    )


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(plants(), min_size=2, max_size=5))
def test_a_changed_plant_is_as_if_it_had_started_so(states: list[Plant]) -> None:
    changing = Changing(states[0])
    for state in states[1:]:
        changing.change(state)
    fresh = Changing(states[-1])
    assert changing.plant == states[-1]
    assert len(changing.space) == len(fresh.space)
    changed, started = dumped(changing.space), dumped(fresh.space)
    assert changed.keys() == started.keys()
    for name, node in started.items():
        assert changed[name] == node, name
    assert dict(points_of(changing.store)) == dict(points_of(fresh.store))
