"""Logix settings, tags and types in few words."""

from __future__ import annotations

from typing import Any

from support.scanning import FAST

from sources.ethernetip.config import LogixAddress, LogixSettings, parse_tag
from sources.ethernetip.symbols import ATOMICS, BOOL, DWORD, Member, Structure, Symbol, SymbolTable, Type
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag, ValueType

BY_NAME = {kind.name: kind for kind in ATOMICS.values()}


def settings(port: int = 44818, **more: Any) -> LogixSettings:
    """Settings of a controller on loopback, patient for the sake of slow machines."""
    given = {"driver": "logix", "host": "127.0.0.1", "port": port, "timeout": "10s"} | more
    return LogixSettings.model_validate(given)


def tag(
    address: str,
    encoding: str | None = None,
    scan: ScanClass = FAST,
    *,
    words: str | None = None,
    writable: bool = False,
    natural: ValueType = ValueType.Int32,
    name: str | None = None,
    length: int | None = None,
) -> Tag[LogixAddress]:
    """A tag; its name is its address unless given."""
    spec = TagSpec(name or address, address, natural, scan, encoding, words, writable, length)
    return parse_tag(spec, settings())


def text_type(name: str, capacity: int, handle: int = 0x0FCE) -> Structure:
    """A string type of so many characters."""
    size = (4 + capacity + 3) // 4 * 4
    members = (Member("LEN", BY_NAME["DINT"], 0), Member("DATA", BY_NAME["SINT"], 4, capacity))
    return Structure(name, handle, size, members, capacity)


STRING = text_type("STRING", 82)
TIMER = Structure(
    "TIMER",
    0x0F83,
    12,
    (
        Member("CTL", BY_NAME["DINT"], 0, hidden=True),
        Member("PRE", BY_NAME["DINT"], 4),
        Member("ACC", BY_NAME["DINT"], 8),
        Member("EN", BOOL, 0, bit=31),
        Member("TT", BOOL, 0, bit=30),
        Member("DN", BOOL, 3, bit=5),
    ),
)
MOTOR = Structure(
    "Motor",
    0x1234,
    120,
    (
        Member("ZZZZZZZZZZMotor0", BY_NAME["SINT"], 0, hidden=True),
        Member("Running", BOOL, 0, bit=0),
        Member("Faulted", BOOL, 0, bit=1),
        Member("Speed", BY_NAME["REAL"], 4),
        Member("Run", TIMER, 8),
        Member("Name", STRING, 20),
        Member("Alarms", DWORD, 108, 1),
        Member("Word", BY_NAME["INT"], 112),
        Member("Odd", None, 116),
    ),
)


def symbol(name: str, kind: Type | None, *dimensions: int, access: str = "Read/Write") -> Symbol:
    """A controller's tag."""
    return Symbol(name, kind, kind.name if kind is not None else "LTIME", dimensions, access)


def table() -> SymbolTable:
    """A small controller."""
    return SymbolTable(
        [
            symbol("Speed", BY_NAME["REAL"]),
            symbol("Count", BY_NAME["DINT"]),
            symbol("Word", BY_NAME["INT"]),
            symbol("Counts", BY_NAME["DINT"], 100),
            symbol("Grid", BY_NAME["INT"], 2, 3, 4),
            symbol("Flags", DWORD, 2),
            symbol("Recipe", STRING),
            symbol("Recipes", STRING, 10),
            symbol("Pump", MOTOR),
            symbol("Motors", MOTOR, 20),
            symbol("Cycle", TIMER),
            symbol("Uptime", None),
            symbol("Local:1:I", MOTOR),
            symbol("Shown", BY_NAME["DINT"], access="Read Only"),
            symbol("Secret", BY_NAME["DINT"], access="None"),
            symbol("Program:Packer.Speed", BY_NAME["REAL"]),
            symbol("Program:Packer.State", BY_NAME["DINT"]),
        ],
        ["Packer", "Palletizer"],
    )
