"""What the configuration says of a Logix controller and its tags: settings, addresses, types.

An address is the tag's own name, as Studio 5000 shows it: ``Speed``, ``Program:Packer.Speed``,
``Recipe[3]``, ``Grid[0,2]``, ``Packer.Status.Counts[1].Total``, ``Flags.5`` for a bit of an
integer, ``CycleTimer.ACC``. Case does not matter, as in the controller.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from sources.errors import AddressError
from sources.ethernetip.route import parse_route
from sources.settings import Duration, Host, SettingsModel
from sources.spec import TagSpec
from sources.tag import ANY_LENGTH, Tag, ValueType

ENCAPSULATION_PORT: Final = 44818
MAX_DIMENSIONS: Final = 3
MAX_NAME: Final = 255
"""A symbolic segment carries the length of its name in one byte."""
MAX_LENGTH: Final = 300
"""A request that names more would not leave room for its value in a small packet."""


class Encoding(enum.Enum):
    """A value's type in the controller, as ``as:`` names it."""

    bool = "bool"
    sint = "sint"
    int = "int"
    dint = "dint"
    lint = "lint"
    usint = "usint"
    uint = "uint"
    udint = "udint"
    ulint = "ulint"
    real = "real"
    lreal = "lreal"
    string = "string"

    @property
    def type(self) -> ValueType:
        """The type of the values a tag of this encoding hands up."""
        return _TYPES[self]


_TYPES: Final[Mapping[Encoding, ValueType]] = {
    Encoding.bool: ValueType.Boolean,
    Encoding.sint: ValueType.SByte,
    Encoding.int: ValueType.Int16,
    Encoding.dint: ValueType.Int32,
    Encoding.lint: ValueType.Int64,
    Encoding.usint: ValueType.Byte,
    Encoding.uint: ValueType.UInt16,
    Encoding.udint: ValueType.UInt32,
    Encoding.ulint: ValueType.UInt64,
    Encoding.real: ValueType.Float,
    Encoding.lreal: ValueType.Double,
    Encoding.string: ValueType.String,
}
# A Logix program counts in REAL; LREAL is for the few that say so.
_BY_TYPE: Final[Mapping[ValueType, Encoding]] = {
    **{kind: encoding for encoding, kind in _TYPES.items()},
    ValueType.Double: Encoding.real,
}

_SYNONYMS: Final[Mapping[str, str]] = {
    "boolean": "bool",
    "bit": "bool",
    "int8": "sint",
    "uint8": "usint",
    "byte": "usint",
    "int16": "int",
    "short": "int",
    "uint16": "uint",
    "word": "uint",
    "int32": "dint",
    "long": "dint",
    "uint32": "udint",
    "dword": "udint",
    "int64": "lint",
    "uint64": "ulint",
    "lword": "ulint",
    "float": "real",
    "float32": "real",
    "single": "real",
    "double": "lreal",
    "float64": "lreal",
    "str": "string",
}


class LogixSettings(SettingsModel):
    """A source of ``driver: logix``: one controller.

    ``path`` is the route from the Ethernet port to the controller (`sources.ethernetip.route`):
    ``1/0`` is slot 0 of the backplane (also right for most CompactLogix), ``""`` a controller
    addressed directly (Micro800). ``connections`` is how many connections share the packets
    of a scan: each carries one request at a time. ``timeout`` is the time one request may
    take, and the call itself. ``connection`` bounds a packet: ``large`` is 4000 bytes,
    ``small`` 500 bytes, ``auto`` takes the large one where the controller grants it.
    ``validate`` uploads the tag list at each connect, checks every binding against it and
    reads neighbours as blocks; without it each tag is read by itself. ``upload_timeout``
    bounds that upload.
    """

    driver: Literal["logix"]
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = ENCAPSULATION_PORT
    path: Annotated[str, AfterValidator(parse_route)] = "1/0"
    connection: Literal["auto", "large", "small"] = "auto"
    connections: Annotated[int, Field(ge=1, le=8)] = 1
    timeout: Duration = 1.0
    validate_tags: Annotated[bool, Field(alias="validate")] = True
    upload_timeout: Duration = 60.0


