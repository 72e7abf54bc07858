"""The Modbus driver, over TCP and over TLS."""

from __future__ import annotations

import atexit
import shutil
import struct
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

from support.contract.case import DriverCase
from support.contract.plc import PACE, SimulatedPlc, number_of
from support.contract.proxy import Framing
from support.modbus_lines import Certificates

from sources.simulators.spec import DeviceSpec, ModbusAddress, PointSpec
from sources.spec import TagSpec
from sources.tag import ScanClass, ValueType

_MACHINE: Final = "Acme/Contract"
# Two areas of one table far apart, and another table: three blocks and more.
_PLACES: Final[Mapping[str, tuple[str, int]]] = {
    **{f"T{n}": ("holding", 2 * n) for n in range(1, 9)},
    **{f"T{n}": ("holding", 2000 + 2 * n) for n in range(9, 13)},
    **{f"T{n}": ("input", 2 * n) for n in range(13, 17)},
    **{f"W{n}": ("holding", 4000 + 2 * n) for n in range(91, 95)},
}


def _point(name: str, base: int) -> PointSpec:
    table, offset = _PLACES[name]
    address = ModbusAddress.model_validate({"table": table, "offset": offset, "encoding": "uint32"})
    low = base + number_of(name) * PACE
    return PointSpec(
        machine=_MACHINE,
        name=name,
        address=address,
        writable=table == "holding",
        low=low,
        high=low + PACE - 1,
    )


class ModbusPlc(SimulatedPlc):
    """The Modbus simulator."""

    names = tuple(name for name in _PLACES if name.startswith("T"))
    writable = tuple(name for name in _PLACES if name.startswith("W"))

    def __init__(self, base: int = 0, **more: Any) -> None:
        points = tuple(_point(name, base) for name in _PLACES)
        super().__init__(DeviceSpec(name="Telling", points=points, **more), base)

    async def show(self, values: Mapping[str, int]) -> None:
        """See Plc."""
        points = ({"machine": _MACHINE, "name": name, "value": value} for name, value in values.items())
        await self.order(*({"set": point} for point in points))

    async def get(self, name: str) -> Any:
        """See Plc."""
        (answer,) = await self.order({"get": {"machine": _MACHINE, "name": name}})
        return answer["value"]

    async def refuse(self, name: str) -> None:
        """See Plc."""
        await self.fail(name, 2)

    async def fail(self, name: str, code: int) -> None:
        """Have every request that touches a tag answer this exception."""
        table, offset = _PLACES[name]
        await self.order({"exception": {"table": table, "offset": offset, "code": code}})

    async def heal(self) -> None:
        """See Plc."""
        await super().heal()
        await self.order({"short_reply": False}, {"exception": None})

    async def clients(self) -> int:
        """See Plc."""
        return int((await self.status())["connections"])


class ModbusCase(DriverCase):
    """See DriverCase. ``more`` are settings beside those of the contract."""

    kind = "modbus"
    framing: ClassVar[Framing] = Framing(7, lambda header: 6 + int.from_bytes(header[4:6], "big"))

    def __init__(self, **more: Any) -> None:
        self._more = more

    def plc(self, base: int = 0) -> ModbusPlc:
        """See DriverCase."""
        return ModbusPlc(base)

    def spec(self, name: str, scan: ScanClass, *, writable: bool) -> TagSpec:
        """See DriverCase."""
        table, offset = _PLACES[name]
        return TagSpec(name, f"{table}:{offset}", ValueType.UInt32, scan, "uint32", None, writable)

    def settings(self, host: str, port: int, timeout: str) -> dict[str, Any]:
        """See DriverCase."""
        return {"driver": "modbus", "host": host, "port": port, "timeout": timeout} | self._more

    def carries_values(self, frame: bytes) -> bool:
        """See DriverCase."""
        return frame[7] in {3, 4}

    def payload(self, frame: bytes) -> bytes:
        """See DriverCase."""
        return frame[8:]

    def shorten(self, frame: bytes) -> bytes:
        """See DriverCase: fewer registers, and the byte count says so."""
        data = frame[9:]
        kept = data[: len(data) // 4 * 2]
        return frame[:4] + struct.pack(">HBBB", len(kept) + 3, frame[6], frame[7], len(kept)) + kept


class ModbusTlsCase(ModbusCase):
    """Over TLS, whose records are what a proxy sees: what they carry is sealed."""

    framing: ClassVar[Framing] = Framing(5, lambda header: 5 + int.from_bytes(header[3:5], "big"))

    @cached_property
    def _files(self) -> Certificates:
        folder = Path(tempfile.mkdtemp(prefix="isthmus-tls-"))
        atexit.register(shutil.rmtree, folder)
        return Certificates(folder / "pki")

    def plc(self, base: int = 0) -> ModbusPlc:
        """See DriverCase."""
        certificate, key = map(str, self._files.device)
        return ModbusPlc(base, transport="tls", ca=str(self._files.ca), certificate=certificate, key=key)

    def settings(self, host: str, port: int, timeout: str) -> dict[str, Any]:
        """See DriverCase."""
        certificate, key = map(str, self._files.ours)
        sealed = {"transport": "tls", "ca": str(self._files.ca), "certificate": certificate, "key": key}
        return super().settings(host, port, timeout) | sealed
