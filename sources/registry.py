"""Every driver there is, by its kind. Adding one means adding a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from sources.ethernetip.config import LogixSettings
from sources.ethernetip.config import parse_tag as logix_tag
from sources.ethernetip.driver import LogixSource
from sources.ethernetip.slc.config import SlcSettings
from sources.ethernetip.slc.config import parse_tag as slc_tag
from sources.ethernetip.slc.driver import SlcSource
from sources.modbus.config import ModbusSettings
from sources.modbus.config import conflict as modbus_conflict
from sources.modbus.config import parse_tag as modbus_tag
from sources.modbus.driver import ModbusSource
from sources.opcua.address import parse_address
from sources.opcua.config import DownstreamSettings
from sources.opcua.config import parse_tag as opcua_tag
from sources.opcua.driver import OpcUaSource
from sources.replay.config import ReplaySettings
from sources.replay.config import parse_tag as replay_tag
from sources.replay.driver import ReplaySource
from sources.source import Source
from sources.spec import TagSpec
from sources.tag import Tag


@dataclass(frozen=True, slots=True)
class Driver:
    """One protocol.

    ``settings`` is the model of a source's own keys in the configuration; it has a
    literal field ``driver``. ``tag`` turns what a binding says into a Tag and raises
    AddressError with advice. ``source`` makes the source: no I/O happens there. ``conflict``
    says why two sources' settings cannot stand side by side, None where they can.
    """

    kind: str
    settings: type[BaseModel]
    tag: Callable[[TagSpec, Any], Tag[Any]]
    source: Callable[[str, Any, Sequence[Tag[Any]]], Source]
    conflict: Callable[[Any, Any], str | None] | None = None
    node: Callable[[str], Any] | None = None
    """Turns what an import says of a node into its address, or raises AddressError; None without imports."""


DRIVERS: Final[Mapping[str, Driver]] = {
    driver.kind: driver
    for driver in (
        Driver("modbus", ModbusSettings, modbus_tag, ModbusSource, modbus_conflict),
        Driver("logix", LogixSettings, logix_tag, LogixSource),
        Driver("slc", SlcSettings, slc_tag, SlcSource),
        Driver("opcua", DownstreamSettings, opcua_tag, OpcUaSource, node=parse_address),
        Driver("replay", ReplaySettings, replay_tag, ReplaySource),
    )
}
