"""Whole structures through the stack's codec, bounded by `bounds`: for what is not on a fast path."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

from server.opcua.wire import bounds
from server.opcua.wire.reader import DecodingError, Reader

T = TypeVar("T")

bounds.install()


def decode(kind: type[T], reader: Reader) -> T:
    """A structure at the reader's position, which moves behind it. Raises DecodingError."""
    buffer = cast("Any", Buffer)(reader.data, reader.at, reader.left)
    try:
        found = ua_binary.struct_from_binary(kind, buffer)
    except DecodingError:
        raise
    except Exception as error:  # bytes from a stranger, and asyncua raises what it likes
        raise DecodingError(f"{kind.__name__}: {error!r}") from error
    reader.at = reader.end - len(buffer)
    return found


def decode_variant(data: bytes, at: int = 0) -> ua.Variant:
    """A Variant. Raises DecodingError."""
    buffer = cast("Any", Buffer)(data, at, len(data) - at)
    try:
        return ua_binary.variant_from_binary(buffer)
    except DecodingError:
        raise
    except Exception as error:  # as above
        raise DecodingError(f"Variant: {error!r}") from error


def encode(value: Any) -> bytes:
    """A structure."""
    return ua_binary.struct_to_binary(value)


def encode_variant(value: ua.Variant) -> bytes:
    """A Variant."""
    return ua_binary.variant_to_binary(value)
