"""The EtherNet/IP driver, at a Logix controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from support.contract.case import DriverCase
from support.contract.plc import PACE, SimulatedPlc, number_of
from support.contract.proxy import Framing
from support.eip_proxy import service, with_message

from sources.simulators.logix.spec import LogixSpec, MemberSpec, TagSpec, TypeSpec
from sources.spec import TagSpec as BindingSpec
from sources.tag import ScanClass, ValueType

_SCALARS: Final = range(1, 7)
_MEMBERS: Final = range(11, 15)
_ELEMENTS: Final = range(30, 34)
_WRITABLE: Final = tuple(f"W{n}" for n in range(91, 95))
_READ_REPLIES: Final = {0x4C | 0x80, 0x52 | 0x80, 0x0A | 0x80}


def telling(base: int = 0, *, moved: bool = False) -> LogixSpec:
    """The controller's program; ``moved`` is another with the same names elsewhere and in another order."""
    members = [MemberSpec(name=f"M{n}", type="DINT") for n in _MEMBERS]
    tags = [
        *(TagSpec(name=f"T{n}", type="DINT") for n in _SCALARS),
        TagSpec(name="Box", type="Telling"),
        TagSpec(name="List", type="DINT[40]"),
        *(TagSpec(name=name, type="DINT") for name in _WRITABLE),
    ]
    if moved:
        members = [MemberSpec(name="New", type="DINT"), *reversed(members)]
        tags = [TagSpec(name="Added", type="REAL[5]"), *reversed(tags)]
    kind = TypeSpec(name="Telling", members=tuple(members))
    values = {name: base + number_of(name) * PACE for name in _WRITABLE}
    return LogixSpec(name="Telling", types=(kind,), tags=tuple(tags), values=dict(values))


class LogixPlc(SimulatedPlc):
    """The Logix simulator: scalars, members of a structure, elements of an array."""

    spec: LogixSpec
    names = (
        *(f"T{n}" for n in _SCALARS),
        *(f"Box.M{n}" for n in _MEMBERS),
        *(f"List[{n}]" for n in _ELEMENTS),
    )
    writable = _WRITABLE

    def __init__(self, base: int = 0) -> None:
        super().__init__(telling(base), base)

    async def show(self, values: Mapping[str, int]) -> None:
        """See Plc."""
        await self.order(*({"set_tag": {"tag": name, "value": value}} for name, value in values.items()))

    async def get(self, name: str) -> Any:
        """See Plc."""
        (answer,) = await self.order({"get_tag": name})
        return answer["value"]

    async def refuse(self, name: str) -> None:
        """See Plc."""
        await self.order({"tag_status": {"tag": name, "status": 5}})

    async def renumber(self, *, close_connections: bool) -> None:
        """Give every instance another number, as a program download does."""
        await self.order({"renumber": {"close_connections": close_connections}})

    async def heal(self) -> None:
        """See Plc."""
        await super().heal()
        healed = [{"tag_status": {"tag": tag.name, "status": None}} for tag in self.spec.tags]
        await self.order({"cut": None}, *healed)

    async def clients(self) -> int:
        """See Plc."""
        status = await self.status()
        return int(status["clients"] + status["connections"])


class LogixCase(DriverCase):
    """See DriverCase."""

    kind = "logix"
    framing: ClassVar[Framing] = Framing(24, lambda header: 24 + int.from_bytes(header[2:4], "little"))

    def plc(self, base: int = 0) -> LogixPlc:
        """See DriverCase."""
        return LogixPlc(base)

    def spec(self, name: str, scan: ScanClass, *, writable: bool) -> BindingSpec:
        """See DriverCase."""
        return BindingSpec(name, name, ValueType.Int32, scan, "dint", None, writable)

    def settings(self, host: str, port: int, timeout: str) -> dict[str, Any]:
        """See DriverCase."""
        return {"driver": "logix", "host": host, "port": port, "timeout": timeout}

    def carries_values(self, frame: bytes) -> bool:
        """See DriverCase."""
        return service(frame) in _READ_REPLIES

    def payload(self, frame: bytes) -> bytes:
        """See DriverCase."""
        return frame[46:]

    def shorten(self, frame: bytes) -> bytes:
        """See DriverCase: the last value lacks its last half."""
        return with_message(frame, frame[46:-2])
