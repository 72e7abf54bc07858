"""The driver of SLC 500 and MicroLogix, at a simulated SLC 5/05."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from support.contract.case import DriverCase
from support.contract.plc import PACE, SimulatedPlc, number_of
from support.contract.proxy import Framing
from support.eip_proxy import service, with_message

from sources.simulators.slc.spec import FileSpec, SlcSpec
from sources.spec import TagSpec
from sources.tag import ScanClass, ValueType

# Longs, the only whole numbers with room for all generations, in several files and far apart
# within one: blocks of like sizes.
_NAMES: Final = (
    *(f"L10:{number}" for number in (1, 2, 3, 4)),
    *(f"L10:{number}" for number in (21, 22, 23, 24)),
    *(f"L11:{number}" for number in (31, 32, 33, 34)),
    *(f"L12:{number}" for number in (41, 42)),
)
_WRITABLE: Final = tuple(f"L20:{number}" for number in (91, 92, 93, 94))
_EXECUTED: Final = 0xCB
_DATA_AT: Final = 46 + 4 + 7
"""Where a PCCC reply begins in its frame; its data are four bytes further."""
_WORDS_ONLY: Final = frozenset({24, 80})
"""Lengths of data that bring no values: the diagnostic status, and a piece of the file directory."""


def files(**elements: int) -> tuple[FileSpec, ...]:
    """What the controller has, with other numbers of elements where said, 0 for no such file."""
    usual = {"O0": 4, "I1": 4, "S2": 32, "B3": 16, "L10": 40, "L11": 40, "L12": 60, "L20": 120} | elements
    return tuple(FileSpec(name=name, elements=count) for name, count in usual.items() if count)


class SlcPlc(SimulatedPlc):
    """The simulated SLC."""

    names = _NAMES
    writable = _WRITABLE

    def __init__(self, base: int = 0) -> None:
        values = {name: base + number_of(name) * PACE for name in _WRITABLE}
        super().__init__(SlcSpec(name="Telling", files=files(), values=dict(values)), base)

    async def show(self, values: Mapping[str, int]) -> None:
        """See Plc."""
        await self.order(*({"set_tag": {"tag": name, "value": value}} for name, value in values.items()))

    async def get(self, name: str) -> Any:
        """See Plc."""
        (answer,) = await self.order({"get_tag": name})
        return answer["value"]

    async def refuse(self, name: str) -> None:
        """See Plc."""
        await self.order({"tag_status": {"tag": name, "status": 0x50}})

    async def download(self, program: int, **elements: int) -> None:
        """Give it another program, with other files where said; 0 elements for none of that name."""
        wanted: list[dict[str, Any]] = [
            {"name": file.name, "elements": file.elements} for file in files(**elements)
        ]
        there = {file["name"]: file["elements"] for file in wanted}
        values = {
            name: self.value(name)
            for name in self.names
            if there.get(name.split(":")[0], 0) > number_of(name)
        }
        await self.order({"program": {"files": wanted, "program": program, "values": values}})

    async def heal(self) -> None:
        """See Plc."""
        await super().heal()
        await self.order({"cut": None}, {"heal": True}, {"short": 0}, {"transaction_shift": 0})

    async def clients(self) -> int:
        """See Plc."""
        status = await self.status()
        return int(status["clients"] + status["connections"])


class SlcCase(DriverCase):
    """See DriverCase."""

    kind = "slc"
    framing: ClassVar[Framing] = Framing(24, lambda header: 24 + int.from_bytes(header[2:4], "little"))

    def plc(self, base: int = 0) -> SlcPlc:
        """See DriverCase."""
        return SlcPlc(base)

    def spec(self, name: str, scan: ScanClass, *, writable: bool) -> TagSpec:
        """See DriverCase."""
        return TagSpec(name, name, ValueType.Int32, scan, "dint", None, writable)

    def settings(self, host: str, port: int, timeout: str) -> dict[str, Any]:
        """See DriverCase."""
        return {"driver": "slc", "host": host, "port": port, "timeout": timeout}

    def carries_values(self, frame: bytes) -> bool:
        """See DriverCase."""
        return service(frame) == _EXECUTED and len(frame) - _DATA_AT - 4 not in {*_WORDS_ONLY, 0}

    def payload(self, frame: bytes) -> bytes:
        """See DriverCase."""
        return frame[_DATA_AT + 4 :]

    def shorten(self, frame: bytes) -> bytes:
        """See DriverCase: the last value lacks its last half."""
        return with_message(frame, frame[46:-2])
