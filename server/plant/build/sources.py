"""The sources as nodes: ``@sources/<name>`` below the folder Sources, and the types these are of.

What each variable says, `sources.status` has; who gives it its value, does it by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from nodesets import ua
from nodesets.records import (
    UA,
    BuiltinType,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
)
from server.plant.build.enumerations import data_type
from server.plant.build.records import folder, text
from server.plant.model import Enumeration
from sources.status import SourceState

STATES: Final = {state: number for number, state in enumerate(SourceState)}
"""The number of each state in the enumeration SourceState."""

_DURATION: Final = NodeId(UA, 290)
_UTC_TIME: Final = NodeId(UA, 294)
_COUNTER: Final = NodeId(UA, 289)


def _of(kind: BuiltinType) -> NodeId:
    return NodeId(UA, kind.value)


class Field(NamedTuple):
    """A variable of a source or of one of its scan classes; ``type`` is None for the state's own."""

    name: str
    type: NodeId | None
    text: str
    is_array: bool = False


SOURCE: Final = (
    Field("Address", _of(BuiltinType.String), "Where the device is."),
    Field("State", None, "Where the source is in its life."),
    Field("ConnectedSince", _UTC_TIME, "Since when the device answers; no time while it does not."),
    Field("LastSuccess", _UTC_TIME, "When it last gave a value, changed or not."),
    Field("LastError", _of(BuiltinType.String), "What went wrong last; whether it is over, State says."),
    Field("LastErrorCause", _of(BuiltinType.StatusCode), "The StatusCode that made of values."),
    Field("LastErrorTime", _UTC_TIME, "When that was."),
    Field("Connects", _COUNTER, "Connections made since the start."),
    Field("Points", _of(BuiltinType.UInt32), "Values that are read of it."),
    Field("ValuesPerSecond", _of(BuiltinType.Double), "Values it gave, a second, over the last seconds."),
    Field("RequestsPerSecond", _of(BuiltinType.Double), "Requests sent to it, a second."),
    Field("BytesPerSecondIn", _of(BuiltinType.Double), "Bytes received from it, a second."),
    Field("BytesPerSecondOut", _of(BuiltinType.Double), "Bytes sent to it, a second."),
    Field("BadPointCount", _of(BuiltinType.UInt32), "Points the device does not have as configured."),
    Field("BadPoints", _of(BuiltinType.String), "Their names, the first hundred.", is_array=True),
    Field("StalePoints", _of(BuiltinType.UInt32), "Values that were read once and are no longer."),
    Field("ImportedNodes", _of(BuiltinType.UInt32), "Nodes that are imported of it."),
    Field("ImportedVariables", _of(BuiltinType.UInt32), "Variables among them."),
    Field("RefusedVariables", _of(BuiltinType.UInt32), "Those among these that it would not watch."),
    Field("LastWalk", _UTC_TIME, "When its nodes were looked at last."),
    Field("WalkDuration", _DURATION, "How long that took, of all imports together."),
    Field("ImportErrors", _of(BuiltinType.String), "Imports that came to nothing, and why.", is_array=True),
    Field(
        "Plan", _of(BuiltinType.String), "The requests that read it, and why each ends there.", is_array=True
    ),
)
"""The variables of a source."""

SCAN_CLASS: Final = (
    Field("PlannedPeriod", _DURATION, "How often its values are to be read."),
    Field("MeasuredScanTime", _DURATION, "How long the requests of a scan took last, together."),
    Field("P99ScanTime", _DURATION, "What 99 of 100 scans did not exceed, over the last minutes."),
    Field("Blocks", _of(BuiltinType.UInt32), "Requests a scan takes."),
    Field("Overruns", _COUNTER, "Requests that were skipped as their time had passed."),
)
"""The variables of a scan class of a source."""

_CLASSES: Final = "ScanClasses"


def sources_id(plant_uri: str) -> NodeId:
    """The folder of all sources."""
    return NodeId(plant_uri, "@sources")


def source_id(plant_uri: str, name: str) -> NodeId:
    """The object of a source."""
    return NodeId(plant_uri, f"@sources/{name}")


