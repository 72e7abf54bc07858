"""Types as Studio 5000 names them in its exports, as the types of a controller's symbols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sources.ethernetip.symbols import ATOMICS, BOOL, DWORD, Atomic, Member, Structure, Symbol, Type

_ATOMIC: Final[Mapping[str, Atomic]] = {
    **{kind.name: kind for kind in ATOMICS.values() if kind is not DWORD},
    "BIT": BOOL,
}
_PREDEFINED: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "TIMER": (("PRE", "DINT"), ("ACC", "DINT"), ("EN", "BOOL"), ("TT", "BOOL"), ("DN", "BOOL")),
    "COUNTER": (
        *(("PRE", "DINT"), ("ACC", "DINT"), ("CU", "BOOL"), ("CD", "BOOL"), ("DN", "BOOL")),
        *(("OV", "BOOL"), ("UN", "BOOL")),
    ),
    "CONTROL": (
        *(("LEN", "DINT"), ("POS", "DINT"), ("EN", "BOOL"), ("EU", "BOOL"), ("DN", "BOOL")),
        *(("EM", "BOOL"), ("ER", "BOOL"), ("UL", "BOOL"), ("IN", "BOOL"), ("FD", "BOOL")),
    ),
}
_DEEPEST: Final = 30
"""Types within types; the controller allows 32 levels of members."""
_STRING: Final = "STRING"
_STRING_LENGTH: Final = 82


class Declared(NamedTuple):
    """A type by its name, and the dimensions of an array of it."""

    type: str
    dimensions: tuple[int, ...] = ()


class Types:
    """The types of an export; what refers to one that comes later, or to none, is settled when asked for."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[str, list[tuple[str, Declared]], bool]] = {}
        self._made: dict[str, Structure | None] = {}
        self._depth = 0
        for name, members in _PREDEFINED.items():
            self.declare(name, [(member, Declared(kind)) for member, kind in members])
        self.declare(_STRING, [("DATA", Declared("SINT", (_STRING_LENGTH,)))], is_string=True)

    def declare(self, name: str, members: Iterable[tuple[str, Declared]], *, is_string: bool = False) -> None:
        """A structure, or a string type, whose characters are its member DATA."""
        self._declared[name.casefold()] = name, list(members), is_string

    def symbol(self, name: str, declared: Declared, access: str) -> Symbol:
        """A tag; its type is None where it is not known."""
        kind, dimensions = self._resolved(declared)
        return Symbol(name, kind, declared.type or "nothing", dimensions, access)

    def _resolved(self, declared: Declared) -> tuple[Type | None, tuple[int, ...]]:
        atomic = _ATOMIC.get(declared.type.upper())
        if atomic is BOOL and declared.dimensions:
            # As the controller has them: 32 to a word.
            *outer, last = declared.dimensions
            return DWORD, (*outer, -(-last // 32))
        return atomic or self._structure(declared.type), declared.dimensions

    def _structure(self, name: str) -> Structure | None:
        key = name.casefold()
        if key not in self._made and self._depth >= _DEEPEST:
            return None
        if key not in self._made:
            self._made[key] = None  # a type within itself is none
            found = self._declared.get(key)
            if found is not None:
                self._depth += 1
                self._made[key] = self._make(*found)
                self._depth -= 1
        return self._made[key]

    def _make(self, name: str, members: list[tuple[str, Declared]], is_string: bool) -> Structure:
        made = []
        for member, declared in members:
            kind, dimensions = self._resolved(declared)
            # Offsets are the controller's: nothing is decoded by these types.
            made.append(Member(member, kind, 0, dimensions[0] if dimensions else 0))
        length = next((m.count for m in made if m.name.upper() == "DATA"), 0)
        return Structure(name, 0, 0, made, length or _STRING_LENGTH if is_string else None)
