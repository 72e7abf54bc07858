from __future__ import annotations

import math
from datetime import UTC, datetime
from uuid import UUID

import pytest

from nodesets.errors import BadTextError
from nodesets.records import NULL, UA, BuiltinType, NodeId, QualifiedName
from nodesets.text import (
    RANGES,
    Names,
    parse_array_dimensions,
    parse_boolean,
    parse_bytes,
    parse_date_time,
    parse_float,
    parse_guid,
    parse_integer,
)
from nodesets.uri import escape_uri, unescape_uri

PLANT, OTHER = "urn:plant", "urn:a;b%c"
GUID = "09087e75-8e5e-499b-954f-f2a9603db28a"


@pytest.fixture
def names() -> Names:
    return Names([PLANT, OTHER])


@pytest.mark.parametrize(
    ("text", "node_id"),
    [
        ("i=85", NodeId(UA, 85)),
        ("ns=0;i=85", NodeId(UA, 85)),
        (" ns=1;i=5001\n ", NodeId(PLANT, 5001)),
        ("ns=2;i=4294967295", NodeId(OTHER, 4294967295)),
        ("ns=1;s=Acme/Lyon;x=1", NodeId(PLANT, "Acme/Lyon;x=1")),
        ("s=two words", NodeId(UA, "two words")),
        ("ns=1;s=", NodeId(PLANT, "")),
        (f"ns=1;g={GUID.upper()}", NodeId(PLANT, UUID(GUID))),
        ("ns=1;b=M/RbKBsRVkePCePcx24oRA==", NodeId(PLANT, bytes.fromhex("33f45b281b1156478f09e3dcc76e2844"))),
        ("nsu=urn:a%3Bb%25c;s=x", NodeId(OTHER, "x")),
        ("nsu=urn:elsewhere;i=1", NodeId("urn:elsewhere", 1)),
        ("", NULL),
    ],
)
def test_node_ids(names: Names, text: str, node_id: NodeId) -> None:
    assert names.node_id(text) == node_id


@pytest.mark.parametrize(
    "text",
    [
        "i=-1",
        "i=4294967296",
        "i=1.0",
        "i=٣",
        "i=",
        "x=1",
        "5001",
        "ns=1",
        "ns=;i=1",
        "ns=-1;i=1",
        "ns=1;ns=1;i=1",
        "g=1234",
        "b=!!!",
        "b=abc",
        "NS=1;i=1",
        "ns=1,i=1",
    ],
)
def test_bad_node_ids(names: Names, text: str) -> None:
    with pytest.raises(BadTextError):
        names.node_id(text)


def test_a_namespace_out_of_range_says_how_many_there_are(names: Names) -> None:
    with pytest.raises(BadTextError, match="namespace 3, but the file's NamespaceUris end at 2"):
        names.node_id("ns=3;i=1")
    with pytest.raises(BadTextError, match="NamespaceUris end at 2"):
        names.qualified_name("3:Speed")


def test_a_node_of_another_server_is_told_so(names: Names) -> None:
    with pytest.raises(BadTextError, match="other servers"):
        names.node_id("svr=1;ns=1;i=1")


def test_aliases_hold_for_references_and_not_for_values(names: Names) -> None:
    names.add_alias("Speed", "ns=1;i=7")
    assert names.reference("Speed") == NodeId(PLANT, 7)
    assert names.reference("\n Speed ") == NodeId(PLANT, 7)
    assert names.reference("ns=1;i=8") == names.reference("ns=1;i=8") == NodeId(PLANT, 8)
    with pytest.raises(BadTextError, match="'HasFoo' is neither a NodeId nor one of the file's Aliases"):
        names.reference("HasFoo")
    with pytest.raises(BadTextError):
        names.node_id("Speed")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Speed", QualifiedName(UA, "Speed")),
        ("0:Speed", QualifiedName(UA, "Speed")),
        ("1:Speed", QualifiedName(PLANT, "Speed")),
        ("2:http://a:80/", QualifiedName(OTHER, "http://a:80/")),
        ("http://a:80/", QualifiedName(UA, "http://a:80/")),
        ("nsu=urn:x;Speed", QualifiedName("urn:x", "Speed")),
        ("1: two\nlines ", QualifiedName(PLANT, " two\nlines ")),
        ("1:", QualifiedName(PLANT, "")),
        ("", QualifiedName(UA, "")),
    ],
)
def test_qualified_names(names: Names, text: str, name: QualifiedName) -> None:
    assert names.qualified_name(text) == name


