"""What the configuration says of a Modbus device and its points: settings, addresses, encodings.

Addresses name the table and count from 0, as the protocol does: ``holding:0``, ``input:1``,
``coil:5``, ``discrete:7``, and ``holding:10.3`` for bit 3 of a register (bit 0 is the least
significant). The 40001 style is refused: half of all manuals count it from 0 all the same.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from sources.errors import AddressError
from sources.settings import Duration, SettingsModel
from sources.spec import TagSpec
from sources.tag import Tag, ValueType

MAX_READ_REGISTERS: Final = 125
MAX_READ_BITS: Final = 2000
MAX_WRITE_REGISTERS: Final = 123
ADDRESSES: Final = 65536


class WordOrder(enum.Enum):
    """How a value's bytes stand in its registers; A is the most significant byte.

    Two swaps in four combinations: the bytes within each register (BADC, DCBA) and the
    registers among each other (CDAB, DCBA). A 64-bit value takes the same two swaps over
    four registers; a value of one register and the bits of one know only the first. Text
    runs from the lowest register up whatever the order; only the bytes within a register swap.
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


class Table(enum.Enum):
    """The four tables of a device; the value is the function code that reads it."""

    coil = 1
    discrete = 2
    holding = 3
    input = 4

    @property
    def is_bits(self) -> bool:
        """Whether an address of it is one bit rather than one 16-bit register."""
        return self in {Table.coil, Table.discrete}

    @property
    def is_writable(self) -> bool:
        """Whether the protocol has functions that write it."""
        return self in {Table.coil, Table.holding}


class Encoding(enum.Enum):
    """A device's own type, as ``as:`` names it."""

    bool = "bool"
    int16 = "int16"
    uint16 = "uint16"
    int32 = "int32"
    uint32 = "uint32"
    float32 = "float32"
    int64 = "int64"
    uint64 = "uint64"
    float64 = "float64"
    string = "string"

    @property
    def type(self) -> ValueType:
        """The type of the values a tag of this encoding hands up."""
        return _TYPES[self]


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
    Encoding.string: ValueType.String,
}
_BY_TYPE: Final[Mapping[ValueType, Encoding]] = {
    kind: e for e, kind in _TYPES.items() if e is not Encoding.string
}
_REGISTERS: Final[Mapping[Encoding, int]] = {
    Encoding.int16: 1,
    Encoding.uint16: 1,
    Encoding.int32: 2,
    Encoding.uint32: 2,
    Encoding.float32: 2,
    Encoding.int64: 4,
    Encoding.uint64: 4,
    Encoding.float64: 4,
}


def _host(value: str) -> str:
    """A host name or address as far as one can tell without asking the network."""
    try:
        value.encode("idna")
    except UnicodeError:
        pass
    else:
        if value and not any(letter.isspace() or letter in "/@[]" for letter in value):
            return value
    raise ValueError(
        f"{value!r} is no host name or IP address; write one like plc1.acme.example or 10.20.1.11"
    )


