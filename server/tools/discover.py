"""What a device is and has, whatever it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from server.progress import Progress
from server.tools import logix, opcua, slc, survey
from server.tools.errors import ToolError, UsageError
from server.tools.inventory import Inventory
from server.tools.target import Target
from sources.errors import Refused, SourceError
from sources.ethernetip import identify as eip
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.slc.config import SlcSettings
from sources.ethernetip.slc.directory import DataFile
from sources.ethernetip.slc.driver import SlcSource
from sources.modbus.config import ModbusSettings
from sources.modbus.identify import identify as identify_modbus
from sources.opcua.browse import browse as browse_opcua
from sources.opcua.config import DownstreamSettings
from sources.opcua.security import Surroundings
from sources.quality import is_good, quality_name
from sources.spec import TagSpec
from sources.tag import ScanClass, ValueType

T = TypeVar("T")

_OBJECTS: Final = "i=85"
_ONCE: Final = ScanClass("once", 1.0)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much is to be looked at: which ``spans`` of a Modbus device, how long arrays of plain values."""

    spans: Sequence[survey.Span] = ()
    max_array: int | None = None
    below: str = ""
    """The node of an OPC UA server below which to look; its Objects folder where empty."""
    surroundings: Surroundings | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """``spans`` are the addresses of a Modbus device that answer, ``files`` the data files of an SLC."""

    inventory: Inventory
    spans: Sequence[survey.Span] = ()
    files: Sequence[DataFile] = ()


async def discover(target: Target, wishes: Wishes, progress: Progress) -> Discovery:
    """Ask a device what it is and what it has. Raises ToolError, UsageError for what cannot be wished."""
    if wishes.spans and target.kind != "modbus":
        raise UsageError("--range is for Modbus devices, which have no list of tags")
    if wishes.below and target.kind != "opcua":
        raise UsageError("--below is for OPC UA servers, whose nodes stand below each other")
    found = _DISCOVERIES.get(target.kind)
    if found is None:
        raise UsageError(f"a source of driver {target.kind} cannot be browsed")
    try:
        return await found(target, wishes, progress)
    except UsageError:
        raise
    except (SourceError, ToolError) as error:
        raise ToolError(f"{target.address}: {error}") from None


async def _modbus(target: Target, wishes: Wishes, progress: Progress) -> Discovery:
    settings = target.settings
    if not isinstance(settings, ModbusSettings):
        raise TypeError(settings)
    if getattr(settings, "addressing", "0-based") != "0-based":
        raise UsageError("addresses are looked for from 0; leave addressing out")
    try:
        identity = dict(await identify_modbus(settings))
    except Refused as error:
        identity = {"identity": f"none ({error})"}
    spans = await survey.Survey(target, progress).run(wishes.spans or survey.EVERYWHERE)
    return Discovery(survey.as_inventory(identity, spans), spans)


async def _logix(target: Target, wishes: Wishes, progress: Progress) -> Discovery:
    settings = target.settings
    if not isinstance(settings, LogixSettings):
        raise TypeError(settings)
    rest = {key: value for key, value in target.given.items() if key not in {"driver", "host", "port"}}
    who = await eip.identify(settings.host, settings.port, **_only(rest, "path"))
    table = await _shown(eip.browse(settings.host, settings.port, **rest), progress)
    its = who.controller
    identity = {"product": its.product, "revision": its.revision, "serial": its.serial}
    tags = logix.ControllerTags(tuple(table))
    return Discovery(await asyncio.to_thread(logix.inventory, tags, identity, max_array=wishes.max_array))


async def _slc(target: Target, wishes: Wishes, progress: Progress) -> Discovery:
    del wishes  # there is nothing to be wished of it
    settings = target.settings
    if not isinstance(settings, SlcSettings):
        raise TypeError(settings)
    return await _shown(_files(settings, target), progress, "reading the file directory")


async def _files(settings: SlcSettings, target: Target) -> Discovery:
    source = SlcSource("device", settings, ())
    async with source.connect() as session:
        who, known = source.known.identity, source.known.survey
        if known.directory is None:
            raise ToolError(
                f"{who}: its data files cannot be listed: {known.why}; read single ones (isthmus read), "
                "or write a list of them and have it made configuration (isthmus import)"
            )
        files = known.directory.files
        # The layout of the directory is no public knowledge: what it says is held against the controller.
        asked = [file for file in files if file.letters in slc.KNOWN and file.elements]
        tags = [
            target.driver.tag(
                TagSpec(file.name, slc.last_address(file), ValueType.Int16, _ONCE, None), settings
            )
            for file in asked
        ]
        batch = await session.read(tags)
    qualities = [batch.qualities] * len(tags) if isinstance(batch.qualities, int) else batch.qualities
    refused = {
        file.name: quality_name(quality)
        for file, quality in zip(asked, qualities, strict=True)
        if not is_good(quality)
    }
    identity = {} if who is None else {"product": who.product, "revision": who.revision, "serial": who.serial}
    if known.processor is not None:
        identity |= {"processor": known.processor.bulletin, "mode": known.processor.mode or "unknown"}
        identity |= {"program": f"{known.processor.program:04X}"}
    return Discovery(slc.inventory(files, identity, refused), files=files)


async def _opcua(target: Target, wishes: Wishes, progress: Progress) -> Discovery:
    settings = target.settings
    if not isinstance(settings, DownstreamSettings):
        raise TypeError(settings)

    def found(variables: int, _left: int) -> None:
        progress("browsing, variables found", variables, 0)

    below = wishes.below or _OBJECTS
    seen = await browse_opcua(settings, wishes.surroundings, below=below, found=found)
    return Discovery(opcua.as_inventory(seen))


async def _shown(work: Awaitable[T], progress: Progress, doing: str = "uploading tags and types") -> T:
    """Wait for an upload, which tells nothing of how far it is, and show that it goes on."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        while not task.done():
            progress(f"{doing}, seconds", int(loop.time() - begun), 0)
            await asyncio.wait((task,), timeout=0.25)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait((task,))


def _only(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: settings[key] for key in keys if key in settings}


_DISCOVERIES: Final[Mapping[str, Callable[[Target, Wishes, Progress], Awaitable[Discovery]]]] = {
    "modbus": _modbus,
    "logix": _logix,
    "slc": _slc,
    "opcua": _opcua,
}
