"""OpcUaSource: one downstream OPC UA server, and the session while it is connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Unreachable
from sources.insight import PlannedBlock, Traffic
from sources.opcua import wire
from sources.opcua.channel import FORWARDED, ServiceError
from sources.opcua.config import DownstreamSettings, OpcUaTag
from sources.opcua.connection import Connection, connect
from sources.opcua.fit import fit_tag, to_device
from sources.opcua.importing import Importing
from sources.opcua.imports import CallResult, Mirror, Wanted
from sources.opcua.kept import Device
from sources.opcua.reading import read_raw
from sources.opcua.scan import Scan
from sources.opcua.security import Surroundings, where
from sources.opcua.stack import status_name, ua
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    is_bad,
)
from sources.statistics import ScanStatistics
from sources.tag import Part, Tag, Value, Written

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

RECHECK: Final = 60.0
"""Seconds after which nodes the server does not have are looked for again."""

_TOO_MANY: Final = 0x80100000


class OpcUaSource:
    """See `sources.source.Source`."""

    def __init__(
        self, name: str, settings: DownstreamSettings, tags: Sequence[OpcUaTag], *, recheck: float = RECHECK
    ) -> None:
        self._device = Device(name, settings, tuple(tags), recheck)

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
        """Have nodes imported and shown there, from the next connection on."""
        self._device.imports = tuple(imports)
        if not imports:
            return
        self._device.importing = Importing(self, self._device.settings, mirror)

    @property
    def acts_as(self) -> str:
        """See imports.Device."""
        return self._device.acts_as

    async def write_node(self, node: bytes, variant: bytes) -> Quality:
        """See imports.Device."""
        return await self._reached().write(node, variant)

    async def call_method(self, holder: bytes, method: bytes, inputs: Sequence[bytes]) -> CallResult:
        """See imports.Device."""
        return await self._reached().call(holder, method, inputs)

    def _reached(self) -> Importing:
        importing = self._device.importing
        if importing is None or importing.connection is None:
            raise Unreachable(f"{self.name} ({self.address}) is not connected")
        return importing

    def retag(self, tags: Sequence[OpcUaTag]) -> None:
        """See Source. Monitored items are made and deleted in the subscriptions there are.

        What is imported does not change by it. While the nodes of an import are read, new tags wait for that.
        """
        self._device.retag(tags)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[OpcUaSession]:
        """Dial. Raises Unreachable, Refused."""
        device = self._device
        connection = await connect(device.settings, device.surroundings, device.traffic, device.resolver)
        keep = False
        importing = device.importing
        if importing is not None:
            importing.connection = connection
        try:
            yield OpcUaSession(device, connection)
        except ConnectionLost:
            # What was subscribed to is taken over by the next connection, so its session is not closed.
            keep = device.plan is not None
            raise
        finally:
            if importing is not None:
                importing.gone()
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
        nodes = await self._nodes(wanted)
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
        """See Session. What could not be sent is BadNotConnected; the device's own codes pass untouched."""
        return [await self._write(tag, value) for tag, value in pairs]

    async def _write(self, tag: OpcUaTag, value: Written) -> Quality:
        if not tag.writable:
            return BAD_NOT_WRITABLE
        try:
            (node,) = await self._nodes((tag,))
            if node is None:
                return BAD_CONFIGURATION_ERROR
            kind = await self._kind(tag, node)
        except ConnectionLost:
            return BAD_NOT_CONNECTED  # of the looking: nothing was written
        part = value if isinstance(value, Part) else None
        variant = to_device(value.values if isinstance(value, Part) else value, kind)
        if variant is None:
            log.info("%s: %r is no value for %s", self._device.name, value, tag.address)
            return BAD_TYPE_MISMATCH
        outcome = "unknown"
        try:
            quality = await self._forward(node, variant, tag.name, part)
            outcome = status_name(quality)
        finally:
            self._tell(tag, outcome)
        return quality

    def _tell(self, tag: OpcUaTag, outcome: str) -> None:
        """A line of the audit log beside that of the user who asked: in whose name the device was told."""
        device = self._device
        audit.info(
            "write %s forwarded to %s as %s: %s",
            tag.name,
            device.name,
            device.acts_as,
            outcome,
            extra={
                "event": "forward",
                "node": tag.name,
                "source": device.name,
                "as": device.acts_as,
                "status": outcome,
            },
        )

    async def _forward(self, node: Any, variant: Any, what: str, part: Part | None = None) -> Quality:
        """Write a Variant to a node, or to a part of it, once.

        Raises ConnectionLost where nobody knows what was done.
        """
        request = ua.WriteRequest()
        request.Parameters.NodesToWrite = [
            ua.WriteValue(
                NodeId=node,
                AttributeId=ua.AttributeIds.Value,
                IndexRange=None if part is None else part.index_range,
                Value=ua.DataValue(Value=variant),
            )
        ]
        channel = self._connection.channel
        try:
            future = channel.send(request, self._device.settings.timeout, most=FORWARDED)
        except ServiceError as error:
            return BAD_RESOURCE_UNAVAILABLE if error.code == _TOO_MANY else error.code
        except ConnectionLost:
            return BAD_NOT_CONNECTED
        try:
            response = await channel.outcome(future, request, ua.WriteResponse)
        except ServiceError as error:
            return error.code
        except ConnectionLost as lost:
            raise ConnectionLost(
                f"{lost}, after writing {what}: it may have been carried out", lost.quality
            ) from None
        codes = [int(code.value) for code in response.Results or []]
        if len(codes) != 1:
            raise ConnectionLost(
                f"the answer to a Write is not one, after writing {what}: it may have been carried out",
                BAD_COMMUNICATION_ERROR,
            )
        return codes[0]

    async def _nodes(self, tags: Sequence[OpcUaTag]) -> list[Any | None]:
        plan = self._device.plan
        if plan is not None and all(id(tag) in plan.nodes for tag in tags):
            return [plan.nodes[id(tag)] for tag in tags]
        found = await self._connection.resolve([tag.address for tag in tags])
        return [None if isinstance(node, str) else node for node in found]

    async def _kind(self, tag: OpcUaTag, node: Any) -> int:
        """The built-in type the device has for a tag: as it was last seen, or else looked up."""
        plan = self._device.plan
        for subscription in plan.subscriptions if plan is not None else ():
            for place, other in enumerate(subscription.tags):
                if other is tag and subscription.kinds[place]:
                    return subscription.kinds[place]
        value, kind = await self._connection.read(
            [(node, ua.AttributeIds.Value), (node, ua.AttributeIds.DataType)]
        )
        if value.Value is not None and value.Value.VariantType.value:
            return int(value.Value.VariantType.value)
        if kind.Value is not None and isinstance(kind.Value.Value, ua.NodeId):
            return await self._connection.built_in(kind.Value.Value) or tag.type.value
        return tag.type.value


def _taken(raw: wire.Raw, tag: OpcUaTag) -> tuple[Value, Quality, int]:
    """Value, quality and source time of a DataValue."""
    if is_bad(raw.status) or not raw.variant:
        return None, raw.status, raw.time
    kind, received, _ = wire.variant(raw.variant, 0)
    value, quality = fit_tag(kind, received, tag)
    return value, quality if quality != GOOD else raw.status, raw.time