def scan_class_id(plant_uri: str, name: str, scan: str) -> NodeId:
    """The object of a scan class of a source."""
    return _below(_below(source_id(plant_uri, name), _CLASSES), scan)


def member_id(owner: NodeId, field: Field) -> NodeId:
    """The variable of a source or a scan class."""
    return _below(owner, field.name)


def source_types(types_uri: str, plant_uri: str) -> list[NodeRecord]:
    """What all sources share: their types, and the folder they are in."""
    kind, scan_kind = _type_id(types_uri, "SourceType"), _type_id(types_uri, "SourceScanClassType")
    states = Enumeration("SourceState", {number: state.name for state, number in STATES.items()})
    home = _below(kind, _CLASSES)
    return [
        *data_type(_state_id(types_uri), states),
        _object_type(scan_kind, "What is counted of one scan class of a source."),
        *_variables(scan_kind, SCAN_CLASS, types_uri, rule=ua.MANDATORY),
        _object_type(kind, "A device the server reads, and how it fares."),
        *_variables(kind, SOURCE, types_uri, rule=ua.MANDATORY),
        _object(home, kind, ua.FOLDER_TYPE, types_uri, rule=ua.MANDATORY),
        _object(_below(home, "<ScanClass>"), home, scan_kind, types_uri, rule=ua.OPTIONAL_PLACEHOLDER),
        folder(sources_id(plant_uri), "Sources"),
    ]


def source_nodes(types_uri: str, plant_uri: str, name: str, scans: Iterable[str]) -> list[NodeRecord]:
    """One source and its scan classes; `source_types` are there."""
    here = source_id(plant_uri, name)
    home = _below(here, _CLASSES)
    records = [
        _object(here, sources_id(plant_uri), _type_id(types_uri, "SourceType"), plant_uri),
        *_variables(here, SOURCE, types_uri),
        _object(home, here, ua.FOLDER_TYPE, types_uri),
    ]
    for scan in scans:
        its = scan_class_id(plant_uri, name, scan)
        records.append(_object(its, home, _type_id(types_uri, "SourceScanClassType"), plant_uri))
        records += _variables(its, SCAN_CLASS, types_uri)
    return records


def _below(owner: NodeId, name: str) -> NodeId:
    return NodeId(owner.namespace, f"{owner.identifier!s}/{name}")


def _type_id(types_uri: str, name: str) -> NodeId:
    return NodeId(types_uri, f"@types/{name}")


def _state_id(types_uri: str) -> NodeId:
    return _type_id(types_uri, "SourceState")


def _name(node_id: NodeId) -> str:
    return str(node_id.identifier).rpartition("/")[2]


def _object_type(node_id: NodeId, what: str) -> NodeRecord:
    return NodeRecord(
        node_id,
        NodeClass.ObjectType,
        QualifiedName(node_id.namespace, _name(node_id)),
        text(_name(node_id)),
        text(what),
        references=[Reference(ua.HAS_SUBTYPE, ua.BASE_OBJECT_TYPE, forward=False)],
    )


def _object(
    node_id: NodeId, parent: NodeId, kind: NodeId, namespace: str, rule: NodeId | None = None
) -> NodeRecord:
    return NodeRecord(
        node_id,
        NodeClass.Object,
        QualifiedName(namespace, _name(node_id)),
        text(_name(node_id)),
        references=_references(parent, kind, rule),
    )


def _variables(
    owner: NodeId, fields: Sequence[Field], types_uri: str, rule: NodeId | None = None
) -> list[NodeRecord]:
    return [
        NodeRecord(
            member_id(owner, field),
            NodeClass.Variable,
            QualifiedName(types_uri, field.name),
            text(field.name),
            text(field.text),
            references=_references(owner, ua.BASE_DATA_VARIABLE_TYPE, rule),
            data_type=field.type or _state_id(types_uri),
            value_rank=1 if field.is_array else -1,
        )
        for field in fields
    ]


def _references(parent: NodeId, kind: NodeId, rule: NodeId | None) -> list[Reference]:
    found = [
        Reference(ua.HAS_COMPONENT, parent, forward=False),
        Reference(ua.HAS_TYPE_DEFINITION, kind),
    ]
    return found if rule is None else [*found, Reference(ua.HAS_MODELLING_RULE, rule)]
