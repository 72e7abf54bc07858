"""A little line for tests of the plant: one machine, bound and constant properties."""

from __future__ import annotations

from typing import Any

from server.plant.convert import Conversion, Linear
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
from sources.tag import ScanClass, Tag, Value, ValueType

FAST = ScanClass("fast", 0.2)
BPM = Unit("bpm", -1, "urn:acme:units", "bottle/min", "bottles per minute")
STATES = Enumeration("packml-state", {0: "Undefined", 1: "Clearing", 2: "Stopped"})
MODES = Enumeration("line-mode", {1: "Auto", 5: "Manual"})
MACHINE = "Acme/Line1/Filler"


def tag(name: str, kind: ValueType = ValueType.Double, *, writable: bool = False) -> Tag[Any]:
    """A tag whose address means nothing."""
    return Tag(f"{MACHINE}.{name}", None, kind, FAST, writable)


def bound(
    kind: PropertyType,
    raw: ValueType | None = None,
    conversion: Conversion | None = None,
    *,
    enabled: bool = True,
) -> Property:
    """A property of the machine bound to a tag of source PLC."""
    its_tag = tag(kind.name, raw or kind.type, writable=kind.write is not None)
    return Property(MACHINE, kind, "Filler", Binding("PLC", its_tag, conversion, enabled))


def constant(kind: PropertyType, value: Value) -> Property:
    """A property of the machine with a value of its own."""
    return Property(MACHINE, kind, None, constant=value)


def line() -> Plant:
    """Acme with Line1 with the machine Filler, of class Filler, implemented by an asset."""
    rw = WriteRule(limits=Range(0, 800))
    speed = PropertyType("Speed", ValueType.Double, "Current speed", BPM, Range(0, 900))
    set_point = PropertyType("SpeedSP", ValueType.Double, "", BPM, Range(0, 900), write=rw)
    state = PropertyType("State", ValueType.Int32, enumeration=STATES)
    mode = PropertyType("Mode", ValueType.Int32, enumeration=MODES, write=WriteRule())
    level = PropertyType("Level", ValueType.Double, write=WriteRule())
    spare = PropertyType("Spare", ValueType.Boolean)
    count = PropertyType("Count", ValueType.UInt32, kind="counter")
    target = PropertyType("Target", ValueType.UInt16, write=WriteRule())
    recipe = PropertyType("Recipe", ValueType.String, write=WriteRule())
    make = PropertyType("Make", ValueType.String)
    filler = Equipment(
        MACHINE,
        EquipmentLevel.WorkUnit,
        (
            bound(speed),
            bound(set_point),
            bound(state, ValueType.Int16),
            bound(mode),
            bound(level, ValueType.UInt16, Linear(ValueType.UInt16, ValueType.Double, 0.1, 0.0)),
            bound(spare, enabled=False),
            bound(count),
            bound(recipe),
            constant(target, 500),
            constant(make, "KHS"),
        ),
        class_name="Filler",
        implemented_by="KHS-4711",
    )
    machine = EquipmentClass("Machine", (speed,), frozenset({"Speed"}), level=EquipmentLevel.WorkUnit)
    filler_class = EquipmentClass(
        "Filler",
        (speed, set_point, state, mode, level, spare, count, recipe),
        frozenset({"SpeedSP", "State", "Mode", "Level", "Spare", "Count", "Recipe"}),
        extends="Machine",
    )
    return Plant(
        "urn:acme:plant",
        "urn:acme:types",
        (
            Equipment("Acme", EquipmentLevel.Enterprise),
            Equipment("Acme/Line1", EquipmentLevel.ProductionLine),
            filler,
        ),
        {"Filler": filler_class, "Machine": machine},
        {"KHS-4711": Asset("KHS-4711", "KHS", "Innofill", "4711", source="PLC")},
        {STATES.name: STATES, MODES.name: MODES},
    )
