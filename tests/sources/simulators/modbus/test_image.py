from __future__ import annotations

import math

import pytest
from support.clock import Clock
from support.simulator import FILLER, filler, point

from sources.simulators.modbus.image import Image, NoSuchAddressError
from sources.simulators.simulation import Simulation
from sources.simulators.spec import PointSpec


def image(*points: PointSpec, clock: Clock | None = None) -> Image:
    points = points or filler().points
    return Image(points, Simulation(points, clock or Clock(0.0)))


def test_a_table_reaches_from_its_first_point_to_its_last() -> None:
    it = image()
    assert it.extent("holding") == (0, 38)
    assert it.extent("coil") == (3, 22)
    assert len(it.read("holding", 0, 38)) == 38
    assert it.read("holding", 4, 5) == [0] * 5
    for address, count in ((38, 1), (37, 2), (0, 39)):
        with pytest.raises(NoSuchAddressError):
            it.read("holding", address, count)
    with pytest.raises(NoSuchAddressError):
        it.read("coil", 2, 2)


def test_a_table_without_points_has_no_addresses() -> None:
    it = image(point("X", "holding", 5, "int16"))
    with pytest.raises(NoSuchAddressError):
        it.read("input", 0, 1)


def test_the_registers_follow_the_machine() -> None:
    clock = Clock(0.0)
    it = image(clock=clock)
    assert it.get(FILLER, "Speed") == 0
    clock.now += 10
    speed = it.get(FILLER, "Speed")
    assert isinstance(speed, float)
    assert 590 < speed < 610
    assert it.read("holding", 9, 1) == [2]
    assert it.get(FILLER, "State") == 6


def test_what_is_written_stands_bit_for_bit() -> None:
    clock = Clock(0.0)
    it = image(clock=clock)
    quiet_nan_with_payload = [0x7FC0, 0x1234]
    it.write("holding", 2, quiet_nan_with_payload)
    clock.now += 5
    assert it.read("holding", 2, 2) == quiet_nan_with_payload
    value = it.get(FILLER, "SpeedSP")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_half_a_value_can_be_written_as_on_a_real_controller() -> None:
    it = image()
    it.write("holding", 2, [0x4396])
    assert it.get(FILLER, "SpeedSP") == 300.0


@pytest.mark.parametrize(
    ("address", "count"),
    [(0, 2), (1, 2), (2, 3), (8, 1), (9, 1), (9, 2)],
    ids=["read-only", "half of it", "into a gap", "gap", "read-only State", "and Mode behind it"],
)
def test_a_write_beside_writable_points_writes_nothing(address: int, count: int) -> None:
    it = image()
    before = it.read("holding", 0, 38)
    with pytest.raises(NoSuchAddressError):
        it.write("holding", address, [7] * count)
    assert it.read("holding", 0, 38) == before


def test_bits_that_are_not_writable_keep_their_values() -> None:
    it = image()
    it.freeze(FILLER, "Ready", value=True)
    it.write("holding", 26, [0x0008])
    assert it.read("holding", 26, 1) == [0x0009]
    assert it.get(FILLER, "Reset") is True
    it.write("holding", 26, [0x0000])
    assert it.read("holding", 26, 1) == [0x0001]
    assert it.get(FILLER, "Reset") is False


def test_a_bit_lies_over_a_number_of_the_same_register() -> None:
    it = image(
        point("Status", "holding", 0, "uint16", writable=True, members=(0x0F00, 0x0F01)),
        point("Alarm", "holding", 0, "bool", bit=0),
        point("Reset", "holding", 0, "bool", bit=15, writable=True),
    )
    it.freeze(FILLER, "Alarm", value=True)
    assert it.read("holding", 0, 1) == [0x0F01]
    it.write("holding", 0, [0x8000])
    assert it.read("holding", 0, 1) == [0x8001]
    assert it.get(FILLER, "Reset") is True


def test_a_frozen_point_shows_what_it_is_frozen_at_whatever_is_written() -> None:
    it = image()
    it.freeze(FILLER, "SpeedSP", 5.0)
    it.write("holding", 2, [0x4396, 0])
    assert it.get(FILLER, "SpeedSP") == 5.0
    it.freeze(FILLER, "SpeedSP", None)
    assert it.get(FILLER, "SpeedSP") == 300.0


def test_freezing_refuses_what_the_register_cannot_hold() -> None:
    it = image()
    with pytest.raises(ValueError, match="lookup table"):
        it.freeze(FILLER, "State", 17)
    with pytest.raises(KeyError):
        it.freeze(FILLER, "Nothing", 1)
    it.freeze(FILLER, "State", 11)
    assert it.read("holding", 9, 1) == [4]


def test_a_number_without_a_meaning_stands_in_its_register() -> None:
    clock = Clock(0.0)
    it = image(point("Program", "holding", 0, "int16", lut={0: 10, 1: 20}, writable=True), clock=clock)
    it.write("holding", 0, [7])
    clock.now += 1
    assert it.read("holding", 0, 1) == [7]
    assert it.get(FILLER, "Program") is None
    it.write("holding", 0, [1])
    assert it.get(FILLER, "Program") == 20


def test_a_written_counter_counts_on_in_its_register() -> None:
    clock = Clock(0.0)
    it = image(point("Caps", "holding", 0, "uint16", kind="counter", writable=True), clock=clock)
    clock.now += 10
    it.write("holding", 0, [65530])
    assert it.read("holding", 0, 1) == [65530]
    clock.now += 10
    (wrapped,) = it.read("holding", 0, 1)
    assert 50 < wrapped < 200


def test_coils_are_written_one_by_one() -> None:
    it = image()
    it.write("coil", 20, [1])
    assert it.read("coil", 3, 18) == [0] * 17 + [1]
    assert it.get(FILLER, "Valve") is True
    with pytest.raises(NoSuchAddressError):
        it.write("coil", 20, [0, 0])
    assert it.get(FILLER, "Valve") is True
