"""What the text of a NodeSet2 file means: numbers, NodeIds, names, times (OPC 10000-6 §5.1.12, §5.3.1)."""

from __future__ import annotations

import base64
import binascii
import math
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from uuid import UUID

from nodesets.errors import BadTextError
from nodesets.records import NULL, UA, BuiltinType, NodeId, QualifiedName
from nodesets.uri import unescape_uri

XML_SPACE: Final = " \t\r\n"
"""What XML calls white space; other spaces may be part of a name."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL_FLOATS: Final = {"INF": math.inf, "+INF": math.inf, "-INF": -math.inf, "NaN": math.nan}
_LARGEST_FLOAT: Final = float.fromhex("0x1.fffffep+127")
_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))?"
)
_NODE_ID: Final = re.compile(r"(?:ns=([0-9]{1,5});|nsu=([^;]*);)?([isgb])=(.*)", re.DOTALL)
_NAME_PREFIX: Final = re.compile(r"([0-9]{1,5}):|nsu=([^;]*);")

RANGES: Final[Mapping[BuiltinType, tuple[int, int]]] = {
    BuiltinType.SByte: (-(2**7), 2**7 - 1),
    BuiltinType.Byte: (0, 2**8 - 1),
    BuiltinType.Int16: (-(2**15), 2**15 - 1),
    BuiltinType.UInt16: (0, 2**16 - 1),
    BuiltinType.Int32: (-(2**31), 2**31 - 1),
    BuiltinType.UInt32: (0, 2**32 - 1),
    BuiltinType.Int64: (-(2**63), 2**63 - 1),
    BuiltinType.UInt64: (0, 2**64 - 1),
    BuiltinType.StatusCode: (0, 2**32 - 1),
}
"""The lowest and highest number of each integer type."""


def parse_boolean(text: str) -> bool:
    """An xs:boolean."""
    match text.strip(XML_SPACE):
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise BadTextError(f"'{_short(text)}' is no Boolean; write true or false")


def parse_integer(text: str, kind: BuiltinType) -> int:
    """A number within the range of an integer type."""
    stripped = text.strip(XML_SPACE)
    low, high = RANGES[kind]
    if not _INTEGER.fullmatch(stripped) or not low <= int(stripped) <= high:
        raise BadTextError(f"'{_short(text)}' is no {kind.name}; write a whole number from {low} to {high}")
    return int(stripped)


def parse_float(text: str, kind: BuiltinType = BuiltinType.Double) -> float:
    """An xs:float or xs:double; one too large for its type is refused, not made infinite."""
    stripped = text.strip(XML_SPACE)
    if stripped in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[stripped]
    if not _FLOAT.fullmatch(stripped):
        raise BadTextError(f"'{_short(text)}' is no {kind.name}; write a number such as 1.5, INF or NaN")
    value = float(stripped)
    if abs(value) > (_LARGEST_FLOAT if kind is BuiltinType.Float else sys.float_info.max):
        raise BadTextError(f"'{_short(text)}' is too large for a {kind.name}")
    return value


def parse_guid(text: str) -> UUID:
    """A Guid in its hyphenated form."""
    if not _GUID.fullmatch(text.strip(XML_SPACE)):
        raise BadTextError(f"'{_short(text)}' is no Guid, as 09087e75-8e5e-499b-954f-f2a9603db28a is one")
    return UUID(text.strip(XML_SPACE))


def parse_bytes(text: str) -> bytes:
    """A ByteString in base64; line breaks within are allowed."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadTextError(f"'{_short(text)}' is no base64") from None


