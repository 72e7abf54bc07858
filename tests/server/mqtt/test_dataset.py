from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.pubsub_schema import validate
from support.small_plant import FILLER, LINE, NAMESPACES, machine, node_of, small_plant

from server.mqtt.dataset import ConfigurationVersion, DataSet, analog, datasets
from server.plant.model import Enumeration, Plant, PropertyType, Range
from sources.tag import ValueType

VERSION = ConfigurationVersion(7, 9)


def sets(plant: Plant) -> dict[str, DataSet]:
    return {dataset.name: dataset for dataset in datasets(plant, node_of(plant))}


def fields(dataset: DataSet) -> dict[str, dict[str, Any]]:
    return {field["Name"]: field for field in dataset.metadata(NAMESPACES, VERSION)["Fields"]}


def properties(field: dict[str, Any]) -> dict[str, Any]:
    return {entry["Key"]: entry["Value"] for entry in field["Properties"]}


def test_equipment_without_properties_publishes_nothing() -> None:
    assert list(sets(small_plant())) == [LINE, FILLER]


def test_metadata_fits_the_schema() -> None:
    for dataset in sets(small_plant()).values():
        validate(
            {
                "MessageId": "m",
                "MessageType": "ua-metadata",
                "PublisherId": "p",
                "DataSetWriterId": 1,
                "WriterGroupName": "g",
                "DataSetWriterName": dataset.writer_name,
                "Timestamp": "2025-01-01T00:00:00Z",
                "MetaData": dataset.metadata(NAMESPACES, VERSION),
            }
        )


def test_metadata_tells_name_namespaces_and_version() -> None:
    metadata = sets(small_plant())[FILLER].metadata(NAMESPACES, VERSION)
    assert metadata["Name"] == "Acme/Lyon/Line1/Filler"
    assert metadata["Description"] == {"Text": "A filler"}
    assert metadata["Namespaces"] == list(NAMESPACES)
    assert metadata["ConfigurationVersion"] == {"MajorVersion": 7, "MinorVersion": 9}


def test_a_field_tells_type_unit_range_and_node() -> None:
    speed = fields(sets(small_plant())[FILLER])["Speed"]
    assert (speed["BuiltInType"], speed["DataType"], speed["ValueRank"]) == (10, "i=10", -1)
    assert speed["Description"] == {"Text": "Current machine speed"}
    assert properties(speed) == {
        "NodeId": {"UaType": 17, "Value": "nsu=urn:acme:plant;s=Acme/Lyon/Line1/Filler.Speed"},
        "EngineeringUnits": {
            "UaType": 22,
            "Value": {
                "UaTypeId": "i=887",
                "NamespaceUri": "urn:acme:units",
                "UnitId": -1,
                "DisplayName": {"Text": "bottle/min"},
                "Description": {"Text": "bottles per minute"},
            },
        },
        "EURange": {"UaType": 22, "Value": {"UaTypeId": "i=884", "Low": 0.0, "High": 900.0}},
    }


def test_an_enumeration_is_described_once() -> None:
    metadata = sets(small_plant())[FILLER].metadata(NAMESPACES, VERSION)
    state = next(field for field in metadata["Fields"] if field["Name"] == "State")
    assert (state["BuiltInType"], state["DataType"]) == (6, "nsu=urn:acme:types;s=@enums/packml-state")
    (description,) = metadata["EnumDataTypes"]
    assert description["DataTypeId"] == state["DataType"]
    assert description["Name"] == "nsu=urn:acme:types;packml-state"
    assert [(f["Value"], f["Name"]) for f in description["EnumDefinition"]["Fields"]] == [
        ("2", "Stopped"),
        ("6", "Execute"),
        ("9", "Aborted"),
    ]


def test_field_ids_follow_from_the_node_and_from_nothing_else() -> None:
    before = fields(sets(small_plant())[FILLER])
    grown = small_plant(machine(f"{LINE}/Capper"), filler=machine(FILLER, PropertyType("X", ValueType.Byte)))
    after = fields(sets(grown)[FILLER])
    assert {name: field["DataSetFieldId"] for name, field in before.items()} == {
        name: after[name]["DataSetFieldId"] for name in before
    }
    capper = fields(sets(grown)[f"{LINE}/Capper"])
    assert not {f["DataSetFieldId"] for f in capper.values()} & {f["DataSetFieldId"] for f in after.values()}


def test_a_pinned_id_keeps_the_key_when_equipment_moves() -> None:
    pinned = replace(machine(FILLER), pinned_id="filler-7")
    moved = replace(machine(f"{LINE}/East/Filler"), pinned_id="filler-7")
    before, after = (sets(small_plant(filler=e))[e.path] for e in (pinned, moved))
    assert before.key == after.key == "filler-7"
    assert before.writer_name != after.writer_name


def test_the_fingerprint_knows_every_change_of_meaning() -> None:
    def of(changed: PropertyType, uris: tuple[str, ...] = NAMESPACES) -> str:
        return sets(small_plant(filler=machine(FILLER, changed)))[FILLER].fingerprint(uris)

    states = Enumeration("s", {0: "Off", 1: "On"})
    base = PropertyType("X", ValueType.Int32, enumeration=states)
    prints = [
        of(base),
        of(base, (*NAMESPACES, "urn:more")),
        of(replace(base, name="Y")),
        of(replace(base, description="d")),
        of(replace(base, enumeration=None)),
        of(replace(base, enumeration=Enumeration("s", {0: "Off", 1: "Running"}))),
        of(PropertyType("X", ValueType.Int64)),
    ]
    assert len(set(prints)) == len(prints)
    assert of(base) == prints[0]


def test_an_array_tells_its_rank_and_length_and_another_length_is_other_metadata() -> None:
    def of(length: int) -> DataSet:
        lines = PropertyType("Zones", ValueType.Float, length=length)
        return sets(small_plant(filler=machine(FILLER, lines)))[FILLER]

    zones = fields(of(8))["Zones"]
    assert (zones["ValueRank"], zones["ArrayDimensions"], zones["BuiltInType"]) == (1, [8], 10)
    assert "ArrayDimensions" not in fields(of(8))["Speed"]
    assert fields(of(0))["Zones"]["ArrayDimensions"] == [0]
    assert len({of(length).fingerprint(NAMESPACES) for length in (8, 9, 0)}) == 3
    metadata = of(8).metadata(NAMESPACES, VERSION)
    validate(
        {
            "MessageId": "m",
            "MessageType": "ua-metadata",
            "PublisherId": "p",
            "DataSetWriterId": 1,
            "WriterGroupName": "g",
            "DataSetWriterName": "w",
            "Timestamp": "2025-01-01T00:00:00Z",
            "MetaData": metadata,
        }
    )


def test_a_range_that_is_none_is_said_in_words() -> None:
    # As a device may send it; JSON has no such numbers (OPC 10000-6 §5.4.2.4).
    (span,) = analog(None, Range(float("nan"), float("inf")))
    assert span["Value"]["Value"] == {"UaTypeId": "i=884", "Low": "NaN", "High": "Infinity"}
