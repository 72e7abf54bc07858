"""Registers this server with a discovery server, as its client (OPC 10000-4 §5.5.5, §5.5.6)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, Never, cast
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.crypto.security_policies import SecurityPolicy, SecurityPolicyNone
from cryptography import x509

from certs.errors import CertificateRefused
from certs.files import read_chain, thumbprint
from certs.own import ApplicationIdentity
from certs.store import TrustList
from certs.validate import Usage, validate
from server.opcua.endpoints import NONE_URI, PRODUCT_URI, Endpoints, Offer
from server.opcua.hosts import certificate_hosts, is_loopback, url_host
from server.opcua.types import StatusCodes, UaError, UaStatusCodeError, error_code, status_name
from sources import backoff

log = logging.getLogger(__name__)

INTERVAL: Final = 60.0
"""Seconds between two registrations; a discovery server forgets who is silent for ten minutes."""

_JITTER: Final = 0.1
_DEFAULT_PORT: Final = 4840
_STEP: Final = 5.0
_WHOLE: Final = 15.0
_FAREWELL: Final = 1.0
_LIFETIME_MS: Final = 60_000
_MAX_RECEIVED: Final = 1 << 20
"""Bytes of one conversation; whoever sends more is no discovery server."""
_MAX_NAME: Final = 63
_CAPABILITIES: Final = ("DA",)
"""What the server offers, by OPC 10000-12 Annex D: live data."""


class RegistrationError(Exception):
    """The discovery server cannot be used; the text says why."""


class Registration:
    """Keeps this server registered; `run` is its life.

    The channel is the best that both sides offer, never None, and the discovery server's
    certificate has to be trusted like a client's.
    """

    def __init__(  # what the server knows, by name
        self,
        url: str,
        *,
        name: str,
        endpoints: Endpoints,
        identity: ApplicationIdentity,
        trust: TrustList,
        interval: float = INTERVAL,
        delays: Callable[[], Iterator[float]] = lambda: backoff.delays(1.0, INTERVAL),
    ) -> None:
        """``name`` is the application's; ``delays`` yields the seconds to wait after each failure."""
        self._url = url
        self._name = name
        self._endpoints = endpoints
        self._identity = identity
        self._trust = trust
        self._interval = interval
        self._delays = delays
        self._old_service = False
        """Whether the discovery server knows RegisterServer only."""
        self._trouble = False
        """Whether the present trouble stands in the log."""
        self._told = False
        """Whether the discovery server may know of this server."""
        self.registered = False
        """Whether the last registration went well."""

    async def run(self) -> Never:
        """Register again and again until cancelled, and take the registration back then."""
        delays = self._delays()
        try:
            while True:
                if await self._try():
                    delays = self._delays()
                    pause = self._interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads load
                else:
                    pause = next(delays)
                _end_if_cancelled()
                await asyncio.sleep(pause)
        finally:
            if self._told and not self._trouble:
                await self._leave()

    async def _try(self) -> bool:
        try:
            async with asyncio.timeout(_WHOLE):
                await self._register(online=True)
        except Exception as error:  # noqa: BLE001  # asyncua raises what it likes, and the server goes on
            self._failed(error)
            return False
        if not self.registered:
            log.info("registered with the discovery server %s", self._url)
        self.registered, self._trouble = True, False
        return True

    def _failed(self, error: Exception) -> None:
        level = logging.DEBUG if self._trouble else logging.WARNING
        log.log(level, "not registered with the discovery server %s: %s", self._url, _reason(error))
        self.registered, self._old_service, self._trouble = False, False, True

    async def _leave(self) -> None:
        """Tell that this server goes; not for long, for somebody waits for the end."""
        self.registered = False
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._register(online=False)
        except Exception as error:  # noqa: BLE001  # as above
            log.info("the discovery server %s was not told of the end: %s", self._url, _reason(error))

    async def _register(self, *, online: bool) -> None:
        offer, certificate = await self._choose()
        own = self._identity
        policy = cast("Any", offer.policy)(
            certificate, own.certificate, own.private_key, offer.mode, host_cert_chain=list(own.issuers)
        )
        server = ua.RegisteredServer(
            ServerUri=own.application_uri,
            ProductUri=PRODUCT_URI,
            ServerNames=[ua.LocalizedText(self._name)],
            ServerType=ua.ApplicationType.Server,
            DiscoveryUrls=self._endpoints.discovery_urls(),
            IsOnline=online,
        )
        async with _channel(self._url, policy) as client:
            self._told = True
            if not self._old_service:
                try:
                    await client.register_server2(self._with_announcement(server))
                except UaStatusCodeError as error:
                    if error_code(error) != StatusCodes.BadServiceUnsupported:
                        raise
                    self._old_service = True  # an older discovery server (OPC 10000-4 §5.5.6.1)
                else:
                    return
            await client.register_server(server)

    def _with_announcement(self, server: ua.RegisteredServer) -> ua.RegisterServer2Parameters:
        """What FindServersOnNetwork needs beside the registration (OPC 10000-4 §7.13.2)."""
        announcement = ua.MdnsDiscoveryConfiguration(
            MdnsServerName=self._name.encode()[:_MAX_NAME].decode(errors="ignore"),
            ServerCapabilities=list(_CAPABILITIES),
        )
        return ua.RegisterServer2Parameters(Server=server, DiscoveryConfiguration=[cast("Any", announcement)])

    async def _choose(self) -> tuple[Offer, x509.Certificate]:
        """The best protected way to register, and the certificate it is to be protected for."""
        async with _channel(self._url, cast("Any", SecurityPolicyNone)()) as client:
            found = await client.get_endpoints(ua.GetEndpointsParameters(EndpointUrl=self._url))
        for offer in self._endpoints.offers:  # the best first
            for endpoint in found:
                if (
                    offer.policy.URI == endpoint.SecurityPolicyUri != NONE_URI
                    and offer.mode == endpoint.SecurityMode
                ):
                    return offer, await asyncio.to_thread(self._validated, endpoint)
        raise RegistrationError("it offers no security policy and mode that this server offers as well")

    def _validated(self, endpoint: ua.EndpointDescription) -> x509.Certificate:
        """The discovery server's certificate. Touches the disk. Raises RegistrationError."""
        chain: list[x509.Certificate] = []
        try:
            chain = read_chain(endpoint.ServerCertificate or b"")
            certificate = validate(
                chain,
                self._trust.snapshot(),
                usage=Usage.Server,
                now=datetime.now(UTC),
                application_uri=endpoint.Server.ApplicationUri or "",
            )
        except CertificateRefused as refused:
            advice = ""
            if chain and self._trust.reject(chain[0]) is not None:
                advice = f"; to trust it: isthmus certs trust {thumbprint(chain[0])}"
            raise RegistrationError(f"{refused}{advice}") from refused
        host = url_host(self._url) or ""
        if not is_loopback(host) and host not in certificate_hosts(certificate):
            raise RegistrationError(f"its certificate does not name the host {host}")
        return certificate


