"""FindServers and GetEndpoints by OPC 10000-4 §5.5.2 and §5.5.4."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support import pki
from support.nodes import QuietPeer, request
from support.world import decoded

from certs.own import ApplicationIdentity
from server.opcua.endpoints import TRANSPORT_PROFILE, Endpoints
from server.opcua.requests import Needs
from server.opcua.services.discovery import Discovery
from server.opcua.settings import OpcUaSettings
from server.opcua.wire import structs
from server.opcua.wire.reader import DecodingError
from server.opcua.wire.writer import NULL_STRING, int32, string

URI = "urn:test:isthmus"
PEER: Any = QuietPeer()


@pytest.fixture(scope="module")
def discovery() -> Discovery:
    certificate = pki.application("Isthmus", uri=URI, private=pki.key(2))
    settings = OpcUaSettings(application_name="Line 1", allow_none=True)
    return Discovery(Endpoints(settings, ApplicationIdentity(URI, certificate, pki.key(2)), 4840))


def servers(discovery: Discovery, **asked: Any) -> list[ua.ApplicationDescription]:
    make: Any = ua.FindServersParameters
    answer = discovery.find_servers(PEER, request(structs.encode(make(**asked))))
    assert isinstance(answer, bytes)
    return decoded(ua.ApplicationDescription, answer, diagnostics=False)


def endpoints(discovery: Discovery, **asked: Any) -> list[ua.EndpointDescription]:
    make: Any = ua.GetEndpointsParameters
    answer = discovery.get_endpoints(PEER, request(structs.encode(make(**asked))))
    assert isinstance(answer, bytes)
    return decoded(ua.EndpointDescription, answer, diagnostics=False)


def test_this_server_is_found(discovery: Discovery) -> None:
    (found,) = servers(discovery, EndpointUrl="opc.tcp://localhost:4840", LocaleIds=["de", "en-US"])
    assert found.ApplicationUri == URI
    assert found.ApplicationName.Text == "Line 1"
    assert found.ApplicationType == ua.ApplicationType.Server
    assert found.DiscoveryUrls == ["opc.tcp://localhost:4840/isthmus"]


def test_servers_are_picked_by_their_uri(discovery: Discovery) -> None:
    assert len(servers(discovery, ServerUris=["urn:other", URI])) == 1
    assert servers(discovery, ServerUris=["urn:other"]) == []


def test_endpoints_are_picked_by_their_profile(discovery: Discovery) -> None:
    assert len(endpoints(discovery)) == 4
    assert len(endpoints(discovery, ProfileUris=["https:", TRANSPORT_PROFILE])) == 4
    assert endpoints(discovery, ProfileUris=["https:"]) == []


def test_endpoints_have_the_name_the_client_used(discovery: Discovery) -> None:
    found = endpoints(discovery, EndpointUrl="opc.tcp://localhost:4840", LocaleIds=["de"])
    assert {one.EndpointUrl for one in found} == {"opc.tcp://localhost:4840/isthmus"}
    found = endpoints(discovery, EndpointUrl="opc.tcp://nobody:4840")
    assert {one.EndpointUrl for one in found} == {"opc.tcp://127.0.0.1:4840/isthmus"}


def test_nothing_is_needed_to_ask(discovery: Discovery) -> None:
    assert {one.needs for one in discovery.services()} == {Needs.Nothing}
    assert [one.name for one in discovery.services()] == ["FindServers", "GetEndpoints"]


def test_null_is_as_good_as_empty(discovery: Discovery) -> None:
    answer = discovery.get_endpoints(PEER, request(NULL_STRING + int32(-1) * 2))
    assert isinstance(answer, bytes)
    assert len(decoded(ua.EndpointDescription, answer, diagnostics=False)) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        string("opc.tcp://x"),
        string("opc.tcp://x") + int32(2**31 - 1),
        string("opc.tcp://x") + int32(-5) + int32(0),
        int32(-4) + int32(0) * 2,
        string("opc.tcp://x") + int32(0) + int32(1) + int32(100),
        string("opc.tcp://x") + int32(1001) + NULL_STRING * 1001 + int32(0),
    ],
)
def test_lengths_are_not_believed(discovery: Discovery, body: bytes) -> None:
    for ask in (discovery.find_servers, discovery.get_endpoints):
        with pytest.raises(DecodingError):
            ask(PEER, request(body))
