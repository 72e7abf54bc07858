"""The plant's values for clients: read from the value store, written through the commands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from asyncua import ua

from nodesets.records import NodeId
from server.opcua.attributes import CURRENT_READ, WRITE
from server.opcua.ids import Namespaces
from server.opcua.types import AttributeIds, StatusCodes, status, ua_time
from server.plant.commands import Caller, Commands
from server.plant.model import Property
from server.plant.values import Point, ValueStore
from sources.clock import from_datetime, to_datetime
from sources.quality import is_bad
from sources.tag import Value, ValueType

_NULL: Final = ua.Variant()
_MAX_FLOAT: Final = 3.4028235e38


def data_value(point: Point) -> ua.DataValue:
    """What the store knows of a point now. A Bad status has no value (OPC 10000-4 §7.11.1)."""
    known = not is_bad(point.status) and point.value is not None
    content = ua.Variant(_fitted(point), ua.VariantType(point.property.type.type.value)) if known else _NULL
    return ua.DataValue(
        content,
        status(point.status),
        SourceTimestamp=ua_time(to_datetime(point.source_time)),
        ServerTimestamp=ua_time(to_datetime(point.server_time)),
    )


def _fitted(point: Point) -> Value:
    """The value as its type holds it: what is too large for a Float is infinite there (IEEE 754)."""
    value = point.value
    if point.property.type.type is ValueType.Float and isinstance(value, float) and abs(value) > _MAX_FLOAT:
        return math.copysign(math.inf, value)
    return value


class PlantAccess:
    """Which nodes are values of the plant, and who may do what with them."""

    def __init__(
        self,
        store: ValueStore,
        commands: Commands,
        node_of: Mapping[str, NodeId],
        namespaces: Namespaces,
        *,
        writable: bool,
    ) -> None:
        self._commands = commands
        self._writable = writable
        self._points: dict[ua.NodeId, Point] = {
            namespaces.node_id(node): store.points[key] for key, node in node_of.items()
        }
        self._nodes: dict[str, ua.NodeId] = {point.property.key: node for node, point in self._points.items()}

    def point(self, node: ua.NodeId) -> Point | None:
        """The point a node shows, None for a node that is no value of the plant."""
        return self._points.get(node)

    def node(self, point: Point) -> ua.NodeId | None:
        """The node that shows a point."""
        return self._nodes.get(point.property.key)

    def is_writable(self, prop: Property) -> bool:
        """Whether somebody may write it (serves AccessLevel)."""
        return self._writable and prop.type.write is not None

    def user_access_level(self, caller: Caller, point: Point) -> ua.Variant:
        """UserAccessLevel (OPC 10000-3 §5.6.2)."""
        may = self._may_write(caller, point.property)
        return ua.Variant(CURRENT_READ | (WRITE if may else 0), ua.VariantType.Byte)

    def _may_write(self, caller: Caller, prop: Property) -> bool:
        return self.is_writable(prop) and self._commands.may_write(caller, prop)

    async def write(self, caller: Caller, request: ua.WriteValue) -> int:
        """Write one value (OPC 10000-4 §5.11.4). The node is known to exist."""
        point = self._points.get(request.NodeId)
        if point is None or request.AttributeId != AttributeIds.Value or not self.is_writable(point.property):
            return StatusCodes.BadNotWritable
        if not self._may_write(caller, point.property):
            # Refused there, so that the attempt is audited.
            return await self._commands.write(caller, point.property.key, None)
        if request.IndexRange:
            return StatusCodes.BadWriteNotSupported  # every value is a scalar
        given = request.Value
        if _says_more_than_the_value(given):
            return StatusCodes.BadWriteNotSupported
        content = given.Value
        wanted = point.property.type.type.value
        if content is None or content.Value is None or content.is_array or content.VariantType != wanted:
            return StatusCodes.BadTypeMismatch
        time = None if given.SourceTimestamp is None else from_datetime(given.SourceTimestamp)
        return await self._commands.write(caller, point.property.key, content.Value, time)


def _says_more_than_the_value(given: ua.DataValue) -> bool:
    """Status and ServerTimestamp cannot be written, the SourceTimestamp can (AccessLevel TimestampWrite)."""
    return (
        (given.StatusCode is not None and given.StatusCode.value != 0)  # Good is what leaving it out means
        or given.ServerTimestamp is not None
        or given.SourcePicoseconds is not None
        or given.ServerPicoseconds is not None
    )
