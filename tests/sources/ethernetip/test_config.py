from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.logix_tags import settings, tag
from support.scanning import FAST

from sources.errors import AddressError
from sources.ethernetip.config import Encoding, LogixSettings, Segment
from sources.tag import ValueType


def test_settings_have_the_defaults_of_the_field() -> None:
    its = LogixSettings.model_validate({"driver": "logix", "host": "10.20.1.12"})
    assert (its.port, its.path, its.connection, its.timeout, its.validate_tags) == (
        44818,
        "1/0",
        "auto",
        1.0,
        True,
    )


def test_validation_is_called_validate_in_the_file() -> None:
    assert settings(validate=False).validate_tags is False
    assert "validate" in LogixSettings.model_json_schema()["properties"]


@pytest.mark.parametrize("path", ["", "1/0", "backplane/3", "1/4/2/10.20.1.13/1/0", "bp/0/enet/10.0.0.1"])
def test_routes_are_pairs_of_port_and_address(path: str) -> None:
    assert settings(path=path).path == path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", ""),
        ("port", 0),
        ("port", "44818"),
        ("path", 0),
        ("path", "0"),
        ("path", "1/0/2"),
        ("path", "1/256"),
        ("path", "1/plc"),
        ("path", "0/1"),
        ("path", "15/1"),
        ("path", "usb/1"),
        ("path", "1/"),
        ("connection", "huge"),
        ("timeout", 1),
        ("timeout", "0s"),
        ("slot", 0),
        ("driver", "modbus"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        settings(**{key: value})


@pytest.mark.parametrize(
    ("address", "segments", "bit"),
    [
        ("Speed", [Segment("Speed")], None),
        ("program:Packer.Speed", [Segment("Program:Packer"), Segment("Speed")], None),
        (
            "Program:Packer.PML.Status.StateCurrent",
            [Segment("Program:Packer"), Segment("PML"), Segment("Status"), Segment("StateCurrent")],
            None,
        ),
        ("Arr[3]", [Segment("Arr", (3,))], None),
        ("Arr[ 0, 2 ]", [Segment("Arr", (0, 2))], None),
        (
            "Udt.Member.Sub[1].X",
            [Segment("Udt"), Segment("Member"), Segment("Sub", (1,)), Segment("X")],
            None,
        ),
        ("Word.5", [Segment("Word")], 5),
        ("Words[2].31", [Segment("Words", (2,))], 31),
        ("MyTimer.ACC", [Segment("MyTimer"), Segment("ACC")], None),
        ("Local:1:I.Data.3", [Segment("Local:1:I"), Segment("Data")], 3),
        ("_x", [Segment("_x")], None),
    ],
)
def test_an_address_is_the_tags_own_name(address: str, segments: list[Segment], bit: int | None) -> None:
    its = tag(address, "bool" if bit is not None else "dint").address
    assert list(its.segments) == segments
    assert its.bit == bit


@pytest.mark.parametrize("address", ["Speed", "Program:Packer.Counts[2].Total", "Flags.5", "Grid[0,2,1]"])
def test_an_address_prints_as_it_was_written(address: str) -> None:
    assert str(tag(address, "bool" if address.endswith(".5") else "dint").address) == address


def test_the_program_is_known() -> None:
    assert tag("Program:Packer.Speed").address.program == "Packer"
    assert tag("Speed").address.program is None


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("", "is missing"),
        ("  ", "is missing"),
        ("Arr{10}", "write Arr[0], and array: with their number"),
        ("Arr[0..9]", "write Arr[0], and array: with their number"),
        ("Arr[0:9]", "write Arr[0], and array: with their number"),
        ("N7:0", "an SLC or PLC-5"),
        ("B3:0/1", "an SLC or PLC-5"),
        ("F8:12.ACC", "an SLC or PLC-5"),
        ("Program.Packer.X", "did you mean Program:Packer.X?"),
        ("Word/5", "did you mean Word.5?"),
        ("Program:Packer", "as Program:Packer.Speed"),
        ("Program:Packer[1].X", "write Program:Name.Tag"),
        ("Program:A:B.X", "write Program:Name.Tag"),
        ("Speed.", "nothing between two dots"),
        (".Speed", "nothing between two dots"),
        ("A..B", "nothing between two dots"),
        ("Pack Speed", "has a blank"),
        ("1Speed", "begins with a digit"),
        ("Arr[3", "bracket without its partner"),
        ("Arr[]", "is no index"),
        ("Arr[-1]", "is no index"),
        ("Arr[i]", "never a tag"),
        ("Arr[1,2,3,4]", "at most 3 dimensions"),
        ("Arr[4294967296]", "is too large"),
        ("Arr[99999999999999999999]", "is too large"),
        ("Word.64", "bits 0 (least significant) to 63"),
        ("Spéed", "is no name"),
        ("A.B:C", "is no name"),
        ("A" * 256, "at most 255 characters"),
        ("A" * 200 + "." + "B" * 200, "at most 300 characters"),
    ],
)
def test_what_is_no_address_gets_advice(address: str, advice: str) -> None:
    with pytest.raises(AddressError) as refusal:
        tag(address)
    assert advice in str(refusal.value)


@pytest.mark.parametrize(
    ("natural", "encoding"),
    [
        (ValueType.Boolean, Encoding.bool),
        (ValueType.SByte, Encoding.sint),
        (ValueType.Byte, Encoding.usint),
        (ValueType.Int16, Encoding.int),
        (ValueType.UInt16, Encoding.uint),
        (ValueType.Int32, Encoding.dint),
        (ValueType.UInt32, Encoding.udint),
        (ValueType.Int64, Encoding.lint),
        (ValueType.UInt64, Encoding.ulint),
        (ValueType.Float, Encoding.real),
        (ValueType.Double, Encoding.real),
        (ValueType.String, Encoding.string),
    ],
)
def test_the_type_follows_the_property_unless_said(natural: ValueType, encoding: Encoding) -> None:
    assert tag("Speed", natural=natural).address.encoding is encoding


@pytest.mark.parametrize("encoding", list(Encoding))
def test_every_encoding_gives_its_tag_a_type(encoding: Encoding) -> None:
    its = tag("Speed", encoding.value)
    assert its.type is encoding.type
    assert its.scan is FAST


def test_a_bit_is_a_bool_whatever_the_property_is() -> None:
    its = tag("Word.3", natural=ValueType.Int32)
    assert its.type is ValueType.Boolean


@pytest.mark.parametrize(
    ("encoding", "advice"),
    [
        ("int32", "did you mean dint?"),
        ("float32", "did you mean real?"),
        ("REAL", "did you mean real?"),
        ("dnit", "did you mean dint?"),
        ("timer", "bind its members"),
        ("string(16)", "write as: string"),
        ("banana", "no type of a Logix value"),
    ],
)
def test_an_unknown_type_gets_advice(encoding: str, advice: str) -> None:
    with pytest.raises(AddressError) as refusal:
        tag("Speed", encoding)
    assert advice in str(refusal.value)
    assert str(refusal.value).startswith("as: ")


def test_a_bit_is_nothing_but_a_bool() -> None:
    with pytest.raises(AddressError, match="is one bit"):
        tag("Word.3", "real")


def test_there_is_no_order_of_words_to_choose() -> None:
    with pytest.raises(AddressError, match="leave words out"):
        tag("Speed", words="CDAB")
