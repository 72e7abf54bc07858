"""Whole structures as the stack's types, for what is not on a fast path: `decode` reads, its codec writes."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from asyncua import ua
from asyncua.ua import ua_binary
from asyncua.ua.uaerrors import UaError

from server.opcua.wire import bounds, corrections
from server.opcua.wire.decode import structure, variant
from server.opcua.wire.reader import DecodingError, Reader

T = TypeVar("T")

bounds.install()  # for the client by which we register at a discovery server, which reads by itself
corrections.install()


def decode(kind: type[T], reader: Reader) -> T:
    """A structure at the reader's position, which moves behind it. Raises DecodingError."""
    try:
        return cast("T", structure(cast("Any", kind)).decode(reader))
    except (ValueError, TypeError, OverflowError, UaError) as error:  # whatever the stack's types do not take
        raise DecodingError(f"{kind.__name__}: {error!r:.200}") from error


def decode_variant(data: bytes, at: int = 0) -> ua.Variant:
    """A Variant. Raises DecodingError."""
    try:
        return variant(Reader(data, at))
    except (ValueError, TypeError, OverflowError, UaError) as error:  # as above
        raise DecodingError(f"Variant: {error!r:.200}") from error


def encode(value: Any) -> bytes:
    """A structure."""
    return ua_binary.struct_to_binary(value)


def encode_variant(value: ua.Variant) -> bytes:
    """A Variant."""
    return ua_binary.variant_to_binary(value)


def variant_of(value: Any, like: ua.Variant) -> ua.Variant:
    """A Variant of the same built-in type with another value; a list of lists has dimensions."""
    is_array = isinstance(value, list)
    dimensions: list[int] = []
    inner = value
    while isinstance(inner, list):
        dimensions.append(len(inner))
        inner = inner[0] if inner else None
    make = cast("Any", ua.Variant)
    found = make(value, like.VariantType, dimensions if len(dimensions) > 1 else None, is_array)
    return cast("ua.Variant", found)
