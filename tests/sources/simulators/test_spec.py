from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.simulator import filler, point

from sources.simulators.spec import DeviceSpec


def test_a_spec_survives_its_way_through_json() -> None:
    spec = filler(unit=7, port=5020)
    assert DeviceSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("encoding", "count"),
    [("int16", 1), ("uint32", 2), ("float32", 2), ("float64", 4), ("string(1)", 1), ("string(15)", 8)],
)
def test_an_encoding_takes_its_registers(encoding: str, count: int) -> None:
    assert point("X", "holding", 0, encoding).address.count == count


@pytest.mark.parametrize(
    ("table", "offset", "encoding", "more", "complaint"),
    [
        ("coil", 0, "int16", {}, "one bit"),
        ("coil", 0, "bool", {"bit": 1}, "one bit"),
        ("holding", 0, "bool", {}, "go together"),
        ("holding", 0, "int16", {"bit": 1}, "go together"),
        ("holding", 65535, "int32", {}, "runs past"),
        ("holding", 65536, "int16", {}, "offset"),
        ("holding", 0, "int8", {}, "encoding"),
        ("holding", 0, "string(0)", {}, "encoding"),
        ("holding", 0, "int16", {"gain": 0.0}, "gain"),
        ("holding", 0, "int16", {"low": 5, "high": 5}, "below"),
        ("holding", 0, "int16", {"lut": {1: 2}, "gain": 2.0}, "either"),
        ("holding", 0, "float32", {"lut": {1: 2}}, "integer"),
        ("input", 0, "int16", {"writable": True}, "cannot be written"),
        ("holding", 0, "int16", {"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused(
    table: str, offset: int, encoding: str, more: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        point("X", table, offset, encoding, **more)


def test_a_point_stands_once_and_a_device_has_one() -> None:
    same = point("X", "holding", 0, "int16")
    with pytest.raises(ValidationError, match="there twice"):
        DeviceSpec(name="PLC", points=(same, same))
    with pytest.raises(ValidationError, match="at least one"):
        DeviceSpec(name="PLC", points=())
