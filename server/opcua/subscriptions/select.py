"""SimpleAttributeOperand: a field of an event (OPC 10000-4 §7.7.4.5)."""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncua import ua

from server.opcua.limits import MAX_SELECT_CLAUSES
from server.opcua.services import ranges
from server.opcua.services.readvalue import part
from server.opcua.space.space import Space
from server.opcua.subscriptions.events import Event
from server.opcua.types import AttributeIds, ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.nodeid import NULL, Key, numeric
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import NULL_VARIANT, qualified_name

BASE_EVENT: Final = numeric(ObjectIds.BaseEventType)

_VALUE: Final = int(AttributeIds.Value)
_NODE_ID: Final = int(AttributeIds.NodeId)
_LAST: Final = int(AttributeIds.AccessLevelEx)
_SMALLEST_NAME: Final = 6
SMALLEST: Final = 14
"""Bytes of the smallest SimpleAttributeOperand."""


class SimpleAttribute(NamedTuple):
    """Which field of which type of event."""

    type: Key
    path: bytes
    """As in `Event.fields`."""
    attribute: int
    index_range: str

    def check(self, space: Space) -> int:
        """What is wrong with it; 0 for nothing.

        A path that no type declares is not: what an event does not have is null (§7.22.3).
        """
        if not 1 <= self.attribute <= _LAST:
            return StatusCodes.BadAttributeIdInvalid
        if self.index_range:
            if self.attribute != _VALUE:
                return StatusCodes.BadIndexRangeInvalid
            try:
                ranges.parse(self.index_range)
            except ServiceFault as fault:
                return fault.code
        if self.type in {BASE_EVENT, NULL}:
            return 0
        base, kind = space.find(BASE_EVENT), space.find(self.type)
        if kind is None or base is None or not space.is_subtype(kind, base):
            return StatusCodes.BadTypeDefinitionInvalid
        return 0

    def encoded(self, event: Event, types: frozenset[Key] | None) -> bytes:
        """The field as a Variant, null where the event does not have it.

        ``types`` are the operand's type and those below it, None for BaseEventType: that one
        lets a path be looked up whatever the event is (§7.22.3).
        """
        if types is not None and event.type.key not in types:
            return NULL_VARIANT
        # The NodeId of an event that is a node, such as a condition, stands at the empty path.
        if self.attribute == _VALUE or (self.attribute == _NODE_ID and not self.path):
            found = event.fields.get(self.path, NULL_VARIANT)
        else:
            return NULL_VARIANT
        if self.index_range and found != NULL_VARIANT:
            try:
                return part(found, self.index_range)
            except ServiceFault:
                return NULL_VARIANT
        return found

    def value(self, event: Event, types: frozenset[Key] | None) -> ua.Variant | None:
        """As `encoded`, but decoded, for a where clause."""
        if types is not None and event.type.key not in types:
            return None
        if self.index_range or self.attribute != _VALUE:
            return structs.decode_variant(self.encoded(event, types))
        return event.value(self.path)


def types_below(kind: Key, space: Space) -> frozenset[Key] | None:
    """The types that an operand of that type is for, as `SimpleAttribute.encoded` wants them."""
    node = None if kind in {BASE_EVENT, NULL} else space.find(kind)
    return None if node is None else frozenset(below.key for below in space.subtypes(node))


def simple_attribute(reader: Reader) -> SimpleAttribute:
    """Decode one. Raises DecodingError."""
    kind = reader.key()
    names = []
    for _ in range(reader.count(_SMALLEST_NAME)):
        namespace, name = reader.qualified_name()
        names.append(qualified_name(name, namespace))
    return SimpleAttribute(kind, b"".join(names), reader.uint32(), reader.string() or "")


def select_clauses(reader: Reader) -> list[SimpleAttribute]:
    """Decode the select clauses of an EventFilter. Raises DecodingError and ServiceFault."""
    count = reader.count(SMALLEST)
    if count > MAX_SELECT_CLAUSES:
        raise ServiceFault(StatusCodes.BadEventFilterInvalid, f"{count} select clauses")
    return [simple_attribute(reader) for _ in range(count)]
