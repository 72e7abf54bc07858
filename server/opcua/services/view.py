"""The View service set (OPC 10000-4 §5.9)."""

from __future__ import annotations

from server.opcua.requests import Service
from server.opcua.services.browse import Browsing
from server.opcua.services.paths import Paths
from server.opcua.services.registered import Registering
from server.opcua.space.space import Space


class Views:
    """Answers the requests by which clients find their way through the address space."""

    def __init__(self, space: Space) -> None:
        self._parts = (Browsing(space), Paths(space), Registering(space))

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return tuple(one for part in self._parts for one in part.services())
