"""A whole simulated Modbus device: memory, server, and what the control port asks of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sources.simulators.modbus.faults import ModbusFaults
from sources.simulators.modbus.image import Image
from sources.simulators.modbus.server import ModbusSimulator
from sources.simulators.simulation import Simulation
from sources.simulators.spec import DeviceSpec, Scalar


class ModbusDevice:
    """One device as its spec says. Its machines start to move when it is made; needs a running loop."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._spec = spec
        self.faults = ModbusFaults()
        self._image = Image(spec.points, Simulation(spec.points))
        self._server = ModbusSimulator(spec, self._image, self.faults)

    @property
    def queues(self) -> dict[int, tuple[int, ...]]:
        """What FC 24 brings, by the address of the pointer."""
        return self._server.queues

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[tuple[str, int]]:
        """Serve while inside; yields the address listened on. Raises ListenError."""
        async with self._server.listening() as address:
            yield address

    def drop(self) -> None:
        """Close every connection now."""
        self._server.drop()

    def get(self, machine: str, name: str) -> Scalar | None:
        """The engineering value a master would read. Raises KeyError."""
        return self._image.get(machine, name)

    def freeze(self, machine: str, name: str, value: Scalar | None) -> None:
        """Freeze a point, None to let go. Raises KeyError, and ValueError for what it cannot hold."""
        self._image.freeze(machine, name, value)

    def status(self) -> Mapping[str, Any]:
        """What it is and how much it has done, as JSON values."""
        faults = self.faults
        return {
            "name": self._spec.name,
            "kind": self._spec.kind,
            "pid": os.getpid(),
            "points": len(self._spec.points),
            "connections": self._server.connections,
            "requests": self._server.requests,
            "faults": {
                "mute": faults.mute,
                "delay": faults.delay,
                "delay_once": faults.delay_once,
                "refuse": faults.refuse,
                "short_reply": faults.short_reply,
                "exceptions": [
                    {"table": table, "offset": offset, "code": code}
                    for (table, offset), code in faults.exceptions.items()
                ],
            },
        }
