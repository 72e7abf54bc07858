"""A small plant with everything a publisher or a server has to cope with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodesets.records import NodeId
from server.plant.model import (
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
)
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.quality import GOOD, Quality
from sources.tag import ScanClass, Tag, Value, ValueType

PLANT_URI = "urn:acme:plant"
TYPES_URI = "urn:acme:types"
NAMESPACES = ("http://opcfoundation.org/UA/", "urn:acme:server", TYPES_URI, PLANT_URI)
LINE = "Acme/Lyon/Line1"
FILLER = f"{LINE}/Filler"

_SCAN = ScanClass("fast", 0.2)
_BPM = Unit("bpm", -1, "urn:acme:units", "bottle/min", "bottles per minute")
_STATES = Enumeration("packml-state", {2: "Stopped", 6: "Execute", 9: "Aborted"})

_MACHINE = EquipmentClass(
    "Machine",
    (
        PropertyType("Speed", ValueType.Float, "Current machine speed", _BPM, Range(0.0, 900.0)),
        PropertyType("State", ValueType.Int32, "PackML state", enumeration=_STATES),
        PropertyType("Produced", ValueType.UInt64, kind="counter"),
        PropertyType("Balance", ValueType.Int64),
        PropertyType("Recipe", ValueType.String),
        PropertyType("Running", ValueType.Boolean),
    ),
    frozenset({"Speed", "State", "Produced", "Balance", "Recipe", "Running"}),
    level=EquipmentLevel.WorkUnit,
)


def bound(equipment: str, kind: PropertyType, declared_by: str | None = None) -> Property:
    """A property fed by a tag whose address means nothing."""
    tag: Tag[Any] = Tag(f"{equipment}.{kind.name}", None, kind.type, _SCAN)
    return Property(equipment, kind, declared_by, Binding("PLC", tag))


def machine(path: str, *more: PropertyType) -> Equipment:
    """A Machine with a property of every kind, and what else is asked."""
    properties = [bound(path, kind, "Machine") for kind in _MACHINE.properties]
    properties += [bound(path, kind) for kind in more]
    return Equipment(path, EquipmentLevel.WorkUnit, tuple(properties), "Machine", description="A filler")


def small_plant(*more: Equipment, filler: Equipment | None = None) -> Plant:
    """Two equipments with properties, Line1 with a constant and Line1/Filler, below two without."""
    planned = Property(LINE, PropertyType("PBT", ValueType.Double, "Planned busy time"), constant=28_800.0)
    return Plant(
        PLANT_URI,
        TYPES_URI,
        (
            Equipment("Acme", EquipmentLevel.Enterprise),
            Equipment("Acme/Lyon", EquipmentLevel.Site),
            Equipment(LINE, EquipmentLevel.ProductionLine, (planned,)),
            filler or machine(FILLER),
            *more,
        ),
        classes={"Machine": _MACHINE},
        enumerations={_STATES.name: _STATES},
    )


def node_of(plant: Plant) -> dict[str, NodeId]:
    """The variable of every property by its key."""
    return {
        prop.key: NodeId(plant.plant_uri, f"{equipment.node_id}.{prop.name}")
        for equipment in plant.equipment
        for prop in equipment.properties
    }


def feed(
    store: ValueStore,
    values: dict[str, Value],
    quality: Quality | Sequence[Quality] = GOOD,
    *,
    time: int | None = None,
) -> None:
    """Have these values arrive in one batch, by the property's key."""
    tags = []
    for key in values:
        binding = store.points[key].property.binding
        assert binding is not None, f"{key} is a constant"
        tags.append(binding.tag)
    store.ingest(Batch(tuple(tags), list(values.values()), quality, None, now() if time is None else time))


FILLER_VALUES: dict[str, Value] = {
    f"{FILLER}.Speed": 412.5,
    f"{FILLER}.State": 6,
    f"{FILLER}.Produced": 18_446_744_073_709_551_615,
    f"{FILLER}.Balance": -9_007_199_254_740_993,
    f"{FILLER}.Recipe": "Orange 0,5 l",
    f"{FILLER}.Running": True,
}
"""A value for every property of the filler."""
