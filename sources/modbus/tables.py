"""The tables of a Modbus device, and how addresses in them are written.

Four ways to count, one for a source (``addressing:``):

``0-based``   ``holding:0`` is the first register, as on the wire (the default)
``1-based``   ``holding:1`` is the first register, as in many manuals
``5-digit``   ``40001`` is the first holding register, ``30001`` the first input register,
              ``10001`` the first discrete input, ``00001`` the first coil
``6-digit``   ``400001`` is the first holding register, and so on

A FIFO queue is ``fifo:`` and the address of its pointer, where the count begins at 0 or 1.

Bit 3 of a register is ``holding:10.3`` or ``40011.3``; bit 0 is the least significant. One
source never mixes two ways: half of all manuals count from the other end than one thinks,
and a mistake by one reads the neighbour.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from sources.errors import AddressError

ADDRESSES: Final = 65536

Addressing: TypeAlias = Literal["0-based", "1-based", "5-digit", "6-digit"]


class Table(enum.Enum):
    """The four tables of a device, and its FIFO queues; the value is the function code that reads it."""

    coil = 1
    discrete = 2
    holding = 3
    input = 4
    fifo = 24

    @property
    def is_bits(self) -> bool:
        """Whether an address of it is one bit rather than one 16-bit register."""
        return self in {Table.coil, Table.discrete}

    @property
    def is_queue(self) -> bool:
        """Whether an address of it is that of a pointer to a queue of registers."""
        return self is Table.fifo

    @property
    def is_writable(self) -> bool:
        """Whether the protocol has functions that write it."""
        return self in {Table.coil, Table.holding}


class Span(NamedTuple):
    """Addresses of a table from ``low`` to before ``high``, counted from 0."""

    table: Table
    low: int
    high: int


_NAMED: Final = re.compile(r"(coil|discrete|holding|input|fifo):(\d{1,9})(?:\.(\d{1,3}))?")
_NUMBERED: Final = re.compile(r"(\d+)(?:\.(\d{1,3}))?")
_DIGITS: Final[Mapping[str, Table]] = {
    "0": Table.coil,
    "1": Table.discrete,
    "3": Table.input,
    "4": Table.holding,
}
_FORMS: Final[Mapping[str, str]] = {
    "0-based": "write holding:0, input:0, coil:0, discrete:0, or holding:0.3 for a bit; all count from 0",
    "1-based": "write holding:1, input:1, coil:1, discrete:1, or holding:1.3 for a bit; all count from 1",
    "5-digit": "write 40001, 30001, 10001 or 00001, or 40001.3 for a bit",
    "6-digit": "write 400001, 300001, 100001 or 000001, or 400001.3 for a bit",
}
_TABLE_SYNONYMS: Final[Mapping[str, str]] = {
    "c": "coil",
    "co": "coil",
    "do": "coil",
    "di": "discrete",
    "contact": "discrete",
    "hr": "holding",
    "register": "holding",
    "ao": "holding",
    "mw": "holding",
    "ir": "input",
    "ai": "input",
}


def parse_address(text: str, addressing: Addressing) -> tuple[Table, int, int | None]:
    """Table, address counted from 0, and bit. Raises AddressError, its text saying what would be right."""
    table, start, bit = (
        _numbered(text, addressing) if addressing.endswith("digit") else _named(text, addressing)
    )
    if bit is None:
        return table, start, None
    if table.is_queue:
        raise AddressError(f"{text!r}: a queue has no bits; write {text.partition('.')[0]}")
    if table.is_bits:
        raise AddressError(f"{text!r}: a {table.name} is one bit already; write {text.partition('.')[0]}")
    if bit > 15:
        raise AddressError(f"{text!r}: a register has the bits 0 (least significant) to 15")
    return table, start, bit


def parse_range(text: str, addressing: Addressing) -> Span:
    """A range like ``holding:100..120``, both ends included. Raises AddressError."""
    first, dots, last = text.partition("..")
    table, low, bit = parse_address(first.strip(), addressing)
    last = last.strip()
    if dots and addressing.endswith("based") and last.isdecimal():
        last = f"{table.name}:{last}"
    other, high, other_bit = parse_address(last, addressing) if dots else (table, low, None)
    if bit is not None or other_bit is not None:
        raise AddressError(f"{text!r}: a range is of whole registers; leave the bit out")
    if other is not table or high < low:
        raise AddressError(f"{text!r} is no range of one table, from its first to its last address")
    return Span(table, low, high + 1)


def show(table: Table, start: int, addressing: Addressing) -> str:
    """An address as the source's configuration writes it."""
    if addressing.endswith("digit") and not table.is_queue:
        digit = next(digit for digit, its in _DIGITS.items() if its is table)
        return f"{digit}{start + 1:0{int(addressing[0]) - 1}}"
    return f"{table.name}:{start + (addressing == '1-based')}"


