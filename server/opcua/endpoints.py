"""Which endpoints there are, and what a client is told of them (OPC 10000-4 §5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from asyncua import ua
from asyncua.crypto import security_policies as policies

from certs.files import der
from certs.hosts import host_name
from certs.own import ApplicationIdentity
from server.opcua.hosts import authority, certificate_hosts, is_loopback, is_unspecified, normal, url_host
from server.opcua.settings import OpcUaSettings
from server.opcua.wire import structs
from server.opcua.wire.writer import array

_LOOPBACK: Final = "127.0.0.1"

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


class Endpoints:
    """The endpoints of one server, told to each client by the host name it used, where that is ours.

    Ours are the names and addresses of the certificate, the configured ones, the addresses
    listened on, and ``hosts``: what the machine knows of itself.
    """

    def __init__(
        self,
        settings: OpcUaSettings,
        identity: ApplicationIdentity,
        port: int,
        *,
        listen: Sequence[str] = (_LOOPBACK,),
        hosts: Iterable[str] = (),
    ) -> None:
        """``port`` is the one listened on, at the addresses of ``listen``."""
        self._settings = settings
        self._identity = identity
        self._port = port
        self._certificate = b"".join(map(der, (identity.certificate, *identity.issuers)))
        named = [address for address in listen if not is_unspecified(address)]
        self._hosts = frozenset(
            [*map(normal, (*settings.hostnames, *named, *hosts)), *certificate_hosts(identity.certificate)]
        )
        self._default = _default_host(settings, listen)
        self._encoded: dict[str, bytes] = {}
        self.offers = offers(settings)
        self.url = self._url(None)
        """The URL for whoever did not say by which name the server is known to it."""

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

    def encoded(self, asked: str | None = None) -> bytes:
        """`descriptions` as they are sent: an array of EndpointDescription (OPC 10000-4 §7.14)."""
        host = self._host(asked)
        found = self._encoded.get(host)  # no more of them than there are names of ours
        if found is None:
            found = self._encoded[host] = array([structs.encode(one) for one in self.descriptions(asked)])
        return found

    def discovery_urls(self) -> list[str]:
        """A URL for each configured name, the default one first."""
        names = dict.fromkeys([self._default, *map(normal, self._settings.hostnames)])
        return [self._at(name) for name in names]

    def descriptions(self, asked: str | None = None) -> list[ua.EndpointDescription]:
        """Every endpoint as its client sees it."""
        return [
            ua.EndpointDescription(
                EndpointUrl=self._url(asked),
                Server=self.application(asked),
                ServerCertificate=self._certificate,
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

    def _host(self, asked: str | None) -> str:
        """The host the client knows us by, where that is one of ours; else the default (§5.5.4.2)."""
        host = url_host(asked)
        return host if host in self._hosts else self._default

    def _url(self, asked: str | None) -> str:
        return self._at(self._host(asked))

    def _at(self, host: str) -> str:
        return f"opc.tcp://{authority(host, self._port)}/{self._settings.path}"


def _default_host(settings: OpcUaSettings, listen: Sequence[str]) -> str:
    """The first configured name, else the machine's; the address, where no other machine comes in."""
    if all(map(is_loopback, listen)):
        return normal(listen[0])
    if settings.hostnames:
        return normal(settings.hostnames[0])
    if any(map(is_unspecified, listen)):
        return host_name()
    return normal(listen[0])
