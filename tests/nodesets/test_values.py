from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from support.nodesets import PLANT, read, variable

from nodesets.errors import NodesetError
from nodesets.records import (
    NULL,
    UA,
    BuiltinType,
    DataValue,
    LocalizedText,
    NodeId,
    QualifiedName,
    Structure,
    Variant,
)

B = BuiltinType
INT = "<uax:Value><uax:Int32>1</uax:Int32></uax:Value>"
STATUS = "<uax:StatusCode><uax:Code>1</uax:Code></uax:StatusCode>"
NINE = "<uax:Identifier>ns=9;i=1</uax:Identifier>"
TIME = "<uax:SourceTimestamp>2024-05-31T12:00:00Z</uax:SourceTimestamp>"


def value(xml: str) -> Variant | None:
    (node,) = read(variable(xml)).nodes
    return node.value


@pytest.mark.parametrize(
    ("xml", "kind", "expected"),
    [
        ("<uax:Boolean>true</uax:Boolean>", B.Boolean, True),
        ("<uax:SByte>-128</uax:SByte>", B.SByte, -128),
        ("<uax:Byte>255</uax:Byte>", B.Byte, 255),
        ("<uax:Int16>-1</uax:Int16>", B.Int16, -1),
        ("<uax:UInt16>1</uax:UInt16>", B.UInt16, 1),
        ("<uax:Int32>-1</uax:Int32>", B.Int32, -1),
        ("<uax:UInt32>1</uax:UInt32>", B.UInt32, 1),
        ("<uax:Int64>-9223372036854775808</uax:Int64>", B.Int64, -(2**63)),
        ("<uax:UInt64>18446744073709551615</uax:UInt64>", B.UInt64, 2**64 - 1),
        ("<uax:Float>1.5</uax:Float>", B.Float, 1.5),
        ("<uax:Double>-2.5e300</uax:Double>", B.Double, -2.5e300),
        ("<uax:String> a &lt; b </uax:String>", B.String, " a < b "),
        ("<uax:String/>", B.String, ""),
        ("<uax:String><![CDATA[<x>]]></uax:String>", B.String, "<x>"),
        (
            "<uax:DateTime>2024-05-31T12:00:00Z</uax:DateTime>",
            B.DateTime,
            datetime(2024, 5, 31, 12, tzinfo=UTC),
        ),
        (
            "<uax:Guid><uax:String>09087e75-8e5e-499b-954f-f2a9603db28a</uax:String></uax:Guid>",
            B.Guid,
            UUID("09087e75-8e5e-499b-954f-f2a9603db28a"),
        ),
        ("<uax:Guid/>", B.Guid, UUID(int=0)),
        ("<uax:ByteString>aGVs\nbG8=</uax:ByteString>", B.ByteString, b"hello"),
        (
            "<uax:XmlElement><a xmlns='urn:x' b='1'>t<c/>u&amp;</a></uax:XmlElement>",
            B.XmlElement,
            '<a xmlns="urn:x" b="1">t<c/>u&amp;</a>',
        ),
        (
            "<uax:NodeId><uax:Identifier>ns=1;i=5</uax:Identifier></uax:NodeId>",
            B.NodeId,
            NodeId(PLANT, 5),
        ),
        ("<uax:NodeId/>", B.NodeId, NULL),
        (
            "<uax:ExpandedNodeId><uax:Identifier>nsu=urn:x;s=y</uax:Identifier></uax:ExpandedNodeId>",
            B.ExpandedNodeId,
            NodeId("urn:x", "y"),
        ),
        ("<uax:StatusCode><uax:Code>2150891520</uax:Code></uax:StatusCode>", B.StatusCode, 0x80340000),
        ("<uax:StatusCode/>", B.StatusCode, 0),
        (
            "<uax:QualifiedName><uax:NamespaceIndex>1</uax:NamespaceIndex><uax:Name>N</uax:Name></uax:QualifiedName>",
            B.QualifiedName,
            QualifiedName(PLANT, "N"),
        ),
        (
            "<uax:QualifiedName><uax:Name>N</uax:Name></uax:QualifiedName>",
            B.QualifiedName,
            QualifiedName(UA, "N"),
        ),
        (
            "<uax:LocalizedText><uax:Locale>de</uax:Locale><uax:Text>Füller</uax:Text></uax:LocalizedText>",
            B.LocalizedText,
            LocalizedText("Füller", "de"),
        ),
        (
            "<uax:LocalizedText><uax:Text>x</uax:Text></uax:LocalizedText>",
            B.LocalizedText,
            LocalizedText("x"),
        ),
        (
            f"<uax:DataValue>{INT}{STATUS}{TIME}</uax:DataValue>",
            B.DataValue,
            DataValue(Variant(B.Int32, 1), 1, datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ),
        ("<uax:DataValue/>", B.DataValue, DataValue()),
        ("<uax:String xsi:nil='true'/>", B.String, None),
    ],
)
def test_scalars(xml: str, kind: BuiltinType, expected: Any) -> None:
    found = value(xml)
    assert found == Variant(kind, expected)
    assert type(found.value) is type(expected)


def test_arrays_hold_nulls_and_may_be_empty() -> None:
    assert value(
        "<uax:ListOfString><uax:String>a</uax:String><uax:String xsi:nil='1'/><uax:String/>"
        "</uax:ListOfString>"
    ) == Variant(B.String, ["a", None, ""], is_array=True)
    assert value("<uax:ListOfInt32/>") == Variant(B.Int32, [], is_array=True)


def test_an_array_of_variants_holds_values_of_any_type() -> None:
    assert value(
        "<uax:ListOfVariant>"
        "<uax:Variant><uax:Value><uax:Int32>1</uax:Int32></uax:Value></uax:Variant>"
        "<uax:Variant><uax:Value><uax:ListOfByte><uax:Byte>2</uax:Byte></uax:ListOfByte></uax:Value></uax:Variant>"
        "<uax:Variant/></uax:ListOfVariant>"
    ) == Variant(B.Variant, [Variant(B.Int32, 1), Variant(B.Byte, [2], is_array=True), None], is_array=True)


def test_a_variant_in_a_variant_is_what_it_holds() -> None:
    assert value("<uax:Variant><uax:Value><uax:Int32>1</uax:Int32></uax:Value></uax:Variant>") == Variant(
        B.Int32, 1
    )


def test_a_matrix_is_flat_with_dimensions() -> None:
    cells = "".join(f"<uax:Int32>{n}</uax:Int32>" for n in range(6))
    assert value(
        "<uax:Matrix><uax:Dimensions><uax:UInt32>2</uax:UInt32><uax:UInt32>3</uax:UInt32></uax:Dimensions>"
        f"<uax:Elements>{cells}</uax:Elements></uax:Matrix>"
    ) == Variant(B.Int32, [0, 1, 2, 3, 4, 5], is_array=True, dimensions=(2, 3))


@pytest.mark.parametrize("xml", ["", "  \n", "<!-- nothing -->"])
def test_an_empty_value_is_none(xml: str) -> None:
    assert value(xml) is None


def structure(
    body: str, type_id: str = "<uax:TypeId><uax:Identifier>ns=1;i=9</uax:Identifier></uax:TypeId>"
) -> Any:
    found = value(f"<uax:ExtensionObject>{type_id}{body}</uax:ExtensionObject>")
    assert found is not None
    assert found.type is B.ExtensionObject
    return found.value


def test_a_structure_is_its_fields_as_text() -> None:
    assert structure(
        "<uax:Body><EUInformation xmlns='http://opcfoundation.org/UA/2008/02/Types.xsd'>"
        "<NamespaceUri>urn:u</NamespaceUri><UnitId>7</UnitId>"
        "<DisplayName><Locale>en</Locale><Text>m/s</Text></DisplayName><Description/>"
        "</EUInformation></uax:Body>"
    ) == Structure(
        NodeId(PLANT, 9),
        {
            "NamespaceUri": "urn:u",
            "UnitId": "7",
            "DisplayName": {"Locale": "en", "Text": "m/s"},
            "Description": None,
        },
    )


def test_what_speaks_of_namespaces_inside_a_structure_is_translated() -> None:
    found = structure(
        "<uax:Body><T xmlns='urn:t' xmlns:u='http://opcfoundation.org/UA/2008/02/Types.xsd'>"
        "<Kind><u:Identifier>ns=1;i=3</u:Identifier></Kind>"
        "<Many><u:NodeId><u:Identifier>i=1</u:Identifier></u:NodeId>"
        "<u:NodeId><u:Identifier>ns=1;s=a</u:Identifier></u:NodeId></Many>"
        "<Name><u:NamespaceIndex>1</u:NamespaceIndex><u:Name>N</u:Name></Name>"
        "<Inner><u:TypeId><u:Identifier>ns=1;i=4</u:Identifier></u:TypeId>"
        "<u:Body><U><A>1</A><A>2</A><A>3</A></U></u:Body></Inner>"
        "<Any><u:Value><u:NodeId><u:Identifier>ns=1;i=5</u:Identifier></u:NodeId></u:Value></Any>"
        "</T></uax:Body>"
    )
    assert found.fields == {
        "Kind": NodeId(PLANT, 3),
        "Many": {"NodeId": [NodeId(UA, 1), NodeId(PLANT, "a")]},
        "Name": QualifiedName(PLANT, "N"),
        "Inner": Structure(NodeId(PLANT, 4), {"A": ["1", "2", "3"]}),
        "Any": {"Value": {"NodeId": NodeId(PLANT, 5)}},
    }


def test_a_field_of_another_namespace_that_looks_like_a_node_id_stays_text() -> None:
    found = structure("<uax:Body><T xmlns='urn:t'><A><Identifier>ns=7;i=3</Identifier></A></T></uax:Body>")
    assert found.fields == {"A": {"Identifier": "ns=7;i=3"}}


def test_a_structure_without_type_keeps_its_fields() -> None:
    assert structure("<uax:Body><T><A>1</A></T></uax:Body>", "") == Structure(NULL, {"A": "1"})


def test_a_structure_without_body_keeps_its_type() -> None:
    assert structure("") == Structure(NodeId(PLANT, 9), {})
    assert structure("<uax:Body/>") == Structure(NodeId(PLANT, 9), {})


def test_an_extension_object_of_nothing_is_null() -> None:
    assert structure("", "") is None


def test_a_binary_body_is_kept_as_it_is() -> None:
    assert structure("<uax:Body><uax:ByteString>AQID</uax:ByteString></uax:Body>") == Structure(
        NodeId(PLANT, 9), {}, b"\x01\x02\x03"
    )


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        ("<uax:Int32>x</uax:Int32>", "'x' is no Int32"),
        ("<uax:Int32/>", "is no Int32"),
        ("5", "<Value> holds text where elements belong"),
        *(
            (f"<uax:{name}>i=5</uax:{name}>", f"<{name}> holds text where elements belong")
            for name in (
                "NodeId",
                "ExpandedNodeId",
                "QualifiedName",
                "LocalizedText",
                "Guid",
                "StatusCode",
                "ExtensionObject",
                "DataValue",
            )
        ),
        (
            "<uax:ExtensionObject><uax:TypeId>i=5</uax:TypeId></uax:ExtensionObject>",
            "<TypeId> holds text where elements belong",
        ),
        ("<uax:Argument/>", "<Argument> cannot be a Value"),
        ("<uax:ListOfArgument/>", "<ListOfArgument> cannot be a Value"),
        ("<uax:DiagnosticInfo/>", "<DiagnosticInfo> cannot be a Value"),
        ("<uax:Int32>1</uax:Int32><uax:Int32>2</uax:Int32>", "a Value holds one element"),
        (
            "<uax:ListOfInt32><uax:String>1</uax:String></uax:ListOfInt32>",
            "<String> stands among elements of Int32",
        ),
        ("<uax:Matrix/>", "a Matrix needs Dimensions and Elements"),
        (
            "<uax:Matrix><uax:Dimensions><uax:UInt32>9</uax:UInt32></uax:Dimensions><uax:Elements/></uax:Matrix>",
            "a Matrix of dimensions",
        ),
        (
            "<uax:Matrix><uax:Dimensions><uax:UInt32>-9</uax:UInt32></uax:Dimensions><uax:Elements/></uax:Matrix>",
            "is no UInt32",
        ),
        (
            f"<uax:NodeId>{NINE}</uax:NodeId>",
            "namespace 9, but the file's NamespaceUris end at 1",
        ),
        (
            "<uax:QualifiedName><uax:NamespaceIndex>9</uax:NamespaceIndex></uax:QualifiedName>",
            "NamespaceUris end at 1",
        ),
        (
            f"<uax:ExtensionObject><uax:Body><T><A>{NINE}</A></T></uax:Body></uax:ExtensionObject>",
            "NamespaceUris end at 1",
        ),
        ("<uax:DataValue><uax:SourceTimestamp>now</uax:SourceTimestamp></uax:DataValue>", "is no DateTime"),
    ],
)
def test_bad_values_are_told_with_their_line(xml: str, problem: str) -> None:
    with pytest.raises(NodesetError) as caught:
        value(f"\n{xml}")
    assert problem in str(caught.value)
    assert str(caught.value).startswith("test.xml:6: " if "<Value>" not in problem else "test.xml:5: ")
