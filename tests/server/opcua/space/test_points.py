from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from hypothesis import given
from hypothesis import strategies as st

from server.opcua.space.points import encode_head, parts, without_server, without_source, without_times
from server.plant.model import Property, PropertyType
from server.plant.values import Point
from sources.clock import from_datetime
from sources.quality import BAD_NO_COMMUNICATION, GOOD, UNCERTAIN
from sources.tag import INTEGER_LIMITS, Value, ValueType

TIME = struct.pack("<q", 133_000_000_000_000_000)


def point(kind: ValueType, value: Value, status: int = GOOD) -> Point:
    made = Point(Property("Acme", PropertyType("X", kind)), 133_000_000_000_000_000)
    made.value, made.status = value, status
    return made


@given(st.sampled_from(list(ValueType)), st.data())
def test_whatever_the_store_holds_can_be_sent(kind: ValueType, data: st.DataObject) -> None:
    if kind is ValueType.Boolean:
        values: st.SearchStrategy[Value] = st.booleans()
    elif kind is ValueType.String:
        values = st.text()
    elif kind is ValueType.DateTime:
        values = st.datetimes(datetime(1601, 1, 2), datetime(9999, 12, 30)).map(from_datetime)  # noqa: DTZ001
    elif kind in INTEGER_LIMITS:
        values = st.integers(*INTEGER_LIMITS[kind])
    else:
        values = st.floats()
    value, status = data.draw(values), data.draw(st.sampled_from([GOOD, UNCERTAIN]))
    whole = encode_head(point(kind, value, status))
    found = decoded(whole + TIME)
    assert found.Value is not None
    assert found.Value.VariantType.value == kind.value
    held: Any = found.Value.Value
    if kind is ValueType.Float:
        assert (
            math.isnan(held)
            or math.isinf(held)
            or math.isclose(held, float(cast("float", value) or 0), rel_tol=1e-6, abs_tol=1e-38)
        )
    elif kind is ValueType.DateTime:
        assert from_datetime(held) == value
    elif kind is ValueType.String:
        assert held == str(value).encode("utf-8", "replace").decode()
    else:
        assert held == value or math.isnan(held)
    assert (found.StatusCode.value if found.StatusCode else GOOD) == status
    assert found.SourceTimestamp is not None
    assert found.ServerTimestamp is not None
    variant, code, source = parts(whole)
    assert (whole[1 : 1 + len(variant)], code, len(source)) == (variant, status, 8)


def decoded(data: bytes) -> ua.DataValue:
    return struct_from_binary(ua.DataValue, Buffer(data))


@pytest.mark.parametrize("status", [GOOD, UNCERTAIN, BAD_NO_COMMUNICATION])
def test_times_are_taken_out_and_nothing_else(status: int) -> None:
    whole = encode_head(point(ValueType.Double, 1.5, status))
    for data, source, server in (
        (whole + TIME, True, True),
        (without_source(whole) + TIME, False, True),
        (without_server(whole), True, False),
        (without_times(whole), False, False),
    ):
        found = decoded(data)
        assert (found.SourceTimestamp is not None, found.ServerTimestamp is not None) == (source, server)
        assert (found.StatusCode.value if found.StatusCode else GOOD) == status
        assert (found.Value.Value if found.Value else None) == (
            None if status == BAD_NO_COMMUNICATION else 1.5
        )


def test_a_head_is_made_once() -> None:
    made = point(ValueType.Double, 1.5)
    assert encode_head(made) is made.head


@pytest.mark.parametrize(
    ("value", "served"), [(1e39, math.inf), (-1e300, -math.inf), (3.4028235e38, 3.4028235e38)]
)
def test_what_a_float_cannot_hold_is_infinite(value: float, served: float) -> None:
    found = decoded(encode_head(point(ValueType.Float, value)) + TIME).Value
    assert found is not None
    assert found.Value == pytest.approx(served)


@given(st.sampled_from(list(ValueType)), st.sampled_from([GOOD, UNCERTAIN]), st.data())
def test_an_array_can_be_sent_as_well(kind: ValueType, status: int, data: st.DataObject) -> None:
    elements: dict[ValueType, st.SearchStrategy[Any]] = {
        ValueType.Boolean: st.booleans(),
        ValueType.String: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        ValueType.DateTime: st.sampled_from([from_datetime(datetime(2026, 1, 2, tzinfo=UTC)), 0]),
        ValueType.Float: st.sampled_from([1.5, -0.0, math.inf, 1e300]),
        ValueType.Double: st.floats(allow_nan=False),
    }
    element = elements[kind] if kind in elements else st.integers(*INTEGER_LIMITS[kind])
    values = tuple(data.draw(st.lists(element, max_size=4)))
    made = Point(Property("Acme", PropertyType("X", kind, length=len(values) or 0)), 133_000_000_000_000_000)
    made.value, made.status = values, status
    found = decoded(encode_head(made) + TIME)
    assert found.Value is not None
    assert (found.Value.VariantType.value, found.Value.is_array) == (kind.value, True)
    held = [from_datetime(one) if kind is ValueType.DateTime else one for one in found.Value.Value]
    # What is too large for a Float is infinite there.
    wanted = [math.inf if kind is ValueType.Float and one == 1e300 else one for one in values]
    assert held == wanted
