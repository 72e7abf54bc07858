from __future__ import annotations

import pytest

from sources.modbus.codec import MalformedReply
from sources.modbus.serialframe import Ascii, Rtu, crc, lrc, rtu_reply_size


def test_checks_are_those_of_the_specification() -> None:
    assert crc(bytes.fromhex("0207")) == bytes.fromhex("4112")  # Serial Line V1.02 §6.2.2
    assert crc(b"123456789") == bytes.fromhex("374b")  # CRC-16/MODBUS, check value 0x4B37
    assert lrc(bytes.fromhex("f7031389000a")) == b"\x60"


def test_frames() -> None:
    pdu = bytes.fromhex("03 006b 0003")
    assert Rtu().wrap(17, pdu) == bytes.fromhex("11 03 006b 0003 7687")
    assert Ascii().wrap(17, pdu) == b":1103006B00037E\r\n"


@pytest.mark.parametrize(
    ("pdu", "known_from"),
    [
        ("83 02", 5),
        ("01 01 05", 5),
        ("03 04 0001 0002", 5),
        ("05 0001 ff00", 5),
        ("06 0001 0002", 5),
        ("0f 0001 0002", 5),
        ("10 0001 0002", 5),
        ("16 0001 0002 0003", 5),
        ("17 04 0001 0002", 5),
        ("18 0006 0002 0001 0002", 5),
        ("2b 0e 01 01 00 00 02 00 02 4142 01 01 43", 14),
    ],
)
def test_how_long_a_reply_is_follows_from_itself(pdu: str, known_from: int) -> None:
    frame = Rtu().wrap(9, bytes.fromhex(pdu))
    sizes = [rtu_reply_size(frame[:length]) for length in range(len(frame) + 1)]
    assert sizes[-1] == len(frame)
    assert {size for size in sizes if size is not None} == {len(frame)}
    assert sizes.index(len(frame)) <= known_from
    for length in range(len(frame)):
        assert Rtu().unwrap(frame[:length]) is None
    assert Rtu().unwrap(frame) == (9, bytes.fromhex(pdu))


@pytest.mark.parametrize("spoil", [lambda f: f + b"\0", lambda f: f[:-1] + b"\0", lambda f: b"\x01\x63" + f])
def test_what_is_no_rtu_frame_is_malformed(spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(MalformedReply):
        Rtu().unwrap(spoil(Rtu().wrap(9, bytes.fromhex("03 04 0001 0002"))))


def test_ascii_frames_are_found_in_noise_and_pieces() -> None:
    frame = Ascii().wrap(9, bytes.fromhex("03 02 00ff"))
    for length in range(len(frame)):
        assert Ascii().unwrap(b"\xff\0" + frame[:length]) is None
    assert Ascii().unwrap(b"\xff\0" + frame) == (9, bytes.fromhex("03 02 00ff"))
    assert Ascii().unwrap(b":0903" + frame) == (9, bytes.fromhex("03 02 00ff")), "a cut frame before it"
    assert Ascii().unwrap(frame.lower()) == (9, bytes.fromhex("03 02 00ff"))


@pytest.mark.parametrize(
    "frame", [b":0903020000F3\r\n", b":09X3\r\n", b":0\r\n", b":\r\n", b"x" * 600, b":" + b"0" * 600]
)
def test_what_is_no_ascii_frame_is_malformed(frame: bytes) -> None:
    with pytest.raises(MalformedReply):
        Ascii().unwrap(frame)
