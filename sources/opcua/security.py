"""Whom we believe downstream, and as which application we come: our own certificate and trust list."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from cryptography import x509

from certs.errors import CertificateRefused
from certs.files import PARSE_ERRORS, read_chain, thumbprint
from certs.own import ApplicationIdentity
from certs.store import TrustList
from certs.validate import Usage, validate
from sources.errors import Refused, Unreachable
from sources.opcua.channel import Channel, ServiceError, unprotected
from sources.opcua.config import DownstreamSettings
from sources.opcua.stack import NONE_URI, POLICIES, POLICY_URI, text, ua
from sources.resolve import Resolver


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the application lends its OPC UA sources: who it is, whom it trusts, where its file stands.

    Without ``identity`` and ``trust`` only ``security: none`` connects.
    """

    identity: ApplicationIdentity | None = None
    trust: TrustList | None = None
    base: Path = field(default_factory=Path)


@runtime_checkable
class NeedsSurroundings(Protocol):
    """A source that has to be told them before it is connected."""

    def settle(self, surroundings: Surroundings) -> None:
        """Take them."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a session is to be made: endpoint, policy (made anew for every channel), user token."""

    endpoint: Any
    policy: Any
    certificate: bytes
    """The server's own, DER; empty where none takes part."""
    recheck: Callable[[], object] = lambda: None
    """Look at that certificate again, which touches the disk. Raises Refused."""


async def choose(settings: DownstreamSettings, surroundings: Surroundings, resolver: Resolver) -> Way:
    """Ask the server for its endpoints, and take the one that is configured, its certificate checked.

    Raises Unreachable, Refused.
    """
    endpoints = await _endpoints(settings, resolver)
    mode = _MODES[settings.security]
    if settings.security == "none":
        found = [e for e in endpoints if e.SecurityPolicyUri == NONE_URI]
        if not found:
            raise Refused(f"it offers no unprotected connection; it offers {_offered(endpoints)}")
        return Way(found[0], unprotected(), bytes(found[0].ServerCertificate or b""))
    wanted = [settings.policy] if settings.policy is not None else list(POLICIES)
    for name in wanted:
        for endpoint in endpoints:
            if endpoint.SecurityPolicyUri == POLICY_URI + name and endpoint.SecurityMode == mode:
                check = partial(validated, settings, surroundings, endpoint)
                certificate = await asyncio.to_thread(check)
                identity = surroundings.identity
                assert identity is not None  # noqa: S101  # validated refuses without
                policy = POLICIES[name](
                    certificate,
                    identity.certificate,
                    identity.private_key,
                    mode,
                    host_cert_chain=list(identity.issuers),
                )
                return Way(endpoint, policy, bytes(policy.peer_certificate), check)
    raise Refused(
        f"it offers nothing with security: {settings.security} and {' or '.join(wanted)}; it offers "
        f"{_offered(endpoints)}"
    )


_MODES: Final = {
    "none": ua.MessageSecurityMode.None_,
    "sign": ua.MessageSecurityMode.Sign,
    "sign_and_encrypt": ua.MessageSecurityMode.SignAndEncrypt,
}


async def _endpoints(settings: DownstreamSettings, resolver: Resolver) -> list[Any]:
    channel = Channel(unprotected(), settings.timeout)
    try:
        await channel.open(resolver, settings.url)
        request = ua.GetEndpointsRequest(Parameters=ua.GetEndpointsParameters(EndpointUrl=settings.url))
        response = await channel.request(request, ua.GetEndpointsResponse)
    except ServiceError as error:
        raise Unreachable(str(error)) from None
    finally:
        await channel.gone()
    return list(response.Endpoints or [])


def _offered(endpoints: list[Any]) -> str:
    names = {
        f"{text(e.SecurityPolicyUri).removeprefix(POLICY_URI)} {e.SecurityMode.name.rstrip('_')}"
        for e in endpoints
        if e.SecurityPolicyUri
    }
    return ", ".join(sorted(names)) or "nothing"


def validated(settings: DownstreamSettings, surroundings: Surroundings, endpoint: Any) -> x509.Certificate:
    """The server's certificate, checked as that of a client is (OPC 10000-4 §6.1.3). Touches the disk."""
    trust = surroundings.trust
    if surroundings.identity is None or trust is None:
        what = "a password" if settings.security == "none" else f"security: {settings.security}"
        raise Refused(
            f"{what} needs the application's certificate and trust list, and this data directory has none; "
            "name the one of a server (--data)"
        )
    chain: list[x509.Certificate] = []
    try:
        chain = read_chain(bytes(endpoint.ServerCertificate or b""))
        certificate = validate(
            chain,
            trust.snapshot(),
            usage=Usage.Server,
            now=datetime.now(UTC),
            application_uri=endpoint.Server.ApplicationUri or "",
        )
    except CertificateRefused as refused:
        advice = ""
        if chain and trust.reject(chain[0]) is not None:
            advice = f"; to trust it: isthmus certs trust {thumbprint(chain[0])}"
        raise Refused(f"{refused}{advice}") from None
    host = _normal(settings.host)
    if not _is_loopback(host) and host not in _hosts(certificate):
        raise Refused(
            f"its certificate does not name the host {host}; it names {_listed(_hosts(certificate))}"
        )
    return certificate


def _listed(hosts: frozenset[str]) -> str:
    return ", ".join(sorted(hosts)) or "none"


def _normal(host: str) -> str:
    plain = host.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(plain.partition("%")[0]))
    except ValueError:
        return plain


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*PARSE_ERRORS, x509.ExtensionNotFound):
        return frozenset()
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return frozenset(map(_normal, [*names.get_values_for_type(x509.DNSName), *addresses]))


def where(url: str) -> str:
    """Host and port of a URL, for people."""
    parts = urlsplit(url)
    return parts.netloc
