"""NotificationMessages and what carries them, as bytes (OPC 10000-4 §5.14.5, §7.25, §7.26)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import Final

from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import numeric
from server.opcua.wire.writer import int32

NO_DIAGNOSTICS: Final = b"\xff\xff\xff\xff"
"""A null array of DiagnosticInfo."""

_DATA_CHANGE: Final = numeric(ObjectIds.DataChangeNotification_Encoding_DefaultBinary) + b"\x01"
_EVENTS: Final = numeric(ObjectIds.EventNotificationList_Encoding_DefaultBinary) + b"\x01"
_STATUS_CHANGE: Final = numeric(ObjectIds.StatusChangeNotification_Encoding_DefaultBinary) + b"\x01"
_HEAD: Final = struct.Struct("<Iqi")
"""SequenceNumber, PublishTime, and how many notifications of a kind follow."""
_SIZED: Final = struct.Struct("<ii")

OVERHEAD: Final = 256
"""Bytes that a response has beside its notifications and sequence numbers."""


def keep_alive(sequence: int, time: int) -> bytes:
    """A NotificationMessage without notifications; the sequence number is that of the next (§5.14.1.1)."""
    return _HEAD.pack(sequence, time, 0)


def message(
    sequence: int, time: int, changes: int, data: Sequence[bytes], events: Sequence[bytes] = ()
) -> bytes:
    """A NotificationMessage: ``data`` are the parts of ``changes`` MonitoredItemNotifications."""
    parts = [_HEAD.pack(sequence, time, bool(changes) + bool(events))]
    if changes:
        body = b"".join(data)
        parts += (_DATA_CHANGE, _SIZED.pack(len(body) + 8, changes), body, NO_DIAGNOSTICS)
    if events:
        body = b"".join(events)
        parts += (_EVENTS, _SIZED.pack(len(body) + 4, len(events)), body)
    return b"".join(parts)


def status_change(sequence: int, time: int, code: int) -> bytes:
    """A NotificationMessage with a StatusChangeNotification (§7.25.4)."""
    body = struct.pack("<IB", code, 0)
    return _HEAD.pack(sequence, time, 1) + _STATUS_CHANGE + int32(len(body)) + body


def sequence_numbers(numbers: Collection[int]) -> bytes:
    """An array of sequence numbers."""
    return struct.pack(f"<i{len(numbers)}I", len(numbers), *numbers)


def publish_response(
    subscription: int, available: Collection[int], *, more: bool, message: bytes, results: bytes
) -> list[bytes]:
    """The parameters of a PublishResponse; ``results`` are the acknowledgements', encoded."""
    head = struct.pack("<I", subscription) + sequence_numbers(available) + bytes((more,))
    return [head, message, results + NO_DIAGNOSTICS]
