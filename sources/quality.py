"""Quality: an OPC UA StatusCode carried as a plain int (OPC 10000-4 §7.39).

Codes that come from an OPC UA source pass through untouched, so the type is the integer
itself and not an enumeration of the few codes this project names.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Quality: TypeAlias = int

GOOD: Final = 0x00000000
GOOD_COMPLETES_ASYNCHRONOUSLY: Final = 0x002E0000
GOOD_CLAMPED: Final = 0x00300000
GOOD_LOCAL_OVERRIDE: Final = 0x00960000
UNCERTAIN: Final = 0x40000000
UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE: Final = 0x408F0000
BAD: Final = 0x80000000
BAD_UNEXPECTED_ERROR: Final = 0x80010000
BAD_INTERNAL_ERROR: Final = 0x80020000
BAD_RESOURCE_UNAVAILABLE: Final = 0x80040000
BAD_COMMUNICATION_ERROR: Final = 0x80050000
BAD_DECODING_ERROR: Final = 0x80070000
BAD_TIMEOUT: Final = 0x800A0000
BAD_TOO_MANY_OPERATIONS: Final = 0x80100000
BAD_USER_ACCESS_DENIED: Final = 0x801F0000
BAD_IDENTITY_TOKEN_INVALID: Final = 0x80200000
BAD_IDENTITY_TOKEN_REJECTED: Final = 0x80210000
BAD_NO_COMMUNICATION: Final = 0x80310000
BAD_WAITING_FOR_INITIAL_DATA: Final = 0x80320000
BAD_NODE_ID_UNKNOWN: Final = 0x80340000
BAD_INDEX_RANGE_NO_DATA: Final = 0x80370000
BAD_NOT_WRITABLE: Final = 0x803B0000
BAD_OUT_OF_RANGE: Final = 0x803C0000
BAD_NOT_SUPPORTED: Final = 0x803D0000
BAD_USER_SIGNATURE_INVALID: Final = 0x80570000
BAD_WRITE_NOT_SUPPORTED: Final = 0x80730000
BAD_TYPE_MISMATCH: Final = 0x80740000
BAD_CONFIGURATION_ERROR: Final = 0x80890000
BAD_NOT_CONNECTED: Final = 0x808A0000
BAD_DEVICE_FAILURE: Final = 0x808B0000
BAD_OUT_OF_SERVICE: Final = 0x808D0000
BAD_CONNECTION_CLOSED: Final = 0x80AE0000
BAD_INVALID_STATE: Final = 0x80AF0000
BAD_OPERATION_ABANDONED: Final = 0x80B30000

_NAMES: Final[dict[int, str]] = {
    GOOD: "Good",
    GOOD_COMPLETES_ASYNCHRONOUSLY: "GoodCompletesAsynchronously",
    GOOD_CLAMPED: "GoodClamped",
    GOOD_LOCAL_OVERRIDE: "GoodLocalOverride",
    UNCERTAIN: "Uncertain",
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE: "UncertainNoCommunicationLastUsableValue",
    BAD: "Bad",
    BAD_UNEXPECTED_ERROR: "BadUnexpectedError",
    BAD_INTERNAL_ERROR: "BadInternalError",
    BAD_COMMUNICATION_ERROR: "BadCommunicationError",
    BAD_DECODING_ERROR: "BadDecodingError",
    BAD_TIMEOUT: "BadTimeout",
    BAD_USER_ACCESS_DENIED: "BadUserAccessDenied",
    BAD_IDENTITY_TOKEN_INVALID: "BadIdentityTokenInvalid",
    BAD_IDENTITY_TOKEN_REJECTED: "BadIdentityTokenRejected",
    BAD_NO_COMMUNICATION: "BadNoCommunication",
    BAD_WAITING_FOR_INITIAL_DATA: "BadWaitingForInitialData",
    BAD_NODE_ID_UNKNOWN: "BadNodeIdUnknown",
    BAD_INDEX_RANGE_NO_DATA: "BadIndexRangeNoData",
    BAD_NOT_WRITABLE: "BadNotWritable",
    BAD_OUT_OF_RANGE: "BadOutOfRange",
    BAD_NOT_SUPPORTED: "BadNotSupported",
    BAD_USER_SIGNATURE_INVALID: "BadUserSignatureInvalid",
    BAD_WRITE_NOT_SUPPORTED: "BadWriteNotSupported",
    BAD_TYPE_MISMATCH: "BadTypeMismatch",
    BAD_CONFIGURATION_ERROR: "BadConfigurationError",
    BAD_NOT_CONNECTED: "BadNotConnected",
    BAD_DEVICE_FAILURE: "BadDeviceFailure",
    BAD_OUT_OF_SERVICE: "BadOutOfService",
    BAD_CONNECTION_CLOSED: "BadConnectionClosed",
    BAD_INVALID_STATE: "BadInvalidState",
    BAD_OPERATION_ABANDONED: "BadOperationAbandoned",
    BAD_TOO_MANY_OPERATIONS: "BadTooManyOperations",
    BAD_RESOURCE_UNAVAILABLE: "BadResourceUnavailable",
}


def is_good(quality: Quality) -> bool:
    """True when the severity bits (31-30) say Good."""
    return quality & 0xC0000000 == 0


def is_uncertain(quality: Quality) -> bool:
    """True when the severity bits say Uncertain: the value is usable, with doubt."""
    return quality & 0xC0000000 == 0x40000000


def is_bad(quality: Quality) -> bool:
    """True when the severity bits say Bad: no value is served (OPC 10000-4 §7.11.1)."""
    return bool(quality & 0x80000000)


def quality_name(quality: Quality) -> str:
    """The symbolic name without its underscore, or ``0x…`` for a code that has none here."""
    return _NAMES.get(quality & 0xFFFF0000) or f"0x{quality:08X}"