def _named(text: str, addressing: Addressing) -> tuple[Table, int, int | None]:
    match = _NAMED.fullmatch(text)
    if match is None:
        raise AddressError(f"{text!r} is not a Modbus address: {_advice(text, addressing)}")
    low = 1 if addressing == "1-based" else 0
    table, number = Table[match[1]], int(match[2])
    if not low <= number < ADDRESSES + low:
        way = f" (addressing: {addressing})" if low else ""
        raise AddressError(f"{text!r}: addresses run from {low} to {ADDRESSES - 1 + low}{way}")
    return table, number - low, None if match[3] is None else int(match[3])


def _numbered(text: str, addressing: Addressing) -> tuple[Table, int, int | None]:
    digits = int(addressing[0])
    match = _NUMBERED.fullmatch(text)
    if match is None or len(match[1]) != digits or (table := _DIGITS.get(match[1][0])) is None:
        raise AddressError(
            f"{text!r} is not a Modbus address of this source, whose addressing is {addressing}; "
            f"{_FORMS[addressing]}"
        )
    number = int(match[1][1:])
    last = min(ADDRESSES, 10 ** (digits - 1) - 1)
    if not 1 <= number <= last:
        raise AddressError(f"{text!r}: in {addressing} notation addresses run from 1 to {last} in each table")
    return table, number - 1, None if match[2] is None else int(match[2])


def _advice(text: str, addressing: Addressing) -> str:
    plain = text.strip()
    if (numbered := re.fullmatch(r"(\d+)(\.\d+)?", plain)) is not None:
        return _numbered_advice(numbered[1], numbered[2] or "", addressing)
    named = re.fullmatch(r"%?([A-Za-z_ ]+?)s?[ :_]*(0[xX][0-9a-fA-F]+|\d+)?(\.\d+)?", plain)
    if named is None:
        return _FORMS[addressing]
    name, number, bit = named[1].strip().lower(), named[2], named[3] or ""
    table = _TABLE_SYNONYMS.get(name) or next(
        iter(difflib.get_close_matches(name.split(maxsplit=1)[0], [t.name for t in Table], n=1)), None
    )
    if table is None or number is None:
        return _FORMS[addressing]
    return f"did you mean {table}:{int(number, 0) if number[:2] in {'0x', '0X'} else int(number)}{bit}?"


def _numbered_advice(digits: str, bit: str, addressing: Addressing) -> str:
    """What a number in the notation of five or six digits, table first and from 1, would be here."""
    table = _DIGITS.get(digits[0])
    if len(digits) in {5, 6} and table is not None and 1 <= int(digits[1:]) <= ADDRESSES:
        right = f"{show(table, int(digits[1:]) - 1, addressing)}{bit}"
        return (
            f"{digits} in {len(digits)}-digit notation is {right}; write that, "
            f"or give the source addressing: {len(digits)}-digit"
        )
    return f"it does not say which table; {_FORMS[addressing]}"
