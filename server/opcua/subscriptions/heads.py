"""What subscriptions ask of heads (`server.opcua.space.value`): are two the same, mark one as overflown."""

from __future__ import annotations

from typing import Final

from server.opcua.space.points import parts
from server.opcua.space.value import HAS_SOURCE, HAS_STATUS, head

OVERFLOW: Final = 0x480
"""InfoType DataValue with the Overflow bit, in a StatusCode (OPC 10000-4 §7.39.1)."""


def same(old: bytes, new: bytes) -> bool:
    """Whether value and status are the same; SourceTimestamps may differ."""
    if old is new:
        return True
    mask = new[0]
    if mask & old[0] & HAS_SOURCE:
        return old[:-8] == new[:-8]
    return parts(old)[:2] == parts(new)[:2]


def status_of(whole: bytes) -> int:
    """The StatusCode of a head."""
    mask = whole[0]
    if not mask & HAS_STATUS:
        return 0
    end = len(whole) - (8 if mask & HAS_SOURCE else 0)
    return int.from_bytes(whole[end - 4 : end], "little")


def overflown(whole: bytes) -> bytes:
    """The head with the Overflow bit set."""
    variant, status, source = parts(whole)
    time = int.from_bytes(source, "little", signed=True) if source else None
    return head(variant, status | OVERFLOW, time)
