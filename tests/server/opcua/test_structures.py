"""Structures from plain Python and from the texts of a NodeSet2 file come out the same."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from asyncua import ua

from nodesets.records import (
    UA,
    BuiltinType,
    LocalizedText,
    NodeId,
    QualifiedName,
    Structure,
    Variant,
)
from server.opcua.ids import Namespaces, UnknownNamespace
from server.opcua.space.variants import to_variant
from server.opcua.structures import Unsupported, parse_node_id, structure
from server.opcua.types import node_id

NAMES = Namespaces("urn:test:server", ["urn:acme:types", "urn:acme:plant"])


def std(number: int) -> NodeId:
    return NodeId(UA, number)


def argument(data_type: int, dimensions: list[int]) -> Any:
    made: Any = ua.Argument()
    made.Name = "Speed"
    made.DataType = node_id(data_type)
    made.ValueRank = 1
    made.ArrayDimensions = dimensions
    made.Description = ua.LocalizedText("How fast", "en")
    return made


@pytest.mark.parametrize(
    ("type_id", "fields", "expected"),
    [
        (884, {"Low": 0.0, "High": 10.5}, ua.Range(0.0, 10.5)),
        (885, {"Low": "-1e3", "High": "INF"}, ua.Range(-1000.0, float("inf"))),
        (
            887,
            {
                "NamespaceUri": "urn:u",
                "UnitId": 5,
                "DisplayName": LocalizedText("kg"),
                "Description": LocalizedText("kilogram", "en"),
            },
            ua.EUInformation("urn:u", 5, ua.LocalizedText("kg"), ua.LocalizedText("kilogram", "en")),
        ),
        (
            888,
            {
                "NamespaceUri": "urn:u",
                "UnitId": "-1",
                "DisplayName": {"Text": "kg"},
                "Description": {"Locale": "en", "Text": "kilogram"},
            },
            ua.EUInformation("urn:u", -1, ua.LocalizedText("kg"), ua.LocalizedText("kilogram", "en")),
        ),
        (
            296,
            {
                "Name": "Speed",
                "DataType": std(11),
                "ValueRank": 1,
                "ArrayDimensions": [3],
                "Description": LocalizedText("How fast", "en"),
            },
            argument(11, [3]),
        ),
        (
            297,
            {
                "Name": "Speed",
                "DataType": {"Identifier": "i=11"},
                "ValueRank": "1",
                "ArrayDimensions": {"UInt32": ["3", "4"]},
                "Description": {"Locale": "en", "Text": "How fast"},
            },
            argument(11, [3, 4]),
        ),
        (
            297,
            {
                "Name": "Speed",
                "DataType": {"Identifier": "i=11"},
                "ValueRank": "1",
                "ArrayDimensions": {"UInt32": "3"},
                "Description": {"Locale": "en", "Text": "How fast"},
            },
            argument(11, [3]),
        ),
        (
            7616,
            {"Value": "7", "DisplayName": {"Text": "Seven"}, "Description": None},
            ua.EnumValueType(7, ua.LocalizedText("Seven"), ua.LocalizedText()),
        ),
        (8917, {"Offset": "60", "DaylightSavingInOffset": "true"}, ua.TimeZoneDataType(60, True)),
    ],
)
def test_known_structures(type_id: int, fields: dict[str, Any], expected: object) -> None:
    found = structure(Structure(std(type_id), fields), NAMES)
    assert vars_of(found) == vars_of(expected)


def vars_of(value: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(value)
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


@pytest.mark.parametrize(
    ("type_id", "fields"),
    [
        (NodeId("urn:acme:types", 5), {}),
        (std(85), {}),
        (std(884), {"Low": "low"}),
        (std(884), {"Middle": 1.0}),
        (std(296), {"DataType": {"Identifier": "ns=3;i=5"}}),
    ],
)
def test_what_is_not_known_is_said(type_id: NodeId, fields: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        structure(Structure(type_id, fields), NAMES)


@pytest.mark.parametrize(
    "name",
    [
        std(85),
        NodeId("urn:acme:plant", "Acme/Lyon;x=1"),
        NodeId("urn:a;b%c", 5),
        NodeId("urn:acme:plant", UUID("12345678-1234-5678-1234-567812345678")),
        NodeId("urn:acme:plant", b"\x00\xff"),
    ],
)
def test_a_node_id_is_read_as_it_is_written(name: NodeId) -> None:
    assert parse_node_id(str(name)) == name


def test_variants_of_every_kind() -> None:
    time = datetime(2026, 1, 2, tzinfo=UTC)
    cases = [
        (Variant(BuiltinType.Double, 1.5), ua.Variant(1.5, ua.VariantType.Double)),
        (Variant(BuiltinType.Int32, [1, 2], is_array=True), ua.Variant([1, 2], ua.VariantType.Int32)),
        (Variant(BuiltinType.DateTime, time), ua.Variant(time, ua.VariantType.DateTime)),
        (Variant(BuiltinType.NodeId, std(85)), ua.Variant(node_id(85), ua.VariantType.NodeId)),
        (
            Variant(BuiltinType.QualifiedName, QualifiedName("urn:acme:plant", "X")),
            ua.Variant(ua.QualifiedName("X", 3), ua.VariantType.QualifiedName),
        ),
        (
            Variant(BuiltinType.LocalizedText, [LocalizedText("a", "de")], is_array=True),
            ua.Variant([ua.LocalizedText("a", "de")], ua.VariantType.LocalizedText),
        ),
    ]
    for given, expected in cases:
        assert to_variant(given, NAMES) == expected


def test_a_namespace_that_is_not_served_is_said() -> None:
    with pytest.raises(UnknownNamespace, match="urn:nowhere"):
        NAMES.node_id(NodeId("urn:nowhere", 1))
