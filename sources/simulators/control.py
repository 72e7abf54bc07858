"""The control port: one JSON object a line in, one a line out. How a test orders a fault.

::

    {"mute": true}           take requests, answer nothing
    {"delay": 0.5}           every reply that much later, in seconds
    {"delay_once": 2}        the next reply that much later
    {"drop": true}           close every connection now
    {"refuse": true}         close new connections at once
    {"set": {"machine": "Acme/Line1/Filler", "name": "Speed", "value": 5.0}}    freeze a point
    {"get": {"machine": "Acme/Line1/Filler", "name": "SpeedSP"}}
    {"status": true}

A fault stays until its opposite (false, 0, null) is sent. Values are engineering values; a
point frozen at null moves again. Every line is answered ``{"ok": true, ...}`` or
``{"ok": false, "error": "..."}``. Listens on loopback only: there is no authentication.
What only one protocol's devices can do wrong, its own control adds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from sources.settings import SettingsModel
from sources.simulators.faults import Faults
from sources.simulators.listen import end, listen
from sources.simulators.spec import Scalar

_LONGEST_LINE: Final = 65536
_LONGEST_DELAY: Final = 3600.0


class Device(Protocol):
    """What the control port needs of a simulated device."""

    def drop(self) -> None:
        """Close every connection now."""
        ...

    def get(self, machine: str, name: str) -> Scalar | None:
        """The engineering value a master would read. Raises KeyError."""
        ...

    def freeze(self, machine: str, name: str, value: Scalar | None) -> None:
        """Freeze a point, None to let go. Raises KeyError and ValueError."""
        ...

    def status(self) -> Mapping[str, Any]:
        """What it is and how much it has done, as JSON values."""
        ...


class _Point(SettingsModel):
    machine: str
    name: str


class _Frozen(_Point):
    value: StrictBool | StrictInt | StrictFloat | StrictStr | None


class Command(SettingsModel):
    """One line; exactly one of these is set."""

    mute: bool | None = None
    delay: float | None = Field(None, ge=0, le=_LONGEST_DELAY)
    delay_once: float | None = Field(None, ge=0, le=_LONGEST_DELAY)
    drop: bool | None = None
    refuse: bool | None = None
    set: _Frozen | None = None
    get: _Point | None = None
    status: bool | None = None


CommandT = TypeVar("CommandT", bound=Command)


class Control(Generic[CommandT]):
    """Orders faults and values for one device.

    ``switches`` are commands that set the fault of their name; ``nullable`` those that may
    be null.
    """

    switches: ClassVar[frozenset[str]] = frozenset({"mute", "delay", "delay_once", "refuse"})
    nullable: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, device: Device, faults: Faults, commands: type[CommandT]) -> None:
        self._device = device
        self._faults = faults
        self._commands = commands

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[int]:
        """Serve on loopback while inside; yields the port. Raises ListenError."""
        writers: set[asyncio.StreamWriter] = set()
        ending = False

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if ending:
                writer.transport.abort()
                return
            writers.add(writer)
            task = group.create_task(self._serve(reader, writer), name="control connection")
            task.add_done_callback(lambda _: writers.discard(writer))

        with contextlib.closing(listen("127.0.0.1", port)) as listener:
            async with asyncio.TaskGroup() as group:
                server = await asyncio.start_server(connected, sock=listener, limit=_LONGEST_LINE)
                try:
                    yield int(listener.getsockname()[1])
                finally:
                    ending = True
                    for writer in tuple(writers):
                        # Its reader sees the end, and its task ends with that.
                        writer.transport.abort()
                    await end(server, listener)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what a line says and tell how it went."""
        try:
            command = self._commands.model_validate_json(line)
        except ValidationError as error:
            return _refused("; ".join(_told(dict(e)) for e in error.errors()))
        given = command.model_fields_set
        if len(given) != 1:
            return _refused(f"one command a line, please: {', '.join(sorted(given)) or 'there is none'}")
        name = next(iter(given))
        if getattr(command, name) is None and name not in self.nullable:
            return _refused(f"{name}: null says nothing")
        try:
            return {"ok": True, **self.carry_out(name, command)}
        except KeyError:
            return _refused("there is no such machine or point")
        except ValueError as error:
            return _refused(str(error))

    def carry_out(self, name: str, command: CommandT) -> Mapping[str, Any]:
        """Do the one thing that is set, and say what there is to say. Raises KeyError and ValueError."""
        if name in self.switches:
            setattr(self._faults, name, getattr(command, name))
        elif name == "drop" and command.drop:
            self._device.drop()
        elif command.set is not None:
            self._device.freeze(command.set.machine, command.set.name, command.set.value)
        elif command.get is not None:
            return {"value": plain(self._device.get(command.get.machine, command.get.name))}
        elif command.status:
            return self._device.status()
        return {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self.answer(line), allow_nan=False).encode() + b"\n")
                await writer.drain()
        except ValueError:
            # Longer than any command: where the next line would begin is anybody's guess.
            writer.write(json.dumps(_refused(f"a line has at most {_LONGEST_LINE} bytes")).encode() + b"\n")
        except ConnectionError:
            return
        finally:
            writer.close()


def _refused(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why}


def _told(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def plain(value: JsonValue) -> JsonValue:
    """As JSON can say it: not-a-number and the infinities are null."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
