"""What a controller says it has: its tags and their types, and where in them an address leads.

Names are compared without regard to case, as the controller does.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from sources.ethernetip.config import Encoding, LogixAddress, Segment, shifted


@dataclass(frozen=True, slots=True)
class Atomic:
    """An elementary type: its CIP code, its name in Studio 5000, its size and `struct` format.

    ``encodings`` are what ``as:`` may call it.
    """

    code: int
    name: str
    size: int
    format: str
    encodings: tuple[Encoding, ...]

    @property
    def is_integer(self) -> bool:
        """Whether its bits have addresses."""
        return self.format in "bhiqBHIQ" and self.code != BOOL_CODE


_HINTS: Final = 20
"""So many names are compared with all others for a hint: among thousands each takes a while."""

BOOL_CODE: Final = 0xC1
DWORD_CODE: Final = 0xD3

ATOMICS: Final[Mapping[int, Atomic]] = {
    kind.code: kind
    for kind in (
        Atomic(BOOL_CODE, "BOOL", 1, "B", (Encoding.bool,)),
        Atomic(0xC2, "SINT", 1, "b", (Encoding.sint,)),
        Atomic(0xC3, "INT", 2, "h", (Encoding.int,)),
        Atomic(0xC4, "DINT", 4, "i", (Encoding.dint,)),
        Atomic(0xC5, "LINT", 8, "q", (Encoding.lint,)),
        Atomic(0xC6, "USINT", 1, "B", (Encoding.usint,)),
        Atomic(0xC7, "UINT", 2, "H", (Encoding.uint,)),
        Atomic(0xC8, "UDINT", 4, "I", (Encoding.udint,)),
        Atomic(0xC9, "ULINT", 8, "Q", (Encoding.ulint,)),
        Atomic(0xCA, "REAL", 4, "f", (Encoding.real,)),
        Atomic(0xCB, "LREAL", 8, "d", (Encoding.lreal,)),
        Atomic(0xD1, "BYTE", 1, "B", (Encoding.usint,)),
        Atomic(0xD2, "WORD", 2, "H", (Encoding.uint,)),
        # Also the host of 32 elements of an array of BOOL.
        Atomic(DWORD_CODE, "DWORD", 4, "I", (Encoding.udint,)),
        Atomic(0xD4, "LWORD", 8, "Q", (Encoding.ulint,)),
    )
}
BOOL: Final = ATOMICS[BOOL_CODE]
DWORD: Final = ATOMICS[DWORD_CODE]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One member of a structure, ``offset`` bytes from its start.

    ``count`` is 0, or the length of an array (in DWORDs for one of BOOLs). ``bit`` is that
    of a BOOL, counted from the lowest bit of the byte at ``offset``. A type of None is one
    this driver does not know. Hidden members have no name a client may use.
    """

    name: str
    type: Type | None
    offset: int
    count: int = 0
    bit: int | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A user-defined, predefined or module-defined type.

    ``handle`` names its layout in replies and writes. ``capacity`` is the most characters
    of a string type, and None for any other. ``leaves`` counts the visible values in it.
    """

    name: str
    handle: int
    size: int
    members: Sequence[Member]
    capacity: int | None = None
    by_name: Mapping[str, Member] = field(init=False)
    leaves: int = field(init=False)

    def __post_init__(self) -> None:
        visible = {member.name.casefold(): member for member in self.members if not member.hidden}
        object.__setattr__(self, "by_name", visible)
        total = sum(leaves_of(member.type) * max(member.count, 1) for member in visible.values())
        object.__setattr__(self, "leaves", 1 if self.capacity is not None else max(total, 1))


Type: TypeAlias = Atomic | Structure


def leaves_of(kind: Type | None) -> int:
    """How many values stand in one element of a type."""
    return kind.leaves if isinstance(kind, Structure) else 1


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """A tag of the controller; ``name`` with its program before it.

    ``dimensions`` is empty for a single value. ``access`` is the External Access of its
    properties. A type of None is one that is not known here: ``type_name`` says what the
    controller calls it, and ``opaque`` that it is a structure whose layout nobody could read.
    """

    name: str
    type: Type | None
    type_name: str
    dimensions: tuple[int, ...] = ()
    access: str = "Read/Write"
    opaque: bool = False

    @property
    def is_readable(self) -> bool:
        """Whether the controller lets clients read it."""
        return self.access != "None"

    @property
    def is_writable(self) -> bool:
        """Whether the controller lets clients write it."""
        return self.access not in {"None", "Read Only"}


class BindingError(Exception):
    """An address that this controller has no value for; the text says what is near."""


Step: TypeAlias = int | Member
"""From a value to one inside it: the element of an array, counted through all dimensions, or a member."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where an address leads.

    ``type`` is what stands there and ``bit`` the bit meant of it, of an integer or of the
    DWORD that holds an element of an array of BOOL. ``symbol`` is None, and so are the
    types, where the controller's tags are not known. ``count`` is how many elements are meant,
    from that one on, or None where it is one value.
    """

    segments: tuple[Segment, ...]
    symbol: Symbol | None = None
    steps: tuple[Step, ...] = ()
    type: Type | None = None
    bit: int | None = None
    count: int | None = None

    @property
    def elements(self) -> int:
        """How many elements of the controller hold it: for BOOLs DWORDs."""
        if self.count is None:
            return 1
        return self.count if self.bit is None else (self.bit + self.count + 31) // 32

    def part(self, first: int, count: int) -> Place:
        """Where so many of its elements lie."""
        words, bit = (first, None) if self.bit is None else divmod(self.bit + first, 32)
        return replace(self, segments=shifted(self.segments, words), bit=bit, count=count)


class SymbolTable:
    """The tags of a controller. ``programs`` are all it has; their tags, of those that were uploaded."""

    def __init__(self, symbols: Iterable[Symbol], programs: Iterable[str]) -> None:
        self._symbols = {symbol.name.casefold(): symbol for symbol in symbols}
        self._programs = {program.casefold(): program for program in programs}
        self._hints = _HINTS
        self.fingerprint = self._fingerprint()
        """Changes when any name, type, layout, dimension or access does; instance numbers do not count."""

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols.values())

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of all programs."""
        return tuple(self._programs.values())

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        known: dict[Structure, str] = {}
        for key in sorted(self._symbols):
            symbol = self._symbols[key]
            layout = _layout(symbol.type, known)
            digest.update(
                f"{symbol.name}\t{symbol.type_name}\t{layout}\t{symbol.dimensions}\t{symbol.access}\n".encode()
            )
        return digest.hexdigest()

    def locate(self, address: LogixAddress) -> Place:
        """Where the value lies. Raises BindingError where there is none, or it is of another type.

        What lies in an opaque structure is taken on trust: the replies tell its type.
        """
        symbol, depth = self._symbol_of(address)
        return unlocated(address) if symbol.opaque else _Walk(symbol, address, depth).place()

    def _symbol_of(self, address: LogixAddress) -> tuple[Symbol, int]:
        program = address.program
        depth = 1 if program is None else 2
        names = [segment.name for segment in address.segments[:depth]]
        found = self._symbols.get(".".join(names).casefold())
        if found is not None:
            return found, depth
        name = names[-1]
        if program is None:
            raise BindingError(f"no tag {name!r} in the controller{self._near(name, '')}")
        if program.casefold() not in self._programs:
            hint = _did_you_mean(program, self._programs.values())
            raise BindingError(f"no program {program!r} in the controller{hint}")
        scope = f"Program:{self._programs[program.casefold()]}"
        raise BindingError(f"no tag {name!r} in {scope}{self._near(name, scope + '.')}")

    def _near(self, name: str, prefix: str) -> str:
        """A hint: the same name in another scope, the nearest in this one, or the nearest in another."""
        if self._hints == 0:
            return ""
        self._hints -= 1
        here: list[str] = []
        elsewhere: dict[str, str] = {}
        for symbol in self._symbols.values():
            scope, dot, last = symbol.name.rpartition(".")
            if scope + dot == prefix:
                here.append(last)
            else:
                elsewhere.setdefault(last.casefold(), symbol.name)
        same = elsewhere.get(name.casefold())
        if same is not None:
            return f"; did you mean {same!r}?"
        hint = _did_you_mean(name, here)
        if not hint and (close := difflib.get_close_matches(name.casefold(), elsewhere, n=1)):
            hint = f"; did you mean {elsewhere[close[0]]!r}?"
        return hint


