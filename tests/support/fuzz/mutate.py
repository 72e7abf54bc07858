"""Spoils bytes the way strangers do: bits, lengths, ends, repetitions, nesting."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

_LENGTHS = (-1, -2, -(2**31), 2**31 - 1, 0, 1, 2, 255, 65535, 65536, 1_000_000, 2**30, 0x7FFFFFF0)
_BYTES = (0, 1, 2, 3, 0x7F, 0x80, 0xC0, 0xFF, 0x16, 0x17, 0x18, 0x19, 0x98, 0x97, 0x96, 0xD8)
_PIECES = (
    b"\x98\x01\x00\x00\x00",  # an array of one Variant
    b"\x17\x01",  # a DataValue with a value
    b"\x19\x40",  # a DiagnosticInfo with an inner one
    b"\x16\x01\x00\x55\x02\x01",  # a LiteralOperand
    b"\x96\x01\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x03\x04\x00",
    struct.pack("<d", float("nan")),
    b"\xed\xa0\x80",  # half a surrogate pair
)


def mutated(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to four things wrong."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_WAYS)(rng, data, others)
    return data


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The bytes in pieces, as a network may bring them."""
    if rng.random() < 0.3:
        return [data]
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 6)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def _at(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _bit(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _at(rng, data)
    return data[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _byte(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _at(rng, data)
    return data[:at] + bytes((rng.choice(_BYTES),)) + data[at + 1 :]


def _length(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _at(rng, data)
    return data[:at] + struct.pack("<i", rng.choice(_LENGTHS)) + data[at + 4 :]


def _known_length(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Another length where one seems to be."""
    places = [
        at for at in range(len(data) - 3) if data[at + 2 : at + 4] in {b"\0\0", b"\xff\xff"} and data[at]
    ]
    if not places:
        return _length(rng, data, others)
    at = rng.choice(places)
    (old,) = struct.unpack_from("<i", data, at)
    new = rng.choice((*_LENGTHS, old - 1, old + 1, old * 2)) & 0xFFFFFFFF
    return data[:at] + struct.pack("<I", new) + data[at + 4 :]


def _truncate(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _at(rng, data)]


def _extend(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data + rng.randbytes(rng.choice((1, 4, 100)))


def _repeat(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = sorted((_at(rng, data), _at(rng, data)))
    return data[:end] + data[start:end] * rng.choice((1, 2, 20)) + data[end:]


def _insert(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _at(rng, data)
    return data[:at] + rng.choice(_PIECES) * rng.choice((1, 1, 2, 99, 101, 2000)) + data[at:]


def _remove(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = sorted((_at(rng, data), _at(rng, data)))
    return data[:start] + data[end:]


def _splice(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else data
    return data[: _at(rng, data)] + other[_at(rng, other) :]


_WAYS: Sequence[Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = (
    _bit,
    _byte,
    _length,
    _known_length,
    _known_length,
    _truncate,
    _extend,
    _repeat,
    _insert,
    _remove,
    _splice,
)
