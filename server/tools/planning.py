"""The plan of every source of a configuration, in numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.config import Configuration, SourceEntry
from server.tools.errors import ToolError
from sources.errors import SourceError
from sources.ethernetip import identify as eip
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.forecast import forecast as logix_forecast
from sources.ethernetip.slc.config import SlcSettings
from sources.ethernetip.slc.driver import SlcSource
from sources.ethernetip.slc.forecast import forecast as slc_forecast
from sources.forecast import Forecast, Pace
from sources.modbus.config import ModbusSettings
from sources.modbus.forecast import forecast as modbus_forecast
from sources.opcua.config import DownstreamSettings
from sources.opcua.forecast import forecast as opcua_forecast
from sources.tag import ScanClass


@dataclass(frozen=True, slots=True)
class ClassCost:
    """What one scan class of a source costs: ``takes`` seconds for all its requests, one after the other."""

    scan: ScanClass
    requests: int
    points: int
    takes: float

    @property
    def cycle(self) -> float:
        """Seconds from one read of a value to the next, as far as this class alone goes."""
        return max(self.scan.period, self.takes)


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One source: its forecast, None where it makes no plan, and why not.

    ``failure`` is why its device could not be asked, where that was wanted.
    """

    entry: SourceEntry
    address: str
    forecast: Forecast | None
    why: str = ""
    failure: str = ""

    @property
    def classes(self) -> list[ClassCost]:
        """Each scan class, the fastest first."""
        made = self.forecast
        if made is None:
            return []
        groups: dict[ScanClass, list[Any]] = defaultdict(list)
        for block in made.blocks:
            groups[block.scan].append(block)
        return [
            ClassCost(
                scan,
                sum(block.requests for block in blocks),
                sum(block.block.points for block in blocks),
                sum(block.takes(made.pace) for block in blocks) / made.lanes,
            )
            for scan, blocks in sorted(groups.items(), key=lambda item: item[0].period)
        ]

    @property
    def load(self) -> float:
        """The share of time in which a request is on its way; above 1 scans are skipped."""
        return sum(each.takes / each.scan.period for each in self.classes)

    @property
    def stretch(self) -> float:
        """How many times longer than configured the cycles become: 1 where all can be kept."""
        return max(1.0, self.load)

    def spoils(self) -> Iterator[str]:
        """What makes it slower than it could be, a sentence each."""
        for each in self.classes:
            if each.takes > each.scan.period:
                yield (
                    f"{each.scan.name} cannot be kept: its requests take {each.takes:.3g} s, "
                    f"and it has {each.scan.period:g} s"
                )
        if self.load > 1 and all(each.takes <= each.scan.period for each in self.classes):
            yield f"the classes together ask for {self.load:.0%} of the line: scans will be skipped"
        if self.forecast is not None:
            yield from self.forecast.spoils
            waits = not isinstance(self.entry.settings, DownstreamSettings)
            timeout = getattr(self.entry.settings, "timeout", 0.0) if waits else 0.0
            short = [each.scan for each in self.classes if each.scan.period < timeout]
            if short:
                yield (
                    f"one request without an answer holds all others up for {timeout:g} s (timeout), "
                    f"longer than {short[0].name} has"
                )


async def plans(
    config: Configuration, *, names: Sequence[str] = (), connect: bool = False, pace: Pace | None = None
) -> list[SourcePlan]:
    """The plan of each source, or of those named. With ``connect`` controllers are asked for their tags.

    One that does not answer is planned by what is configured, and its plan tells the failure.
    """
    found = []
    for entry in config.sources:
        if names and entry.name not in names:
            continue
        address = _address(entry)
        if not entry.enabled:
            found.append(SourcePlan(entry, address, None, "disabled"))
            continue
        failure = ""
        try:
            made = await _forecast(config, entry, connect=connect)
        except ToolError as error:
            failure = str(error)
            made = await _forecast(config, entry, connect=False)
        if made is None:
            found.append(SourcePlan(entry, address, None, f"driver {entry.driver.kind} makes no plan"))
            continue
        if pace is not None:
            made = Forecast(made.blocks, pace, made.lanes, made.spoils, made.notes)
        found.append(SourcePlan(entry, address, made, failure=failure))
    return _with_neighbours(found)


def _with_neighbours(plans: Sequence[SourcePlan]) -> list[SourcePlan]:
    """Units behind one gateway or on one line share it: each is told what all of them ask of it."""
    lines: dict[tuple[str, str], list[SourcePlan]] = defaultdict(list)
    for plan in plans:
        if plan.forecast is not None and isinstance(plan.entry.settings, ModbusSettings):
            lines[plan.entry.settings.transport, plan.address].append(plan)
    notes: dict[str, tuple[str, ...]] = {}
    for sharing in lines.values():
        load = sum(plan.load for plan in sharing)
        for plan in sharing if len(sharing) > 1 else ():
            others = ", ".join(other.entry.name for other in sharing if other is not plan)
            more = "; that is more than it carries: scans will be skipped" if load > 1 else ""
            notes[plan.entry.name] = (f"shares its line with {others}: together {load:.0%} of it{more}",)
    return [
        replace(plan, forecast=replace(plan.forecast, notes=(*plan.forecast.notes, *notes[plan.entry.name])))
        if plan.forecast is not None and plan.entry.name in notes
        else plan
        for plan in plans
    ]


def _address(entry: SourceEntry) -> str:
    return entry.driver.source(entry.name, entry.settings, entry.tags).address


async def _forecast(config: Configuration, entry: SourceEntry, *, connect: bool) -> Forecast | None:
    settings = entry.settings
    if isinstance(settings, DownstreamSettings):
        return opcua_forecast(settings, entry.tags, imports=_imports(config, entry.name))
    if isinstance(settings, ModbusSettings):
        return modbus_forecast(settings, entry.tags)
    if isinstance(settings, SlcSettings):
        return await _slc_forecast(entry, settings, connect=connect)
    if not isinstance(settings, LogixSettings):
        return None
    table = None
    if connect and settings.validate_tags:
        given = settings.model_dump(by_alias=True, exclude={"driver", "host", "port"}, exclude_unset=True)
        given |= {key: f"{value}s" for key, value in given.items() if isinstance(value, float)}
        try:
            table = await eip.browse(settings.host, settings.port, **given)
        except SourceError as error:
            raise ToolError(f"{entry.name} ({_address(entry)}): {error}") from None
    return logix_forecast(settings, entry.tags, table)


def _imports(config: Configuration, name: str) -> bool:
    """Whether nodes of a source are imported."""
    return any(each.imported is not None and each.imported.source == name for each in config.plant.equipment)


async def _slc_forecast(entry: SourceEntry, settings: SlcSettings, *, connect: bool) -> Forecast:
    directory = None
    if connect:
        source = SlcSource(entry.name, settings, ())
        try:
            async with source.connect():
                directory = source.known.survey.directory
        except SourceError as error:
            raise ToolError(f"{entry.name} ({_address(entry)}): {error}") from None
    return slc_forecast(entry.tags, directory)