def parse_date_time(text: str) -> datetime:
    """An xs:dateTime, cut to microseconds; taken as UTC where it names no zone."""
    found = _DATE_TIME.fullmatch(text.strip(XML_SPACE))
    if found is None:
        raise BadTextError(f"'{_short(text)}' is no DateTime, as 2024-05-31T12:00:00Z is one")
    *numbers, fraction, _z, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    micro = int(((fraction or "") + "000000")[:6])
    try:
        zone = (
            timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
            if sign
            else UTC
        )
        return datetime(year, month, day, hour, minute, second, micro, zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadTextError(f"'{_short(text)}' is no DateTime: there is no such moment") from None


def parse_array_dimensions(text: str) -> tuple[int, ...]:
    """A list of lengths: ``3,0``."""
    return (
        tuple(parse_integer(part, BuiltinType.UInt32) for part in text.split(","))
        if text.strip(XML_SPACE)
        else ()
    )


class Names:
    """Turns NodeIds and QualifiedNames of one file into those of the world: by URI, without aliases."""

    def __init__(self, uris: Sequence[str]) -> None:
        """``uris`` are the file's NamespaceUris in order; the first one has index 1."""
        self._uris = (UA, *uris)
        self._aliases: dict[str, NodeId] = {}
        self._known: dict[str, NodeId] = {}

    def add_alias(self, name: str, text: str) -> None:
        """Let a name stand for a NodeId in attributes and references."""
        self._aliases[name] = self.node_id(text)

    def reference(self, text: str) -> NodeId:
        """The NodeId of an attribute or a reference, which may be an alias."""
        found = self._aliases.get(text) or self._known.get(text)
        if found is not None:
            return found
        stripped = text.strip(XML_SPACE)
        if "=" not in stripped:
            if stripped in self._aliases:
                return self._aliases[stripped]
            raise BadTextError(
                f"'{_short(text)}' is neither a NodeId nor one of the file's Aliases; add it to them or "
                "write the NodeId, as in ns=1;i=5001"
            )
        node_id = self.node_id(stripped)
        if len(self._known) < _REMEMBERED:
            self._known[text] = node_id
        return node_id

    def node_id(self, text: str) -> NodeId:
        """The NodeId of a string; nothing written is the null NodeId."""
        stripped = text.strip(XML_SPACE)
        if not stripped:
            return NULL
        found = _NODE_ID.fullmatch(stripped)
        if found is None:
            advice = "; NodeIds of other servers are not supported" if stripped.startswith("sv") else ""
            raise BadTextError(f"'{_short(text)}' is no NodeId, as ns=1;i=5001 or i=85 is one{advice}")
        index, uri, kind, value = found.groups()
        namespace = self._namespace(index, uri, text)
        match kind:
            case "i":
                return NodeId(namespace, parse_integer(value, BuiltinType.UInt32))
            case "s":
                return NodeId(namespace, value)
            case "g":
                return NodeId(namespace, parse_guid(value))
            case _:
                return NodeId(namespace, parse_bytes(value))

    def qualified_name(self, text: str) -> QualifiedName:
        """The name of a string: ``1:Speed``, or ``Speed`` for namespace 0."""
        found = _NAME_PREFIX.match(text)
        if found is None:
            return QualifiedName(UA, text)
        return QualifiedName(self._namespace(found[1], found[2], text), text[found.end() :])

    def namespace(self, index: str) -> str:
        """The URI of a namespace index."""
        return self._namespace(index.strip(XML_SPACE) or "0", None, index)

    def _namespace(self, index: str | None, uri: str | None, text: str) -> str:
        if uri is not None:
            return unescape_uri(uri)
        if index is None:
            return UA
        number = parse_integer(index, BuiltinType.UInt16)
        if number >= len(self._uris):
            raise BadTextError(
                f"'{_short(text)}' speaks of namespace {number}, but the file's NamespaceUris end at "
                f"{len(self._uris) - 1}; add the URI there or correct the index"
            )
        return self._uris[number]


_REMEMBERED: Final = 10_000
"""How many different texts of NodeIds one file's reader keeps: memory stays bounded while streaming."""


def _short(text: str) -> str:
    stripped = " ".join(text.split())
    return stripped if len(stripped) <= 80 else stripped[:77] + "…"
