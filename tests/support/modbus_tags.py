"""Modbus settings and tags in few words,."""

from __future__ import annotations

from typing import Any

from support.scanning import FAST

from sources.modbus.config import ModbusAddress, ModbusSettings, parse_tag
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag, ValueType


def settings(port: int = 502, **more: Any) -> ModbusSettings:
    """Settings of a device on loopback."""
    return ModbusSettings.model_validate({"driver": "modbus", "host": "127.0.0.1", "port": port} | more)


def tag(  # noqa: PLR0913 - what a binding may say
    address: str,
    encoding: str | None = None,
    scan: ScanClass = FAST,
    *,
    words: str | None = None,
    writable: bool = False,
    natural: ValueType = ValueType.UInt16,
    name: str | None = None,
    of: ModbusSettings | None = None,
    length: int | None = None,
) -> Tag[ModbusAddress]:
    """A tag; its name is its address unless given."""
    spec = TagSpec(name or address, address, natural, scan, encoding, words, writable, length)
    return parse_tag(spec, of or settings())
