"""What of a message's notifications fits into the bytes a client takes."""

from __future__ import annotations

from server.opcua.space.value import HAS_STATUS
from server.opcua.subscriptions.event_filter import too_large
from server.opcua.types import StatusCodes
from server.opcua.wire.writer import uint32

_TOO_LARGE = bytes((HAS_STATUS,)) + uint32(StatusCodes.BadEncodingLimitsExceeded)


def fitted_data(parts: list[bytes], room: int) -> tuple[list[bytes], list[bytes]]:
    """Those that fit, and the rest. Three parts are one notification: ClientHandle, value, ServerTimestamp.

    The first is always among those that fit: where it does not, its value is replaced by the reason.
    """
    size = 0
    for at in range(0, len(parts), 3):
        size += len(parts[at]) + len(parts[at + 1]) + len(parts[at + 2])
        if size > room:
            if at:
                return parts[:at], parts[at:]
            return [parts[0], _TOO_LARGE, b""], parts[3:]
    return parts, []


def fitted_events(events: list[bytes], room: int, *, first: bool) -> tuple[list[bytes], list[bytes]]:
    """Those that fit, and the rest. With ``first`` nothing else is in the message: then one always fits."""
    size = 0
    for index, event in enumerate(events):
        size += len(event)
        if size > room:
            if index or not first:
                return events[:index], events[index:]
            return [too_large(event)], events[1:]
    return events, []
