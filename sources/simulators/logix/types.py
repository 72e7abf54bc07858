"""Logix data types: atomic ones, and structures with the layout that Logix Designer gives them."""

from __future__ import annotations

import binascii
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Atomic:
    """An elementary type: its CIP code and how one value stands in memory."""

    name: str
    code: int
    form: struct.Struct

    @property
    def size(self) -> int:
        """Bytes of one value."""
        return self.form.size

    @property
    def alignment(self) -> int:
        """A value starts at a multiple of this."""
        return self.form.size

    @property
    def is_integer(self) -> bool:
        """True where bits can be addressed and masks applied."""
        return self.form.format[-1] not in "fd" and self is not BOOL

    @property
    def is_signed(self) -> bool:
        """True where an integer may be negative."""
        return self.form.format[-1] in "bhiq"


BOOL: Final = Atomic("BOOL", 0xC1, struct.Struct("<B"))
SINT: Final = Atomic("SINT", 0xC2, struct.Struct("<b"))
DINT: Final = Atomic("DINT", 0xC4, struct.Struct("<i"))
DWORD: Final = Atomic("DWORD", 0xD3, struct.Struct("<I"))
"""The host of 32 elements of an array of BOOL."""

ATOMICS: Final[Mapping[str, Atomic]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            BOOL,
            SINT,
            Atomic("INT", 0xC3, struct.Struct("<h")),
            DINT,
            Atomic("LINT", 0xC5, struct.Struct("<q")),
            Atomic("USINT", 0xC6, struct.Struct("<B")),
            Atomic("UINT", 0xC7, struct.Struct("<H")),
            Atomic("UDINT", 0xC8, struct.Struct("<I")),
            Atomic("ULINT", 0xC9, struct.Struct("<Q")),
            Atomic("REAL", 0xCA, struct.Struct("<f")),
            Atomic("LREAL", 0xCB, struct.Struct("<d")),
        )
    }
)
"""What a person may declare, by name."""


class Declared(NamedTuple):
    """A member as a person declares it: ``length`` is 0, or that of an array."""

    name: str
    type: DataType
    length: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A member in its place.

    ``count`` is 0 or the length of an array (of DWORDs for BOOLs). ``bit`` is the bit of
    a BOOL within the byte at ``offset``. ``hidden`` members only hold the bits of others.
    """

    name: str
    type: DataType
    count: int
    offset: int
    bit: int | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A user-defined or predefined type.

    ``handle`` names the layout in reads and writes (attribute 1 of its template).
    ``predefined`` is the fixed template instance of a type every controller has.
    """

    name: str
    members: tuple[Member, ...]
    size: int
    alignment: int
    handle: int
    predefined: int | None = None
    by_name: Mapping[str, Member] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "by_name", {member.name.casefold(): member for member in self.members if not member.hidden}
        )

    @property
    def text_capacity(self) -> int | None:
        """The most characters, where this is a string type: LEN, and DATA of SINT; else None."""
        visible = [member for member in self.members if not member.hidden]
        if (
            [member.name for member in visible] == ["LEN", "DATA"]
            and visible[0].type is DINT
            and visible[1].type is SINT
            and visible[1].count
        ):
            return visible[1].count
        return None


DataType: TypeAlias = Atomic | Structure


def structure(name: str, declared: Iterable[Declared], predefined: int | None = None) -> Structure:
    """Lay out a user-defined type by the rules of Logix Designer 27 and later.

    Members start at a multiple of their size, arrays and structures of 4 bytes (8 where
    they hold 8-byte values), and the whole is a multiple of that. BOOLs that follow each
    other share hidden SINTs, eight to each; an array of BOOL stands in whole DWORDs.
    Raises ValueError for no members, or the same name twice.
    """
    members: list[Member] = []
    seen: set[str] = set()
    offset, alignment, bit = 0, 4, 8
    for member in declared:
        if member.name.casefold() in seen:
            raise ValueError(f"type {name} has two members {member.name}")
        seen.add(member.name.casefold())
        if member.type is BOOL and not member.length:
            if bit == 8:
                members.append(Member(f"ZZZZZZZZZZ{name}{len(members)}", SINT, 0, offset, hidden=True))
                offset, bit = offset + 1, 0
            members.append(Member(member.name, BOOL, 0, offset - 1, bit))
            bit += 1
            continue
        bit = 8
        kind, count = host(member.type, member.length)
        boundary = max(kind.alignment, 4) if count else kind.alignment
        offset = math.ceil(offset / boundary) * boundary
        alignment = max(alignment, boundary)
        members.append(Member(member.name, kind, count, offset))
        offset += kind.size * max(count, 1)
    if not members:
        raise ValueError(f"type {name} has no members")
    size = math.ceil(offset / alignment) * alignment
    handle = _handle(name, members, size) if predefined is None else predefined
    return Structure(name, tuple(members), size, alignment, handle, predefined)


def host(kind: DataType, count: int) -> tuple[DataType, int]:
    """What stands in memory for an array: BOOLs in DWORDs, all else as it is."""
    return (DWORD, math.ceil(count / 32)) if kind is BOOL and count else (kind, count)


def _handle(name: str, members: list[Member], size: int) -> int:
    """A number that changes with the layout, as a controller's own does; its algorithm is not public.

    The names of members do not count: a client must not take two of one handle for the same.
    """
    text = ";".join(f"{m.type.name}[{m.count}]@{m.offset}.{m.bit}" for m in members)
    return binascii.crc_hqx(f"{name}({size}){text}".encode(), 0xFFFF) or 1


def string(name: str, capacity: int) -> Structure:
    """A string type of its own length."""
    return structure(name, (Declared("LEN", DINT), Declared("DATA", SINT, capacity)))


def _control(name: str, predefined: int, bits: Iterable[str]) -> Structure:
    """TIMER and COUNTER: a hidden word whose highest bits have names, PRE and ACC."""
    members = [
        Member("Control", DINT, 0, 0, hidden=True),
        Member("PRE", DINT, 0, 4),
        Member("ACC", DINT, 0, 8),
        *(Member(bit, BOOL, 0, 3, 7 - index) for index, bit in enumerate(bits)),
    ]
    return Structure(name, tuple(members), 12, 4, predefined, predefined)


STRING: Final = structure("STRING", (Declared("LEN", DINT), Declared("DATA", SINT, 82)), 0xFCE)
TIMER: Final = _control("TIMER", 0xF83, ("EN", "TT", "DN"))
COUNTER: Final = _control("COUNTER", 0xF82, ("CU", "CD", "DN", "OV", "UN"))

PREDEFINED: Final[Mapping[str, Structure]] = MappingProxyType(
    {kind.name: kind for kind in (STRING, TIMER, COUNTER)}
)
