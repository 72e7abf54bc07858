"""How a node of another server is named in the configuration: by URIs, never by namespace indexes.

A NodeId: ``i=2258``, ``nsu=urn:acme:filler;s=Speed`` (OPC 10000-6 §5.1.12; g= and b= as well). A browse
path from Root: ``/Objects/nsu=urn:acme:filler;Filler/nsu=urn:acme:filler;Speed``: ``/`` follows
hierarchical references, ``.`` aggregates (OPC 10000-4 Annex A.2), each name with the URI of its
namespace in place of its index, and ``&`` before a reserved character of a name that is meant as it is.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from sources.errors import AddressError

UA_URI: Final = "http://opcfoundation.org/UA/"
_RESERVED: Final = "/.<>:#!&"
_MAX_TEXT: Final = 4096

Identifier: TypeAlias = int | str | uuid.UUID | bytes


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A NodeId with its namespace by URI."""

    uri: str
    identifier: Identifier

    def __str__(self) -> str:
        return node_text(self.uri, self.identifier)


@dataclass(frozen=True, slots=True)
class Step:
    """One element of a browse path. ``aggregates``: by aggregates only, not all hierarchical references."""

    uri: str
    name: str
    aggregates: bool = False


@dataclass(frozen=True, slots=True)
class PathAddress:
    """A browse path from Root."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return path_text(self.steps)


OpcUaAddress: TypeAlias = NodeAddress | PathAddress


def node_text(uri: str, identifier: Identifier) -> str:
    """A NodeId as `parse_address` reads it."""
    prefix = "" if uri == UA_URI else f"nsu={quote(uri, safe=_SAFE)};"
    match identifier:
        case int():
            return f"{prefix}i={identifier}"
        case str():
            return f"{prefix}s={identifier}"
        case uuid.UUID():
            return f"{prefix}g={identifier}"
        case _:
            return f"{prefix}b={base64.b64encode(identifier).decode()}"


_SAFE: Final = "!#$&'()*+,/:=?@[]~-._"
"""What stands in a URI as it is; ``;`` and ``%`` are escaped (OPC 10000-6 §5.1.12)."""


def path_text(steps: tuple[Step, ...]) -> str:
    """A browse path as `parse_address` reads it."""
    parts = []
    for step in steps:
        name = "".join(f"&{c}" if c in _RESERVED else c for c in step.name)
        prefix = "" if step.uri == UA_URI else f"nsu={quote(step.uri, safe=_SAFE)};"
        parts.append(f"{'.' if step.aggregates else '/'}{prefix}{name}")
    return "".join(parts)


def parse_address(text: str) -> OpcUaAddress:
    """Raises AddressError with advice."""
    if len(text) > _MAX_TEXT:
        raise AddressError(f"the address is longer than {_MAX_TEXT} characters")
    if text.startswith(("/", ".")):
        return PathAddress(tuple(_steps(text)))
    return _node(text)


def _node(text: str) -> NodeAddress:
    uri, rest = UA_URI, text
    if text.startswith("ns="):
        raise AddressError(
            f"{text!r} names a namespace by its index, which another start of that server may give to "
            "another; write nsu= and the URI: nsu=urn:acme:filler;s=Speed"
        )
    if text.startswith("nsu="):
        escaped, found, rest = text[4:].partition(";")
        if not found or not escaped:
            raise AddressError(f"{text!r} has no identifier; write nsu=urn:acme:filler;s=Speed")
        uri = unquote(escaped)
    kind, found, identifier = rest.partition("=")
    try:
        if found and kind == "i":
            number = int(identifier)
            if not 0 <= number < 1 << 32:
                raise AddressError(f"{text!r}: the number {identifier} is no UInt32; use 0 to 4294967295")
            return NodeAddress(uri, number)
        if found and kind == "s" and identifier:
            return NodeAddress(uri, identifier)
        if found and kind == "g":
            return NodeAddress(uri, uuid.UUID(identifier))
        if found and kind == "b":
            return NodeAddress(uri, base64.b64decode(identifier, validate=True))
    except (ValueError, binascii.Error):
        pass
    raise AddressError(
        f"{text!r} is no NodeId and no browse path; write i=2258, nsu=urn:acme:filler;s=Speed or "
        "/Objects/nsu=urn:acme:filler;Filler"
    )


def _steps(text: str) -> list[Step]:
    steps: list[Step] = []
    at = 0
    while at < len(text):
        aggregates = text[at] == "."
        at += 1
        uri = UA_URI
        if text.startswith("nsu=", at):
            end = text.find(";", at)
            if end < 0:
                raise AddressError(f"{text!r}: behind a URI stands ; and the name: nsu=urn:acme:filler;Speed")
            uri, at = unquote(text[at + 4 : end]), end + 1
        name: list[str] = []
        while at < len(text) and text[at] not in "/.":
            if text[at] == "&":
                at += 1
                if at == len(text):
                    raise AddressError(f"{text!r} ends with &; a character it stands for follows it")
            elif text[at] in "<>#!:":
                raise AddressError(
                    f"{text!r}: put & before the {text[at]!r} of a name; namespaces are named by nsu=, "
                    "references by / and ."
                )
            name.append(text[at])
            at += 1
        if not name:
            raise AddressError(f"{text!r} has an empty name; take the / or . too many out")
        steps.append(Step(uri, "".join(name), aggregates))
    return steps
