"""OpcUaSource: one downstream OPC UA server, and the session while it is connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Never

from sources import clock
from sources.asking import Asker
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, SourceError, Unreachable
from sources.insight import ImportFigures, PlannedBlock, Traffic
from sources.opcua import wire
from sources.opcua.acting import Acting, find_nodes, write_tag
from sources.opcua.channel import FORWARDED
from sources.opcua.config import DownstreamSettings, OpcUaTag
from sources.opcua.connection import Connection, connect
from sources.opcua.counts import Counts
from sources.opcua.fit import fit_tag
from sources.opcua.identities import Identities
from sources.opcua.importing import Importing
from sources.opcua.imports import Mirror, Wanted
from sources.opcua.kept import Device
from sources.opcua.reading import read_raw
from sources.opcua.scan import Scan
from sources.opcua.security import Surroundings, where
from sources.opcua.stack import ua
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_INTERNAL_ERROR,
    BAD_NOT_CONNECTED,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
    is_bad,
)
from sources.statistics import ScanStatistics
from sources.tag import ScanClass, Tag, Value, Written

log = logging.getLogger(__name__)

RECHECK: Final = 60.0
"""Seconds after which nodes the server does not have are looked for again."""


class OpcUaSource:
    """See `sources.source.Source`."""

    def __init__(
        self, name: str, settings: DownstreamSettings, tags: Sequence[OpcUaTag], *, recheck: float = RECHECK
    ) -> None:
        self._device = Device(name, settings, tuple(tags), recheck)
        self._identities = Identities(name, settings)

    @property
    def name(self) -> str:
        """See Source."""
        return self._device.name

    @property
    def address(self) -> str:
        """See Source."""
        return where(self._device.settings.url)

    @property
    def tags(self) -> Sequence[OpcUaTag]:
        """See Source."""
        return self._device.tags

    @property
    def statistics(self) -> Mapping[str, ScanStatistics]:
        """What was counted, by the name of the scan class, over all connections."""
        return self._device.statistics

    @property
    def traffic(self) -> Traffic:
        """What went over its connections; see `sources.insight`."""
        return self._device.traffic

    @property
    def tells_changes(self) -> bool:
        """True; see `sources.insight.TellsChanges`."""
        return True

    def plan(self) -> Sequence[PlannedBlock]:
        """Its subscriptions; see `sources.insight.HasPlan`."""
        plan = self._device.plan
        found = []
        for one in plan.subscriptions if plan is not None else ():
            if one.scan is not None:
                count = len(one.living or one.watched)
                what = "imported variables" if one.watched else "chosen nodes"
                label = f"subscription {one.id}, {what} every {one.interval:g} s"
                found.append(PlannedBlock(label, one.scan.name, f"{count} items", count, "scan class"))
        return found

    def bad_points(self) -> Sequence[str]:
        """The tags whose nodes the server does not have; see `sources.insight.HasPlan`."""
        plan = self._device.plan
        return [tag.name for tag in self._device.tags if plan is not None and id(tag) in plan.missing]

    @property
    def device(self) -> Device:
        """What is known of the server over all connections."""
        return self._device

    def settle(self, surroundings: Surroundings) -> None:
        """Take the application's identity and trust list, from the next connection on."""
        self._device.surroundings = surroundings

    def mirror(self, mirror: Mirror, imports: Sequence[Wanted]) -> None:
        """Have nodes imported and shown there, and no others; at once where it is connected."""
        device = self._device
        if device.importing is None:
            device.counts = Counts(mirror)
            device.importing = Importing(self, device.settings, device.counts)
        if device.imports != tuple(imports):
            device.imports = tuple(imports)
            device.wake()

    @property
    def imports(self) -> Sequence[ImportFigures]:
        """See `sources.insight.HasImports`."""
        device = self._device
        return device.counts.figures(device.imports, device.plan) if device.counts is not None else ()

    @property
    def import_scans(self) -> Sequence[ScanClass]:
        """See `sources.insight.HasImports`."""
        return [wanted.scan for wanted in self._device.imports]

    @property
    def imported_values(self) -> int:
        """See `sources.insight.HasImports`."""
        return self._device.counts.values if self._device.counts is not None else 0

    def fits(self, settings: DownstreamSettings) -> bool:
        """See `sources.source.Adapts`: in whose name others' writes and calls go."""
        own = self._device.settings
        return settings.model_copy(update={"identity": own.identity}) == own

    def adapt(self, settings: DownstreamSettings) -> None:
        """See `sources.source.Adapts`. Sessions in names that nobody has any more are closed."""
        self._device.settings = settings
        self._identities.adapt(settings)

    def acting(self, asker: Asker) -> Acting:
        """See `sources.asking.ActsFor` and `imports.Device`."""
        return Acting(lambda: self._device, self._identities, asker)

    async def try_names(self) -> list[str]:
        """See `sources.asking.ActsFor`."""
        return await self._identities.try_all()

    def retag(self, tags: Sequence[OpcUaTag]) -> None:
        """See Source. Monitored items are made and deleted in the subscriptions there are.

        What is imported does not change by it. While the nodes of an import are read, new tags wait for that.
        """
        self._device.retag(tags)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[OpcUaSession]:
        """Dial. Raises Unreachable, Refused."""
        device = self._device
        importing = device.importing
        try:
            connection = await connect(device.settings, device.surroundings, device.traffic, device.resolver)
        except SourceError:
            if importing is not None:
                importing.missed()
            raise
        keep = False
        if importing is not None:
            importing.connection = connection
        quality = UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE
        try:
            async with self._identities.over(
                connection, device.surroundings, device.traffic, device.resolver
            ):
                yield OpcUaSession(device, connection)
        except ConnectionLost:
            # What was subscribed to is taken over by the next connection, so its session is not closed.
            keep = device.plan is not None
            raise
        except SourceError:
            raise
        except Exception:
            quality = BAD_INTERNAL_ERROR  # a fault of ours: see Supervisor
            raise
        finally:
            if importing is not None:
                importing.gone(quality)
            if keep:
                await connection.channel.gone()
            else:
                device.plan = None
                await connection.end()


