"""What an SLC's status codes mean (1770-RM516, chapter 8): a quality for the value, words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_INVALID_STATE,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    BAD_UNEXPECTED_ERROR,
    BAD_USER_ACCESS_DENIED,
    Quality,
)

EXTENDED: Final = 0xF0
"""The cause follows in a byte of its own."""

_MEANINGS: Final[Mapping[int, tuple[Quality, str]]] = {
    0x10: (BAD_NOT_SUPPORTED, "illegal command or format"),
    0x20: (BAD_DEVICE_FAILURE, "the host has a problem and will not communicate"),
    0x30: (BAD_NOT_CONNECTED, "the remote node is missing"),
    0x40: (BAD_DEVICE_FAILURE, "a hardware fault"),
    0x50: (BAD_CONFIGURATION_ERROR, "no such address"),
    0x60: (BAD_USER_ACCESS_DENIED, "command protection is on"),
    0x70: (BAD_INVALID_STATE, "the processor is in program mode"),
    0x80: (BAD_CONFIGURATION_ERROR, "the file is missing"),
    0xA0: (BAD_DEVICE_FAILURE, "a fault at the other end"),
    0xB0: (BAD_INVALID_STATE, "the remote node is being downloaded to"),
}
_EXTENDED: Final[Mapping[int, tuple[Quality, str]]] = {
    0x01: (BAD_CONFIGURATION_ERROR, "a field has an illegal value"),
    0x06: (BAD_CONFIGURATION_ERROR, "no such address"),
    0x07: (BAD_CONFIGURATION_ERROR, "the file is shorter"),
    0x08: (BAD_CONFIGURATION_ERROR, "no such address"),
    0x09: (BAD_OUT_OF_RANGE, "the data is larger than the file"),
    0x0B: (BAD_USER_ACCESS_DENIED, "access denied"),
    0x0C: (BAD_RESOURCE_UNAVAILABLE, "no resources left"),
    0x0E: (BAD_OUT_OF_RANGE, "a histogram overflow"),
    0x11: (BAD_TYPE_MISMATCH, "another type"),
    0x12: (BAD_NOT_SUPPORTED, "an invalid parameter"),
}


def meaning(status: int, extended: int = 0) -> tuple[Quality, str]:
    """The StatusCode of a request answered so, and words: ``PCCC status 50 (no such address)``."""
    table, code = (_EXTENDED, extended) if status == EXTENDED else (_MEANINGS, status)
    quality, words = table.get(code, (BAD_UNEXPECTED_ERROR, ""))
    shown = f"{status:02X}/{extended:02X}" if status == EXTENDED else f"{status:02X}"
    return quality, f"PCCC status {shown} ({words})" if words else f"PCCC status {shown}"