class ModbusSettings(SettingsModel):
    """A source of ``driver: modbus``: one unit of one Modbus TCP device or gateway.

    ``max_gap`` is how many registers no tag asks for may be read along to spare a request
    (in the bit tables 16 bits count as one register). ``max_registers`` and ``max_bits``
    bound one request, where a device takes less than the protocol allows. ``timeout`` is
    the time one request may take, and the call itself. ``pipeline`` requests at most are on
    their way on each of ``connections`` connections.
    """

    driver: Literal["modbus"]
    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    words: Literal["ABCD", "BADC", "CDAB", "DCBA"] = "ABCD"
    max_gap: Annotated[int, Field(ge=0, le=MAX_READ_REGISTERS)] = MAX_READ_REGISTERS
    max_registers: Annotated[int, Field(ge=1, le=MAX_READ_REGISTERS)] = MAX_READ_REGISTERS
    max_bits: Annotated[int, Field(ge=1, le=MAX_READ_BITS)] = MAX_READ_BITS
    timeout: Duration = 1.0
    connections: Annotated[int, Field(ge=1, le=16)] = 1
    pipeline: Annotated[int, Field(ge=1, le=16)] = 1


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """Where a tag's value lies, and how it is to be read.

    ``start`` counts from 0; ``count`` is in registers, or in bits for coils and discrete
    inputs. ``bit`` is set for one bit of a register, ``length`` (bytes) for text.
    """

    table: Table
    start: int
    count: int
    encoding: Encoding
    order: WordOrder = WordOrder.ABCD
    bit: int | None = None
    length: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.count

    def __str__(self) -> str:
        """As the configuration writes it: ``holding:10.3``, ``holding:0 as float32``."""
        if self.encoding is Encoding.bool:
            bit = "" if self.bit is None else f".{self.bit}"
            return f"{self.table.name}:{self.start}{bit}"
        encoding = f"string({self.length})" if self.encoding is Encoding.string else self.encoding.value
        return f"{self.table.name}:{self.start} as {encoding}"


_ADDRESS: Final = re.compile(r"(coil|discrete|holding|input):(\d{1,9})(?:\.(\d{1,3}))?")
_STRING: Final = re.compile(r"string\((\d{1,6})\)")
_FORMS: Final = "write holding:0, input:0, coil:0, discrete:0, or holding:0.3 for a bit; all count from 0"

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


def parse_tag(spec: TagSpec, settings: ModbusSettings) -> Tag[ModbusAddress]:
    """The tag a binding means. Raises AddressError, its text saying what would be right."""
    table, start, bit = _parse_address(spec.address)
    encoding, length = _parse_encoding(spec, table, bit)
    order = _parse_order(spec, settings, table)
    if table.is_bits or bit is not None:
        count = 1
    elif encoding is Encoding.string:
        count = (length + 1) // 2
    else:
        count = _REGISTERS[encoding]
    address = ModbusAddress(table, start, count, encoding, order, bit, length)
    _check_extent(spec, address, settings)
    return Tag(spec.name, address, encoding.type, spec.scan, spec.writable)


def _parse_address(text: str) -> tuple[Table, int, int | None]:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise AddressError(f"{text!r} is not a Modbus address: {_address_advice(text)}")
    table, start = Table[match[1]], int(match[2])
    if start >= ADDRESSES:
        raise AddressError(f"{text!r}: addresses run from 0 to {ADDRESSES - 1}")
    if match[3] is None:
        return table, start, None
    bit = int(match[3])
    if table.is_bits:
        raise AddressError(f"{text!r}: a {table.name} is one bit already; write {table.name}:{start}")
    if bit > 15:
        raise AddressError(f"{text!r}: a register has the bits 0 (least significant) to 15")
    return table, start, bit


def _address_advice(text: str) -> str:
    plain = text.strip()
    if (numbered := re.fullmatch(r"(\d+)(\.\d+)?", plain)) is not None:
        return _numbered_advice(numbered[1], numbered[2] or "")
    named = re.fullmatch(r"%?([A-Za-z_ ]+?)s?[ :_]*(0[xX][0-9a-fA-F]+|\d+)?(\.\d+)?", plain)
    if named is None:
        return _FORMS
    name, number, bit = named[1].strip().lower(), named[2], named[3] or ""
    table = _TABLE_SYNONYMS.get(name) or next(
        iter(difflib.get_close_matches(name.split(maxsplit=1)[0], [t.name for t in Table], n=1)), None
    )
    if table is None or number is None:
        return _FORMS
    return f"did you mean {table}:{int(number, 0) if number[:2] in {'0x', '0X'} else int(number)}{bit}?"


