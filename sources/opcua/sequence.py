"""Sequence numbers of a subscription's messages: a circle without 0 (OPC 10000-4 §7.11)."""

from __future__ import annotations

from typing import Final

NEVER: Final = 1 << 32
"""The number after the last."""


def following(sequence: int) -> int:
    """The sequence number after one; they begin anew at 1 (OPC 10000-4 §7.11)."""
    return 1 if sequence >= NEVER - 1 else sequence + 1


def behind(number: int, expected: int) -> bool:
    """Whether a number has gone before that one, numbers being a circle."""
    return 0 < (expected - number) % NEVER < NEVER // 2
