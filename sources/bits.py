"""Packed bits as devices send them: the least significant of each byte first."""

from __future__ import annotations

from itertools import chain
from typing import Final

_OF_BYTE: Final = [tuple(byte >> bit & 1 != 0 for bit in range(8)) for byte in range(256)]


def bits(raw: bytes, first: int, count: int) -> tuple[bool, ...]:
    """So many bits from that one on."""
    return tuple(chain.from_iterable(map(_OF_BYTE.__getitem__, raw)))[first : first + count]