@dataclass(frozen=True, slots=True)
class Segment:
    """One name of an address, with the indexes behind it."""

    name: str
    indexes: tuple[int, ...] = ()

    def __str__(self) -> str:
        """As the configuration writes it."""
        return f"{self.name}[{','.join(map(str, self.indexes))}]" if self.indexes else self.name


@dataclass(frozen=True, slots=True)
class LogixAddress:
    """Where a tag's value lies: names from the outermost in, and a bit where one is meant.

    The first segment of a program tag is the program: ``Program:Packer``. With ``elements`` it is
    an array of so many, from the one on that the last segment's index names.
    """

    segments: tuple[Segment, ...]
    encoding: Encoding
    bit: int | None = None
    elements: int | None = None

    @property
    def program(self) -> str | None:
        """The program's name, or None for a controller tag."""
        name = self.segments[0].name
        return name[len(_PROGRAM) :] if name.startswith(_PROGRAM) else None

    def element(self, index: int) -> LogixAddress:
        """One of the elements."""
        return replace(self, segments=shifted(self.segments, index), elements=None)

    def __str__(self) -> str:
        """As the configuration writes it: ``Program:Packer.Counts[2]``, ``Flags.5``; ``Counts[0..7]``."""
        text = ".".join(map(str, self.segments))
        if self.elements is not None:
            (first,) = self.segments[-1].indexes
            return f"{text.rpartition('[')[0]}[{first}..{first + self.elements - 1}]"
        return text if self.bit is None else f"{text}.{self.bit}"


def shifted(segments: tuple[Segment, ...], by: int) -> tuple[Segment, ...]:
    """The path to an element of a list that lies so many behind the one it leads to."""
    *before, last = segments
    (index,) = last.indexes
    return (*before, Segment(last.name, (index + by,)))


_PROGRAM: Final = "Program:"
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_SEGMENT: Final = re.compile(rf"({_NAME})(?:\[([^\[\]]*)\])?")
# Module tags carry a slot between colons (Local:1:I); only the first name of an address has any.
_ROOT: Final = re.compile(rf"({_NAME}(?::[A-Za-z0-9_]+)*)(?:\[([^\[\]]*)\])?")
_DATA_FILE: Final = re.compile(r"[A-Za-z]{1,2}\d{1,3}:\d+([./].*)?")
_FORMS: Final = (
    "write the tag's name, as Speed, Program:Packer.Speed, Counts[3], Recipe.Limits[1].Low or Flags.5"
)


def parse_tag(spec: TagSpec, settings: LogixSettings) -> Tag[LogixAddress]:
    """The tag a binding means. Raises AddressError, its text saying what would be right."""
    del settings  # nothing in them bears on an address
    segments, bit = _parse_address(spec.address)
    if spec.length is not None:
        segments = _first_element(spec, segments, bit)
    if spec.words is not None:
        raise AddressError("words: a Logix controller has one order of bytes; leave words out")
    encoding = _parse_encoding(spec, bit)
    address = LogixAddress(segments, encoding, bit, spec.length)
    return Tag(spec.name, address, encoding.type, spec.scan, spec.writable, spec.length)


def _first_element(spec: TagSpec, segments: tuple[Segment, ...], bit: int | None) -> tuple[Segment, ...]:
    """The path to the first element of an array: number 0 where the address has no index."""
    last = segments[-1]
    if spec.length == ANY_LENGTH:
        raise AddressError(
            f"{spec.address!r}: an array of the controller has a length; write it, as array: 8"
        )
    if bit is not None:
        raise AddressError(
            f"{spec.address!r} is one bit, and the property is an array; read the integer, "
            "or an array of BOOL"
        )
    if len(last.indexes) > 1:
        raise AddressError(
            f"{spec.address!r}: an array property is of one dimension; give each row and element a property"
        )
    return segments if last.indexes else (*segments[:-1], Segment(last.name, (0,)))


