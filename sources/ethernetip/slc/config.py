"""What the configuration says of an SLC 500 or MicroLogix and its tags: settings, addresses, types.

An address is that of RSLogix 500: ``N7:0``, ``N7:0/3`` for a bit, ``B3:1/5`` (or ``B3/21``),
``F8:2``, ``L10:0``, ``ST9:1``, ``T4:0.ACC``, ``C5:2/DN``, ``S:1``, ``I:1.0/3``, ``O:2/0``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from sources.errors import AddressError
from sources.ethernetip.config import ENCAPSULATION_PORT, Encoding
from sources.ethernetip.route import parse_route
from sources.settings import Duration, Host, SettingsModel
from sources.spec import TagSpec
from sources.tag import ANY_LENGTH, Tag


class SlcSettings(SettingsModel):
    """A source of ``driver: slc``: one SLC 500 (5/05) or MicroLogix (1100, 1400).

    ``path`` is the route to it: ``1/0`` for the device at the address itself. ``timeout`` is
    the time one request may take, and the call itself.
    """

    driver: Literal["slc"]
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = ENCAPSULATION_PORT
    path: Annotated[str, AfterValidator(parse_route)] = "1/0"
    timeout: Duration = 2.0


@dataclass(frozen=True, slots=True)
class SlcAddress:
    """Where a value lies: ``file`` is its letters, ``number`` the file's, ``element`` the one in it.

    ``word`` is the word within the element: of a timer or counter 0 its bits, 1 PRE, 2 ACC; of
    an input or output module the word of several. ``bit`` is one of that word's, or None. With
    ``elements`` it is an array of so many elements of the file, or of so many bits from that one on.
    """

    file: str
    number: int
    element: int
    encoding: Encoding
    word: int = 0
    bit: int | None = None
    elements: int | None = None

    @property
    def end(self) -> int:
        """The first element of the file behind it."""
        if self.elements is None:
            return self.element + 1
        if self.bit is None:
            return self.element + self.elements
        width = 8 * SIZES[self.file]
        return self.element + (self.bit + self.elements + width - 1) // width

    def part(self, first: int, count: int) -> SlcAddress:
        """So many elements of the array. Not for bits."""
        return replace(self, element=self.element + first, elements=count)

    @property
    def request(self) -> str:
        """The whole element, as pycomm3 takes it."""
        match self.file:
            case "S":
                return f"S:{self.element}"
            case "I" | "O":
                return f"{self.file}:{self.element}.{self.word}"
            case "T" | "C":
                return f"{self.file}{self.number}:{self.element}.ACC"
            case _:
                return f"{self.file}{self.number}:{self.element}"

    def __str__(self) -> str:
        """As RSLogix 500 writes it."""
        if self.file in {"T", "C"}:
            names = {0: {bit: name for name, bit in _BITS[self.file].items()}, 1: "PRE", 2: "ACC"}
            name = names[0][self.bit] if self.bit is not None else names[self.word]  # type: ignore[index]
            return f"{self.file}{self.number}:{self.element}.{name}"
        text = self.request if self.bit is None else f"{self.request}/{self.bit}"
        if self.elements is None:
            return text
        return f"{text}..{(self.element if self.bit is None else self.bit) + self.elements - 1}"


SIZES: Final[Mapping[str, int]] = {
    "N": 2, "B": 2, "S": 2, "I": 2, "O": 2, "F": 4, "L": 4, "T": 6, "C": 6, "ST": 84,
}  # fmt: skip
"""Bytes of one element, by the letters of its file."""

RUNS: Final = frozenset({"N", "B", "F", "L", "S"})
"""Files whose elements pycomm3 reads several of at once."""
MOST: Final = 80
"""Bytes of one read that every SLC and MicroLogix takes."""

_BITS: Final[Mapping[str, Mapping[str, int]]] = {
    "T": {"EN": 15, "TT": 14, "DN": 13},
    "C": {"CU": 15, "CD": 14, "DN": 13, "OV": 12, "UN": 11, "UA": 10},
}
_WORDS: Final = {"PRE": 1, "ACC": 2}
_ENCODINGS: Final[Mapping[str, tuple[Encoding, ...]]] = {
    "F": (Encoding.real,),
    "L": (Encoding.dint, Encoding.udint),
    "ST": (Encoding.string,),
}
_WORD_ENCODINGS: Final = (Encoding.int, Encoding.uint)

_DATA: Final = re.compile(r"(N|B|F|L|ST)(\d{1,3}):(\d{1,3})(?:/(\d{1,2}))?", re.IGNORECASE)
_COUNTED: Final = re.compile(r"([TC])(\d{1,3}):(\d{1,3})[./]([A-Z]{2,3})", re.IGNORECASE)
_BINARY: Final = re.compile(r"B(\d{1,3})/(\d{1,4})", re.IGNORECASE)
_STATUS: Final = re.compile(r"S2?:(\d{1,3})(?:/(\d{1,2}))?", re.IGNORECASE)
_MODULE: Final = re.compile(r"([IO])[01]?:(\d{1,3})(?:\.(\d{1,3}))?(?:/(\d{1,2}))?", re.IGNORECASE)
_FORMS: Final = (
    "write an address of RSLogix 500, as N7:0, N7:0/3, B3:1/5, F8:2, ST9:0, T4:0.ACC, S:1 or I:1/3"
)


def parse_tag(spec: TagSpec, settings: SlcSettings) -> Tag[SlcAddress]:
    """The tag a binding means. Raises AddressError, its text saying what would be right."""
    del settings  # nothing in them bears on an address
    if spec.words is not None:
        raise AddressError("words: an SLC has one order of bytes; leave words out")
    file, number, element, word, bit = _place(spec.address)
    if not 0 <= number <= 255 or not 0 <= element <= 255:
        raise AddressError(f"{spec.address!r}: a file and its elements are numbered from 0 to 255")
    if bit is not None and bit >= (32 if file == "L" else 16):
        raise AddressError(f"{spec.address!r}: {file}{number} has the bits 0 to {31 if file == 'L' else 15}")
    encoding = _encoding(spec, file, bit)
    if spec.writable and (file in {"T", "C", "S", "I"} or (file == "L" and bit is not None)):
        what = "a bit of a long" if file == "L" else {"T": "a timer", "C": "a counter"}.get(file, "this file")
        raise AddressError(f"{spec.address!r}: {what} cannot be written by this driver; take access: rw away")
    address = SlcAddress(file, number, element, encoding, word, bit, spec.length)
    if spec.length is not None:
        _check_array(spec, address)
    return Tag(spec.name, address, encoding.type, spec.scan, spec.writable, spec.length)


def _check_array(spec: TagSpec, address: SlcAddress) -> None:
    if address.file not in RUNS:
        raise AddressError(
            f"{spec.address!r}: arrays are read of the files {', '.join(sorted(RUNS))}; give each value a "
            "property of its own"
        )
    if spec.length == ANY_LENGTH:
        raise AddressError(
            f"{spec.address!r}: the file does not say how many are meant; write it, as array: 8"
        )
    size = (address.end - address.element) * SIZES[address.file]
    if size > MOST:
        raise AddressError(
            f"{address} takes {size} bytes; one request brings {MOST} and an array is never split"
        )
    if address.end > 256:
        raise AddressError(f"{address} runs past element 255, the last of a file")
    if spec.writable and address.bit is not None:
        raise AddressError(
            f"{address}: bits are written one at a time; take access: rw away, or make each a "
            "property of its own"
        )


def _place(text: str) -> tuple[str, int, int, int, int | None]:
    """File, number, element, word and bit of an address."""
    plain = text.strip()
    if (match := _DATA.fullmatch(plain)) is not None:
        file = match[1].upper()
        if match[4] is not None and file in {"F", "ST"}:
            raise AddressError(f"{text!r}: {'a text' if file == 'ST' else 'a float'} has no bits")
        return file, int(match[2]), int(match[3]), 0, _bit(match[4])
    if (match := _COUNTED.fullmatch(plain)) is not None:
        return _counted(text, match[1].upper(), int(match[2]), int(match[3]), match[4].upper())
    if (match := _BINARY.fullmatch(plain)) is not None:
        element, bit = divmod(int(match[2]), 16)
        return "B", int(match[1]), element, 0, bit
    if (match := _STATUS.fullmatch(plain)) is not None:
        return "S", 2, int(match[1]), 0, _bit(match[2])
    if (match := _MODULE.fullmatch(plain)) is not None:
        file = match[1].upper()
        word = int(match[3] or 0)
        if word > 255:
            raise AddressError(f"{text!r}: the words of a module are numbered from 0 to 255")
        return file, "OI".index(file), int(match[2]), word, _bit(match[4])
    if re.fullmatch(r"[TC]\d{1,3}:\d{1,3}", plain, re.IGNORECASE):
        raise AddressError(f"{text!r} is a structure; bind its members, as {plain}.ACC")
    raise AddressError(f"{text!r} is no address of an SLC; {_FORMS}")


def _counted(
    text: str, file: str, number: int, element: int, name: str
) -> tuple[str, int, int, int, int | None]:
    """The same of a member of a timer or counter."""
    if name in _WORDS:
        return file, number, element, _WORDS[name], None
    if name not in _BITS[file]:
        names = ", ".join((*_WORDS, *_BITS[file]))
        raise AddressError(f"{text!r}: there is no {name} in it; there are {names}")
    return file, number, element, 0, _BITS[file][name]


def _bit(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


def _encoding(spec: TagSpec, file: str, bit: int | None) -> Encoding:
    allowed = (Encoding.bool,) if bit is not None else _ENCODINGS.get(file, _WORD_ENCODINGS)
    if spec.encoding is None:
        fitting = [encoding for encoding in allowed if encoding.type is spec.natural]
        return fitting[0] if fitting else allowed[0]
    for encoding in allowed:
        if encoding.value == spec.encoding:
            return encoding
    names = " or ".join(encoding.value for encoding in allowed)
    raise AddressError(f"as: {spec.encoding}: {spec.address} is {names}; leave as out")


# What a Python value is struct-packed by; text has a form of its own.
FORMATS: Final[Mapping[Encoding, str]] = {
    Encoding.int: "<h",
    Encoding.uint: "<H",
    Encoding.dint: "<i",
    Encoding.udint: "<I",
    Encoding.real: "<f",
}
