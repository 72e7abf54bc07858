"""The Discovery service set, as far as a server that is no discovery server has it (OPC 10000-4 §5.5)."""

from __future__ import annotations

from typing import Final

from server.opcua.endpoints import TRANSPORT_PROFILE, Endpoints
from server.opcua.requests import Answer, Needs, Peer, Request, Service, service
from server.opcua.wire import structs
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import array, int32

_MOST_NAMES: Final = 1_000
"""Locales, servers or profiles of one request."""

_SMALLEST_STRING: Final = 4
_NONE: Final = int32(0)


class Discovery:
    """Answers FindServers and GetEndpoints requests: to anybody, over any channel."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (
            service("FindServers", self.find_servers, Needs.Nothing),
            service("GetEndpoints", self.get_endpoints, Needs.Nothing),
        )

    def find_servers(self, _peer: Peer, request: Request) -> Answer:
        """FindServers (OPC 10000-4 §5.5.2): this server, where it is among those asked for."""
        reader = request.reader
        url = reader.string()
        _strings(reader)  # LocaleIds: there is one name for all of them
        wanted = _strings(reader)
        application = self._endpoints.application(url)
        if wanted and application.ApplicationUri not in wanted:
            return _NONE
        return array([structs.encode(application)])

    def get_endpoints(self, _peer: Peer, request: Request) -> Answer:
        """GetEndpoints (OPC 10000-4 §5.5.4): all of them, for they differ in nothing a client filters by."""
        reader = request.reader
        url = reader.string()
        _strings(reader)  # LocaleIds
        profiles = _strings(reader)
        if profiles and TRANSPORT_PROFILE not in profiles:
            return _NONE
        return self._endpoints.encoded(url)


def _strings(reader: Reader) -> list[str | None]:
    return [reader.string() for _ in range(reader.count(_SMALLEST_STRING, _MOST_NAMES))]
