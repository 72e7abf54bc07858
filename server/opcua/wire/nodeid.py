"""NodeIds as keys: the shortest binary encoding of a NodeId (OPC 10000-6 §5.2.2.9).

A key is what travels and what nodes are found by, so that a NodeId is looked up without
being decoded. The encoding is prefix-free: no key is the beginning of another.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from asyncua import ua

Key: TypeAlias = bytes
"""The shortest encoding of a NodeId; `reader.Reader.key` makes it of any encoding."""

NULL: Final[Key] = b"\x00\x00"
"""The null NodeId."""

_FOUR: Final = struct.Struct("<BBH")
_NUMERIC: Final = struct.Struct("<BHI")
_HEAD: Final = struct.Struct("<BH")
_SIZED: Final = struct.Struct("<BHi")
_STRING, _GUID, _OPAQUE = 3, 4, 5


def numeric(number: int, namespace: int = 0) -> Key:
    """The key of a numeric NodeId."""
    if namespace == 0 and number <= 0xFF:
        return bytes((0, number))
    if namespace <= 0xFF and number <= 0xFFFF:
        return _FOUR.pack(1, namespace, number)
    return _NUMERIC.pack(2, namespace, number)


def key(identifier: int | str | UUID | bytes, namespace: int = 0) -> Key:
    """The key of a NodeId."""
    match identifier:
        case int():
            return numeric(identifier, namespace)
        case str():
            data = identifier.encode("utf-8")
            return _SIZED.pack(_STRING, namespace, len(data)) + data
        case UUID():
            return _HEAD.pack(_GUID, namespace) + identifier.bytes_le
        case bytes():
            return _SIZED.pack(_OPAQUE, namespace, len(identifier)) + identifier


def key_of(node: ua.NodeId) -> Key:
    """The key of the stack's NodeId."""
    return key(cast("Any", node.Identifier), node.NamespaceIndex)


def split(node: Key) -> tuple[int, int | str | UUID | bytes]:
    """Namespace index and identifier of a key."""
    kind = node[0]
    if kind == 0:
        return 0, node[1]
    if kind == 1:
        return node[1], int.from_bytes(node[2:4], "little")
    namespace = int.from_bytes(node[1:3], "little")
    if kind == 2:
        return namespace, int.from_bytes(node[3:7], "little")
    if kind == _GUID:
        return namespace, UUID(bytes_le=node[3:])
    data = node[7:]
    return namespace, data.decode("utf-8", "surrogatepass") if kind == _STRING else data


def to_ua(node: Key) -> ua.NodeId:
    """The stack's NodeId of a key."""
    namespace, identifier = split(node)
    return cast("ua.NodeId", cast("Any", ua.NodeId)(identifier, namespace))


def text(node: Key) -> str:
    """The key as people write it: ``i=85``, ``ns=4;s=Acme/Line1.Speed`` (OPC 10000-6 §5.1.12)."""
    return str(to_ua(node).to_string())
