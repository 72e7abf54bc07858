"""Names in values, moved from the namespaces of one server to those of another."""

from __future__ import annotations

from typing import Any

import pytest

from sources.opcua.address import UA_URI
from sources.opcua.imports import own_uri, their_uri
from sources.opcua.mapping import Field, Layout, Mapper, Unmappable, canonical, key_of
from sources.opcua.stack import decode_variant, encode_variant, ua

TABLE = {1: 7, 2: 300}.get
"""Of the device's namespaces: what they are here."""


def moved(value: Any, layouts: dict[bytes, Layout] | None = None) -> Any:
    return decode_variant(Mapper(TABLE, layouts or {}).variant(encode_variant(value))).Value


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (ua.NodeId(85), ua.NodeId(85)),
        (ua.NodeId(5, 1), ua.NodeId(5, 7)),
        (ua.NodeId(70_000, 1), ua.NodeId(70_000, 7)),
        (ua.NodeId(5, 2), ua.NodeId(5, 300)),
        (ua.NodeId("Speed", 2), ua.NodeId("Speed", 300)),
        (
            ua.NodeId(b"\x01\x02", 1, ua.NodeIdType.ByteString),
            ua.NodeId(b"\x01\x02", 7, ua.NodeIdType.ByteString),
        ),
        (ua.QualifiedName("Speed", 2), ua.QualifiedName("Speed", 300)),
        (ua.LocalizedText("Speed", "en"), ua.LocalizedText("Speed", "en")),
    ],
)
def test_a_name_alone_and_in_an_array(given: Any, wanted: Any) -> None:
    assert moved(ua.Variant(given)) == wanted
    assert moved(ua.Variant([given, given])) == [wanted, wanted]
    nested = [ua.Variant(given), ua.Variant(1, ua.VariantType.Int32)]
    assert [one.Value for one in moved(ua.Variant(nested, ua.VariantType.Variant))] == [wanted, 1]
    held = moved(ua.Variant(ua.DataValue(Value=ua.Variant(given), SourceTimestamp=None)))
    assert held.Value.Value == wanted


def test_a_namespace_by_its_uri_is_moved_and_comes_back() -> None:
    given = {"urn:line": "urn:acme:line"}
    there = Mapper(TABLE, {}, lambda uri: own_uri(uri, "F1", given))
    back = Mapper(TABLE, {}, lambda uri: their_uri(uri, "F1", given))
    for uri, here in (("urn:maker", "urn:maker#F1"), ("urn:line", "urn:acme:line"), (UA_URI, UA_URI)):
        node = ua.ExpandedNodeId("Speed", NamespaceUri=uri)
        moved_on = there.variant(encode_variant(ua.Variant(node, ua.VariantType.ExpandedNodeId)))
        assert decode_variant(moved_on).Value.NamespaceUri == here
        assert decode_variant(back.variant(moved_on)).Value == node
    elsewhere = ua.ExpandedNodeId("Speed", NamespaceUri="urn:maker", ServerIndex=2)
    with pytest.raises(Unmappable, match="another server"):
        there.variant(encode_variant(ua.Variant(elsewhere, ua.VariantType.ExpandedNodeId)))


def test_a_node_id_is_written_in_its_shortest_form() -> None:
    long = ua.NodeId(5, 1, ua.NodeIdType.Numeric)
    assert Mapper(TABLE, {}).node_id(bytes(key_of(long))) == b"\x01\x07\x05\x00"
    assert canonical(b"\x02\x00\x00\x05\x00\x00\x00rest") == b"\x00\x05"


def test_a_standard_structure_is_looked_into() -> None:
    operand = ua.SimpleAttributeOperand(
        TypeDefinitionId=ua.NodeId(2, 1), BrowsePath=[ua.QualifiedName("Speed", 2)]
    )
    there = moved(ua.Variant(operand))
    assert (there.TypeDefinitionId, there.BrowsePath) == (ua.NodeId(2, 7), [ua.QualifiedName("Speed", 300)])
    argument = ua.Argument(Name="Recipe", DataType=ua.NodeId("RecipeType", 2), ValueRank=-1)
    found = moved(ua.Variant([argument]))
    assert (found[0].Name, found[0].DataType) == ("Recipe", ua.NodeId("RecipeType", 300))
    unit = ua.EUInformation(NamespaceUri="urn:u", UnitId=4, DisplayName=ua.LocalizedText("°C"))
    assert moved(ua.Variant(unit)) == unit


