"""What clients are told of the endpoints: by which name, how protected, for which users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from asyncua import ua
from pydantic import ValidationError
from support import pki

from certs.hosts import host_name
from certs.own import ApplicationIdentity
from server.opcua.endpoints import NONE_URI, TRANSPORT_PROFILE, Endpoints
from server.opcua.settings import OpcUaSettings
from server.opcua.wire.reader import Reader
from server.opcua.wire.structs import decode

URI = "urn:test:isthmus"
EVERYWHERE = ("0.0.0.0", "::")


def identity(*, chained: bool = False) -> ApplicationIdentity:
    ca = pki.authority()
    certificate = pki.application("Isthmus", uri=URI, private=pki.key(2), issuer=ca if chained else None)
    return ApplicationIdentity(URI, certificate, pki.key(2), (ca.certificate,) if chained else ())


def endpoints(
    listen: Sequence[str] = ("127.0.0.1",), hosts: Sequence[str] = (), **settings: Any
) -> Endpoints:
    return Endpoints(OpcUaSettings(**settings), identity(), 4840, listen=listen, hosts=hosts)


def url(found: Endpoints, asked: str | None) -> str:
    (first, *others) = found.descriptions(asked)
    assert {other.EndpointUrl for other in others} <= {first.EndpointUrl}
    assert first.Server.DiscoveryUrls == [first.EndpointUrl]
    return str(first.EndpointUrl)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("opc.tcp://localhost:4840", "opc.tcp://localhost:4840/isthmus"),
        ("opc.tcp://LOCALHOST:1", "opc.tcp://localhost:4840/isthmus"),
        ("opc.tcp://127.0.0.1:4840/other", "opc.tcp://127.0.0.1:4840/isthmus"),
        ("opc.tcp://gate.example:4840", "opc.tcp://gate.example:4840/isthmus"),
        ("opc.tcp://[2001:db8::5]:4840", "opc.tcp://[2001:db8::5]:4840/isthmus"),
        ("opc.tcp://10.1.2.3", "opc.tcp://10.1.2.3:4840/isthmus"),
        ("opc.tcp://10.9.9.9", "opc.tcp://10.9.9.9:4840/isthmus"),
        ("opc.tcp://evil.example:4840", "opc.tcp://gate.example:4840/isthmus"),
        ("nonsense", "opc.tcp://gate.example:4840/isthmus"),
        ("opc.tcp://[", "opc.tcp://gate.example:4840/isthmus"),
        ("", "opc.tcp://gate.example:4840/isthmus"),
        (None, "opc.tcp://gate.example:4840/isthmus"),
    ],
)
def test_a_client_is_answered_by_the_name_it_used_where_that_is_ours(asked: str | None, told: str) -> None:
    """Names of the certificate, of the configuration, of the sockets, of the machine; no others."""
    found = endpoints(
        ("10.1.2.3", "0.0.0.0"), ["10.9.9.9"], hostnames=("Gate.Example", "2001:db8:0:0::5"), port=4840
    )
    assert url(found, asked) == told


def test_an_unspecified_address_is_no_name() -> None:
    assert url(endpoints(EVERYWHERE), "opc.tcp://0.0.0.0:4840") == f"opc.tcp://{host_name()}:4840/isthmus"


@pytest.mark.parametrize(
    ("listen", "hostnames", "host"),
    [
        (("127.0.0.1",), (), "127.0.0.1"),
        (("127.0.0.1",), ("gate",), "127.0.0.1"),
        (("::1",), (), "[::1]"),
        (("10.1.2.3", "10.1.2.4"), (), "10.1.2.3"),
        (("10.1.2.3",), ("gate",), "gate"),
        (EVERYWHERE, (), host_name()),
        (EVERYWHERE, ("gate", "door"), "gate"),
    ],
)
def test_whoever_used_no_name_of_ours_is_told_the_default_one(
    listen: Sequence[str], hostnames: tuple[str, ...], host: str
) -> None:
    assert endpoints(listen, hostnames=hostnames).url == f"opc.tcp://{host}:4840/isthmus"


def test_a_discovery_server_is_told_every_configured_name() -> None:
    assert endpoints(EVERYWHERE, hostnames=("gate", "door", "Gate")).discovery_urls() == [
        "opc.tcp://gate:4840/isthmus",
        "opc.tcp://door:4840/isthmus",
    ]


def test_the_better_protected_an_endpoint_the_higher_its_level_and_the_earlier_it_comes() -> None:
    found = endpoints(sign_only=True, allow_none=True).descriptions()
    levels = [one.SecurityLevel for one in found]
    assert levels == sorted(levels, reverse=True)
    assert len(set(levels)) == len(levels) == 7
    modes = [one.SecurityMode.name for one in found]
    assert modes == ["SignAndEncrypt"] * 3 + ["Sign"] * 3 + ["None_"]
    assert found[-1].SecurityPolicyUri == NONE_URI
    assert found[-1].SecurityLevel == 0
    assert {one.TransportProfileUri for one in found} == {TRANSPORT_PROFILE}


def test_nothing_weaker_is_offered_than_the_configuration_says() -> None:
    assert {one.SecurityMode.name for one in endpoints().descriptions()} == {"SignAndEncrypt"}
    tokens = {token.TokenType.name for one in endpoints().descriptions() for token in one.UserIdentityTokens}
    assert tokens == {"UserName"}


def test_a_password_is_encrypted_over_every_endpoint() -> None:
    for one in endpoints(allow_none=True, anonymous=True).descriptions():
        anonymous, named = one.UserIdentityTokens
        assert (anonymous.TokenType.name, named.TokenType.name) == ("Anonymous", "UserName")
        assert named.SecurityPolicyUri not in {None, "", NONE_URI}
        assert anonymous.PolicyId != named.PolicyId


def test_the_certificate_comes_with_the_issuers_that_lie_beside_it() -> None:
    own = identity(chained=True)
    (first, *_) = Endpoints(OpcUaSettings(), own, 4840).descriptions()
    assert first.ServerCertificate == own.der + pki.der(own.issuers[0])
    own = identity()
    (first, *_) = Endpoints(OpcUaSettings(), own, 4840).descriptions()
    assert first.ServerCertificate == own.der


def test_descriptions_are_encoded_once_a_name() -> None:
    found = endpoints()
    data = found.encoded("opc.tcp://localhost:4840")
    assert found.encoded("opc.tcp://LOCALHOST") is data
    for number in range(50):
        found.encoded(f"opc.tcp://unknown{number}")
    assert len(found._encoded) == 2
    reader = Reader(data)
    decoded = [decode(ua.EndpointDescription, reader) for _ in range(reader.count(1))]
    assert reader.left == 0
    assert [str(one) for one in decoded] == [
        str(one) for one in found.descriptions("opc.tcp://localhost:4840")
    ]


# --- Settings


def test_the_server_listens_everywhere_unless_told_otherwise() -> None:
    assert OpcUaSettings().listen == EVERYWHERE
    assert OpcUaSettings(listen=("127.0.0.1", "::1")).listen == ("127.0.0.1", "::1")
    assert OpcUaSettings().discovery_server is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"listen": ("localhost",)}, "is no IP address"),
        ({"listen": ()}, "at least 1"),
        ({"discovery_server": "http://lds:4840"}, "write opc.tcp://host:4840"),
        ({"discovery_server": "opc.tcp://"}, "write opc.tcp://host:4840"),
        ({"discovery_server": "opc.tcp://lds:99999"}, "write opc.tcp://host:4840"),
        ({"discovery_server": "opc.tcp://lds:0"}, "write opc.tcp://host:4840"),
    ],
)
def test_addresses_and_urls_have_to_make_sense(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpcUaSettings(**settings)
