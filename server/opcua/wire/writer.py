"""Encodes what answers are joined of (OPC 10000-6 §5.2). Arrays and structures: `structs`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

NULL_STRING: Final = b"\xff\xff\xff\xff"
NULL_VARIANT: Final = b"\x00"

_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
_U16: Final = struct.Struct("<H")
_I64: Final = struct.Struct("<q")

uint32 = _U32.pack
int32 = _I32.pack
uint16 = _U16.pack
ticks = _I64.pack
"""A DateTime from ticks of 100 ns since 1601 (`sources.clock`)."""


def string(text: str | None) -> bytes:
    """A String; also an XmlElement."""
    return NULL_STRING if text is None else byte_string(text.encode("utf-8", "replace"))


def byte_string(data: bytes | None) -> bytes:
    """A ByteString."""
    return NULL_STRING if data is None else _I32.pack(len(data)) + data


def qualified_name(name: str | None, namespace: int = 0) -> bytes:
    """A QualifiedName."""
    return _U16.pack(namespace) + string(name)


def localized_text(text: str | None, locale: str | None = None) -> bytes:
    """A LocalizedText; an empty locale is left out, as is a text of None."""
    mask = (1 if locale else 0) | (2 if text is not None else 0)
    return bytes((mask,)) + (string(locale) if locale else b"") + (string(text) if text is not None else b"")


def array(items: Sequence[bytes]) -> bytes:
    """An array of elements that are encoded already."""
    return _I32.pack(len(items)) + b"".join(items)


def variant(kind: int, data: bytes) -> bytes:
    """A scalar Variant of a built-in type, its content encoded already."""
    return bytes((kind,)) + data


def variant_array(kind: int, items: Sequence[bytes]) -> bytes:
    """A one-dimensional Variant of a built-in type, its elements encoded already."""
    return bytes((kind | 0x80,)) + array(items)
