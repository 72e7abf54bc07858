"""The plant as ISA-95 sees it: equipment, classes, properties, assets (OPC 10030).

A resolved model: classes are flattened, repetition is unrolled, every name has been
looked up. What the configuration file looks like is not known here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from server.plant.convert import Conversion
from server.plant.interlock import Condition
from sources.tag import ScanClass, Tag, Value, ValueType


class EquipmentLevel(enum.IntEnum):
    """ISA95EquipmentElementLevelEnum (OPC 10030 §7)."""

    Enterprise = 0
    Site = 1
    Area = 2
    ProcessCell = 3
    Unit = 4
    ProductionLine = 5
    WorkCell = 6
    ProductionUnit = 7
    StorageZone = 8
    StorageUnit = 9
    WorkCenter = 10
    WorkUnit = 11
    EquipmentModule = 12
    ControlModule = 13
    Other = 14


class Role(enum.Enum):
    """The well-known roles (OPC 10000-18 §4.2)."""

    Anonymous = "Anonymous"
    AuthenticatedUser = "AuthenticatedUser"
    Observer = "Observer"
    Operator = "Operator"
    Engineer = "Engineer"
    Supervisor = "Supervisor"
    ConfigureAdmin = "ConfigureAdmin"
    SecurityAdmin = "SecurityAdmin"


DEFAULT_WRITERS: Final = frozenset({Role.Operator, Role.Engineer, Role.Supervisor})


class Range(NamedTuple):
    """Low and high, both included, in engineering units (OPC 10000-8 §5.6.2)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Unit:
    """EUInformation (OPC 10000-8 §5.6.3): ``unit_id`` packs the UNECE code, or is -1 for a custom unit."""

    key: str
    unit_id: int
    namespace_uri: str
    symbol: str
    name: str


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Named states of an Int32 property; ``members`` in rising order of number."""

    name: str
    members: Mapping[int, str]


RATE_UNITS: Final = {1.0: "second", 60.0: "minute", 3600.0: "hour"}
"""The times a rate is said in, in seconds."""


class Rate(NamedTuple):
    """How fast a value may change: so much, in engineering units, in so many seconds."""

    amount: float
    seconds: float

    def __str__(self) -> str:
        """``5 per second``; the inverse of how it is configured."""
        return f"{self.amount:g} per {RATE_UNITS.get(self.seconds, f'{self.seconds:g} s')}"


@dataclass(frozen=True, slots=True)
class WriteRule:
    """Who may write a property, what, and how often. Numbers are in engineering units, None is no limit."""

    roles: frozenset[Role] = DEFAULT_WRITERS
    limits: Range | None = None
    max_step: float | None = None
    """The most a write may differ from the value the property has."""
    max_per_minute: int | None = None
    read_back: bool = True
    """Whether the device is read after the write. Not where it resets a command bit at once."""
    tolerance: float | None = None
    """How far what is read back may lie from what was written; None for what the type cannot show."""
    latest_wins: bool = False
    """Whether a write that still waits for its device makes room for a newer one of this property."""
    max_rate: Rate | None = None
    """The fastest it may be changed, from what it holds and since it was last written."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a property's value comes from: a tag of a source, and how the raw value becomes the served one.

    With ``enabled`` false the value is BadOutOfService and the tag is not read.
    """

    source: str
    tag: Tag[Any]
    conversion: Conversion | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class PropertyType:
    """What a property is, wherever it stands: its declaration in a class, or on one equipment."""

    name: str
    type: ValueType
    description: str = ""
    unit: Unit | None = None
    range: Range | None = None
    enumeration: Enumeration | None = None
    kind: str = ""
    """``counter`` for a value that only rises, else empty."""
    write: WriteRule | None = None
    length: int | None = None
    """None for a scalar; else the property is an array of so many elements of ``type``, or of ANY_LENGTH."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property of one equipment: its type, and either a binding or a constant value."""

    equipment: str
    type: PropertyType
    declared_by: str | None = None
    """The class that declares it, or None where the equipment does itself."""
    binding: Binding | None = None
    constant: Value = None
    pinned_id: str | None = None
    interlock: tuple[Condition, ...] = ()
    """What has to hold for it to be written."""

    @property
    def name(self) -> str:
        """Its name within the equipment."""
        return self.type.name

    @property
    def key(self) -> str:
        """Its path, unique in the plant: ``Acme/Lyon/Packaging/Line1/Filler.Speed``."""
        return f"{self.equipment}.{self.type.name}"

    @property
    def node_id(self) -> str:
        """The string identifier of its node: the path, or what ``id:`` pins."""
        return self.pinned_id or self.key


@dataclass(frozen=True, slots=True)
class EquipmentClass:
    """An equipment class; ``properties`` holds the inherited ones too, the base's first."""

    name: str
    properties: tuple[PropertyType, ...]
    own: frozenset[str]
    """Names of the properties this class declares itself (new or refined)."""
    extends: str | None = None
    level: EquipmentLevel | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """A physical asset that implements an equipment."""

    key: str
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    description: str = ""
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """Nodes of another OPC UA server that an equipment holds, as its driver names them.

    What lies below one, where there is one, and the chosen ``nodes``, each without what lies below it.
    Nobody writes its variables but ``writers``, nor calls its methods but ``callers``. ``mqtt`` says whether
    its variables are published, or which: paths below the equipment, ``*`` for any characters.
    """

    source: str
    below: Any | None
    scan: ScanClass
    writers: frozenset[Role] = frozenset()
    callers: frozenset[Role] = frozenset()
    nodes: tuple[Any, ...] = ()
    mqtt: bool | tuple[str, ...] = True


@dataclass(frozen=True, slots=True)
class Equipment:
    """One equipment of the hierarchy: enterprise, site, area, line, machine."""

    path: str
    level: EquipmentLevel
    properties: tuple[Property, ...] = ()
    class_name: str | None = None
    implemented_by: str | None = None
    description: str = ""
    display_name: str = ""
    pinned_id: str | None = None
    imported: Import | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str | None:
        """The path of the equipment it belongs to, None for an enterprise at the top."""
        return self.path.rpartition("/")[0] or None

    @property
    def node_id(self) -> str:
        """The string identifier of its node: the path, or what ``id:`` pins."""
        return self.pinned_id or self.path


@dataclass(frozen=True, slots=True)
class Plant:
    """The whole plant; ``equipment`` holds parents before their children."""

    plant_uri: str
    types_uri: str
    equipment: tuple[Equipment, ...]
    classes: Mapping[str, EquipmentClass] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    enumerations: Mapping[str, Enumeration] = field(default_factory=dict)

    def properties(self) -> list[Property]:
        """Every property of every equipment, in order."""
        return [p for e in self.equipment for p in e.properties]
