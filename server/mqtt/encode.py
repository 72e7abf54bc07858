"""Values and messages as OPC UA JSON (OPC 10000-6 §5.4, OPC 10000-14 §7.2.5). No I/O.

Data fields are Verbose DataValues: Value, Status (left out where Good) and SourceTimestamp.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import uuid4

import orjson

from server.plant.model import Enumeration
from sources.clock import to_iso
from sources.quality import GOOD, Quality, quality_name
from sources.tag import Value, ValueType

Json: TypeAlias = dict[str, Any]

NETWORK_MESSAGE_MASK: Final = 0x0B
"""JsonNetworkMessageContentMask: NetworkMessageHeader, DataSetMessageHeader, PublisherId."""
DATA_SET_MESSAGE_MASK: Final = 0xC3D
"""JsonDataSetMessageContentMask: DataSetWriterId, SequenceNumber, Timestamp, Status, MessageType,
MinorVersion, FieldEncoding2 (Verbose)."""
FIELD_MASK: Final = 0x03
"""DataSetFieldContentMask: StatusCode, SourceTimestamp."""
HEADER_LAYOUT: Final = "http://opcfoundation.org/UA/PubSub-Layouts/JSON-NetworkMessage"
TRANSPORT_PROFILE: Final = "http://opcfoundation.org/UA-Profile/Transport/pubsub-mqtt-json"

KEY_FRAME: Final = "ua-keyframe"
DELTA_FRAME: Final = "ua-deltaframe"
KEEP_ALIVE: Final = "ua-keepalive"

STATE_DISABLED: Final = 0
STATE_OPERATIONAL: Final = 2
STATE_ERROR: Final = 3
STATE_PRE_OPERATIONAL: Final = 4
"""PubSubState (OPC 10000-14 §6.2.1)."""

_SHORTENED: Final = 500
"""Floats of an array that are written as short as they can be."""

Encoder: TypeAlias = Callable[[Any], object]
"""A value of one type, never None, to what JSON holds."""


def encoder(kind: ValueType, enumeration: Enumeration | None = None, *, array: bool = False) -> Encoder:
    """The Verbose encoding of one property's values; an array's elements in a JSON array."""
    if array and kind is ValueType.Float and enumeration is None:
        return _floats
    if array:
        each = encoder(kind, enumeration)
        return list if each is _as_is else lambda values: [each(value) for value in values]
    if enumeration is not None:
        names = {number: f"{name}_{number}" for number, name in enumeration.members.items()}
        return lambda value: names.get(value) or str(value)
    return _ENCODERS.get(kind, _as_is)


def _as_is(value: Value) -> Value:
    return value


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _float(value: float) -> float | str:
    """The shortest number that means the same 32 bits: 12.3, not 12.300000190734863."""
    if not math.isfinite(value):
        return _double(value)
    try:
        bits = struct.pack("<f", value)
    except OverflowError:
        return value
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == bits:
            return short
    return float(f"{value:.9g}")


def _floats(values: Sequence[float]) -> list[float | str]:
    """As `_float`; of very many each has nine digits, which mean the same 32 bits in a sixth of the time."""
    if len(values) <= _SHORTENED:
        return [_float(value) for value in values]
    texts = "%.9g " * len(values) % tuple(values)
    return [_double(float(text)) for text in texts.split()]


def _string(value: str) -> str:
    """Text as it is; a lone surrogate, which UTF-8 cannot hold, becomes a question mark."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


_ENCODERS: Final[Mapping[ValueType, Encoder]] = {
    ValueType.Int64: str,
    ValueType.UInt64: str,
    ValueType.Float: _float,
    ValueType.Double: _double,
    ValueType.String: _string,
    ValueType.DateTime: to_iso,
}


def status_code(status: Quality) -> Json:
    """A StatusCode that is not Good, Verbose: Code and, where it has a name here, Symbol."""
    name = quality_name(status)
    return {"Code": status} if name.startswith("0x") else {"Code": status, "Symbol": name}


def data_value(encode: Encoder, value: Value, status: Quality, source_time: str) -> Json:
    """One field of a Payload; ``source_time`` is ISO 8601. A value of None is written as null."""
    encoded = None if value is None else encode(value)
    if status == GOOD:
        return {"Value": encoded, "SourceTimestamp": source_time}
    return {"Value": encoded, "Status": status_code(status), "SourceTimestamp": source_time}


def data_message(
    publisher_id: str,
    kind: str,
    *,
    writer_id: int,
    sequence: int,
    minor_version: int,
    time: int,
    payload: Json | None = None,
) -> bytes:
    """A NetworkMessage with one DataSetMessage in the JSON-NetworkMessage layout; ``time`` in ticks."""
    message = {
        "DataSetWriterId": writer_id,
        "SequenceNumber": sequence,
        "MinorVersion": minor_version,
        "Timestamp": to_iso(time),
        "MessageType": kind,
    }
    if payload is not None:
        message["Payload"] = payload
    return orjson.dumps(
        {
            "MessageId": str(uuid4()),
            "MessageType": "ua-data",
            "PublisherId": publisher_id,
            "Messages": [message],
        }
    )


def metadata_message(
    publisher_id: str, *, writer_id: int, writer: str, group: str, time: int, metadata: Json
) -> bytes:
    """A ``ua-metadata`` message (OPC 10000-14 §7.2.5.5.2); ``time`` in ticks."""
    return orjson.dumps(
        {
            "MessageId": str(uuid4()),
            "MessageType": "ua-metadata",
            "PublisherId": publisher_id,
            "DataSetWriterId": writer_id,
            "WriterGroupName": group,
            "DataSetWriterName": writer,
            "Timestamp": to_iso(time),
            "MetaData": metadata,
        }
    )


def status_message(publisher_id: str, state: int) -> bytes:
    """A ``ua-status`` message that is not cyclic: sent when the state changes (§7.2.5.5)."""
    return orjson.dumps(
        {
            "MessageId": str(uuid4()),
            "MessageType": "ua-status",
            "PublisherId": publisher_id,
            "IsCyclic": False,
            "Status": state,
        }
    )


def connection_message(publisher_id: str, *, time: int, connection: Json) -> bytes:
    """A ``ua-connection`` message (§7.2.5.5.6); ``time`` in ticks."""
    return orjson.dumps(
        {
            "MessageId": str(uuid4()),
            "MessageType": "ua-connection",
            "PublisherId": publisher_id,
            "Timestamp": to_iso(time),
            "Connection": connection,
        }
    )
