"""The plant of a soak: devices of every driver, each behind a proxy, and the configuration over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from support.contract.case import DriverCase
from support.contract.logix import LogixCase
from support.contract.modbus import ModbusCase
from support.contract.plc import DEVICE, Plc
from support.contract.proxy import FrameProxy, frame_proxy
from support.contract.slc import SlcCase
from support.scanning import NORMAL

URI = "urn:soak:plant"
CASES: tuple[tuple[str, DriverCase], ...] = (
    ("Modbus", ModbusCase()),
    ("Logix", LogixCase()),
    ("Pipelined", ModbusCase(pipeline=4, connections=2)),
    ("Slc", SlcCase()),
)

_HEAD = """\
model: 1
namespaces: {{plant: "{uri}", types: "urn:soak:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true, writable: true}}
mqtt: {{broker: "mqtt://127.0.0.1:{mqtt}", publisher_id: soak, publishing_interval: 1s}}
scan: {{normal: 200ms}}
sources:
"""


@dataclass(frozen=True)
class Device:
    """One device. Of a ``calm`` one nothing is spoiled: it must not notice what happens to the others."""

    name: str
    case: DriverCase
    plc: Plc
    proxy: FrameProxy
    calm: bool

    def node(self, tag: str) -> str:
        """A tag's node, by its identifier."""
        return f"Soak/{self.name}.{property_of(tag)}"

    @property
    def tags(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.plc.names, *self.plc.writable)


def property_of(tag: str) -> str:
    """A tag's property: names of properties have no dots, colons and brackets."""
    return tag.replace(".", "_").replace(":", "_").replace("[", "_").replace("]", "")


@asynccontextmanager
async def devices(each: int) -> AsyncIterator[list[Device]]:
    """So many of every driver, the last of each calm, all of them running."""
    made: list[Device] = []
    async with AsyncExitStack() as stack:
        for kind, case in CASES:
            for number in range(each):
                plc = case.plc(len(made) * DEVICE)
                await asyncio.to_thread(plc.start)
                stack.callback(plc.kill)
                await plc.advance()
                proxy = await stack.enter_async_context(frame_proxy(lambda its=plc: its.port, case.framing))  # type: ignore[misc]
                calm = number == each - 1
                made.append(Device(f"{kind}{'Calm' if calm else number + 1}", case, plc, proxy, calm))
        yield made


def configuration(plant: Sequence[Device], mqtt: int) -> str:
    """The configuration file's text."""
    return "\n".join((_HEAD.format(uri=URI, mqtt=mqtt).rstrip(), *_sources(plant), *_equipment(plant), ""))


def _sources(plant: Sequence[Device]) -> Iterator[str]:
    for device in plant:
        said = device.case.settings("127.0.0.1", device.proxy.port, "5s" if device.calm else "1s")
        yield f"  {device.name}: {{{', '.join(f'{key}: {value}' for key, value in said.items())}}}"


def _equipment(plant: Sequence[Device]) -> Iterator[str]:
    yield "equipment:"
    yield "  Soak: {level: Enterprise}"
    for device in plant:
        specs = [device.case.spec(tag, NORMAL, writable=tag in device.plc.writable) for tag in device.tags]
        yield f"  Soak/{device.name}:"
        yield "    level: WorkUnit"
        yield f"    source: {device.name}"
        yield "    properties:"
        for spec in specs:
            access = ", access: rw" if spec.writable else ""
            yield f"      {property_of(spec.name)}: {{type: {spec.natural.name}{access}}}"
        yield "    map:"
        for spec in specs:
            yield f'      {property_of(spec.name)}: {{addr: "{spec.address}", as: {spec.encoding}}}'
