"""The stanzas of the configuration file, as it is written.

Each model says what one stanza may hold on its own; what needs another stanza to be
judged (names, types, levels, addresses) is found when the whole is resolved.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from server.audit.settings import AuditSettings
from server.config.clauses import Clauses
from server.config.fields import (
    HEADED,
    ArrayLength,
    Constant,
    For,
    Gain,
    Key,
    Limits,
    Lut,
    Members,
    Name,
    PinnedId,
    RateOfChange,
    Scale,
    Uri,
    VerifyRule,
)
from server.mqtt.settings import MqttSettings
from server.observe.settings import MetricsSettings
from server.opcua.settings import OpcUaSettings
from sources.asking import RoleName
from sources.settings import Duration, SettingsModel, parse_duration
from sources.tag import Stale

TypeName = Literal[
    "Boolean",
    "SByte",
    "Byte",
    "Int16",
    "UInt16",
    "Int32",
    "UInt32",
    "Int64",
    "UInt64",
    "Float",
    "Double",
    "String",
    "DateTime",
]
LevelName = Literal[
    "Enterprise",
    "Site",
    "Area",
    "ProcessCell",
    "Unit",
    "ProductionLine",
    "WorkCell",
    "ProductionUnit",
    "StorageZone",
    "StorageUnit",
    "WorkCenter",
    "WorkUnit",
    "EquipmentModule",
    "ControlModule",
    "Other",
]
Text = Annotated[str, Field(max_length=1000)]
Label = Annotated[str, Field(min_length=1, max_length=200)]


class Stanza(SettingsModel):
    """Keys are known by the names they have in the file, not by those of Python's attributes."""

    model_config = ConfigDict(populate_by_name=False)


class Namespaces(Stanza):
    """The two namespaces of the plant's nodes."""

    plant: Uri = Field(description="Namespace URI of the plant's equipment: urn:<company>:plant.")
    types: Uri = Field(description="Namespace URI of its classes: urn:<company>:types.")


Scans = Annotated[int, Field(ge=1, le=100_000)]


class StaleStanza(Stanza):
    """How old a last value may grow."""

    uncertain_after: Scans = Field(
        3,
        description="Scans without a word of a value until it is Uncertain; at once where the link is lost.",
    )
    bad_after: Scans = Field(3, description="Scans as an Uncertain value until it is Bad.")
    at_least: Duration = Field(2.0, description="Not Uncertain before that, however fast the scan class is.")

    @property
    def rule(self) -> Stale:
        """As sources take it."""
        return Stale(self.uncertain_after, self.bad_after, self.at_least)


def _scan_form(value: object) -> object:
    """A duration alone, in place of a mapping that holds nothing else."""
    if isinstance(value, dict):
        return value
    parse_duration(value)
    return {"every": value}