class OpcUaSession:
    """See `sources.source.Session`."""

    def __init__(self, device: Device, connection: Connection) -> None:
        self._device = device
        self._connection = connection

    async def scan(self, emit: Emit) -> Never:
        """See Session."""
        await Scan(self._device, self._connection, emit).run()

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """See Session; values of now (MaxAge 0)."""
        wanted = tuple(tags)
        found: list[tuple[Value, Quality, int]] = [(None, BAD_CONFIGURATION_ERROR, 0)] * len(wanted)
        nodes = await find_nodes(self._device, self._connection, wanted)
        asked = [(place, node) for place, node in enumerate(nodes) if node is not None]
        values_of = [(node, int(ua.AttributeIds.Value)) for _, node in asked]
        for (place, _), raw in zip(
            asked, await read_raw(self._connection, values_of, most=FORWARDED), strict=True
        ):
            found[place] = _taken(raw, wanted[place])
        self._told_beside(wanted)
        values, qualities, times = zip(*found, strict=True) if found else ((), (), ())
        return Batch(wanted, values, qualities, times, clock.now())

    def _told_beside(self, tags: Sequence[Tag[Any]]) -> None:
        """Have the scan set right what a read found between two samples."""
        device, now = self._device, asyncio.get_running_loop().time()
        places = device.plan.places if device.plan is not None else {}
        for tag in tags:
            if (found := places.get(id(tag))) is not None:
                subscription, place = found
                subscription.read(place, now, device.settings.sampling)

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Session; in the source's own name. What could not be sent is BadNotConnected."""
        codes = []
        for tag, value in pairs:
            try:
                codes.append(await write_tag(self._device, self._connection, tag, value))
            except Unreachable:
                codes.append(BAD_NOT_CONNECTED)
        return codes


def _taken(raw: wire.Raw, tag: OpcUaTag) -> tuple[Value, Quality, int]:
    """Value, quality and source time of a DataValue."""
    if is_bad(raw.status) or not raw.variant:
        return None, raw.status, raw.time
    kind, received, _ = wire.variant(raw.variant, 0)
    value, quality = fit_tag(kind, received, tag)
    return value, quality if quality != GOOD else raw.status, raw.time
