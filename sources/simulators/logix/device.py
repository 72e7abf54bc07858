"""The controller as its clients share it."""

from __future__ import annotations

import itertools
import random
import weakref
from collections.abc import Sequence
from typing import Final

from sources.simulators.logix.connections import ConnectionManager
from sources.simulators.logix.database import Database
from sources.simulators.logix.epath import Port
from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.identity import Identity
from sources.simulators.logix.objects import Objects
from sources.simulators.logix.points import Points
from sources.simulators.logix.router import Router

MAX_CONNECTIONS: Final = 64
"""Class 3 connections a controller serves at once."""


class Device:
    """Memory, objects and faults of one controller; no socket."""

    def __init__(
        self,
        identity: Identity,
        database: Database,
        points: Points,
        slot: int = 0,
        hops: Sequence[tuple[int, str]] = (),
    ) -> None:
        self.identity = identity
        self.database = database
        self.points = points
        self.faults = LogixFaults()
        self.requests = 0
        self._route: tuple[Port, ...] = (
            *(Port(port, _link(link)) for port, link in hops),
            Port(1, bytes((slot,))),
        )
        if identity.is_micro800:
            # There is no backplane to take a route over.
            self._route = ()
            self.faults.refuse_large = self.faults.no_counters = self.faults.single = True
        self._router = Router(database, Objects(identity, database, self.faults), self.faults, points.written)
        self._sessions = itertools.count(0x1001)
        self._managers: weakref.WeakSet[ConnectionManager] = weakref.WeakSet()
        # Which number goes where is of no consequence, only that it is another.
        self._random = random.Random(0x1756)  # noqa: S311

    def answer(self, message: bytes, room: int, connections: ConnectionManager | None = None) -> bytes:
        """The reply to one request, at most ``room`` bytes long; see `Router.answer`."""
        self.requests += 1
        self.points.catch_up()
        return self._router.answer(message, room, connections)

    def new_session(self) -> int:
        """A session handle nobody has."""
        return next(self._sessions)

    def new_manager(self) -> ConnectionManager:
        """A connection manager for one client's socket."""
        manager = ConnectionManager(self.faults, self._route, lambda: self.open_connections < MAX_CONNECTIONS)
        self._managers.add(manager)
        return manager

    @property
    def open_connections(self) -> int:
        """How many class 3 connections are open, over all clients."""
        return sum(len(manager) for manager in self._managers)

    def download(self, *, close_connections: bool) -> None:
        """Renumber all instances, as a program download does; connections survive or not, as told."""
        self.database.renumber(self._random)
        self._close(close_connections=close_connections)

    def replace(self, database: Database, *, close_connections: bool) -> None:
        """Hold another program; connections survive or not, as told."""
        self.database.become(database)
        self._close(close_connections=close_connections)

    def _close(self, *, close_connections: bool) -> None:
        if close_connections:
            for manager in self._managers:
                manager.close_all()


def _link(text: str) -> bytes:
    """An address as it stands in a port segment: a number in one byte, any other as text."""
    return bytes((int(text),)) if text.isdecimal() else text.encode("ascii")
