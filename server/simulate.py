"""Simulators in the place of a configuration's sources: each a process of its own, on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from server.config import Configuration, SourceEntry
from server.plant.convert import Elements, Linear, Lookup
from server.plant.model import Plant, Property
from server.process import ChildProcess, ProcessError
from sources.simulators.kinds import Spec
from sources.simulators.logix.derive import spec_from_paths
from sources.simulators.logix.spec import TagAddress, TagPoint
from sources.simulators.slc.spec import FileSpec, SlcSpec
from sources.simulators.spec import DeviceSpec, ModbusAddress, PointSpec

log = logging.getLogger(__name__)

REPLAY: Final = "replay"
_LOOPBACK: Final = "127.0.0.1"
_QUEUE: Final = (1, 2, 3)
"""What a simulated FIFO queue holds."""
_STANDARD_FILES: Final = {0: "O", 1: "I", 2: "S", 3: "B", 4: "T", 5: "C", 6: "R", 7: "N", 8: "F"}
"""What every program of an SLC has, and longer where something in it is read."""
_SIMULATED: Final = frozenset({"modbus", "logix", "slc"})
"""Drivers whose devices have a simulator."""


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


def is_simulated(entry: SourceEntry) -> bool:
    """Whether there is a simulator for a source's driver."""
    return entry.driver.kind in _SIMULATED


@asynccontextmanager
async def simulators(
    config: Configuration, *, any_port: bool = False, port: int | None = None
) -> AsyncIterator[tuple[dict[str, Simulator], Configuration]]:
    """Simulators of all enabled sources, and the configuration with the sources leading to them.

    A source whose host is loopback keeps its port, unless ``any_port`` is set; every other
    gets a free one; ``port`` is for all, where there is but one. One that ends is told in the
    log and not started again; a source that has no simulator is told as well, and left as it
    is. Raises ProcessError when one does not start.
    """
    running: dict[str, Simulator] = {}
    sources: list[SourceEntry] = []
    async with AsyncExitStack() as stack:
        for entry in config.sources:
            if not entry.enabled or not entry.tags or entry.driver.kind == REPLAY:
                sources.append(entry)
                continue
            if not is_simulated(entry):
                log.warning("%s: there is no simulator for driver: %s", entry.name, entry.driver.kind)
                sources.append(entry)
                continue
            spec = device_spec(config.plant, entry, any_port=any_port)
            process, said = await _start(entry.name, spec, port, stack)
            kind, address, _, control = said.split()
            watcher = asyncio.create_task(_watch(entry.name, process), name=f"watch {entry.name}")
            # Ended before its process is, so that nobody is there to miss that.
            stack.push_async_callback(_end, watcher)
            running[entry.name] = Simulator(kind, address, control, process)
            host, _, its_port = address.rpartition(":")
            sources.append(_led_to(entry, host, int(its_port)))
        yield running, dataclasses.replace(config, sources=tuple(sources))


def _led_to(entry: SourceEntry, host: str, port: int) -> SourceEntry:
    """A source as it would be configured for its simulator, which has no serial port and no certificates."""
    there: dict[str, Any] = {"host": host, "port": port}
    if entry.driver.kind == "modbus":
        there["transport"] = "tcp"
    return dataclasses.replace(entry, settings=entry.settings.model_copy(update=there))


async def _watch(name: str, process: ChildProcess) -> None:
    code = await process.watch()
    log.warning("the simulator of %s (pid %d) ended with exit code %d", name, process.pid, code)


async def _end(watcher: asyncio.Task[None]) -> None:
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)


async def _start(name: str, spec: Spec, port: int | None, stack: AsyncExitStack) -> tuple[ChildProcess, str]:
    with tempfile.NamedTemporaryFile("w", prefix="isthmus-sim-", suffix=".json", encoding="utf-8") as file:
        file.write(spec.model_dump_json())
        file.flush()
        arguments = ["--spec", file.name, "--control-port", "0", "--exit-with-parent"]
        if port is not None:
            arguments += ["--port", str(port)]
        process = ChildProcess(f"simulator of {name}", "sources.simulators", arguments)
        stack.push_async_callback(process.stop)
        # Ready means that it has read the file.
        return process, await process.start("ready ")


