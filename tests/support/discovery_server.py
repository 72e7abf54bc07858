"""A discovery server: asyncua's, as an outside peer; it answers registrations and nothing of this project."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.crypto import security_policies as policies
from asyncua.server.binary_server_asyncio import BinaryServer  # noqa: TID251  # a peer, not the product
from asyncua.server.internal_server import InternalServer  # noqa: TID251
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import pki

from server.opcua.types import StatusCodes, UaStatusCodeError

URI = "urn:test:lds"
_NONE = ua.MessageSecurityMode.None_
_SAFE = ua.MessageSecurityMode.SignAndEncrypt


@functools.cache
def certificate(uri: str = URI) -> x509.Certificate:
    """A discovery server's certificate, the same one every time."""
    return pki.application("LDS", uri=uri, private=pki.key(20), extended=ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass
class Heard:
    """One registration: by which service, over which policy, and what it said."""

    service: str
    policy: str
    server: ua.RegisteredServer
    announcement: Any = None


@dataclass
class DiscoveryServer:
    """What there is to know of it, and knobs."""

    certificate: x509.Certificate
    offers: tuple[tuple[Any, ua.MessageSecurityMode], ...]
    port: int = 0
    second: bool = True
    """Whether it knows RegisterServer2."""
    refuse: int = 0
    heard: list[Heard] = field(default_factory=list)
    something: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    async def registrations(self, count: int, within: float = 10.0) -> list[Heard]:
        """Those heard, once there are so many."""
        async with asyncio.timeout(within):
            while len(self.heard) < count:
                self.something.clear()
                await self.something.wait()
        return self.heard

    def descriptions(self) -> list[ua.EndpointDescription]:
        application = ua.ApplicationDescription(
            ApplicationUri=URI, ApplicationType=ua.ApplicationType.DiscoveryServer
        )
        return [
            ua.EndpointDescription(
                EndpointUrl=self.url,
                Server=application,
                ServerCertificate=pki.der(self.certificate),
                SecurityMode=mode,
                SecurityPolicyUri=policy.URI,
            )
            for policy, mode in self.offers
        ]


class _Stack(InternalServer):
    """asyncua's, without an address space."""

    def __init__(self, peer: DiscoveryServer) -> None:
        super().__init__()
        self._peer = peer
        self.listener: Any = None

    def _hear(self, service: str, server: Any, announcement: Any = None) -> None:
        if self._peer.refuse:
            raise cast("Any", UaStatusCodeError)(self._peer.refuse)
        policy = self.listener.clients[-1].processor._connection.security_policy.URI
        self._peer.heard.append(Heard(service, policy, server, announcement))
        self._peer.something.set()

    def register_server(self, server: Any, conf: Any = None) -> None:
        self._hear("RegisterServer", server, conf)

    def register_server2(self, params: ua.RegisterServer2Parameters) -> Any:
        if not self._peer.second:
            raise cast("Any", UaStatusCodeError)(StatusCodes.BadServiceUnsupported)
        self._hear("RegisterServer2", params.Server, params.DiscoveryConfiguration)
        return [ua.StatusCode(cast("Any", StatusCodes.BadNotSupported))]


@asynccontextmanager
async def discovery_server(
    *,
    port: int = 0,
    own: x509.Certificate | None = None,
    offers: tuple[tuple[Any, ua.MessageSecurityMode], ...] | None = None,
) -> AsyncIterator[DiscoveryServer]:
    """A running discovery server; gone when the block ends."""
    offered = offers or (
        (policies.SecurityPolicyNone, _NONE),
        (policies.SecurityPolicyBasic256Sha256, _SAFE),
        (policies.SecurityPolicyAes256Sha256RsaPss, _SAFE),
    )
    peer = DiscoveryServer(own or certificate(), offered, port)
    stack = _Stack(peer)
    make: Any = policies.SecurityPolicyFactory
    listener: Any = BinaryServer(stack, "127.0.0.1", port, TransportLimits(65535, 65535, 0, 0))
    stack.listener = listener
    factories = [make(policies.SecurityPolicyNone, _NONE)]
    factories += [
        make(policy, mode, peer.certificate, pki.key(20)) for policy, mode in offered if mode is not _NONE
    ]
    listener.set_policies(factories)
    await listener.start()
    peer.port = listener.port
    stack.endpoints = peer.descriptions()
    try:
        yield peer
    finally:
        await listener.stop()
