"""The control port of a simulated SLC: what every device's does, and this.

::

    {"cut": 10}              the next reply ends after 10 bytes, and its connection with it; null: not
    {"strict": true}         requests that go on after their end are refused
    {"short": 2}             two bytes are missing from the data of every reply
    {"transaction_shift": 1} every reply says another transaction than was asked
    {"loose": true}          files are read without a look at their type
    {"no_directory": true}   file 0 is kept to itself
    {"no_status": true}      it does not know what a diagnostic status is
    {"program": {"files": [{"name": "N7", "elements": 100}, …], "program": 4660, "values": {}}}    a download
    {"set_tag": {"tag": "N7:3", "value": 5}}
    {"get_tag": "B3:1/4"}
    {"tag_status": {"tag": "N7:3", "status": 80}}    accesses to an element answer so; status null: not
    {"heal": true}           every element answers, and replies are what they are
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from sources.settings import SettingsModel
from sources.simulators.control import Command, Control, plain
from sources.simulators.slc.controller import SlcController
from sources.simulators.slc.spec import FileSpec, Word


class _Program(SettingsModel):
    files: tuple[FileSpec, ...] = Field(min_length=1)
    program: int = Field(ge=0, le=0xFFFF)
    values: dict[str, Word] = Field(default_factory=dict)
    close_connections: bool = False


class _TagValue(SettingsModel):
    tag: str
    value: Word


class _TagStatus(SettingsModel):
    tag: str
    status: int | None = Field(None, ge=1, le=0xFF)
    extended: int = Field(0, ge=0, le=0xFF)


class SlcCommand(Command):
    """One line; exactly one of these is set."""

    cut: int | None = Field(None, ge=0, le=65535)
    strict: bool | None = None
    short: int | None = Field(None, ge=0, le=255)
    transaction_shift: int | None = Field(None, ge=0, le=0xFFFF)
    loose: bool | None = None
    no_directory: bool | None = None
    no_status: bool | None = None
    program: _Program | None = None
    set_tag: _TagValue | None = None
    get_tag: str | None = None
    tag_status: _TagStatus | None = None
    heal: bool | None = None


_OF_DEVICE = frozenset({"short", "transaction_shift", "loose", "no_directory", "no_status"})


class SlcControl(Control[SlcCommand]):
    """Orders faults and values for one controller."""

    switches: ClassVar[frozenset[str]] = Control.switches | {"cut", "strict"}
    nullable: ClassVar[frozenset[str]] = frozenset({"cut"})

    def __init__(self, controller: SlcController) -> None:
        super().__init__(controller, controller.faults, SlcCommand)
        self._controller = controller

    def carry_out(self, name: str, command: SlcCommand) -> Mapping[str, Any]:
        """See Control."""
        controller = self._controller
        if name in _OF_DEVICE:
            setattr(controller.device, name, getattr(command, name))
        elif command.program is not None:
            wanted = command.program
            controller.download(wanted.files, wanted.program, close_connections=wanted.close_connections)
            for address, value in wanted.values.items():
                controller.write(address, value)
        elif command.set_tag is not None:
            controller.write(command.set_tag.tag, command.set_tag.value)
        elif command.get_tag is not None:
            return {"value": plain(controller.read(command.get_tag))}
        elif command.tag_status is not None:
            wanted_status = command.tag_status
            status = wanted_status.status
            controller.fail(wanted_status.tag, None if status is None else (status, wanted_status.extended))
        elif command.heal:
            controller.heal()
        else:
            return super().carry_out(name, command)
        return {}