def device_spec(plant: Plant, entry: SourceEntry, *, any_port: bool = False) -> Spec:
    """What the simulator of one source is to be: a point for every tag, or for every element of an array.

    Of an SLC the data files, whose values stand still. Raises ProcessError for what no controller can be.
    """
    settings: Any = entry.settings
    properties = {p.key: p for p in plant.properties()}
    read = [properties[tag.name] for tag in entry.tags]
    port = settings.port if _is_loopback(settings.host) and not any_port else 0
    if entry.driver.kind == "logix":
        points = [
            TagPoint(**_behaviour(prop, index), address=_tag_address(prop, index))
            for prop in read
            for index in _elements(prop)
        ]
        return spec_from_paths(entry.name, (), points=points, host=_LOOPBACK, port=port)
    if entry.driver.kind == "slc":
        return SlcSpec(name=entry.name, host=_LOOPBACK, port=port, files=_files(entry.name, read))
    queues: dict[int, tuple[int, ...]] = {
        _address(prop).start: _QUEUE for prop in read if _address(prop).table.is_queue
    }
    return DeviceSpec(
        name=entry.name,
        host=_LOOPBACK,
        port=port,
        unit=settings.unit,
        points=tuple(
            PointSpec(**_behaviour(prop, index), address=_modbus_address(prop, index))
            for prop in read
            for index in _elements(prop)
        ),
        queues=queues,
    )


def _files(source: str, read: Iterable[Property]) -> tuple[FileSpec, ...]:
    """The data files of an SLC, each as long as the addresses in it need, and those it has anyway."""
    found: dict[int, tuple[str, int]] = {}
    for prop in read:
        address = _address(prop)
        letters, elements = found.get(address.number, (address.file, 0))
        if letters != address.file:
            raise ProcessError(
                f"{source}: file {address.number} cannot be both {letters} and {address.file} ({prop.key})"
            )
        module = address.word if address.file in {"I", "O"} else 0
        found[address.number] = letters, max(elements, address.end + module)
    found = {number: (letters, 1) for number, letters in _STANDARD_FILES.items()} | found
    return tuple(
        FileSpec(name=f"{letters}{number}", elements=min(elements, 256))
        for number, (letters, elements) in sorted(found.items())
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _elements(prop: Property) -> Iterable[int | None]:
    """The indices of an array; of a scalar none."""
    return (None,) if prop.type.length is None else range(prop.type.length)


def _behaviour(prop: Property, index: int | None) -> dict[str, Any]:
    """What a simulator is told of a property or an element, wherever it lies in the device."""
    kind = prop.type
    conversion = prop.binding.conversion if prop.binding else None
    conversion = conversion.each if isinstance(conversion, Elements) else conversion
    linear = conversion if isinstance(conversion, Linear) else None
    lookup = conversion if isinstance(conversion, Lookup) else None
    # What may be written is what an operator would choose, so the limits say more than the range.
    limits = (kind.write.limits if kind.write else None) or kind.range
    return {
        "machine": prop.equipment,
        "name": prop.name if index is None else f"{prop.name}[{index}]",
        "writable": kind.write is not None,
        "kind": "counter" if kind.kind == "counter" else "",
        "low": limits.low if limits else None,
        "high": limits.high if limits else None,
        "members": tuple(kind.enumeration.members) if kind.enumeration else (),
        "gain": linear.gain if linear else 1.0,
        "offset": linear.offset if linear else 0.0,
        "lut": dict(lookup.table) if lookup else None,
    }


def _address(prop: Property) -> Any:
    if prop.binding is None:
        raise ValueError(f"{prop.key} has no binding")
    return prop.binding.tag.address


def _modbus_address(prop: Property, index: int | None) -> ModbusAddress:
    address = _address(prop)
    offset, bit = address.start + (index or 0) * address.each, address.bit
    if bit is not None:
        offset, bit = address.start + (bit + (index or 0)) // 16, (bit + (index or 0)) % 16
    name = address.encoding.name
    encoding = f"{name}({address.length})" if address.encoding.is_text else name
    return ModbusAddress(
        table=address.table.name,
        offset=offset,
        bit=bit,
        encoding=encoding,
        words=address.order.name,
    )


def _tag_address(prop: Property, index: int | None) -> TagAddress:
    address = _address(prop) if index is None else _address(prop).element(index)
    return TagAddress(tag=str(address), type=address.encoding.name.upper())
