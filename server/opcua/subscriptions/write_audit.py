"""Attempts to write as audit events (OPC 10000-4 §6.5.8, OPC 10000-5 §6.4.25)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from server.opcua.services.readvalue import VALUE
from server.opcua.space.points import encode_value
from server.opcua.subscriptions.events import Event, path
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import key, numeric
from server.opcua.wire.writer import NULL_VARIANT, string, ticks, uint32, variant
from server.plant.commands import Attempt, Outcome, Result, elements, fits_type
from sources.clock import now
from sources.quality import quality_name
from sources.tag import Part

if TYPE_CHECKING:
    from server.opcua.space.space import Space
    from server.opcua.subscriptions.emitter import Emitter
    from server.plant.model import Property

_KIND: Final = numeric(ObjectIds.AuditWriteUpdateEventType)
_BOOLEAN, _UINT32, _STRING, _DATE_TIME = 1, 7, 12, 13
_ATTRIBUTE: Final = variant(_UINT32, uint32(VALUE))
_NO_TEXT: Final = variant(_STRING, string(None))
_SOURCE_NAME: Final = "Attribute/Write"
_SEVERITIES: Final = {Outcome.Done: 100, Outcome.Unknown: 700}
_REFUSED: Final = 400

_TIME, _STATUS, _SERVER = path("ActionTimeStamp"), path("Status"), path("ServerId")
_ENTRY, _USER = path("ClientAuditEntryId"), path("ClientUserId")
_ATTRIBUTE_ID, _RANGE, _NEW, _OLD = (
    path("AttributeId"),
    path("IndexRange"),
    path("NewValue"),
    path("OldValue"),
)


class WriteAudit:
    """Makes an AuditWriteUpdateEventType event of the end of every attempt; call it with that."""

    def __init__(self, space: Space, emitter: Emitter, *, index: int, server: str) -> None:
        """``index`` is that of the plant's namespace, ``server`` the ApplicationUri."""
        self._space = space
        self._emitter = emitter
        self._index = index
        self._server = variant(_STRING, string(server))

    def __call__(self, attempt: Attempt, result: Result) -> None:
        """Tell who listens, and may hear of it."""
        if not self._emitter.heard:
            return
        prop, caller = attempt.property, attempt.caller
        source = self._space.find(key(prop.node_id, self._index))
        kind = self._space.find(_KIND)
        if result.outcome is Outcome.Seen or source is None or kind is None:
            return
        done = result.outcome is Outcome.Done
        fields = {
            _TIME: variant(_DATE_TIME, ticks(now())),
            _STATUS: variant(_BOOLEAN, bytes((done,))),
            _SERVER: self._server,
            _ENTRY: variant(_STRING, string(caller.entry or None)),
            _USER: variant(_STRING, string(caller.user)),
            _ATTRIBUTE_ID: _ATTRIBUTE,
            _RANGE: _range(attempt.asked),
            _NEW: _value(attempt.asked, prop),
            _OLD: _value(attempt.old, prop),
        }
        why = f" ({result.reason})" if result.reason else ""
        message = f"write {prop.key} by {caller.user}: {quality_name(result.quality)}{why}"
        severity = _SEVERITIES.get(result.outcome, _REFUSED)
        self._emitter.emit(
            Event(kind, source, message, severity, fields, source_name=_SOURCE_NAME, guarded=True)
        )


def _value(value: Any, prop: Property) -> bytes:
    """A value of the property, or a part of one; null for anything else a client may have sent."""
    if value is None or not all(fits_type(one, prop.type.type) for one in elements(value)):
        return NULL_VARIANT
    return encode_value(prop.type.type, value.values if isinstance(value, Part) else value)


def _range(asked: object) -> bytes:
    """The IndexRange of a part, null for a whole value."""
    return variant(_STRING, string(asked.index_range)) if isinstance(asked, Part) else _NO_TEXT