def _parse_address(text: str) -> tuple[tuple[Segment, ...], int | None]:
    if not text.strip():
        raise AddressError(f"an address is missing; {_FORMS}")
    _refuse_foreign(text)
    first, *rest = text.split(".")
    bit = None
    if rest and rest[-1].isdecimal():
        bit = _number(text, rest.pop())
        if bit > 63:
            raise AddressError(f"{text!r}: an integer has at most the bits 0 (least significant) to 63")
    segments = [_segment(text, _ROOT, first), *(_segment(text, _SEGMENT, part) for part in rest)]
    if len(text) > MAX_LENGTH:
        raise AddressError(f"{text[:40]!r}…: an address has at most {MAX_LENGTH} characters")
    root = segments[0]
    if root.name[: len(_PROGRAM)].casefold() == _PROGRAM.casefold():
        program = root.name[len(_PROGRAM) :]
        if root.indexes or ":" in program:
            raise AddressError(f"{text!r}: {root} is no program; write Program:Name.Tag")
        if len(segments) == 1:
            raise AddressError(f"{text!r} names a program; say which of its tags, as {root.name}.Speed")
        segments[0] = Segment(_PROGRAM + program)
    return tuple(segments), bit


def _refuse_foreign(text: str) -> None:
    """Tell what other notations would be here."""
    if "{" in text or re.search(r"\[\s*\d+\s*(\.\.|:)\s*\d+\s*\]", text):
        name = re.split(r"[\[{]", text, maxsplit=1)[0]
        raise AddressError(
            f"{text!r} is several values; write {name}[0], and array: with their number beside the "
            "property's type"
        )
    if _DATA_FILE.fullmatch(text):
        raise AddressError(f"{text!r} is an address of an SLC or PLC-5; a Logix tag has a name, as Speed")
    if re.match(r"program[./]", text, re.IGNORECASE):
        raise AddressError(f"{text!r} is not a tag; did you mean Program:{text[8:]}?")
    if (slashed := re.fullmatch(r"(.+)/(\d+)", text)) is not None:
        raise AddressError(f"{text!r} is not a tag; did you mean {slashed[1]}.{slashed[2]}?")


def _segment(text: str, pattern: re.Pattern[str], part: str) -> Segment:
    match = pattern.fullmatch(part)
    if match is None:
        raise AddressError(f"{text!r} is not a tag: {_complaint(part)}; {_FORMS}")
    if len(match[1]) > MAX_NAME:
        raise AddressError(f"{text!r}: a name has at most {MAX_NAME} characters")
    if match[2] is None:
        return Segment(match[1])
    parts = [index.strip() for index in match[2].split(",")]
    if not all(index.isdecimal() for index in parts):
        raise AddressError(
            f"{text!r}: [{match[2]}] is no index; an index is a number from 0, as [3] or [0,2], never a tag"
        )
    if len(parts) > MAX_DIMENSIONS:
        raise AddressError(f"{text!r}: an array has at most {MAX_DIMENSIONS} dimensions")
    return Segment(match[1], tuple(_number(text, index) for index in parts))


def _number(text: str, digits: str) -> int:
    number = int(digits) if len(digits) <= 10 and digits.isascii() else 2**32
    if number >= 2**32:
        raise AddressError(f"{text!r}: {digits} is too large")
    return number


def _complaint(part: str) -> str:
    if not part:
        return "there is nothing between two dots, or at an end"
    if part.strip() != part or " " in part:
        return f"{part!r} has a blank in it"
    if part[0].isdecimal():
        return f"{part!r} begins with a digit"
    if part.count("[") != part.count("]"):
        return f"{part!r} has a bracket without its partner"
    return f"{part!r} is no name"


def _parse_encoding(spec: TagSpec, bit: int | None) -> Encoding:
    if bit is not None:
        if spec.encoding not in {None, "bool"}:
            raise AddressError(f"as: {spec.address!r} is one bit, never {spec.encoding}; leave as out")
        return Encoding.bool
    if spec.encoding is None:
        return _BY_TYPE[spec.natural]
    names = [encoding.value for encoding in Encoding]
    if spec.encoding in names:
        return Encoding(spec.encoding)
    plain = spec.encoding.strip().casefold()
    if plain in {"timer", "counter", "control"}:
        raise AddressError(
            f"as: {spec.encoding} is a structure; bind its members, as {spec.address}.ACC with as: dint"
        )
    if plain.startswith("string"):
        raise AddressError(f"as: {spec.encoding}: the controller knows how long a text is; write as: string")
    close = _SYNONYMS.get(plain) or next(iter(difflib.get_close_matches(plain, names, n=1)), None)
    hint = f"; did you mean {close}?" if close else ""
    raise AddressError(f"as: {spec.encoding} is no type of a Logix value, which are {', '.join(names)}{hint}")
