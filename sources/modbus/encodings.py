"""A device's own types, as ``as:`` names them: which there are, and how their bytes stand in registers."""

from __future__ import annotations

import builtins
import difflib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sources.errors import AddressError
from sources.tag import ValueType


class WordOrder(enum.Enum):
    """How a value's bytes stand in its registers; A is the most significant byte.

    Two swaps in four combinations: the bytes within each register (BADC, DCBA) and the
    registers among each other (CDAB, DCBA). A 64-bit value takes the same two swaps over
    four registers; a value of one register and the bits of one know only the first. Text and
    dates that are made of several fields run from the lowest register up whatever the
    order; only the bytes within a register swap.
    """

    ABCD = "ABCD"
    BADC = "BADC"
    CDAB = "CDAB"
    DCBA = "DCBA"

    @property
    def swaps_bytes(self) -> bool:
        """Whether the low byte of each register comes first."""
        return self in {WordOrder.BADC, WordOrder.DCBA}

    @property
    def swaps_words(self) -> bool:
        """Whether the least significant register comes first."""
        return self in {WordOrder.CDAB, WordOrder.DCBA}


class Encoding(enum.Enum):
    """A device's own type. The layouts of those that are no plain numbers are in `formats`."""

    bool = "bool"
    int16 = "int16"
    uint16 = "uint16"
    int32 = "int32"
    uint32 = "uint32"
    float32 = "float32"
    int64 = "int64"
    uint64 = "uint64"
    float64 = "float64"
    bcd16 = "bcd16"
    bcd32 = "bcd32"
    s5time = "s5time"
    unix32 = "unix32"
    unix64 = "unix64"
    unix64ms = "unix64ms"
    unix64us = "unix64us"
    unix64ns = "unix64ns"
    filetime = "filetime"
    ole_date = "ole_date"
    s7_date = "s7_date"
    s7_dt = "s7_dt"
    s7_dtl = "s7_dtl"
    logo_clock = "logo_clock"
    schneider_dt = "schneider_dt"
    schneider_meter = "schneider_meter"
    systemtime = "systemtime"
    omron_clock = "omron_clock"
    mitsubishi_clock = "mitsubishi_clock"
    string = "string"
    s7string = "s7string"
    lstring = "lstring"

    @property
    def type(self) -> ValueType:
        """The type of the values a tag of this encoding hands up."""
        return _TYPES.get(self, ValueType.DateTime)

    @property
    def is_text(self) -> builtins.bool:
        """Whether it needs a length: ``string(16)``."""
        return _TYPES.get(self) is ValueType.String

    @property
    def is_plain(self) -> builtins.bool:
        """Whether it is a number that `struct` unpacks."""
        return self in LETTERS

    @property
    def is_one_number(self) -> builtins.bool:
        """Whether its registers hold one number, so that both swaps of the word order apply."""
        return self in LETTERS or self in _ONE_NUMBER

    def registers(self, length: int = 0) -> int:
        """How many registers a value takes; ``length`` is that of a text, in bytes."""
        return (length + _PREFIX.get(self, 0) + 1) // 2 if self.is_text else _REGISTERS[self]


LETTERS: Final[Mapping[Encoding, str]] = {
    Encoding.int16: "h",
    Encoding.uint16: "H",
    Encoding.int32: "i",
    Encoding.uint32: "I",
    Encoding.float32: "f",
    Encoding.int64: "q",
    Encoding.uint64: "Q",
    Encoding.float64: "d",
}
"""The plain numbers, and their letters in formats of `struct`."""

