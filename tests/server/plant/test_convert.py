from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.plant.convert import Cast, ConversionError, Linear, Lookup, fit
from sources.tag import INTEGER_LIMITS, ValueType

INTEGERS = sorted(INTEGER_LIMITS, key=lambda kind: kind.value)


@given(st.sampled_from(INTEGERS), st.integers(-(2**70), 2**70))
def test_an_integer_fits_exactly_within_the_limits_of_its_type(kind: ValueType, number: int) -> None:
    low, high = INTEGER_LIMITS[kind]
    if low <= number <= high:
        assert fit(number, kind) == number
    else:
        with pytest.raises(ConversionError, match=kind.name):
            fit(number, kind)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_integer_comes_of_what_is_not_finite(number: float) -> None:
    with pytest.raises(ConversionError):
        fit(number, ValueType.Int32)
    assert fit(number, ValueType.Double) is number


def test_a_fraction_is_rounded_not_cut() -> None:
    assert fit(2.999999, ValueType.Int16) == 3
    assert fit(-2.999999, ValueType.Int16) == -3


@pytest.mark.parametrize(
    ("value", "kind"),
    [("1", ValueType.Int32), ("x", ValueType.Boolean), (1, ValueType.String), (None, ValueType.Double)],
)
def test_what_is_of_another_kind_is_refused(value: object, kind: ValueType) -> None:
    with pytest.raises(ConversionError):
        fit(value, kind)  # type: ignore[arg-type]  # the wrong type is the point


def test_a_scale_through_two_points_works_both_ways() -> None:
    scale = Linear.through(ValueType.UInt16, ValueType.Double, (0, 27648), (0, 100))
    assert scale.to_engineering(13824) == pytest.approx(50.0)
    assert scale.to_raw(50.0) == 13824
    with pytest.raises(ConversionError):
        scale.to_raw(300.0)


@given(
    st.floats(-1e6, 1e6).filter(lambda gain: abs(gain) > 1e-3),
    st.floats(-1e6, 1e6),
    st.integers(-(2**15), 2**15 - 1),
)
def test_scaling_there_and_back_gives_the_raw_value(gain: float, offset: float, raw: int) -> None:
    scale = Linear(ValueType.Int16, ValueType.Double, gain, offset)
    assert scale.to_raw(scale.to_engineering(raw)) == raw


@pytest.mark.parametrize(("raw", "eu"), [((1, 1), (0, 100)), ((0, 1), (5, 5))])
def test_two_equal_points_make_no_scale(raw: tuple[float, float], eu: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="two different"):
        Linear.through(ValueType.Int16, ValueType.Double, raw, eu)


def test_a_lookup_works_both_ways_and_says_what_it_lacks() -> None:
    states = Lookup.of({0: 2, 1: 6, 2: 11})
    assert states.to_engineering(1) == 6
    assert states.to_engineering(1.0) == 6
    assert states.to_raw(11) == 2
    with pytest.raises(ConversionError, match="no entry for 7"):
        states.to_engineering(7)
    with pytest.raises(ConversionError, match="nothing like 5"):
        states.to_raw(5)
    with pytest.raises(ConversionError):
        states.to_engineering(math.nan)


def test_of_several_raw_values_for_one_state_a_write_takes_the_first() -> None:
    assert Lookup.of({4: 6, 1: 6}).to_raw(6) == 4


def test_a_cast_changes_the_type_alone() -> None:
    cast = Cast(ValueType.Int16, ValueType.Double)
    assert cast.to_engineering(7) == 7.0
    assert isinstance(cast.to_engineering(7), float)
    assert cast.to_raw(7.2) == 7


NUMERIC = [*INTEGER_LIMITS, ValueType.Float, ValueType.Double]


@given(st.sampled_from(NUMERIC), st.sampled_from(NUMERIC), st.data())
def test_a_cast_that_widens_leaves_every_raw_value_as_it_stands(
    raw: ValueType, served: ValueType, data: st.DataObject
) -> None:
    limits = INTEGER_LIMITS.get(raw)
    values = st.integers(*limits) if limits else st.floats(width=32 if raw is ValueType.Float else 64)
    value = data.draw(values)
    cast = Cast(raw, served)
    if cast.widens:
        found = cast.to_engineering(value)
        assert type(found) is type(value)
        assert found == value or (math.isnan(float(found)) and math.isnan(value))


def test_what_needs_no_conversion_is_known() -> None:
    assert Cast(ValueType.Float, ValueType.Double).widens
    assert Cast(ValueType.UInt16, ValueType.Int32).widens
    for raw, served in (("Double", "Float"), ("Int32", "Int16"), ("Int16", "UInt32"), ("UInt16", "Double")):
        assert not Cast(ValueType[raw], ValueType[served]).widens
    assert not Cast(ValueType.Boolean, ValueType.Byte).widens