def _layout(kind: Type | None, known: dict[Structure, str]) -> str:
    """What tells one layout from another: a handle alone does not change with the names of members."""
    if not isinstance(kind, Structure):
        return "" if kind is None else kind.name
    if kind not in known:
        parts = (
            f"{m.name}:{_layout(m.type, known)}[{m.count}]@{m.offset}.{m.bit}.{m.hidden}"
            for m in kind.members
        )
        text = f"{kind.name}/{kind.handle}/{kind.size}/{kind.capacity}/{';'.join(parts)}"
        known[kind] = hashlib.sha256(text.encode()).hexdigest()
    return known[kind]


class _Walk:
    """One address followed through a symbol's type."""

    def __init__(self, symbol: Symbol, address: LogixAddress, depth: int) -> None:
        self._symbol = symbol
        self._address = address
        self._depth = depth
        self._text = ""
        self._steps: list[Step] = []
        self._type: Type | None = symbol.type
        self._type_name = symbol.type_name
        self._bit = address.bit
        self._bool_bit: int | None = None

    def place(self) -> Place:
        segments = list(self._address.segments)
        for number in range(self._depth - 1, len(segments)):
            segment = segments[number]
            self._text = ".".join(map(str, segments[: number + 1]))
            dimensions = self._enter(segment, first=number == self._depth - 1)
            index = self._index(segment, dimensions)
            if index is not None and self._type is DWORD and number == len(segments) - 1:
                # An element of an array of BOOL is a bit of the DWORD that its index / 32 names.
                word, self._bool_bit = divmod(index, 32)
                segments[number] = Segment(segment.name, (word,))
                index = word
            if index is not None:
                self._steps.append(index)
        bit = self._check_type()
        count = self._address.elements
        return Place(tuple(segments), self._symbol, tuple(self._steps), self._type, bit, count)

    def _enter(self, segment: Segment, *, first: bool) -> tuple[int, ...]:
        """Step into the value that a name means; its dimensions."""
        if first:
            return self._symbol.dimensions
        before = self._text.rpartition(".")[0]
        if not isinstance(self._type, Structure):
            if self._type is None:
                raise BindingError(f"{before} is of type {self._type_name}, which cannot be looked into")
            raise BindingError(f"{before} is a {self._type_name} and has no members")
        member = self._type.by_name.get(segment.name.casefold())
        if member is None:
            names = [member.name for member in self._type.by_name.values()]
            hint = _did_you_mean(segment.name, names)
            raise BindingError(f"{before} is a {self._type.name} and has no member {segment.name!r}{hint}")
        self._type = member.type
        self._type_name = member.type.name if member.type is not None else "a type not known here"
        self._steps.append(member)
        return (member.count,) if member.count else ()

    def _index(self, segment: Segment, dimensions: tuple[int, ...]) -> int | None:
        """The element meant, counted through all dimensions: the last index runs fastest."""
        bools = self._type is DWORD
        wanted = self._address.elements if segment is self._address.segments[-1] else None
        if wanted is not None:
            return self._first(segment, wanted, tuple(32 * n if bools else n for n in dimensions))
        if not dimensions:
            if segment.indexes:
                plain = str(Segment(segment.name))
                raise BindingError(f"{self._text} is not an array; write {plain} without an index")
            return None
        if len(segment.indexes) != len(dimensions):
            example = Segment(segment.name, (0,) * len(dimensions))
            size = ",".join(str(32 * length if bools else length) for length in dimensions)
            raise BindingError(f"{segment.name} is an array [{size}]; say which element, as {example}")
        index = 0
        for step, length in zip(segment.indexes, dimensions, strict=True):
            elements = 32 * length if bools else length
            if step >= elements:
                raise BindingError(f"{self._text} is beyond the array, whose last element is {elements - 1}")
            index = index * elements + step
        return index

    def _first(self, segment: Segment, wanted: int, dimensions: tuple[int, ...]) -> int:
        """The first element of an array that all lies within that of the controller."""
        size = ",".join(map(str, dimensions))
        if len(dimensions) != 1:
            what = f"an array [{size}] of {len(dimensions)} dimensions" if dimensions else "not an array"
            raise BindingError(f"{segment.name} is {what}; the property is an array of one dimension")
        (first,) = segment.indexes
        if first + wanted > dimensions[0]:
            raise BindingError(
                f"{self._text} and the {wanted - 1} elements behind it reach beyond the array [{size}]"
            )
        return first

    def _check_type(self) -> int | None:
        """The bit meant of what stands here, if any. Raises BindingError for another type than configured."""
        encoding, kind = self._address.encoding, self._type
        if kind is None:
            raise BindingError(f"{self._text} is of type {self._type_name}, which has no counterpart here")
        if self._bit is not None:
            if isinstance(kind, Structure) or not kind.is_integer or self._bool_bit is not None:
                raise BindingError(
                    f"{self._text} is a {_called(kind, self._bool_bit)}; only integers have bits"
                )
            if self._bit >= 8 * kind.size:
                raise BindingError(f"{self._text} is a {kind.name}; its last bit is {8 * kind.size - 1}")
            return self._bit
        if isinstance(kind, Structure) and kind.capacity is None:
            names = ", ".join(member.name for member in list(kind.by_name.values())[:4])
            raise BindingError(f"{self._text} is a {kind.name}; bind its members, as {names}")
        allowed = _encodings(kind, self._bool_bit)
        if encoding not in allowed:
            raise BindingError(
                f"{self._text} is a {_called(kind, self._bool_bit)}; write as: {allowed[0].value}"
            )
        return self._bool_bit


def _encodings(kind: Type, bool_bit: int | None) -> tuple[Encoding, ...]:
    if isinstance(kind, Structure):
        return (Encoding.string,)
    return (Encoding.bool,) if bool_bit is not None else kind.encodings


def _called(kind: Type, bool_bit: int | None) -> str:
    return "BOOL" if bool_bit is not None else kind.name


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    by_key = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_key, n=1)
    return f"; did you mean {by_key[close[0]]!r}?" if close else ""


def unlocated(address: LogixAddress) -> Place:
    """Where the value lies, by its name alone, where the controller's tags are not known.

    An index at the end of a BOOL can only mean an array of BOOL, which stands in DWORDs.
    """
    last, count = address.segments[-1], address.elements
    if address.encoding is Encoding.bool and address.bit is None and len(last.indexes) == 1:
        word, bit = divmod(last.indexes[0], 32)
        return Place((*address.segments[:-1], Segment(last.name, (word,))), bit=bit, count=count)
    return Place(address.segments, bit=address.bit, count=count)
