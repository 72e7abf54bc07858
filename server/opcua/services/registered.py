"""RegisterNodes and UnregisterNodes (OPC 10000-4 §5.9.5, §5.9.6).

A registered node gets a short numeric NodeId that holds in its session only: a request by
such handles is a tenth the size of one by the NodeIds of a plant. `Session.resolve` leads
back. A handle is never given out twice in a session, so nothing that was planned for one
can mean another node later.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from server.opcua.limits import MAX_NODES_PER_REGISTER_NODES, MAX_REGISTERED_NODES
from server.opcua.requests import Request, Service, service
from server.opcua.services.plans import ReadPlans
from server.opcua.services.sight import (
    Sight,
    access_of,
    check_operations,
    is_malformed,
)
from server.opcua.services.turns import Eventually, Work, in_turns
from server.opcua.sessions.session import Session
from server.opcua.space.space import Space
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, numeric
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import array

HANDLE_NAMESPACE: Final = 1
"""Numeric NodeIds of the server's own namespace are handles: no node there may have one."""

_LAST: Final = 0xFFFFFFFF
_SMALLEST_KEY: Final = 2
_AT_ONCE: Final = 100
_SHORT: Final = 4
"""Bytes of a NodeId that no handle makes shorter."""


class _Numbers:
    """The handles one session was given so far."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, space: Space) -> Key | None:
        """A handle the session never had, None where there are no more."""
        while self._last < _LAST:
            self._last += 1
            handle = numeric(self._last, HANDLE_NAMESPACE)
            if space.find(handle) is None:
                return handle
        return None


class Registering:
    """Answers RegisterNodes and UnregisterNodes requests."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (
            service("RegisterNodes", self.register),
            service("UnregisterNodes", self.unregister),
        )

    def register(self, session: Session, request: Request) -> Eventually:
        """A handle a node; the NodeId itself for one that is not known, or where a handle gains nothing."""
        return in_turns(self._register(session, Sight(access_of(session)), request.reader), request)

    def _register(self, session: Session, sight: Sight, reader: Reader) -> Work:
        keys = yield from _keys(reader)
        if any(map(is_malformed, keys)):
            raise ServiceFault(StatusCodes.BadNodeIdInvalid)
        registered = []
        for index, key in enumerate(keys):
            if index % _AT_ONCE == _AT_ONCE - 1:
                yield
            registered.append(self._handle(session, sight, key))
        # A list of NodeIds that were nothing until now may mean something from here on.
        session.part(ReadPlans).clear()
        return array(registered)

    def unregister(self, session: Session, request: Request) -> Eventually:
        """Handles that are none, or none any more, are passed over."""
        return in_turns(self._unregister(session, request.reader), request)

    @staticmethod
    def _unregister(session: Session, reader: Reader) -> Work:
        for key in (yield from _keys(reader)):
            session.handles.pop(key, None)
        session.part(ReadPlans).clear()
        return b""

    def _handle(self, session: Session, sight: Sight, key: Key) -> Key:
        node = sight.find(self._space, session.resolve(key))
        if node is None or len(node.key) <= _SHORT or len(session.handles) >= MAX_REGISTERED_NODES:
            return key
        handle = session.part(_Numbers).next(self._space)
        if handle is None:
            return key
        session.handles[handle] = node.key
        return handle


def _keys(reader: Reader) -> Generator[None, None, list[Key]]:
    count = reader.count(_SMALLEST_KEY)
    check_operations(count, MAX_NODES_PER_REGISTER_NODES)
    keys = []
    for index in range(count):
        if index % _AT_ONCE == _AT_ONCE - 1:
            yield
        keys.append(reader.key())
    return keys
