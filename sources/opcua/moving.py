"""Values of a device in our names, however large they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sources.opcua.beside import beside
from sources.opcua.mapping import Mapper, UnknownIndex, Unmappable
from sources.opcua.wire import Raw

_LARGE: Final = 16 << 10
"""Bytes whose names are moved beside the loop."""
_ENCODING_UNSUPPORTED: Final = 0x80390000


def moved(mapper: Mapper, raw: Raw, odd: Callable[[str], None] = lambda _: None) -> Raw:
    """A value in our names; where that cannot be, none, with BadDataEncodingUnsupported."""
    if not raw.variant:
        return raw
    try:
        return Raw(mapper.variant(raw.variant), raw.status, raw.time)
    except Unmappable as error:
        odd(str(error))
        return Raw(b"", _ENCODING_UNSUPPORTED, raw.time)


async def moved_beside(mapper: Mapper, raw: Raw, odd: Callable[[str], None] = lambda _: None) -> Raw:
    """As `moved`, and what is large costs the loop nothing."""
    if len(raw.variant) <= _LARGE:
        return moved(mapper, raw, odd)
    try:
        return Raw(await variant_beside(mapper, raw.variant), raw.status, raw.time)
    except Unmappable as error:
        odd(str(error))
        return Raw(b"", _ENCODING_UNSUPPORTED, raw.time)


async def variant_beside(mapper: Mapper, data: bytes) -> bytes:
    """As `Mapper.variant`, and what is large costs the loop nothing. Raises Unmappable."""
    while len(data) > _LARGE:
        try:
            return await beside(mapper.apart().variant, data)
        except UnknownIndex as unknown:
            mapper.index(unknown.index)
    return mapper.variant(data)
