"""Every kind of simulated device there is. Adding one means adding its lines here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias

from sources.simulators.control import Control
from sources.simulators.logix.control import LogixControl
from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.spec import LogixSpec
from sources.simulators.modbus.control import ModbusControl
from sources.simulators.modbus.device import ModbusDevice
from sources.simulators.slc.control import SlcControl
from sources.simulators.slc.controller import SlcController
from sources.simulators.slc.spec import SlcSpec
from sources.simulators.spec import DeviceSpec

Spec: TypeAlias = DeviceSpec | LogixSpec | SlcSpec

SPECS: Final[Mapping[str, type[Spec]]] = {"modbus": DeviceSpec, "logix": LogixSpec, "slc": SlcSpec}
"""The model of a spec, by its ``kind``."""


class Listener(Protocol):
    """A device that can be reached."""

    def listening(self) -> AbstractAsyncContextManager[tuple[str, int]]:
        """Serve while inside; yields the address listened on. Raises ListenError."""
        ...


def make(spec: Spec) -> tuple[Listener, Control[Any]]:
    """The device a spec describes, and what orders its faults. Needs a running loop."""
    if isinstance(spec, LogixSpec):
        controller = LogixController(spec)
        return controller, LogixControl(controller)
    if isinstance(spec, SlcSpec):
        slc = SlcController(spec)
        return slc, SlcControl(slc)
    device = ModbusDevice(spec)
    return device, ModbusControl(device)
