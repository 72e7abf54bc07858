"""Events as they are when they happen, before any filter (OPC 10000-5 §6.4.2)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from asyncua import ua

from server.opcua.wire import nodeid, structs
from server.opcua.wire.nodeid import Key
from server.opcua.wire.writer import (
    NULL_VARIANT,
    byte_string,
    localized_text,
    qualified_name,
    string,
    ticks,
    uint16,
    variant,
)
from sources.clock import now

if TYPE_CHECKING:
    from server.opcua.space.node import Node

EVENT_ID: Final = 16
"""Bytes of an EventId."""

_STRING, _DATE_TIME, _BYTE_STRING, _NODE_ID, _LOCALIZED_TEXT, _UINT16 = 12, 13, 15, 17, 21, 5


def path(*names: str, namespace: int = 0) -> bytes:
    """A browse path as `Event.fields` has it: its BrowseNames, encoded, one behind another."""
    return b"".join(qualified_name(name, namespace) for name in names)


SERVER: Final[Key] = nodeid.numeric(2253)
"""The Server object."""

_EVENT_ID: Final = path("EventId")
_EVENT_TYPE: Final = path("EventType")
_SOURCE_NODE: Final = path("SourceNode")
_SOURCE_NAME: Final = path("SourceName")
_TIME: Final = path("Time")
_RECEIVE_TIME: Final = path("ReceiveTime")
_LOCAL_TIME: Final = path("LocalTime")
_MESSAGE: Final = path("Message")
_SEVERITY: Final = path("Severity")


class Event:
    """One event: its type, its source, and its fields as encoded Variants by browse path."""

    __slots__ = ("_decoded", "fields", "guarded", "source", "type")

    def __init__(
        self,
        kind: Node,
        source: Node,
        message: str,
        severity: int,
        fields: Mapping[bytes, bytes] | None = None,
        *,
        time: int | None = None,
        source_name: str | None = None,
        guarded: bool = False,
    ) -> None:
        """``fields`` are those beyond BaseEventType's, or in their place; ``severity`` from 1 to 1000.

        ``time`` is when it happened, in ticks, now where none is given; ``source_name`` is
        the source's DisplayName where none is given. A ``guarded`` one is told over encrypted
        channels only, to those whom its type lets receive events as well as its source.
        """
        self.guarded = guarded
        self.type = kind
        self.source = source
        received = now()
        name = _text(source.display_name) if source_name is None else string(source_name)
        self.fields: dict[bytes, bytes] = {
            _EVENT_ID: variant(_BYTE_STRING, byte_string(secrets.token_bytes(EVENT_ID))),
            _EVENT_TYPE: variant(_NODE_ID, kind.key),
            _SOURCE_NODE: variant(_NODE_ID, source.key),
            _SOURCE_NAME: variant(_STRING, name),
            _TIME: variant(_DATE_TIME, ticks(received if time is None else time)),
            _RECEIVE_TIME: variant(_DATE_TIME, ticks(received)),
            _LOCAL_TIME: NULL_VARIANT,
            _MESSAGE: variant(_LOCALIZED_TEXT, localized_text(message)),
            _SEVERITY: variant(_UINT16, uint16(severity)),
            **(fields or {}),
        }
        self._decoded: dict[bytes, ua.Variant] = {}

    def value(self, where: bytes) -> ua.Variant | None:
        """A field as the stack has it, None where the event does not have it; decoded once."""
        found = self._decoded.get(where)
        if found is None:
            encoded = self.fields.get(where)
            if encoded is None:
                return None
            found = self._decoded[where] = structs.decode_variant(encoded)
        return found


def _text(localized: bytes) -> bytes:
    """The text of an encoded LocalizedText, as an encoded String."""
    mask, at = localized[0], 1
    if mask & 1:
        at += 4 + max(int.from_bytes(localized[1:5], "little", signed=True), 0)
    return localized[at:] if mask & 2 else string(None)