def _node(namespace: int, name: str) -> bytes:
    return b"\x03" + namespace.to_bytes(2, "little") + len(name).to_bytes(4, "little") + name.encode()


def _structure(body: bytes) -> bytes:
    return b"\x16" + b"\x01\x01\x64\x00" + b"\x01" + len(body).to_bytes(4, "little") + body


ENCODING = canonical(b"\x01\x01\x64\x00")


def test_a_structure_of_the_device_s_own_is_looked_into_by_its_definition() -> None:
    inner = Layout([Field(17), Field(6)])
    outer = Layout([Field(12), Field(layout=inner, array=True), Field(20, optional=True)], optional=True)
    body = (
        b"\x01\0\0\0"
        b"\x02\0\0\0ab"
        b"\x02\0\0\0"
        + (_node(1, "A") + b"\x05\0\0\0")
        + (_node(2, "B") + b"\x06\0\0\0")
        + (b"\x02\0" + b"\x01\0\0\0q")
    )
    found = Mapper(TABLE, {ENCODING: outer}).variant(_structure(body))
    expected = (
        b"\x01\0\0\0"
        b"\x02\0\0\0ab"
        b"\x02\0\0\0"
        + (_node(7, "A") + b"\x05\0\0\0")
        + (_node(300, "B") + b"\x06\0\0\0")
        + (b"\x2c\x01" + b"\x01\0\0\0q")
    )
    assert found == b"\x16" + b"\x01\x07\x64\x00" + b"\x01" + len(expected).to_bytes(4, "little") + expected


def test_a_union_holds_one_of_its_fields() -> None:
    union = Layout([Field(11), Field(17)], union=True)
    found = Mapper(TABLE, {ENCODING: union}).variant(_structure(b"\x02\0\0\0" + _node(1, "A")))
    assert found.endswith(b"\x02\0\0\0" + _node(7, "A"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encode_variant(ua.Variant(ua.NodeId(1, 3))), "not known"),
        (encode_variant(ua.Variant(ua.NodeId(1, 9))), "not known"),
        (_structure(_node(1, "A")), "definition"),
        (b"\x16\x01\x01\x64\x00\x02\x01\0\0\0x", "XML"),
        (b"\x11\x03\x01", "cannot be read"),
    ],
)
def test_what_cannot_be_moved_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Unmappable, match=why):
        Mapper(TABLE, {}).variant(data)


def test_a_structure_longer_than_its_definition_is_refused() -> None:
    with pytest.raises(Unmappable, match="longer"):
        Mapper(TABLE, {ENCODING: Layout([Field(6)])}).variant(_structure(b"\x01\0\0\0\x02"))


def test_definitions_that_multiply_cost_no_more_than_the_value_s_bytes() -> None:
    doubling = Layout()
    for _ in range(16):
        doubling = Layout([Field(layout=doubling), Field(layout=doubling)])
    with pytest.raises(Unmappable, match="more fields"):
        Mapper(TABLE, {ENCODING: doubling}).variant(_structure(b"x"))
    arrays = Layout([Field(layout=Layout(), array=True)] * 200)
    with pytest.raises(Unmappable, match="more fields"):
        Mapper(TABLE, {ENCODING: arrays}).variant(_structure((b"\x20\x03\0\0") * 200))


class _Counted(bytes):
    """Counts the bytes that are copied out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not isinstance(found, bytes):
            return found
        _Counted.copied += len(found)
        return _Counted(found)


@pytest.mark.parametrize("kind", ["extension", "standard"])
def test_a_long_array_is_copied_a_few_times_only(kind: str) -> None:
    many = 2_000
    if kind == "extension":
        data = b"\x96" + many.to_bytes(4, "little") + (b"\x01\x01\x64\x00\x01" + bytes(4)) * many
        layouts = {ENCODING: Layout()}
    else:
        one = b"\xff\xff\xff\xff" + bytes(4) + bytes(2)
        data = _structure(many.to_bytes(4, "little") + one * many)
        layouts = {ENCODING: Layout([Field(standard=ua.EUInformation, array=True)])}
    _Counted.copied = 0
    Mapper(TABLE, layouts).variant(_Counted(data))
    assert _Counted.copied < 10 * len(data)
