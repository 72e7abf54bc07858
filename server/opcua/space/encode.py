"""Variants of plain values, encoded (OPC 10000-6 §5.2.2.16)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from server.opcua.wire import writer
from server.opcua.wire.nodeid import Key, numeric

FALSE: Final = b"\x01\x00"
TRUE: Final = b"\x01\x01"

_BYTE, _UINT16, _INT32, _UINT32, _DOUBLE, _STRING, _DATE_TIME = 3, 5, 6, 7, 11, 12, 13
_BYTE_STRING, _NODE_ID, _STATUS_CODE, _QUALIFIED_NAME, _LOCALIZED_TEXT, _EXTENSION_OBJECT = (
    15,
    17,
    19,
    20,
    21,
    22,
)
_double: Final = struct.Struct("<Bd").pack
_NULL_ARRAY: Final = b"\xff\xff\xff\xff"
_BINARY: Final = b"\x01"


def boolean(value: bool) -> bytes:
    """A Boolean."""
    return TRUE if value else FALSE


def byte(value: int) -> bytes:
    """A Byte."""
    return bytes((_BYTE, value))


def uint16(value: int) -> bytes:
    """A UInt16."""
    return writer.variant(_UINT16, writer.uint16(value))


def int32(value: int) -> bytes:
    """An Int32; also an enumeration."""
    return writer.variant(_INT32, writer.int32(value))


def uint32(value: int) -> bytes:
    """A UInt32."""
    return writer.variant(_UINT32, writer.uint32(value))


def double(value: float) -> bytes:
    """A Double; also a Duration."""
    return _double(_DOUBLE, value)


def string(value: str | None) -> bytes:
    """A String."""
    return writer.variant(_STRING, writer.string(value))


def time(ticks: int) -> bytes:
    """A DateTime; 0 for none."""
    return writer.variant(_DATE_TIME, writer.ticks(ticks))


def byte_string(value: bytes | None) -> bytes:
    """A ByteString."""
    return writer.variant(_BYTE_STRING, writer.byte_string(value))


def node_id(value: Key) -> bytes:
    """A NodeId."""
    return writer.variant(_NODE_ID, value)


def qualified_name(encoded: bytes) -> bytes:
    """A QualifiedName."""
    return writer.variant(_QUALIFIED_NAME, encoded)


def localized_text(encoded: bytes) -> bytes:
    """A LocalizedText."""
    return writer.variant(_LOCALIZED_TEXT, encoded)


def uint32s(values: Sequence[int] | None) -> bytes:
    """An array of UInt32, null where none is given."""
    if values is None:
        return bytes((_UINT32 | 0x80,)) + _NULL_ARRAY
    return writer.variant_array(_UINT32, [writer.uint32(value) for value in values])


def int32s(values: Iterable[int]) -> bytes:
    """An array of Int32 or of an enumeration."""
    return writer.variant_array(_INT32, [writer.int32(value) for value in values])


def strings(values: Iterable[str | None]) -> bytes:
    """An array of String."""
    return writer.variant_array(_STRING, [writer.string(value) for value in values])


def status_code(value: int) -> bytes:
    """A StatusCode."""
    return writer.variant(_STATUS_CODE, writer.uint32(value))


def extension_object(encoding: int, body: bytes) -> bytes:
    """A structure of namespace 0 by the number of its binary encoding; no Variant yet."""
    return numeric(encoding) + _BINARY + writer.byte_string(body)


def structure(encoding: int, body: bytes) -> bytes:
    """A structure, by the number of its binary encoding."""
    return writer.variant(_EXTENSION_OBJECT, extension_object(encoding, body))


def structures(encoding: int, bodies: Iterable[bytes]) -> bytes:
    """An array of structures of one type."""
    return writer.variant_array(_EXTENSION_OBJECT, [extension_object(encoding, body) for body in bodies])
