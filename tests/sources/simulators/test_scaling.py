from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulator import PACKML_LUT, point

from sources.simulators.scaling import Scaling, cut
from sources.simulators.spec import Scalar

patient = settings(deadline=None)


@patient
@given(
    raw=st.integers(-(2**15), 2**15 - 1),
    gain=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3),
    offset=st.floats(-1e4, 1e4),
)
def test_what_the_device_holds_comes_back_from_engineering(raw: int, gain: float, offset: float) -> None:
    scaling = Scaling(point("X", "holding", 0, "int16", gain=gain, offset=offset))
    engineering = scaling.to_engineering(raw)
    assert isinstance(engineering, int | float)
    assert engineering == pytest.approx(raw * gain + offset)
    assert scaling.to_raw(engineering) == raw


@patient
@given(value=st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**70), 2**70))
@pytest.mark.parametrize("encoding", ["int16", "uint16", "int64", "uint64"])
def test_whatever_is_to_be_shown_fits_the_integer(encoding: str, value: float) -> None:
    scaling = Scaling(point("X", "holding", 0, encoding))
    raw = scaling.to_raw(value)
    assert isinstance(raw, int)
    assert scaling.type.low <= raw <= scaling.type.high


@pytest.mark.parametrize(
    ("encoding", "value", "shown"),
    [
        ("uint16", 65535, 65535),
        ("uint16", 65536, 0),
        ("uint16", 65541.7, 5),
        ("int16", 32768, 0),
        ("uint32", 2**32 + 3, 3),
        ("float32", 2**24 + 1, 1.0),
    ],
)
@pytest.mark.parametrize("what", [{"name": "Caps", "kind": "counter"}, {"name": "GoodCount"}])
def test_a_counter_wraps_at_the_width_of_its_register(
    what: dict[str, str], encoding: str, value: float, shown: float
) -> None:
    assert Scaling(point(table="holding", at=0, encoding=encoding, **what)).to_raw(value) == shown


def test_a_counter_shows_whole_units_only_and_all_of_them() -> None:
    scaling = Scaling(point("Caps", "holding", 0, "uint16", kind="counter", gain=0.1))
    assert scaling.to_raw(1.29) == 12
    for raw in range(1000):
        engineering = scaling.to_engineering(raw)
        assert engineering is not None
        assert scaling.to_raw(engineering) == raw


def test_a_lookup_table_is_inverted_and_what_it_lacks_becomes_the_nearest() -> None:
    scaling = Scaling(point("State", "holding", 0, "int16", lut=PACKML_LUT))
    assert [scaling.to_raw(state) for state in (2, 3, 6, 7, 11, 9)] == [0, 1, 2, 3, 4, 9]
    assert scaling.to_raw(17) == 4
    assert scaling.to_engineering(2) == 6
    assert scaling.to_engineering(5) is None


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        ("int16", 40000),
        ("int16", math.nan),
        ("int16", "fast"),
        ("float32", 1e39),
        ("uint16", 10**400),
        ("string(4)", "Grüße"),
        ("string(4)", 5),
    ],
)
def test_a_value_a_point_cannot_hold_is_refused(encoding: str, value: Scalar) -> None:
    with pytest.raises(ValueError, match=r"."):
        Scaling(point("X", "holding", 0, encoding)).checked_raw(value)


def test_a_lookup_table_refuses_what_it_does_not_yield() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3, 6, 7, 9, 11\]"):
        Scaling(point("State", "holding", 0, "int16", lut=PACKML_LUT)).checked_raw(17)


def test_a_float_may_be_frozen_at_not_a_number() -> None:
    raw = Scaling(point("X", "holding", 0, "float32")).checked_raw(math.nan)
    assert isinstance(raw, float)
    assert math.isnan(raw)


@patient
@given(st.text(), st.integers(0, 20))
def test_text_is_cut_between_characters(text: str, size: int) -> None:
    short = cut(text, size)
    assert text.startswith(short)
    assert len(short.encode()) <= size < len(short.encode()) + 4 or short == text
