"""Events on their way from their source to the items of its notifiers (OPC 10000-3 §7.17, §7.18)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from server.opcua.space.node import Node
from server.opcua.space.permissions import ROLE_IDS, Permission
from server.opcua.space.space import TOLD, ModelChange
from server.opcua.subscriptions.events import SERVER, Event, path
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import NULL, Key, numeric
from server.opcua.wire.writer import int32, variant_array
from server.plant.model import Role

if TYPE_CHECKING:
    from server.opcua.subscriptions.engine import Engine
    from server.opcua.subscriptions.event_item import EventItem

log = logging.getLogger(__name__)

MAX_CHANGES: Final = 500
"""Changes of the model an event lists; where there are more it says no more than that there are."""

_HAS_EVENT_SOURCE: Final = numeric(ObjectIds.HasEventSource)
_GENERAL_CHANGE: Final = numeric(ObjectIds.GeneralModelChangeEventType)
_BASE_CHANGE: Final = numeric(ObjectIds.BaseModelChangeEventType)
_CHANGE: Final = numeric(ObjectIds.ModelChangeStructureDataType_Encoding_DefaultBinary) + b"\x01"
_CHANGES: Final = path("Changes")
_EXTENSION_OBJECT: Final = 22
_SEVERITY: Final = 100
_ANYBODY: Final = frozenset({ROLE_IDS[Role.Anonymous]})


class Emitter:
    """Who listens to which notifier."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._items: dict[Key, dict[EventItem, None]] = {}
        self._notifiers: dict[Node, list[Key]] = {}
        self._generation = -1

    def listen(self, item: EventItem) -> None:
        """Have an item told of its notifier's events."""
        self._items.setdefault(item.node.key, {})[item] = None

    def leave(self, item: EventItem) -> None:
        """The opposite."""
        items = self._items.get(item.node.key)
        if items is not None:
            items.pop(item, None)
            if not items:
                del self._items[item.node.key]

    @property
    def heard(self) -> bool:
        """Whether anybody listens at all."""
        return bool(self._items)

    def emit(self, event: Event) -> None:
        """Tell every item of the event's notifiers: its source, what is above it, and the Server object.

        An event reaches whoever refers to its source, or to a notifier of it, by HasEventSource
        or a subtype such as HasNotifier. Synchronous; nothing that fails is raised.
        """
        if not self._items:
            return
        for notifier in self._above(event.source):
            for item in list(self._items.get(notifier, ())):
                try:
                    item.offer(event)
                except Exception:
                    log.exception("a monitored item failed to take an event: a fault of ours")

    def _above(self, source: Node) -> list[Key]:
        space = self._engine.space
        if self._generation != space.generation:
            self._generation = space.generation
            self._notifiers.clear()
        found = self._notifiers.get(source)
        if found is None:
            seen = {source: None}
            waiting = [source]
            kind = space.find(_HAS_EVENT_SOURCE)
            while waiting and kind is not None:
                for above in space.targets(waiting.pop(), kind, forward=False):
                    if above not in seen:
                        seen[above] = None
                        waiting.append(above)
            found = [node.key for node in seen]
            if SERVER not in found:
                found.append(SERVER)
            self._notifiers[source] = found
        return found

    def model_changed(self, changes: Sequence[ModelChange]) -> None:
        """Tell of changes of the model (OPC 10000-3 §9.32)."""
        if not self._items:
            return
        space = self._engine.space
        # One event serves all who listen: what not everybody may see is not in it.
        changes = [
            change
            for change in changes
            if change.verb & TOLD and change.node.role_permissions.of(_ANYBODY) & Permission.Browse
        ]
        server = space.find(SERVER)
        kind = space.find(_GENERAL_CHANGE if len(changes) <= MAX_CHANGES else _BASE_CHANGE)
        if not changes or server is None or kind is None:
            return
        fields = {_CHANGES: _listed(changes)} if len(changes) <= MAX_CHANGES else {}
        self.emit(Event(kind, server, "The address space changed", _SEVERITY, fields))


def _listed(changes: Sequence[ModelChange]) -> bytes:
    """The changes as a Variant of ModelChangeStructureDataType (OPC 10000-5 §12.16)."""
    found = []
    for node, verb in changes:
        kind = node.type_definition
        body = node.key + (NULL if kind is None else kind.key) + bytes((verb & TOLD,))
        found.append(_CHANGE + int32(len(body)) + body)
    return variant_array(_EXTENSION_OBJECT, found)
