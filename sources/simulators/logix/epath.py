"""EPATH: where a request goes, as padded segments (CIP volume 1, appendix C-1)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias


class PathError(ValueError):
    """A segment that is not known here."""


class PathSizeError(PathError):
    """The path ends within a segment."""


class LogicalType(enum.IntEnum):
    """What a logical segment counts."""

    CLASS = 0
    INSTANCE = 1
    MEMBER = 2
    CONNECTION_POINT = 3
    ATTRIBUTE = 4


@dataclass(frozen=True, slots=True)
class Logical:
    """A class, an instance, an element of an array, an attribute."""

    type: LogicalType
    value: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name: an ANSI extended symbol segment."""

    name: str


@dataclass(frozen=True, slots=True)
class Port:
    """One hop of a route: the port to leave by, and the address on its link."""

    port: int
    link: bytes


Segment: TypeAlias = Logical | Symbol | Port

_ANSI_SYMBOL: Final = 0x91
_ELECTRONIC_KEY: Final = 0x34
_WIDTHS: Final = {0: 1, 1: 2, 2: 4}
"""Bytes of a logical value by its format bits."""


def parse_path(path: bytes) -> tuple[Segment, ...]:
    """The segments of a padded EPATH. Raises PathSizeError where it is cut, PathError for what is unknown.

    An electronic key is passed over: this device answers to every key.
    """
    segments: list[Segment] = []
    position = 0
    while position < len(path):
        first = path[position]
        if first == _ANSI_SYMBOL:
            symbol, position = _symbol(path, position)
            segments.append(symbol)
        elif first == _ELECTRONIC_KEY:
            position = _electronic_key(path, position)
        elif first >> 5 == 0b001:
            logical, position = _logical(path, position)
            segments.append(logical)
        elif first >> 5 == 0b000:
            port, position = _port(path, position)
            segments.append(port)
        else:
            raise PathError(f"segment 0x{first:02X} is not known here")
    if position > len(path):
        raise PathSizeError("the path ends before its padding")
    return tuple(segments)


def _byte(path: bytes, position: int) -> int:
    if position >= len(path):
        raise PathSizeError("the path ends within a segment")
    return path[position]


def _take(path: bytes, position: int, length: int) -> bytes:
    if position + length > len(path):
        raise PathSizeError("the path ends within a segment")
    return path[position : position + length]


def _electronic_key(path: bytes, position: int) -> int:
    if _byte(path, position + 1) != 4:
        raise PathError("the only key format there is has number 4")
    _take(path, position, 10)
    return position + 10


def _symbol(path: bytes, position: int) -> tuple[Symbol, int]:
    length = _byte(path, position + 1)
    raw = _take(path, position + 2, length)
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        raise PathError("a symbol has characters that no name has") from None
    if not name:
        raise PathError("a symbol without a name")
    return Symbol(name), position + 2 + length + length % 2


def _logical(path: bytes, position: int) -> tuple[Logical, int]:
    first = path[position]
    width = _WIDTHS.get(first & 0b11)
    try:
        kind = LogicalType(first >> 2 & 0b111)
    except ValueError:
        width = None
        kind = LogicalType.CLASS
    if width is None:
        raise PathError(f"logical segment 0x{first:02X} is not known here")
    # Wider values start on an even byte.
    start = position + (1 if width == 1 else 2)
    return Logical(kind, int.from_bytes(_take(path, start, width), "little")), start + width


def _port(path: bytes, position: int) -> tuple[Port, int]:
    first = path[position]
    position += 1
    length = 1
    if first & 0x10:
        length = _byte(path, position)
        position += 1
    port = first & 0x0F
    if port == 0x0F:
        port = int.from_bytes(_take(path, position, 2), "little")
        position += 2
    if port == 0:
        raise PathError("port 0 is reserved")
    link = _take(path, position, length)
    position += length
    if first & 0x10:
        position += length % 2
    return Port(port, link), position
