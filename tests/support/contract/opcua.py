"""The driver of downstream OPC UA servers, at a server on asyncua."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import RootModel
from support.contract.case import FAST, DriverCase
from support.contract.plc import PACE, Plc, SimulatedPlc, number_of
from support.contract.proxy import Framing

from sources.quality import BAD_DEVICE_FAILURE
from sources.registry import DRIVERS
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag, ValueType

_NAMES: Final = (*(f"T{n}" for n in range(1, 15)), *(f"W{n}" for n in range(91, 95)), "C99")
_MOVING: Final = "C99"
"""Changes all by itself: a server that is subscribed to says nothing of values that stay."""
_VALUES: Final = bytes.fromhex("01002b03")
"""The id of a DataChangeNotification's encoding."""


class OpcUaPlc(SimulatedPlc):
    """See `support.contract.opcua_server`."""

    program = (str(Path(__file__).with_name("opcua_server.py")),)
    names = tuple(name for name in _NAMES if name.startswith("T"))
    writable = tuple(name for name in _NAMES if name.startswith("W"))

    def __init__(self, base: int = 0) -> None:
        first = {name: base + number_of(name) * PACE for name in _NAMES}
        self._failed: set[str] = set()
        super().__init__(RootModel[dict[str, int]](first), base)

    async def show(self, values: Mapping[str, int]) -> None:
        """See Plc."""
        shown = ({"name": name, "value": value} for name, value in values.items() if name not in self._failed)
        await self.order(*({"show": each} for each in shown))

    async def get(self, name: str) -> Any:
        """See Plc."""
        (answer,) = await self.order({"get": name})
        return answer["value"]

    async def refuse(self, name: str) -> None:
        """See Plc: a server tells so by the value's StatusCode, which passes untouched."""
        self._failed.add(name)
        await self.order({"fail": name})

    async def heal(self) -> None:
        """See Plc: the next value heals."""
        self._failed.clear()

    async def clients(self) -> int:
        """See Plc."""
        (answer,) = await self.order({"clients": True})
        return int(answer["value"])


class OpcUaCase(DriverCase):
    """See DriverCase."""

    kind = "opcua"
    framing: ClassVar[Framing] = Framing(8, lambda header: int.from_bytes(header[4:8], "little"))
    refused = BAD_DEVICE_FAILURE
    cycles = 200
    """Each is two connections: one asks for the endpoints."""
    restarts = 1
    """The server takes seconds to start."""

    def plc(self, base: int = 0) -> OpcUaPlc:
        """See DriverCase."""
        return OpcUaPlc(base)

    def spec(self, name: str, scan: ScanClass, *, writable: bool) -> TagSpec:
        """See DriverCase."""
        return TagSpec(name, f"nsu=urn:contract;s={name}", ValueType.UInt32, scan, "uint32", None, writable)

    def tags(self, plc: Plc, settings: Any) -> list[Tag[Any]]:
        """See DriverCase. One more changes all the time, so that values are on their way."""
        moving = DRIVERS[self.kind].tag(self.spec(_MOVING, FAST, writable=False), settings)
        return [*super().tags(plc, settings), moving]

    def settings(self, host: str, port: int, timeout: str) -> dict[str, Any]:
        """See DriverCase."""
        url = f"opc.tcp://{host}:{port}/"
        return {"driver": "opcua", "url": url, "security": "none", "timeout": timeout, "keepalive": "200ms"}

    def carries_values(self, frame: bytes) -> bool:
        """See DriverCase."""
        return _VALUES in frame

    def payload(self, frame: bytes) -> bytes:
        """See DriverCase."""
        return frame[frame.index(_VALUES) :]

    def shorten(self, frame: bytes) -> bytes:
        """See DriverCase: the message ends before its last fields."""
        kept = frame[8:-9]
        return frame[:4] + (len(kept) + 8).to_bytes(4, "little") + kept
