"""The control port of a Modbus device: what every device's does, and this.

::

    {"short_reply": true}    reads bring about half of what was asked
    {"exception": {"table": "holding", "offset": 9, "code": 4}}    requests touching it fail
    {"exception": null}      no request fails any more
    {"queue": {"offset": 5, "values": [1, 2]}}    what the FIFO queue at that address holds
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from sources.settings import SettingsModel
from sources.simulators.control import Command, Control
from sources.simulators.modbus.device import ModbusDevice
from sources.simulators.spec import ADDRESSES, Queue, TableName


class _Address(SettingsModel):
    table: TableName
    offset: int = Field(ge=0, lt=ADDRESSES)
    code: int = Field(ge=1, le=255)


class _Queue(SettingsModel):
    offset: int = Field(ge=0, lt=ADDRESSES)
    values: Queue


class ModbusCommand(Command):
    """One line; exactly one of these is set."""

    short_reply: bool | None = None
    exception: _Address | None = None
    queue: _Queue | None = None


class ModbusControl(Control[ModbusCommand]):
    """Orders faults and values for one device."""

    switches: ClassVar[frozenset[str]] = Control.switches | {"short_reply"}
    nullable: ClassVar[frozenset[str]] = frozenset({"exception"})

    def __init__(self, device: ModbusDevice) -> None:
        super().__init__(device, device.faults, ModbusCommand)
        self._exceptions = device.faults.exceptions
        self._queues = device.queues

    def carry_out(self, name: str, command: ModbusCommand) -> Mapping[str, Any]:
        """See Control."""
        if name == "queue" and command.queue is not None:
            self._queues[command.queue.offset] = command.queue.values
            return {}
        if name != "exception":
            return super().carry_out(name, command)
        if command.exception is None:
            self._exceptions.clear()
        else:
            address = command.exception
            self._exceptions[address.table, address.offset] = address.code
        return {}
