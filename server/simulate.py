"""Simulators in the place of a configuration's sources: each a process of its own, on loopback."""

from __future__ import annotations

import dataclasses
import ipaddress
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from server.config import Configuration, SourceEntry
from server.plant.convert import Linear, Lookup
from server.plant.model import Plant, Property
from server.process import ChildProcess
from sources.modbus.config import ModbusAddress as Address
from sources.simulators.spec import DeviceSpec, ModbusAddress, PointSpec

_LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True)
class Simulator:
    """One simulator that runs. ``control`` is where its faults are set."""

    kind: str
    address: str
    control: str
    process: ChildProcess

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


@asynccontextmanager
async def simulators(
    config: Configuration, *, any_port: bool = False
) -> AsyncIterator[tuple[dict[str, Simulator], Configuration]]:
    """Simulators of all enabled sources, and the configuration with the sources leading to them.

    A source whose host is loopback keeps its port, unless ``any_port`` is set; every other
    gets a free one. Raises ProcessError when one does not start.
    """
    running: dict[str, Simulator] = {}
    sources: list[SourceEntry] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-sim-")))
        for entry in config.sources:
            if not entry.enabled or not entry.tags:
                sources.append(entry)
                continue
            spec = device_spec(config.plant, entry, any_port=any_port)
            file = folder / f"{len(running)}.json"
            file.write_text(spec.model_dump_json(), encoding="utf-8")
            process = ChildProcess(
                f"simulator of {entry.name}",
                "sources.simulators",
                ["--spec", str(file), "--control-port", "0", "--exit-with-parent"],
            )
            stack.push_async_callback(process.stop)
            kind, address, _, control = (await process.start("ready ")).split()
            running[entry.name] = Simulator(kind, address, control, process)
            host, _, port = address.rpartition(":")
            settings = entry.settings.model_copy(update={"host": host, "port": int(port)})
            sources.append(dataclasses.replace(entry, settings=settings))
        yield running, dataclasses.replace(config, sources=tuple(sources))


def device_spec(plant: Plant, entry: SourceEntry, *, any_port: bool = False) -> DeviceSpec:
    """What the simulator of one source is to be: a point for every tag."""
    settings: Any = entry.settings
    bound = {
        p.binding.tag.name: p for p in plant.properties() if p.binding and p.binding.source == entry.name
    }
    return DeviceSpec(
        name=entry.name,
        kind="modbus",
        host=_LOOPBACK,
        port=settings.port if _is_loopback(settings.host) and not any_port else 0,
        unit=settings.unit,
        points=tuple(_point(bound[tag.name]) for tag in entry.tags),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _point(prop: Property) -> PointSpec:
    binding, kind = prop.binding, prop.type
    if binding is None:
        raise ValueError(f"{prop.key} has no binding")
    linear = binding.conversion if isinstance(binding.conversion, Linear) else None
    lookup = binding.conversion if isinstance(binding.conversion, Lookup) else None
    # What may be written is what an operator would choose, so the limits say more than the range.
    limits = (kind.write.limits if kind.write else None) or kind.range
    return PointSpec(
        machine=prop.equipment,
        name=prop.name,
        address=_address(binding.tag.address),
        writable=binding.tag.writable,
        kind="counter" if kind.kind == "counter" else "",
        low=limits.low if limits else None,
        high=limits.high if limits else None,
        members=tuple(kind.enumeration.members) if kind.enumeration else (),
        gain=linear.gain if linear else 1.0,
        offset=linear.offset if linear else 0.0,
        lut=dict(lookup.table) if lookup else None,
    )


def _address(address: Address) -> ModbusAddress:
    encoding = f"string({address.length})" if address.encoding.name == "string" else address.encoding.name
    return ModbusAddress.model_validate(
        {
            "table": address.table.name,
            "offset": address.start,
            "bit": address.bit,
            "encoding": encoding,
            "words": address.order.name,
        }
    )
