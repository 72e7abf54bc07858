"""asyncua's types where its annotations would fail a strict check: wrapped here, once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import UUID

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

__all__ = [
    "GOOD",
    "AttributeIds",
    "ObjectIds",
    "ServiceFault",
    "StatusCodes",
    "UaError",
    "UaStatusCodeError",
    "error_code",
    "node_id",
    "opaque_id",
    "status",
    "status_name",
    "ua_time",
    "utc_now",
]

_StatusCode: Final = cast("Any", ua.StatusCode)
_NodeId: Final = cast("Any", ua.NodeId)

GOOD: Final[ua.StatusCode] = _StatusCode(0)


class ServiceFault(Exception):
    """A whole service call fails with a StatusCode (OPC 10000-4 §7.35)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason or status_name(code))
        self.code = code


def node_id(identifier: int | str | UUID | bytes, namespace: int = 0) -> ua.NodeId:
    """A NodeId in the most compact encoding."""
    return cast("ua.NodeId", _NodeId(identifier, namespace))


def opaque_id(identifier: bytes) -> ua.NodeId:
    """A NodeId of namespace 0 that is nothing but those bytes."""
    return cast("ua.NodeId", _NodeId(identifier, 0, ua.NodeIdType.ByteString))


def status(code: int) -> ua.StatusCode:
    """A StatusCode."""
    return cast("ua.StatusCode", _StatusCode(code))


def status_name(code: int) -> str:
    """``BadUserAccessDenied`` and the like."""
    return str(status(code).name)


def error_code(error: UaStatusCodeError) -> int:
    """The StatusCode an exception of asyncua stands for."""
    return int(error.code)


def ua_time(moment: datetime) -> ua.DateTime:
    """A time as DataValue has it: an aware datetime, which asyncua calls by a name of its own."""
    return cast("ua.DateTime", moment)


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)
