from __future__ import annotations

import pytest

from sources.modbus import codec
from sources.modbus.tables import Table
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_INVALID_STATE,
    BAD_NO_COMMUNICATION,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_UNEXPECTED_ERROR,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
)


def _reply(request: codec.Request, body: str, function: int | None = None) -> bytes:
    return bytes((function or request.function,)) + bytes.fromhex(body)


@pytest.mark.parametrize(
    ("request_", "function", "body"),
    [
        (codec.read(1, Table.coil, 1, 2), 1, "0001 0002"),
        (codec.read(1, Table.discrete, 1, 2), 2, "0001 0002"),
        (codec.read(1, Table.holding, 0xFFFF, 1), 3, "ffff 0001"),
        (codec.read(1, Table.input, 1, 125), 4, "0001 007d"),
        (codec.write_coil(1, 9, value=True), 5, "0009 ff00"),
        (codec.write_coil(1, 9, value=False), 5, "0009 0000"),
        (codec.write_register(1, 9, b"\1\2"), 6, "0009 0102"),
        (codec.write_coils(1, 9, [True]), 15, "0009 0001 01 01"),
        (codec.write_registers(1, 9, b"\1\2\3\4"), 16, "0009 0002 04 0102 0304"),
        (codec.mask_write(1, 9, 0x0008, value=True), 22, "0009 fff7 0008"),
        (codec.mask_write(1, 9, 0x0008, value=False), 22, "0009 fff7 0000"),
    ],
)
def test_requests_on_the_wire(request_: codec.Request, function: int, body: str) -> None:
    assert (request_.unit, request_.pdu) == (1, bytes((function,)) + bytes.fromhex(body))


@pytest.mark.parametrize(
    ("code", "reading", "writing"),
    [
        (1, BAD_NOT_SUPPORTED, BAD_NOT_SUPPORTED),
        (2, BAD_CONFIGURATION_ERROR, BAD_OUT_OF_RANGE),
        (3, BAD_CONFIGURATION_ERROR, BAD_OUT_OF_RANGE),
        (4, BAD_DEVICE_FAILURE, BAD_DEVICE_FAILURE),
        (5, BAD_UNEXPECTED_ERROR, GOOD_COMPLETES_ASYNCHRONOUSLY),
        (6, BAD_RESOURCE_UNAVAILABLE, BAD_RESOURCE_UNAVAILABLE),
        (7, BAD_INVALID_STATE, BAD_INVALID_STATE),
        (8, BAD_DEVICE_FAILURE, BAD_DEVICE_FAILURE),
        (9, BAD_UNEXPECTED_ERROR, BAD_UNEXPECTED_ERROR),
        (10, BAD_NO_COMMUNICATION, BAD_NO_COMMUNICATION),
        (11, BAD_TIMEOUT, BAD_TIMEOUT),
        (255, BAD_UNEXPECTED_ERROR, BAD_UNEXPECTED_ERROR),
    ],
)
def test_exceptions_become_qualities(code: int, reading: Quality, writing: Quality) -> None:
    request = codec.read(1, Table.holding, 0, 1)
    with pytest.raises(codec.DeviceException, match=f"exception {code}") as caught:
        codec.check(request, _reply(request, f"{code:02x}", 0x83))
    assert (caught.value.read_quality, caught.value.write_quality) == (reading, writing)


def test_a_right_reply_yields_its_bytes() -> None:
    request = codec.read(1, Table.holding, 0, 2)
    assert codec.check_read(request, _reply(request, "04 00010002"), 4) == b"\0\1\0\2"


@pytest.mark.parametrize(
    ("body", "function"),
    [
        ("02 0001", None),  # fewer registers than asked for
        ("04 0001", None),  # says four bytes, brings two
        ("06 000100020003", None),
        ("04 0001000200", None),
        ("", None),
        ("", 0x83),  # an exception without a code
        ("02", 0x84),
        ("04 00010002", 4),  # the answer to another question
    ],
)
def test_a_reply_that_does_not_answer_is_malformed(body: str, function: int | None) -> None:
    request = codec.read(1, Table.holding, 0, 2)
    with pytest.raises(codec.MalformedReply):
        codec.check_read(request, _reply(request, body, function), 4)


def test_the_echo_of_a_write_names_the_place_but_may_show_another_value() -> None:
    request = codec.write_register(1, 9, b"\1\2")
    codec.check_write(request, _reply(request, "0009 0100"))
    several = codec.write_registers(1, 9, b"\1\2\3\4")
    codec.check_write(several, _reply(several, "0009 0002"))
    for wrong, body in ((request, "0008 0102"), (request, "0009"), (several, "0009 0001")):
        with pytest.raises(codec.MalformedReply):
            codec.check_write(wrong, _reply(wrong, body))
