"""Bounds for asyncua's binary decoder, which trusts every length it reads.

Without them a few bytes from anybody (a string of negative length, an array that claims
more elements than the message has bytes, an array of elements without bytes, dimensions
that do not belong to their array) keep the event loop or the memory busy for ever. They
replace functions inside `asyncua.ua.ua_binary`, so asyncua is pinned to one version.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, cast

from asyncua import ua
from asyncua.common import utils
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua import ua_binary
from asyncua.ua.uaerrors import UaError

_codec: Final = cast("Any", ua_binary)
_original_read: Final = Buffer.read
_original_skip: Final = Buffer.skip


class Malformed(UaError):
    """Bytes that no encoder makes."""


def install() -> None:
    """Put the bounds in place for this process. May be called again and again."""
    if getattr(Buffer.read, "__module__", "") == __name__:
        return
    buffer = cast("Any", utils.Buffer)
    buffer.read = _read
    buffer.skip = _skip
    _codec._create_uatype_array_deserializer = _array_deserializer  # noqa: SLF001  # no other way in
    _codec._create_list_deserializer = _list_deserializer  # noqa: SLF001
    _codec._reshape = _reshape  # noqa: SLF001
    # Deserialisers made before hold on to the unbounded functions.
    for made in (
        "_create_uatype_deserializer",
        "_create_type_deserializer",
        "_create_dataclass_deserializer",
    ):
        getattr(_codec, made).cache_clear()


def _read(self: Buffer, size: int) -> bytes:
    if size < 0:
        raise Malformed(f"a length of {size}")
    return _original_read(self, size)


def _skip(self: Buffer, size: int) -> None:
    if size < 0:
        raise Malformed(f"a length of {size}")
    _original_skip(self, size)


def _length(data: Buffer) -> int:
    """An array's length; -1 for a null array."""
    length = int(_codec.Primitives.Int32.unpack(data))
    if length > len(data):
        raise NotEnoughData(f"an array of {length} elements in {len(data)} bytes")
    return max(length, -1)


def _elements(read: Callable[[Buffer], Any], data: Buffer, length: int) -> list[Any]:
    found = []
    for _ in range(length):
        before = len(data)
        found.append(read(data))
        if len(data) == before:
            raise Malformed("an array of elements without bytes")
    return found


@cache
def _array_deserializer(kind: ua.VariantType) -> Callable[[Buffer], list[Any] | None]:
    primitive = getattr(_codec.Primitives1, kind.name, None)
    if primitive is not None:

        def primitives(data: Buffer) -> list[Any] | None:
            length = _length(data)
            return None if length < 0 else list(primitive.unpack_array(data, length))

        return primitives
    read: Callable[[Buffer], Any] = _codec._create_uatype_deserializer(kind)  # noqa: SLF001

    def others(data: Buffer) -> list[Any] | None:
        length = _length(data)
        return None if length < 0 else _elements(read, data, length)

    return others


@cache
def _list_deserializer(kind: Any) -> Callable[[Buffer], list[Any]]:
    @cache  # made on first use, for types may contain lists of themselves
    def reader() -> Callable[[Buffer], Any]:
        return cast("Callable[[Buffer], Any]", _codec._create_type_deserializer(kind, type(None)))  # noqa: SLF001

    def read(data: Buffer) -> list[Any]:
        return _elements(reader(), data, _length(data))

    return read


def _reshape(flat: list[Any], dimensions: list[int] | None) -> list[Any]:
    if not dimensions or len(dimensions) == 1:
        if dimensions and dimensions[0] != len(flat):
            raise Malformed(f"{len(flat)} elements for the dimensions {dimensions}")
        return flat
    size = 1
    for dimension in dimensions:
        if dimension < 0:
            raise Malformed(f"a dimension of {dimension}")
        size *= dimension
    if size != len(flat):
        raise Malformed(f"{len(flat)} elements for the dimensions {dimensions}")
    return _nest(flat, dimensions)


def _nest(flat: list[Any], dimensions: list[int]) -> list[Any]:
    if len(dimensions) == 1 or not flat:
        return flat
    step = len(flat) // dimensions[0]
    return [_nest(flat[i : i + step], dimensions[1:]) for i in range(0, len(flat), step)]
