"""One attribute of one node as a DataValue, by every rule of a Read (OPC 10000-4 §5.11.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from server.opcua.services import ranges
from server.opcua.space.attribute import attribute
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission
from server.opcua.space.points import (
    encode_head,
    parts,
    stamp,
    without_server,
    without_source,
    without_times,
)
from server.opcua.space.space import Space
from server.opcua.space.value import HAS_SERVER, HAS_STATUS, head
from server.opcua.types import AttributeIds, ServiceFault, StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import uint32
from server.plant.values import Point
from sources.quality import Quality, is_bad

SOURCE, SERVER, BOTH, NEITHER = range(4)
"""TimestampsToReturn (OPC 10000-4 §7.40)."""

VALUE: Final = int(AttributeIds.Value)
MIN_READ_VALUE_ID: Final = 16
"""Bytes of the smallest ReadValueId."""

_BROWSE, _READ = int(Permission.Browse), int(Permission.Read)
"""Plain numbers: to combine flags takes ten times as long."""

_ACCESS_LEVEL: Final = int(AttributeIds.AccessLevel)
_CURRENT_READ: Final = 0x01
_EXTENSION_OBJECT: Final = 22
_TYPE: Final = 0x3F
_WITH_STATUS: Final = bytes((HAS_STATUS,))
_WITH_STATUS_AND_SERVER: Final = bytes((HAS_STATUS | HAS_SERVER,))
NOTHING_FAILED: Final[Mapping[str, Quality]] = {}


class ReadValueId(NamedTuple):
    """What is asked of a node (OPC 10000-4 §7.29); null and empty are one."""

    node: Key
    attribute: int
    index_range: str
    encoding: tuple[int, str]
    """Namespace index and name of the DataEncoding."""


def read_value_id(reader: Reader) -> ReadValueId:
    """Decode one. Raises DecodingError."""
    node = reader.key()
    number = reader.uint32()
    index_range = reader.string() or ""
    namespace, name = reader.qualified_name()
    return ReadValueId(node, number, index_range, (namespace, name or ""))


class ValueReader:
    """Reads attributes for whoever may read them."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def read(
        self,
        access: Access,
        wanted: ReadValueId,
        timestamps: int,
        now: bytes,
        failed: Mapping[str, Quality] = NOTHING_FAILED,
    ) -> bytes:
        """The DataValue. ``now`` is the encoded time; ``failed`` names sources that did not answer."""
        try:
            node = self.node(access, wanted.node)
            if wanted.attribute == VALUE:
                whole, time = self._value(access, node, wanted, now, failed)
            else:
                whole, time = self._attribute(access, node, wanted), now
        except ServiceFault as fault:
            return refused(fault.code, timestamps, now)
        return timed(whole, time, timestamps)

    def node(self, access: Access, key: Key) -> Node:
        """The node, for those who may know of it. Raises ServiceFault."""
        node = self._space.find(key)
        if node is None or not node.role_permissions.of(access.roles) & _BROWSE:
            raise ServiceFault(StatusCodes.BadNodeIdUnknown)
        return node

    def check(self, access: Access, wanted: ReadValueId) -> Node:
        """What CreateMonitoredItems and Read refuse before there is a value. Raises ServiceFault."""
        node = self.node(access, wanted.node)
        if wanted.attribute == VALUE:
            check_readable(access, node)
        elif attribute(node, wanted.attribute, access) is None:
            raise ServiceFault(StatusCodes.BadAttributeIdInvalid)
        if wanted.encoding[1]:
            if wanted.attribute != VALUE:
                raise ServiceFault(StatusCodes.BadDataEncodingInvalid)
            _check_encoding(wanted.encoding)
        if wanted.index_range:
            ranges.parse(wanted.index_range)
        return node

    def _attribute(self, access: Access, node: Node, wanted: ReadValueId) -> bytes:
        variant = attribute(node, wanted.attribute, access)
        if variant is None:
            raise ServiceFault(StatusCodes.BadAttributeIdInvalid)
        if wanted.encoding[1]:
            raise ServiceFault(StatusCodes.BadDataEncodingInvalid)
        if wanted.index_range:
            variant = part(variant, wanted.index_range)
        return head(variant)  # only values have a source (OPC 10000-4 §7.11.3)

    def _value(
        self, access: Access, node: Node, wanted: ReadValueId, now: bytes, failed: Mapping[str, Quality]
    ) -> tuple[bytes, bytes]:
        check_readable(access, node)
        if wanted.encoding[1]:
            _check_encoding(wanted.encoding)
        whole, time = current(node, now, failed)
        return refined(whole, wanted.index_range, wanted.encoding[1]), time


def check_readable(access: Access, node: Node) -> None:
    """Whether the node has a value that may be read. Raises ServiceFault."""
    if node.value is None:
        raise ServiceFault(StatusCodes.BadAttributeIdInvalid)
    if not access.satisfies(node.access_restrictions):
        raise ServiceFault(StatusCodes.BadSecurityModeInsufficient)
    if not node.role_permissions.of(access.roles) & _READ:
        raise ServiceFault(StatusCodes.BadUserAccessDenied)
    level = node.attributes.get(_ACCESS_LEVEL)
    if level is not None and not level[1] & _CURRENT_READ:
        raise ServiceFault(StatusCodes.BadNotReadable)


def current(node: Node, now: bytes, failed: Mapping[str, Quality] = NOTHING_FAILED) -> tuple[bytes, bytes]:
    """The head of a node's value, and the ServerTimestamp that belongs to it."""
    value = node.value
    if isinstance(value, Point):
        binding = value.property.binding
        if failed and binding is not None and binding.source in failed:
            return head(b"", failed[binding.source], value.source_time), now
        return value.head or encode_head(value), stamp(value.block)
    return (value.head if value is not None else head(b"")), now


def refined(whole: bytes, index_range: str, encoding: str) -> bytes:
    """The head with that part of the value. Raises ServiceFault."""
    if not (index_range or encoding):
        return whole
    variant, status, source = parts(whole)
    if is_bad(status):
        return whole
    if encoding and (not variant or variant[0] & _TYPE != _EXTENSION_OBJECT):
        raise ServiceFault(StatusCodes.BadDataEncodingInvalid, "only structures have encodings")
    if index_range:
        variant = part(variant, index_range)
    return head(variant, status, int.from_bytes(source, "little", signed=True) if source else None)


def part(variant: bytes, index_range: str) -> bytes:
    """That part of an encoded Variant. Raises ServiceFault."""
    spans = ranges.parse(index_range)
    if not variant:
        raise ServiceFault(StatusCodes.BadIndexRangeNoData)
    content = structs.decode_variant(variant)
    chosen = ranges.select(content.Value, spans)
    return structs.encode_variant(structs.variant_of(chosen, content))


def _check_encoding(encoding: tuple[int, str]) -> None:
    if encoding != (0, "Default Binary"):
        raise ServiceFault(StatusCodes.BadDataEncodingUnsupported)


def timed(whole: bytes, time: bytes, timestamps: int) -> bytes:
    """A DataValue of a head with the timestamps that are wanted."""
    if timestamps == BOTH:
        return whole + time
    if timestamps == SOURCE:
        return without_server(whole)
    if timestamps == SERVER:
        return without_source(whole) + time
    return without_times(whole)


def refused(code: int, timestamps: int, now: bytes) -> bytes:
    """A DataValue that has no value, and why."""
    if timestamps in {SERVER, BOTH}:
        return _WITH_STATUS_AND_SERVER + uint32(code) + now
    return _WITH_STATUS + uint32(code)
