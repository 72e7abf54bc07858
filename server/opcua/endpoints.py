"""Which endpoints there are, and what a client is told of them (OPC 10000-4 §5.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.crypto import security_policies as policies

from certs.own import ApplicationIdentity
from server.opcua.settings import OpcUaSettings

LISTEN_HOST: Final = "127.0.0.1"
"""Until the transport and services are our own, the server is reached from this machine only."""

PRODUCT_URI: Final = "urn:isthmus"
TRANSPORT_PROFILE: Final = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
NONE_URI: Final = policies.SecurityPolicyNone.URI

ANONYMOUS_POLICY: Final = "anonymous"
USER_NAME_POLICY: Final = "username"

PolicyClass = type[policies.SecurityPolicy]

_POLICIES: Final[dict[str, tuple[PolicyClass, int]]] = {
    "Basic256Sha256": (policies.SecurityPolicyBasic256Sha256, 10),
    "Aes128_Sha256_RsaOaep": (policies.SecurityPolicyAes128Sha256RsaOaep, 20),
    "Aes256_Sha256_RsaPss": (policies.SecurityPolicyAes256Sha256RsaPss, 30),
}
_MODE_NAMES: Final = {
    ua.MessageSecurityMode.None_: "None",
    ua.MessageSecurityMode.Sign: "Sign",
    ua.MessageSecurityMode.SignAndEncrypt: "SignAndEncrypt",
}


class EndpointInfo(NamedTuple):
    """One endpoint, for people."""

    url: str
    policy: str
    mode: str


class Offer(NamedTuple):
    """A security policy in a mode; the higher the level, the better it protects."""

    name: str
    policy: PolicyClass
    mode: ua.MessageSecurityMode
    level: int


def offers(settings: OpcUaSettings) -> tuple[Offer, ...]:
    """What the settings allow, the best first; None only by its explicit line."""
    modes = [(ua.MessageSecurityMode.SignAndEncrypt, 100)]
    if settings.sign_only:
        modes.append((ua.MessageSecurityMode.Sign, 0))
    found = [
        Offer(name, _POLICIES[name][0], mode, base + _POLICIES[name][1])
        for mode, base in modes
        for name in settings.policies
    ]
    found.sort(key=lambda offer: -offer.level)
    if settings.allow_none:
        found.append(Offer("None", policies.SecurityPolicyNone, ua.MessageSecurityMode.None_, 0))
    return tuple(found)


def factories(
    offered: Iterable[Offer], identity: ApplicationIdentity
) -> tuple[policies.SecurityPolicyFactory, ...]:
    """What makes each offered policy for a client, with our certificate and key."""
    make = cast("Any", policies.SecurityPolicyFactory)
    return tuple(
        make(
            offer.policy,
            offer.mode,
            identity.certificate,
            identity.private_key,
            certificate_chain=list(identity.issuers),
        )
        for offer in offered
    )


class Endpoints:
    """The endpoints of one server; ``port`` is the one it listens on."""

    def __init__(self, settings: OpcUaSettings, identity: ApplicationIdentity, port: int) -> None:
        self._settings = settings
        self._identity = identity
        self._port = port
        self.offers = offers(settings)
        self.url = self._url(None)

    @property
    def infos(self) -> tuple[EndpointInfo, ...]:
        """The endpoints, for people."""
        return tuple(EndpointInfo(self.url, o.name, _MODE_NAMES[o.mode]) for o in self.offers)

    def application(self, asked: str | None = None) -> ua.ApplicationDescription:
        """This application; ``asked`` is the URL the client used."""
        return ua.ApplicationDescription(
            ApplicationUri=self._identity.application_uri,
            ProductUri=PRODUCT_URI,
            ApplicationName=ua.LocalizedText(self._settings.application_name),
            ApplicationType=ua.ApplicationType.Server,
            DiscoveryUrls=[self._url(asked)],
        )

    def find_servers(self, request: ua.FindServersParameters) -> list[ua.ApplicationDescription]:
        """FindServers (OPC 10000-4 §5.5.2): this server, where it is among those asked for."""
        wanted = request.ServerUris or []
        if wanted and self._identity.application_uri not in wanted:
            return []
        return [self.application(request.EndpointUrl)]

    def get_endpoints(self, request: ua.GetEndpointsParameters) -> list[ua.EndpointDescription]:
        """GetEndpoints (OPC 10000-4 §5.5.4)."""
        if request.ProfileUris and TRANSPORT_PROFILE not in request.ProfileUris:
            return []
        return self.descriptions(request.EndpointUrl)

    def descriptions(self, asked: str | None = None) -> list[ua.EndpointDescription]:
        """Every endpoint as its client sees it."""
        return [
            ua.EndpointDescription(
                EndpointUrl=self._url(asked),
                Server=self.application(asked),
                ServerCertificate=self._identity.der,
                SecurityMode=offer.mode,
                SecurityPolicyUri=offer.policy.URI,
                UserIdentityTokens=self._tokens(),
                TransportProfileUri=TRANSPORT_PROFILE,
                SecurityLevel=offer.level,
            )
            for offer in self.offers
        ]

    def _tokens(self) -> list[ua.UserTokenPolicy]:
        """A password is encrypted on its own, whatever the channel does (OPC 10000-4 §7.41)."""
        found = [
            ua.UserTokenPolicy(
                PolicyId=USER_NAME_POLICY,
                TokenType=ua.UserTokenType.UserName,
                SecurityPolicyUri=_POLICIES[self._settings.policies[0]][0].URI,
            )
        ]
        if self._settings.anonymous:
            found.insert(
                0, ua.UserTokenPolicy(PolicyId=ANONYMOUS_POLICY, TokenType=ua.UserTokenType.Anonymous)
            )
        return found

    def _url(self, asked: str | None) -> str:
        """The host the client knows us by, where that is this machine; else the one we listen on."""
        host = LISTEN_HOST
        try:
            named = urlsplit(asked or "").hostname
        except ValueError:
            named = None
        if named in {"localhost", "127.0.0.1"}:
            host = named
        return f"opc.tcp://{host}:{self._port}/{self._settings.path}"
