"""Values of a downstream server that are arrays, as a tag takes and gives them."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from support.downstream import named

from sources.opcua import wire
from sources.opcua.config import OpcUaTag
from sources.opcua.fit import fit_tag, to_device
from sources.opcua.stack import decode_variant, encode_variant, ua
from sources.quality import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality
from sources.tag import ANY_LENGTH, Value, ValueType

T = ua.VariantType


def array(kind: ValueType, length: int) -> OpcUaTag:
    return named("Values", kind, length=length)


def received(content: Any, kind: Any, dimensions: list[int] | None = None) -> tuple[int, Any]:
    """A value as a notification brings it."""
    encoded = encode_variant(ua.Variant(content, kind, dimensions, isinstance(content, list)))
    found, value, end = wire.variant(encoded, 0)
    assert end == len(encoded)
    return found, value


@pytest.mark.parametrize(
    ("content", "kind", "wanted", "length", "value"),
    [
        ([1.5, -2.5], T.Double, ValueType.Double, 2, (1.5, -2.5)),
        ([True, False], T.Boolean, ValueType.Boolean, 2, (True, False)),
        ([1, 2], T.Int16, ValueType.Double, 2, (1.0, 2.0)),
        ([1, 2], T.UInt64, ValueType.Int32, ANY_LENGTH, (1, 2)),
        (["a", None, ""], T.String, ValueType.String, 3, ("a", "", "")),
        (
            [ua.LocalizedText("a"), ua.LocalizedText("b", "de")],
            T.LocalizedText,
            ValueType.String,
            2,
            ("a", "b"),
        ),
        ([], T.Int32, ValueType.Int32, ANY_LENGTH, ()),
    ],
)
def test_an_array_is_taken_element_by_element(
    content: Any, kind: Any, wanted: ValueType, length: int, value: Value
) -> None:
    assert fit_tag(*received(content, kind), array(wanted, length)) == (value, GOOD)


@pytest.mark.parametrize(
    ("content", "kind", "wanted", "length", "quality"),
    [
        ([1, 2, 3], T.Int32, ValueType.Int32, 2, BAD_TYPE_MISMATCH),
        ([1], T.Int32, ValueType.Int32, 2, BAD_TYPE_MISMATCH),
        (1, T.Int32, ValueType.Int32, 1, BAD_TYPE_MISMATCH),
        ([1, 70_000], T.Int32, ValueType.Int16, 2, BAD_OUT_OF_RANGE),
        (["1", "2"], T.String, ValueType.Int16, 2, BAD_TYPE_MISMATCH),
        ([[1, 2], [3, 4]], T.Int32, ValueType.Int32, 4, BAD_TYPE_MISMATCH),
    ],
)
def test_what_is_no_such_array_is_no_value(
    content: Any, kind: Any, wanted: ValueType, length: int, quality: Quality
) -> None:
    assert fit_tag(*received(content, kind), array(wanted, length)) == (None, quality)


def test_an_array_is_no_scalar() -> None:
    assert fit_tag(*received([1], T.Int32), named("Value", ValueType.Int32)) == (None, BAD_TYPE_MISMATCH)


def test_nan_stays_what_it_is() -> None:
    value, quality = fit_tag(*received([math.nan, 1.0], T.Float), array(ValueType.Float, 2))
    assert isinstance(value, tuple)
    assert quality == GOOD
    assert isinstance(value[0], float)
    assert math.isnan(value[0])


def test_an_array_that_claims_more_than_there_is_is_malformed() -> None:
    for kind, data in ((6, b"\1\0\0\0"), (12, b"\1\0\0\0a")):
        encoded = bytes((kind | wire.ARRAY,)) + struct.pack("<i", 3) + data
        with pytest.raises((wire.Malformed, struct.error)):
            wire.elements(encoded)


@pytest.mark.parametrize("node", [int(T.Int16.value), int(T.Int16.value) | wire.ARRAY])
def test_an_array_is_sent_as_one_of_the_node_s_type(node: int) -> None:
    sent = decode_variant(encode_variant(to_device((1, -2), node)))
    assert (sent.Value, sent.VariantType, sent.is_array) == ([1, -2], T.Int16, True)
    empty = decode_variant(encode_variant(to_device((), node)))
    assert (empty.Value, empty.is_array) == ([], True)
    assert to_device((1, 70_000), node) is None
    assert to_device(("1",), node) is None


def test_a_scalar_is_nothing_for_a_node_that_is_an_array() -> None:
    assert to_device(1, int(T.Int16.value) | wire.ARRAY) is None
