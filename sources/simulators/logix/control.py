"""The control port of a Logix controller: what every device's does, and this.

::

    {"cut": 10}              the next reply ends after 10 bytes, and its connection with it; null: not
    {"refuse_large": true}   no Large Forward Open
    {"no_counters": true}    none of the numbers that change with the program (class 0xAC)
    {"strict": true}         requests that go on after their end are refused (status 15)
    {"mode": "run"}          the keyswitch: run, remote run, program, remote program; run refuses writes
    {"renumber": {"close_connections": true}}    a program download: every instance has another number
    {"program": {"types": […], "tags": […], "values": {…}}}    another program, as in a spec
    {"tag_status": {"tag": "Speed", "status": 5, "extended": [0]}}    accesses to a tag fail; status null: not
    {"set_tag": {"tag": "Program:Packer.Recipe", "value": "Cola"}}    past all access rights
    {"get_tag": "Program:Packer.PML.Status"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from sources.settings import SettingsModel
from sources.simulators.control import Command, Control, plain
from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.faults import Mode
from sources.simulators.logix.spec import LogixSpec, TagSpec, TypeSpec


class _Renumber(SettingsModel):
    close_connections: bool = False


class _Program(SettingsModel):
    types: tuple[TypeSpec, ...] = ()
    tags: tuple[TagSpec, ...] = Field(min_length=1)
    values: dict[str, JsonValue] = Field(default_factory=dict)
    close_connections: bool = False


class _TagStatus(SettingsModel):
    tag: str
    status: int | None = Field(None, ge=1, le=0xFF)
    extended: tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...] = Field((), max_length=4)


class _TagValue(SettingsModel):
    tag: str
    value: JsonValue


class LogixCommand(Command):
    """One line; exactly one of these is set."""

    cut: int | None = Field(None, ge=0, le=65535)
    refuse_large: bool | None = None
    strict: bool | None = None
    no_counters: bool | None = None
    mode: Literal["run", "remote run", "program", "remote program"] | None = None
    renumber: _Renumber | None = None
    program: _Program | None = None
    tag_status: _TagStatus | None = None
    set_tag: _TagValue | None = None
    get_tag: str | None = None


class LogixControl(Control[LogixCommand]):
    """Orders faults and values for one controller."""

    switches: ClassVar[frozenset[str]] = Control.switches | {"cut", "refuse_large", "strict", "no_counters"}
    nullable: ClassVar[frozenset[str]] = frozenset({"cut"})

    def __init__(self, controller: LogixController) -> None:
        super().__init__(controller, controller.faults, LogixCommand)
        self._controller = controller

    def carry_out(self, name: str, command: LogixCommand) -> Mapping[str, Any]:
        """See Control."""
        controller = self._controller
        if command.mode is not None:
            controller.faults.mode = Mode(command.mode)
        elif command.renumber is not None:
            controller.download(close_connections=command.renumber.close_connections)
        elif command.program is not None:
            wanted = command.program
            spec = LogixSpec(name="program", types=wanted.types, tags=wanted.tags, values=wanted.values)
            controller.replace(spec, close_connections=wanted.close_connections)
        elif name in {"tag_status", "set_tag", "get_tag"}:
            try:
                return self._tag(command)
            except KeyError as error:
                raise ValueError(f"there is no tag {error.args[0]}") from error
        else:
            return super().carry_out(name, command)
        return {}

    def _tag(self, command: LogixCommand) -> Mapping[str, Any]:
        controller = self._controller
        if command.get_tag is not None:
            return {"value": plain(controller.read_tag(command.get_tag))}
        if command.set_tag is not None:
            controller.write_tag(command.set_tag.tag, command.set_tag.value)
        elif command.tag_status is not None:
            wanted = command.tag_status
            failure = None if wanted.status is None else (wanted.status, *wanted.extended)
            controller.fail_tag(wanted.tag, failure)
        return {}