class ScanStanza(Stanza):
    """A scan class."""

    every: Duration = Field(description="How often its properties are read. Required.")
    stale: StaleStanza = Field(StaleStanza(), description="How old its values may grow; see stale.")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The long form, or the duration alone."""
        mapping = handler.resolve_ref_schema(handler(core_schema))
        return {
            "title": "Scan class",
            "description": "A duration alone, or a mapping.",
            "anyOf": [mapping["properties"]["every"], mapping],
        }


class UnitStanza(Stanza):
    """A unit of measure that UNECE has no code for (OPC 10000-8 §5.6.3)."""

    id: int = Field(-1, ge=-(2**31), le=2**31 - 1, description="UnitId; -1 where there is none.")
    uri: Uri = Field(description="Namespace URI of whoever defines the unit.")
    symbol: Label = Field(description="Short form, as it stands behind a number: bottle/min.")
    name: Text = Field("", description="Full name: bottles per minute. Default: the symbol.")


class AssetStanza(Stanza):
    """A physical asset: the machine as it was bought."""

    manufacturer: Text = Field("", description="Who made it.")
    model: Text = Field("", description="Its model.")
    serial: Text = Field("", description='Its serial number; quote one that is all digits ("4711").')
    description: Text = Field("", description="A sentence for people.")
    source: str | None = Field(None, description="The source that is its controller.")


class WriteStanza(Stanza):
    """Who may write a property, what, how often, and under which circumstances."""

    roles: Annotated[list[RoleName], Field(min_length=1)] | None = Field(
        None, description="Roles that may write. Default Operator, Engineer, Supervisor."
    )
    limits: Limits | None = Field(None, description="[low, high] a client may write. Default: the range.")
    max_step: float | None = Field(
        None, gt=0, description="The most a write may differ from the present value, which must be Good."
    )
    max_rate: RateOfChange | None = Field(
        None, description="How fast clients may change it: 5 per second, 300 per minute, 10 per hour."
    )
    max_per_minute: int | None = Field(None, ge=1, le=6000, description="Writes a minute at most.")
    interlock: Clauses | None = Field(
        None, description='What must hold, all of it: ["../Guard.Closed == true", "State != Execute"].'
    )
    verify: VerifyRule | None = Field(
        None, description="exact (default), {within: 0.5}, or none: the device is not read back."
    )
    latest_wins: bool | None = Field(
        None, description="true: a write that still waits for the device makes room for a newer one."
    )


class PropertyStanza(Stanza):
    """A property of a class."""

    type: TypeName | None = Field(
        None, description="Data type of the served value. Default Double, or Int32 where `enum` is given."
    )
    array: ArrayLength | None = Field(
        None,
        description="An array of so many elements of that type, in place of one value; any: as many as "
        "the device has.",
    )
    unit: str | None = Field(None, description="UNECE code (CEL, P1, H87) or a name from `units`.")
    range: Limits | None = Field(
        None, description="EURange: [low, high] in engineering units, what is normal."
    )
    enum: str | None = Field(None, description="Enumeration: packml-state, packml-mode or one from `enums`.")
    access: Literal["r", "rw"] | None = Field(None, description="r (default), or rw: clients may write.")
    write_limits: Limits | None = Field(
        None, description="[low, high] a client may write. Default: the range."
    )
    writers: Annotated[list[RoleName], Field(min_length=1)] | None = Field(
        None, description="Roles that may write. Default Operator, Engineer, Supervisor."
    )
    write: WriteStanza | None = Field(
        None, description="Rules for writing; with it, access is rw unless that says r."
    )
    kind: Literal["counter"] | None = Field(None, description="counter: a value that only rises.")
    description: Text | None = Field(None, description="A sentence for people.")
    scan: str | None = Field(None, description="Scan class from `scan`. Default normal.")
    value: Constant | None = Field(
        None, description="A constant in place of a binding; what clients write to it is kept over restarts."
    )


class OwnPropertyStanza(PropertyStanza):
    """A property of one equipment, or what it refines of a property of its class."""

    id: PinnedId | None = Field(
        None, description="Pins the node's string identifier, so that it outlives a move."
    )


class ClassStanza(Stanza):
    """An equipment class."""

    level: LevelName | None = Field(
        None, description="ISA-95 level of its equipment, unless that says another."
    )
    description: Text = Field("", description="A sentence for people.")
    extends: str | None = Field(None, description="The class whose properties it inherits.")
    properties: Annotated[dict[Name, Annotated[PropertyStanza, HEADED]], HEADED] = Field(
        {}, description="Its properties by name; an inherited one may be refined, its type excepted."
    )


def _short_form(value: object) -> object:
    """An address alone, in place of a mapping that holds nothing else."""
    if isinstance(value, str):
        return {"addr": value}
    if isinstance(value, dict):
        return value
    raise ValueError('this is not an address; write it as text, like "holding:0", or a mapping with addr:')


class BindingStanza(Stanza):
    """Where a property's value comes from, and how the raw value becomes the served one."""

    addr: str = Field(min_length=1, description='The address, in the words of the driver: "holding:0".')
    encoding: str | None = Field(
        None, alias="as", description="The device's own type: int16, float32, … Default: the property's type."
    )
    words: str | None = Field(None, description="Word order of this value. Default: the source's.")
    source: str | None = Field(None, description="The source. Default: the equipment's.")
    scan: str | None = Field(None, description="Scan class. Default: the property's.")
    scale: Scale | None = Field(
        None, description="[raw_low, raw_high, eu_low, eu_high]: a line through two points."
    )
    gain: Gain | None = Field(None, description="served = raw * gain + offset. Default 1.")
    offset: float | None = Field(None, description="See gain. Default 0.")
    lut: Lut | None = Field(
        None, description="{raw: served}: a table of whole numbers; others have no value."
    )
    enabled: bool = Field(True, description="false: not read; the value is BadOutOfService.")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The long form, or the address alone."""
        mapping = handler.resolve_ref_schema(handler(core_schema))
        return {
            "title": "Binding",
            "description": "An address alone, or a mapping.",
            "anyOf": [{"type": "string", "minLength": 1}, mapping],
        }


class ImportRights(Stanza):
    """Who may do something to what is imported."""

    roles: Annotated[list[RoleName], Field(min_length=1)] | None = Field(
        None, description="Roles that may. Default Operator, Engineer, Supervisor."
    )


def _choice_form(value: Any) -> Any:
    if not isinstance(value, bool | list):
        raise ValueError(  # noqa: TRY004  # pydantic makes problems of these
            "it is neither true nor false nor a list of paths; write true, false or [Filler/Speed]"
        )
    return value


VariablePath = Annotated[str, Field(min_length=1, max_length=1000)]
ChosenNodes = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=10_000)]


class ImportStanza(Stanza):
    """Nodes of a downstream OPC UA server that the equipment holds."""

    source: str = Field(alias="from", description="The source; its driver is opcua.")
    under: str | None = Field(
        None, min_length=1, description="What lies below this node: its NodeId or browse path."
    )
    nodes: ChosenNodes | None = Field(
        None, description="Chosen nodes, each without what lies below it: NodeIds or browse paths."
    )
    scan: str | None = Field(None, description="Scan class of its values. Default normal.")
    write: ImportRights | None = Field(
        None, description="Who may write its variables, without limits of ours. Default: nobody."
    )
    call: ImportRights | None = Field(None, description="Who may call its methods. Default: nobody.")
    mqtt: Annotated[
        bool | Annotated[list[VariablePath], Field(min_length=1)], BeforeValidator(_choice_form)
    ] = Field(
        True,
        description="Whether its variables are published, or which: paths below the equipment, * for any "
        "characters. Default true, up to 10,000.",
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.under is None and self.nodes is None:
            raise ValueError(
                "an import says what it brings: under: a node with what lies below it, or nodes: chosen ones"
            )
        return self


class EquipmentStanza(Stanza):
    """One equipment, or many where it has `for`."""

    class_name: str | None = Field(None, alias="class", description="The class whose properties it has.")
    level: LevelName | None = Field(None, description="ISA-95 level. Default: that of its class.")
    description: Text = Field("", description="A sentence for people.")
    display_name: Text = Field("", description="Name shown to people. Default: the last part of the path.")
    id: PinnedId | None = Field(
        None, description="Pins the node's string identifier, so that it outlives a move."
    )
    source: str | None = Field(None, description="The source of its bindings that name none.")
    prefix: str | None = Field(None, description="Put before every address in `map`.")
    implemented_by: str | None = Field(None, description="The asset that implements it.")
    properties: Annotated[dict[Name, Annotated[OwnPropertyStanza, HEADED]], HEADED] = Field(
        {}, description="Properties of its own, and refinements of those of its class."
    )
    map: Annotated[dict[str, Annotated[BindingStanza, BeforeValidator(_short_form)]], HEADED] = Field(
        {}, description="Bindings by property: an address alone, or a mapping."
    )
    imported: ImportStanza | None = Field(
        None, alias="import", description="{from, under or nodes}: holds nodes of a downstream OPC UA server."
    )
    repetition: For | None = Field(
        None,
        alias="for",
        description="Repeats the stanza: 1..500 (variable n), {n: 1..500} or {name: [A, B]}.",
    )


class PlantFile(Stanza):
    """The whole file. What must be there is asked for when it is resolved, beside all other problems."""

    model: Literal[1] = Field(1, description="Version of this format.")
    include: str | list[str] = Field([], description="Files or patterns, relative to this file.")
    namespaces: Namespaces | None = Field(None, description="Namespace URIs of the plant.")
    opcua: OpcUaSettings = Field(OpcUaSettings(), description="The OPC UA server.")
    mqtt: MqttSettings | None = Field(None, description="The MQTT publisher; left out, nothing is published.")
    audit: AuditSettings = Field(AuditSettings(), description="How the audit log is kept.")
    metrics: MetricsSettings | None = Field(
        None, description="Prometheus metrics; left out, none are served. {} takes every default."
    )
    units: dict[Key, UnitStanza] = Field({}, description="Units of measure of your own.")
    enums: dict[Name, Members] = Field({}, description="Enumerations of your own: {name: {0: Off, 1: Auto}}.")
    scan: dict[Name, Annotated[ScanStanza, BeforeValidator(_scan_form)]] = Field(
        {}, description="Scan classes. normal (1s) is there unless you name it."
    )
    sources: dict[Name, Any] = Field({}, description="Devices by name, each with its driver's keys.")
    assets: dict[Key, Annotated[AssetStanza, HEADED]] = Field({}, description="Physical assets.")
    classes: dict[Name, Annotated[ClassStanza, HEADED]] = Field({}, description="Equipment classes.")
    equipment: dict[str, Annotated[EquipmentStanza, HEADED]] = Field(
        {}, description="Equipment by path; parents have stanzas of their own."
    )