_TYPES: Final[Mapping[Encoding, ValueType]] = {
    Encoding.bool: ValueType.Boolean,
    Encoding.int16: ValueType.Int16,
    Encoding.uint16: ValueType.UInt16,
    Encoding.int32: ValueType.Int32,
    Encoding.uint32: ValueType.UInt32,
    Encoding.float32: ValueType.Float,
    Encoding.int64: ValueType.Int64,
    Encoding.uint64: ValueType.UInt64,
    Encoding.float64: ValueType.Double,
    Encoding.bcd16: ValueType.UInt16,
    Encoding.bcd32: ValueType.UInt32,
    Encoding.s5time: ValueType.Double,
    Encoding.string: ValueType.String,
    Encoding.s7string: ValueType.String,
    Encoding.lstring: ValueType.String,
}
_BY_TYPE: Final[Mapping[ValueType, Encoding]] = {
    _TYPES[encoding]: encoding for encoding in (Encoding.bool, *LETTERS)
}
_REGISTERS: Final[Mapping[Encoding, int]] = {
    Encoding.bool: 1,
    Encoding.int16: 1,
    Encoding.uint16: 1,
    Encoding.int32: 2,
    Encoding.uint32: 2,
    Encoding.float32: 2,
    Encoding.int64: 4,
    Encoding.uint64: 4,
    Encoding.float64: 4,
    Encoding.bcd16: 1,
    Encoding.bcd32: 2,
    Encoding.s5time: 1,
    Encoding.unix32: 2,
    Encoding.unix64: 4,
    Encoding.unix64ms: 4,
    Encoding.unix64us: 4,
    Encoding.unix64ns: 4,
    Encoding.filetime: 4,
    Encoding.ole_date: 4,
    Encoding.s7_date: 1,
    Encoding.s7_dt: 4,
    Encoding.s7_dtl: 6,
    Encoding.logo_clock: 3,
    Encoding.schneider_dt: 4,
    Encoding.schneider_meter: 4,
    Encoding.systemtime: 8,
    Encoding.omron_clock: 4,
    Encoding.mitsubishi_clock: 4,
}
_PREFIX: Final[Mapping[Encoding, int]] = {Encoding.s7string: 2, Encoding.lstring: 2}
"""Bytes before the text that hold its length."""
_ONE_NUMBER: Final = frozenset(
    {
        Encoding.bcd16,
        Encoding.bcd32,
        Encoding.s5time,
        Encoding.unix32,
        Encoding.unix64,
        Encoding.unix64ms,
        Encoding.unix64us,
        Encoding.unix64ns,
        Encoding.filetime,
        Encoding.ole_date,
        Encoding.s7_date,
    }
)

_SYNONYMS: Final[Mapping[str, str]] = {
    "bit": "bool",
    "boolean": "bool",
    "byte": "uint16",
    "short": "int16",
    "int": "int16",
    "sint": "int16",
    "word": "uint16",
    "uint": "uint16",
    "ushort": "uint16",
    "dint": "int32",
    "long": "int32",
    "dword": "uint32",
    "udint": "uint32",
    "ulong": "uint32",
    "float": "float32",
    "real": "float32",
    "single": "float32",
    "lint": "int64",
    "ulint": "uint64",
    "lword": "uint64",
    "double": "float64",
    "lreal": "float64",
    "bcd": "bcd16",
    "date_and_time": "s7_dt",
    "dtl": "s7_dtl",
    "dt": "unix32",
    "ldt": "unix64ns",
    "time_t": "unix32",
    "epoch": "unix32",
    "timestruct": "systemtime",
}
_TEXT: Final = re.compile(r"(string|s7string|lstring)\((\d{1,6})\)")


@dataclass(frozen=True, slots=True)
class Shape:
    """An encoding and, for text, its length in bytes."""

    encoding: Encoding
    length: int = 0

    def __str__(self) -> str:
        return f"{self.encoding.value}({self.length})" if self.encoding.is_text else self.encoding.value


def parse_shape(text: str) -> Shape:
    """What ``as:`` says. Raises AddressError, its text saying what would be right."""
    if (match := _TEXT.fullmatch(text)) is not None:
        length = int(match[2])
        if length == 0:
            raise AddressError("string(0) holds nothing; say how many bytes the text takes, as in string(16)")
        if length > 254 and match[1] == "s7string":
            raise AddressError(f"as: {text}: an S7 string has 254 characters at most")
        return Shape(Encoding(match[1]), length)
    plain = text.strip().lower()
    if plain.startswith(("string", "str", "char", "s7string", "lstring")):
        raise AddressError(f"as: {text}: say how many bytes the text takes, as in string(16)")
    names = [encoding.value for encoding in Encoding if not encoding.is_text]
    if text in names:
        return Shape(Encoding(text))
    close = _SYNONYMS.get(plain) or next(iter(difflib.get_close_matches(plain, names, n=1)), None)
    hint = f"; did you mean {close}?" if close else ""
    raise AddressError(
        f"as: {text} is no encoding; there are {', '.join(names)}, string(N), s7string(N) "
        f"and lstring(N){hint}"
    )


def natural_shape(address: str, natural: ValueType) -> Shape:
    """What a register holds where nothing is said, by the type of the property. Raises AddressError."""
    if natural is ValueType.String:
        raise AddressError(
            f"{address!r}: text needs its length in bytes; add as: string(16), two bytes a register"
        )
    if natural is ValueType.DateTime:
        raise AddressError(
            f"{address!r}: there are many ways to write a time; add as: unix32, s7_dt or another"
        )
    encoding = _BY_TYPE.get(natural)
    if encoding is None:
        wider = "int16" if natural is ValueType.SByte else "uint16"
        raise AddressError(
            f"{address!r}: a register is 16 bits, so {natural.name} says too little; add as: {wider} "
            f"or as: {'uint16' if wider == 'int16' else 'int16'}"
        )
    return Shape(encoding)
