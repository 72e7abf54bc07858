"""What the controller's status codes mean: a quality for the value, words for a person.

General status codes are those of CIP Vol. 1 appendix B, the extended ones of status 0xFF
those of Rockwell's 1756-PM020.
"""

from __future__ import annotations

from typing import Final

from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_INVALID_STATE,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    BAD_UNEXPECTED_ERROR,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    Quality,
)

SUCCESS: Final = 0x00
PARTIAL: Final = 0x06
"""There is more than the packet takes; go on where it stopped."""
TOO_LARGE: Final = 0x11
NOT_SUPPORTED: Final = 0x08
EMBEDDED: Final = 0x1E
"""A service within a multiple service request failed; each of its replies says for itself."""
EXTENDED: Final = 0xFF
BEYOND_ARRAY: Final = 0x2105
WRONG_TYPE: Final = 0x2107

_QUALITIES: Final[dict[int, Quality]] = {
    SUCCESS: GOOD,
    0x01: BAD_NOT_CONNECTED,
    0x02: BAD_RESOURCE_UNAVAILABLE,
    # A path that leads nowhere: the tag is gone or was never there. Never BadNodeIdUnknown,
    # which would tell a client that our own node is gone.
    0x04: BAD_CONFIGURATION_ERROR,
    0x05: BAD_CONFIGURATION_ERROR,
    0x16: BAD_CONFIGURATION_ERROR,
    PARTIAL: BAD_COMMUNICATION_ERROR,
    NOT_SUPPORTED: BAD_NOT_SUPPORTED,
    0x09: BAD_TYPE_MISMATCH,
    0x0C: BAD_INVALID_STATE,
    0x0E: BAD_NOT_WRITABLE,
    0x0F: BAD_USER_ACCESS_DENIED,
    0x10: BAD_INVALID_STATE,
    TOO_LARGE: BAD_COMMUNICATION_ERROR,
    0x13: BAD_TYPE_MISMATCH,
    0x14: BAD_NOT_SUPPORTED,
    0x15: BAD_TYPE_MISMATCH,
    0x20: BAD_OUT_OF_RANGE,
}
_EXTENDED: Final[dict[int, Quality]] = {
    BEYOND_ARRAY: BAD_CONFIGURATION_ERROR,
    WRONG_TYPE: BAD_TYPE_MISMATCH,
}
_WORDS: Final[dict[int, str]] = {
    0x01: "connection failure",
    0x02: "no resources left",
    0x03: "invalid parameter value",
    0x04: "no such tag",
    0x05: "no such tag",
    PARTIAL: "partial transfer",
    NOT_SUPPORTED: "service not supported",
    0x09: "invalid attribute value",
    0x0C: "not possible in this state",
    0x0E: "not writable",
    0x0F: "access denied",
    0x10: "not possible in this mode",
    TOO_LARGE: "reply too large",
    0x13: "not enough data",
    0x14: "attribute not supported",
    0x15: "too much data",
    0x16: "no such object",
    0x20: "invalid parameter",
}
_EXTENDED_WORDS: Final[dict[int, str]] = {
    BEYOND_ARRAY: "beyond the end of the array",
    WRONG_TYPE: "another type",
}
# Why a connection was not opened: extended codes of status 01 (CIP Vol. 1 §3-5.5).
_OPENING: Final[dict[int, str]] = {
    0x0100: "the connection exists already",
    0x0109: "the connection size is not granted",
    0x0113: "the controller has no connection left; close another client or spare connections",
    0x0204: "no answer from the module behind the route; check path",
    0x0311: "the route names a port that is not there; check path",
    0x0312: "no module answers at that slot or address; check path",
    0x0315: "the route leads nowhere; check path",
    0x0318: "the route leads back to its start; check path",
}


def quality_of(status: int, extended: int = 0) -> Quality:
    """The StatusCode for a value whose read or write was answered so."""
    if status == EXTENDED:
        return _EXTENDED.get(extended, BAD_UNEXPECTED_ERROR)
    return _QUALITIES.get(status, BAD_UNEXPECTED_ERROR)


def is_stale(status: int, extended: int = 0) -> bool:
    """Whether the answer says that the controller's tags are not those that were uploaded."""
    return status in {0x04, 0x05, 0x16} or (status == EXTENDED and extended in {BEYOND_ARRAY, WRONG_TYPE})


def describe(status: int, extended: int = 0) -> str:
    """For people: ``CIP status 05 (no such tag)``."""
    code = f"{status:02X}/{extended:04X}" if extended else f"{status:02X}"
    words = _OPENING.get(extended) if status == 0x01 else None
    words = words or (_EXTENDED_WORDS.get(extended) if status == EXTENDED else _WORDS.get(status))
    return f"CIP status {code} ({words})" if words else f"CIP status {code}"
