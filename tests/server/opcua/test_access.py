from __future__ import annotations

import math

import pytest
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from server.opcua.access import data_value
from server.plant.model import Property, PropertyType
from server.plant.values import Point
from sources.quality import GOOD, UNCERTAIN
from sources.tag import INTEGER_LIMITS, Value, ValueType


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
    elif kind in INTEGER_LIMITS:
        values = st.integers(*INTEGER_LIMITS[kind])
    else:
        values = st.floats()
    assert struct_to_binary(data_value(point(kind, data.draw(values), UNCERTAIN)))


@pytest.mark.parametrize(
    ("value", "served"), [(1e39, math.inf), (-1e300, -math.inf), (3.4028235e38, 3.4028235e38)]
)
def test_what_a_float_cannot_hold_is_infinite(value: float, served: float) -> None:
    found = data_value(point(ValueType.Float, value)).Value
    assert found is not None
    assert found.Value == served