def _numbered_advice(digits: str, bit: str) -> str:
    """What a number in the old notation of five or six digits, table first and from 1, would be here."""
    tables = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
    table = tables.get(digits[0])
    if len(digits) in {5, 6} and table is not None and 1 <= int(digits[1:]) <= ADDRESSES:
        right = f"{table}:{int(digits[1:]) - 1}{bit}"
        return f"{digits} in {len(digits)}-digit notation is {right}; write that"
    return f"it does not say which table; {_FORMS}"


def _parse_encoding(spec: TagSpec, table: Table, bit: int | None) -> tuple[Encoding, int]:
    if table.is_bits or bit is not None:
        if spec.encoding not in {None, "bool"}:
            raise AddressError(f"{spec.address!r} is one bit: it can only be bool, not {spec.encoding}")
        return Encoding.bool, 0
    encoding, length = _default_encoding(spec) if spec.encoding is None else _named_encoding(spec.encoding)
    if encoding is Encoding.bool:
        raise AddressError(
            f"{spec.address!r} is a register of 16 bits: say which bit ({spec.address}.0 is the least "
            "significant), or what number it holds (as: uint16)"
        )
    return encoding, length


def _named_encoding(text: str) -> tuple[Encoding, int]:
    if (match := _STRING.fullmatch(text)) is not None:
        length = int(match[1])
        if length == 0:
            raise AddressError("string(0) holds nothing; say how many bytes the text takes, as in string(16)")
        return Encoding.string, length
    plain = text.strip().lower()
    if plain.startswith(("string", "str", "char")):
        raise AddressError(f"as: {text}: say how many bytes the text takes, as in string(16)")
    names = [e.value for e in Encoding if e is not Encoding.string]
    if text in names:
        return Encoding(text), 0
    close = _SYNONYMS.get(plain) or next(iter(difflib.get_close_matches(plain, names, n=1)), None)
    hint = f"; did you mean {close}?" if close else ""
    raise AddressError(f"as: {text} is no encoding; there are {', '.join(names)} and string(N){hint}")


def _default_encoding(spec: TagSpec) -> tuple[Encoding, int]:
    natural = spec.natural
    if natural is ValueType.String:
        raise AddressError(
            f"{spec.address!r}: text needs its length in bytes; add as: string(16), two bytes a register"
        )
    encoding = _BY_TYPE.get(natural)
    if encoding is None:
        wider = "int16" if natural is ValueType.SByte else "uint16"
        raise AddressError(
            f"{spec.address!r}: a register is 16 bits, so {natural.name} says too little; add as: {wider} "
            f"or as: {'uint16' if wider == 'int16' else 'int16'}"
        )
    return encoding, 0


def _parse_order(spec: TagSpec, settings: ModbusSettings, table: Table) -> WordOrder:
    if spec.words is None:
        return WordOrder(settings.words)
    if table.is_bits:
        raise AddressError(f"{spec.address!r} is one bit: it has no word order; leave words out")
    try:
        return WordOrder(spec.words)
    except ValueError:
        orders = ", ".join(order.value for order in WordOrder)
        raise AddressError(f"words: {spec.words} is no word order; there are {orders}") from None


def _check_extent(spec: TagSpec, address: ModbusAddress, settings: ModbusSettings) -> None:
    if address.end > ADDRESSES:
        raise AddressError(
            f"{address} takes {address.count} registers and so runs past {ADDRESSES - 1}, the last address"
        )
    if not address.table.is_bits and address.count > settings.max_registers:
        raise AddressError(
            f"{address} takes {address.count} registers; one request reads {settings.max_registers} of this "
            "device (max_registers) and a value is never split"
        )
    if not spec.writable:
        return
    if not address.table.is_writable:
        other = "coil" if address.table.is_bits else "holding"
        raise AddressError(
            f"{spec.address!r}: the {address.table.name} table cannot be written; use its {other} if the "
            "device has one, or take access: rw away"
        )
    if address.count > MAX_WRITE_REGISTERS:
        raise AddressError(
            f"{address} takes {address.count} registers; one request writes at most {MAX_WRITE_REGISTERS}"
        )