def _end_if_cancelled() -> None:
    """End a task that was told to, even if a library took no notice.

    asyncua connects with asyncio.wait_for, which passes over a cancellation that comes together
    with the connection (before Python 3.12).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _reason(error: Exception) -> str:
    match error:
        case UaStatusCodeError():
            return f"it answers {status_name(error_code(error))}"
        case TimeoutError():
            return "no answer in time"
        case RegistrationError() | OSError() | UaError():
            return str(error) or type(error).__name__
        case _:
            return repr(error)


class _Protocol(UASocketProtocol):
    """asyncua's, which takes what it is sent, however much; this one takes a bounded amount."""

    def __init__(self, timeout: float, policy: SecurityPolicy) -> None:
        super().__init__(timeout, policy)
        self._left = _MAX_RECEIVED
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._left -= len(data)
        if self._left < 0:
            self.abort()
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self.lost.set()

    def abort(self) -> None:
        """Drop the connection, whatever is still to be sent."""
        if self.transport is not None:
            self.transport.abort()


class _Client(UaClient):
    """asyncua's low-level client over such a protocol; it has channels, and no sessions."""

    def __init__(self, policy: SecurityPolicy) -> None:
        super().__init__(_STEP)
        self.set_security(policy)
        self.connection = _Protocol(_STEP, policy)

    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = self.connection
        return self.connection

    async def close(self) -> None:
        """End the connection and wait until it is gone."""
        if self.connection.transport is None:
            return
        self.connection.transport.close()
        try:
            async with asyncio.timeout(_FAREWELL):
                await self.connection.lost.wait()
        except TimeoutError:
            self.connection.abort()
            await self.connection.lost.wait()


@contextlib.asynccontextmanager
async def _channel(url: str, policy: SecurityPolicy) -> AsyncIterator[_Client]:
    """A secure channel to a server; gone when the block ends."""
    parts = urlsplit(url)
    client = _Client(policy)
    try:
        await client.connect_socket(parts.hostname or "", parts.port or _DEFAULT_PORT)
        await client.send_hello(url)
        nonce = policy.secure_channel_nonce_length
        request = ua.OpenSecureChannelParameters(
            RequestType=ua.SecurityTokenRequestType.Issue,
            SecurityMode=policy.Mode,
            ClientNonce=secrets.token_bytes(nonce) if nonce else b"",
            RequestedLifetime=_LIFETIME_MS,
        )
        await client.open_secure_channel(request)
        yield client
        await client.close_secure_channel()
    finally:
        await client.close()
