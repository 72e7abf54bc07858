"""The template object: how a controller tells a client what its structures look like (class 0x6C)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

from sources.simulators.logix.types import BOOL, Atomic, Member, Structure

STRUCTURED: Final = 0x8000
"""Bit 15 of a type word: the lower 12 bits are a template instance, not a CIP type."""

DIMENSION_SHIFT: Final = 13
"""Bits 13 and 14 of a type word count the dimensions."""

_MEMBER: Final = struct.Struct("<HHI")
_OVERHEAD: Final = 23
"""Bytes that the definition size counts beside the definition itself: clients subtract them."""

_INTERNAL_NAMES: Final = {"STRING": "ASCIISTRING82"}

InstanceOf = Callable[[Structure], int]
"""The template instance of a structure, as it is numbered now."""


def type_word(kind: Atomic | Structure, dimensions: int, instance_of: InstanceOf) -> int:
    """The 16 bits that describe the type of a tag or member."""
    code = kind.code if isinstance(kind, Atomic) else STRUCTURED | instance_of(kind)
    return code | dimensions << DIMENSION_SHIFT


def definition(kind: Structure, instance_of: InstanceOf) -> bytes:
    """What Read Template reads: a row for each member, then the names, each ended by a zero byte."""
    rows = b"".join(_row(member, instance_of) for member in kind.members)
    name = _INTERNAL_NAMES.get(kind.name, kind.name)
    if kind.predefined is None:
        # A letter, and two letters for each member, follow the name of a user-defined type.
        name += ";n" + "".join(_letters(member) for member in kind.members)
    return rows + b"".join(text.encode("ascii") + b"\0" for text in (name, *(m.name for m in kind.members)))


def _row(member: Member, instance_of: InstanceOf) -> bytes:
    info = member.count if member.bit is None else member.bit
    return _MEMBER.pack(info, type_word(member.type, 1 if member.count else 0, instance_of), member.offset)


def _letters(member: Member) -> str:
    if member.hidden:
        return "EB"
    return "EC" if member.type is BOOL else "EA"


def definition_words(body: bytes) -> int:
    """Attribute 4: the size of a definition in 32-bit words, overhead included."""
    return math.ceil((len(body) + _OVERHEAD) / 4)


def attribute(kind: Structure, number: int, instance_of: InstanceOf) -> bytes | None:
    """One attribute of a template, or None where it has none of this number."""
    match number:
        case 1:
            return struct.pack("<H", kind.handle)
        case 2:
            return struct.pack("<H", len(kind.members))
        case 3:
            # Not documented; clients step over its two bytes.
            return struct.pack("<H", 0)
        case 4:
            return struct.pack("<I", definition_words(definition(kind, instance_of)))
        case 5:
            return struct.pack("<I", kind.size)
        case _:
            return None