@pytest.mark.parametrize("kind", RANGES)
def test_integers_end_where_their_type_ends(kind: BuiltinType) -> None:
    low, high = RANGES[kind]
    assert parse_integer(f" {low}\n", kind) == low
    assert parse_integer(f"+{high}", kind) == high
    for text in (str(low - 1), str(high + 1), "", "1.0", "0x10", "1_0", "one", "1" * 5000):
        with pytest.raises(BadTextError, match=f"is no {kind.name}"):
            parse_integer(text, kind)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.5", 1.5),
        (" -.5e-3 ", -0.0005),
        ("3.", 3.0),
        ("INF", math.inf),
        ("-INF", -math.inf),
        ("1e39", 1e39),
    ],
)
def test_doubles(text: str, number: float) -> None:
    assert parse_float(text) == number


def test_not_a_number_is_one_of_the_doubles() -> None:
    assert math.isnan(parse_float("NaN"))


@pytest.mark.parametrize("text", ["", "nan", "inf", "1,5", "0x1p3", "1_0", "e5", "1e999"])
def test_bad_doubles(text: str) -> None:
    with pytest.raises(BadTextError):
        parse_float(text)


def test_a_float_ends_before_a_double() -> None:
    assert parse_float("3.4028234e38", BuiltinType.Float) == 3.4028234e38
    with pytest.raises(BadTextError, match="too large for a Float"):
        parse_float("1e39", BuiltinType.Float)


@pytest.mark.parametrize(("text", "truth"), [("true", True), (" 1 ", True), ("false", False), ("0", False)])
def test_booleans(text: str, truth: bool) -> None:
    assert parse_boolean(text) is truth


@pytest.mark.parametrize("text", ["", "True", "yes", "2"])
def test_bad_booleans(text: str) -> None:
    with pytest.raises(BadTextError, match="write true or false"):
        parse_boolean(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-31T12:00:00Z", datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ("2024-05-31T12:00:00", datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ("2024-05-31T12:00:00+02:00", datetime(2024, 5, 31, 10, tzinfo=UTC)),
        ("2024-05-31T12:00:00.1234567Z", datetime(2024, 5, 31, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2024-05-31T12:00:00.5-01:30", datetime(2024, 5, 31, 13, 30, 0, 500000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_date_times(text: str, time: datetime) -> None:
    assert parse_date_time(text) == time
    assert parse_date_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-05-31",
        "2024-02-30T00:00:00Z",
        "24-05-31T12:00:00Z",
        "2024-05-31T25:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "2024-05-31T12:00:00+99:00",
        "yesterday",
    ],
)
def test_bad_date_times(text: str) -> None:
    with pytest.raises(BadTextError, match="is no DateTime"):
        parse_date_time(text)


def test_guids_and_byte_strings() -> None:
    assert parse_guid(f"\n{GUID} ") == UUID(GUID)
    for text in ("", GUID.replace("-", ""), "{" + GUID + "}"):
        with pytest.raises(BadTextError, match="is no Guid"):
            parse_guid(text)
    assert parse_bytes(" aGVs\n  bG8= ") == b"hello"
    assert parse_bytes("") == b""
    for text in ("aGVsbG8", "a*b=", "ä"):
        with pytest.raises(BadTextError, match="is no base64"):
            parse_bytes(text)


def test_array_dimensions() -> None:
    assert parse_array_dimensions("") == ()
    assert parse_array_dimensions("0") == (0,)
    assert parse_array_dimensions("3, 0,2") == (3, 0, 2)
    with pytest.raises(BadTextError):
        parse_array_dimensions("3,")


def test_uris_survive_the_string_form() -> None:
    for uri in ("urn:plant", "urn:a;b%c", "%3B", "%253b;"):
        assert ";" not in escape_uri(uri)
        assert unescape_uri(escape_uri(uri)) == uri


def test_errors_stay_short() -> None:
    with pytest.raises(BadTextError) as caught:
        Names([]).node_id("x" * 1_000_000)
    assert len(str(caught.value)) < 250
