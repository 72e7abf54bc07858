from __future__ import annotations

import pytest
from support.logix_tags import tag

from sources.ethernetip import codec, status
from sources.ethernetip.codec import FramingError, Reply
from sources.ethernetip.config import Segment
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_INVALID_STATE,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_NOT_WRITABLE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    BAD_UNEXPECTED_ERROR,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    Quality,
)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("Speed", b"\x04\x91\x05Speed\0"),
        ("Even", b"\x03\x91\x04Even"),
        ("A[3]", b"\x03\x91\x01A\0\x28\x03"),
    ],
)
def test_a_path_names_the_tag(address: str, path: bytes) -> None:
    assert codec.symbolic_path(tag(address).address.segments) == path


@pytest.mark.parametrize(
    ("index", "element"),
    [
        (0, b"\x28\x00"),
        (255, b"\x28\xff"),
        (256, b"\x29\x00\x00\x01"),
        (65535, b"\x29\x00\xff\xff"),
        (65536, b"\x2a\x00\x00\x00\x01\x00"),
    ],
)
def test_an_index_takes_the_shortest_segment(index: int, element: bytes) -> None:
    assert codec.symbolic_path([Segment("Ab", (index,))])[1:] == b"\x91\x02Ab" + element


def test_a_program_and_several_indexes_are_segments_in_a_row() -> None:
    made = codec.symbolic_path([Segment("Program:Main"), Segment("Grid", (1, 2))])
    assert made[1:] == b"\x91\x0cProgram:Main\x91\x04Grid\x28\x01\x28\x02"


def test_the_services_are_those_of_the_manual() -> None:
    path = b"\x02\x91\x02Ab"
    assert codec.read(path, 3) == b"\x4c" + path + b"\x03\x00"
    assert codec.read_fragment(path, 3, 490) == b"\x52" + path + b"\x03\x00\xea\x01\x00\x00"
    assert (
        codec.write(path, b"\xc4\x00", b"\x01\x02\x03\x04")
        == b"\x4d" + path + b"\xc4\0\x01\0\x01\x02\x03\x04"
    )
    assert (
        codec.write_fragment(path, b"\xa0\x02\xce\x0f", 4, b"ab")
        == b"\x53" + path + b"\xa0\x02\xce\x0f\x01\0\x04\0\0\0ab"
    )


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_masks_of_a_bit_have_the_integers_size(size: int) -> None:
    path = b"\x02\x91\x02Ab"
    for bit in (0, 8 * size - 1):
        for before in (0, (1 << 8 * size) - 1, 0x5A):
            for to in (True, False):
                request = codec.write_bit(path, size, bit, to=to)
                assert request[: 1 + len(path) + 2] == b"\x4e" + path + bytes((size, 0))
                masks = request[1 + len(path) + 2 :]
                assert len(masks) == 2 * size
                or_mask, and_mask = (int.from_bytes(part, "little") for part in (masks[:size], masks[size:]))
                after = (before | or_mask) & and_mask
                assert after == (before | 1 << bit if to else before & ~(1 << bit))


def test_several_services_come_back_as_several_replies() -> None:
    request = codec.multiple([b"\x4cab", b"\x4ccdef"])
    assert request == b"\x0a\x02\x20\x02\x24\x01\x02\x00\x06\x00\x09\x00\x4cab\x4ccdef"
    data = b"\x02\x00\x06\x00\x0c\x00" + b"\xcc\0\0\0\xc2\0" + b"\xcc\0\xff\x01\x05\x21"
    assert codec.parse_multiple(data, (codec.READ_TAG,) * 2) == [
        Reply(0xCC, 0, 0, b"\xc2\0"),
        Reply(0xCC, 0xFF, 0x2105, b""),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xcc\0\0",
        b"\xcd\0\0\0",  # of another service
        b"\x4c\0\0\0",  # a request
        b"\xcc\0\xff\x01\x05",  # cut within its extended status
    ],
)
def test_what_is_no_reply_is_told(raw: bytes) -> None:
    with pytest.raises(FramingError):
        codec.parse_reply(raw, codec.READ_TAG)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x00\x04\x00\xcc\0\0\0",  # one missing
        b"\x02\x00\x06\x00",  # cut within the offsets
        b"\x02\x00\x0a\x00\x06\x00\xcc\0\0\0\xcc\0\0\0",  # backwards
        b"\x02\x00\x06\x00\x0a\x00\xcc\0\0\0\xcc\0",  # the last one cut
        b"\x02\x00\x06\x00\xff\x00\xcc\0\0\0\xcc\0\0\0",  # beyond the end
    ],
)
def test_replies_must_all_be_there(data: bytes) -> None:
    with pytest.raises(FramingError):
        codec.parse_multiple(data, (codec.READ_TAG,) * 2)


@pytest.mark.parametrize(
    ("general", "extended", "quality"),
    [
        (0x00, 0, GOOD),
        (0x01, 0, BAD_NOT_CONNECTED),
        (0x02, 0, BAD_RESOURCE_UNAVAILABLE),
        (0x04, 0, BAD_CONFIGURATION_ERROR),
        (0x05, 0, BAD_CONFIGURATION_ERROR),
        (0x16, 0, BAD_CONFIGURATION_ERROR),
        (0x08, 0, BAD_NOT_SUPPORTED),
        (0x14, 0, BAD_NOT_SUPPORTED),
        (0x09, 0, BAD_TYPE_MISMATCH),
        (0x13, 0, BAD_TYPE_MISMATCH),
        (0x15, 0, BAD_TYPE_MISMATCH),
        (0xFF, 0x2107, BAD_TYPE_MISMATCH),
        (0x0C, 0, BAD_INVALID_STATE),
        (0x10, 0, BAD_INVALID_STATE),
        (0x0E, 0, BAD_NOT_WRITABLE),
        (0x0F, 0, BAD_USER_ACCESS_DENIED),
        (0x11, 0, BAD_COMMUNICATION_ERROR),
        (0xFF, 0x2105, BAD_CONFIGURATION_ERROR),
        (0xFF, 0x1234, BAD_UNEXPECTED_ERROR),
        (0x77, 0, BAD_UNEXPECTED_ERROR),
    ],
)
def test_a_status_is_a_quality(general: int, extended: int, quality: Quality) -> None:
    assert status.quality_of(general, extended) == quality


def test_a_status_is_told_in_words_and_numbers() -> None:
    assert status.describe(0x05) == "CIP status 05 (no such tag)"
    assert status.describe(0xFF, 0x2105) == "CIP status FF/2105 (beyond the end of the array)"
    assert "check path" in status.describe(0x01, 0x0312)
    assert status.describe(0x77) == "CIP status 77"
