"""Sessions are created, activated and closed; requests are cancelled (OPC 10000-4 §5.7)."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from asyncua import ua
from cryptography.exceptions import InvalidSignature

from certs import files
from certs.errors import CertificateRefused
from certs.own import ApplicationIdentity
from certs.validate import check_application_uri
from server.opcua.hosts import certificate_hosts, url_host
from server.opcua.requests import LATER, Answer, Needs, Peer, Request, Service, service
from server.opcua.sessions.gate import Gate
from server.opcua.sessions.pool import Busy, Pool
from server.opcua.sessions.registry import Ending, Sessions
from server.opcua.sessions.session import About, Session
from server.opcua.status import peer_status
from server.opcua.tokens import Authenticator, Identity, LoginRefused, Proof
from server.opcua.types import ServiceFault, StatusCodes, status_name
from server.opcua.wire import structs, writer

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

MAX_REFUSALS: Final = 5
"""Certificates, signatures and users refused in a row before the connection is closed."""

MAX_AT_WORK: Final = 8
"""CreateSession and ActivateSession requests of one connection that are answered at a time."""

_NO_RESULTS: Final = writer.array(()) * 2
"""Of the software certificates of a client, which are of the past: StatusCodes and DiagnosticInfos."""
_DOUBLE: Final = struct.Struct("<d")
_MIN_NONCE: Final = 32
_MAX_NAME: Final = 256
_MAX_NONCE: Final = 1024
_MAX_URL: Final = 4096
_MAX_DESCRIPTION: Final = 8192
_ROOM: Final = 256 * 1024
"""Bytes of memory for the arrays of a request of somebody nobody knows yet, see `Reader.spend`."""
_MAX_LOCALES: Final = 10
_MAX_LOCALE: Final = 35

_SECURITY: Final = frozenset(
    {
        StatusCodes.BadSecurityChecksFailed,
        StatusCodes.BadCertificateUriInvalid,
        StatusCodes.BadCertificateInvalid,
        StatusCodes.BadNonceInvalid,
        StatusCodes.BadApplicationSignatureInvalid,
        StatusCodes.BadUserSignatureInvalid,
        StatusCodes.BadIdentityTokenInvalid,
        StatusCodes.BadIdentityTokenRejected,
        StatusCodes.BadIdentityChangeNotSupported,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadSecureChannelIdInvalid,
        StatusCodes.BadSessionIdInvalid,
    }
)
"""What is counted as refused for security, and against the connection."""


class Describes(Protocol):
    """The endpoints."""

    def encoded(self, asked: str | None = None) -> bytes:
        """An array of EndpointDescription as its client sees it; ``asked`` is the URL the client used."""
        ...


Attempt: TypeAlias = Callable[[Peer, Request], Coroutine[Any, Any, bytes]]
Eventually: TypeAlias = Coroutine[Any, Any, Answer]


class Establishment:
    """The Session service set. Nothing changes before everything is proved, and all of it changes at once."""

    def __init__(
        self,
        sessions: Sessions,
        endpoints: Describes,
        identity: ApplicationIdentity,
        authenticator: Authenticator,
        pool: Pool,
        max_request: int,
    ) -> None:
        """``pool`` signs and verifies; ``max_request`` is the largest request taken, in bytes."""
        self._sessions = sessions
        self._endpoints = endpoints
        self._authenticator = authenticator
        self._pool = pool
        self._max_request = max_request
        self._hosts = certificate_hosts(identity.certificate)
        self._certificates = _certificates(identity)
        self._gate = Gate()
        self._at_work: WeakKeyDictionary[Peer, int] = WeakKeyDictionary()
        self._misnamed: WeakSet[Peer] = WeakSet()
        """Connections whose client was told of for calling this server by another's name."""

    def services(self) -> tuple[Service, ...]:
        """CreateSession, ActivateSession, CloseSession, Cancel."""
        return (
            service("CreateSession", self.create, Needs.Channel),
            service("ActivateSession", self.activate, Needs.Channel),
            service("CloseSession", self.close, Needs.Channel),
            service("Cancel", self.cancel),
        )

    def create(self, peer: Peer, request: Request) -> Eventually:
        """CreateSession (§5.7.2). Raises ServiceFault, DecodingError."""
        return self._begin(peer, request, self._create)

    def activate(self, peer: Peer, request: Request) -> Eventually:
        """ActivateSession (§5.7.3). Raises ServiceFault, DecodingError."""
        return self._begin(peer, request, self._activate)

    def close(self, peer: Peer, request: Request) -> bytes:
        """CloseSession (§5.7.4): on the session's own channel, activated or not. Raises ServiceFault."""
        delete_subscriptions = request.reader.boolean()
        session = self._sessions.find(request.token)
        if session.peer is not peer:
            raise ServiceFault(StatusCodes.BadSecureChannelIdInvalid, "the session is of another connection")
        self._sessions.close(session, Ending.Closed, keep_subscriptions=not delete_subscriptions)
        return b""

    def cancel(self, session: Session, request: Request) -> bytes:
        """Cancel (§5.7.5): refuse what waits under a request handle."""
        return writer.uint32(request.peer.cancel(session, request.reader.uint32()))

    # --- Both attempts

    def _begin(self, peer: Peer, request: Request, attempt: Attempt) -> Eventually:
        """Raises Busy at once: what is refused must not take a task."""
        at_work = self._at_work.get(peer, 0)
        if at_work >= MAX_AT_WORK:
            self._sessions.counts.rejected += 1
            raise Busy(f"{MAX_AT_WORK} sessions of that connection are being made already")
        self._at_work[peer] = at_work + 1
        request.reader.room = min(request.reader.room, _ROOM)
        return self._attempt(peer, request, attempt)

    async def _attempt(self, peer: Peer, request: Request, attempt: Attempt) -> Answer:
        try:
            await self._gate.passed()
            return await attempt(peer, request)
        except ServiceFault as fault:
            return self._refused(peer, request, fault)
        finally:
            self._at_work[peer] -= 1
            if not self._at_work[peer]:
                del self._at_work[peer]

    def _refused(self, peer: Peer, request: Request, fault: ServiceFault) -> Answer:
        counts = self._sessions.counts
        counts.rejected += 1
        if fault.code not in _SECURITY:
            raise fault
        counts.security_rejected += 1
        peer.refusals += 1
        audit.warning(
            "%s from %s refused: %s",
            request.service.name,
            peer.name,
            fault,
            extra={
                "event": "login",
                "user": fault.user if isinstance(fault, LoginRefused) else None,
                "client": peer.name,
                "service": request.service.name,
                "reason": status_name(fault.code),
            },
        )
        if peer.refusals < MAX_REFUSALS:
            raise fault
        peer.refuse(request, fault.code)
        peer.end(StatusCodes.BadSecurityChecksFailed, "refused too often")
        return LATER

    # --- CreateSession

    async def _create(self, peer: Peer, request: Request) -> bytes:
        asked = structs.decode(ua.CreateSessionParameters, request.reader)
        nonce = asked.ClientNonce or b""
        _check_sizes(asked, nonce)
        self._check_client(peer, asked, nonce)
        self._note_url(peer, asked.EndpointUrl)
        signature = ua.SignatureData()
        if peer.channel.signed:
            # Over the client's own certificate, not its chain, and its nonce (§5.7.2.2).
            over = peer.channel.certificate + nonce
            signature = await self._pool.run(peer.address, lambda: peer.channel.sign(over))
            _still_waited_for(request)
        session = self._sessions.create(
            peer, peer.channel.key, asked.RequestedSessionTimeout, (asked.SessionName or "")[:_MAX_NAME]
        )
        session.about = About(
            asked.ClientDescription,
            asked.ServerUri or "",
            asked.EndpointUrl or "",
            asked.MaxResponseMessageSize,
            nonce,
        )
        return b"".join(
            (
                session.id,
                session.token,
                _DOUBLE.pack(session.timeout * 1000.0),
                writer.byte_string(session.nonce),
                writer.byte_string(self._certificates[-1]),
                self._endpoints.encoded(asked.EndpointUrl),
                writer.array(()),  # ServerSoftwareCertificates: of the past
                writer.string(signature.Algorithm),
                writer.byte_string(signature.Signature),
                writer.uint32(self._max_request),
            )
        )

    @staticmethod
    def _check_client(peer: Peer, asked: ua.CreateSessionParameters, nonce: bytes) -> None:
        """The client names the certificate its channel was opened with, and is who that is for."""
        if not peer.channel.signed:
            return
        if len(nonce) < _MIN_NONCE:
            raise ServiceFault(StatusCodes.BadNonceInvalid, f"a nonce of {len(nonce)} bytes")
        if any(session.about.nonce == nonce for session in peer.sessions.values()):
            raise ServiceFault(StatusCodes.BadNonceInvalid, "a nonce that was used before")
        own = peer.channel.certificate
        # DER tells its own length, so whatever begins with it has it as its first certificate.
        if not (asked.ClientCertificate or b"").startswith(own):
            raise ServiceFault(
                StatusCodes.BadSecurityChecksFailed, "the certificate is not that of the secure channel"
            )
        try:
            check_application_uri(files.read_chain(own)[0], asked.ClientDescription.ApplicationUri)
        except CertificateRefused as refused:
            raise ServiceFault(peer_status(refused.step), str(refused)) from refused

    def _note_url(self, peer: Peer, url: str | None) -> None:
        """A name that is not ours is no reason to refuse, but one to tell (§5.7.2.2, AuditUrlMismatch).

        Once for each connection: anybody can ask for sessions without end.
        """
        if url and peer not in self._misnamed and url_host(url) not in self._hosts:
            self._misnamed.add(peer)
            audit.info(
                "%s calls this server %.200r, which its certificate is not for",
                peer.name,
                url,
                extra={"event": "url_mismatch", "client": peer.name, "url": url[:_MAX_NAME]},
            )

    # --- ActivateSession

    async def _activate(self, peer: Peer, request: Request) -> bytes:
        asked = structs.decode(ua.ActivateSessionParameters, request.reader)
        session = self._sessions.find(request.token)
        async with session.lock:
            self._check_channel(session, peer)
            await self._check_signature(session, peer, asked.ClientSignature)
            identity = await self._authenticator.authenticate(
                Proof(
                    asked.UserIdentityToken,
                    session.nonce,
                    peer.address,
                    asked.UserTokenSignature,
                    self._certificates,
                )
            )
            # Others were at work while the password was checked.
            _still_waited_for(request)
            self._check_channel(session, peer)
            self._check_user(session, peer, identity)
            access = identity.access(signed=peer.channel.signed, encrypted=peer.channel.encrypted)
            nonce = self._sessions.activate(session, peer, identity, access)
        session.locales = _locales(asked.LocaleIds) or session.locales
        peer.refusals = 0
        audit.info(
            "%s logged in from %s",
            identity.user,
            peer.name,
            extra={"event": "login", "user": identity.user, "client": peer.name},
        )
        return writer.byte_string(nonce) + _NO_RESULTS

    @staticmethod
    def _check_channel(session: Session, peer: Peer) -> None:
        """A session is activated on the channel it was created on; then it may move to an equal one (§5.7.3).

        An equal one has the same client certificate, the same policy, and a mode that protects no
        less. Over None nothing but its address speaks for a client, so that has to be the same.
        """
        if session.closed:
            raise ServiceFault(StatusCodes.BadSessionClosed)
        if session.peer is peer:
            return
        if session.access is None:
            raise ServiceFault(StatusCodes.BadSecureChannelIdInvalid, "the session is of another connection")
        was, now = session.channel, peer.channel.key
        if was.certificate != now.certificate or was.policy_uri != now.policy_uri or now.mode < was.mode:
            raise ServiceFault(StatusCodes.BadSecurityChecksFailed, "the session is another application's")
        if not now.certificate and session.address != peer.address:
            raise ServiceFault(StatusCodes.BadSecurityChecksFailed, "the session is of another host")

    async def _check_signature(self, session: Session, peer: Peer, signature: ua.SignatureData) -> None:
        """The client has the key of its certificate, now: it signs ours and the last nonce (§5.7.3.2)."""
        channel, nonce = peer.channel, session.nonce
        if not channel.signed:
            return

        def fits() -> bool:
            for certificate in self._certificates:
                try:
                    channel.verify(certificate + nonce, signature.Algorithm or "", signature.Signature or b"")
                except (InvalidSignature, ValueError):
                    continue
                return True
            return False

        if not await self._pool.run(peer.address, fits):
            raise ServiceFault(StatusCodes.BadApplicationSignatureInvalid)

    @staticmethod
    def _check_user(session: Session, peer: Peer, identity: Identity) -> None:
        """On another channel a session goes on for the same user; on its own the user may change."""
        if session.peer is peer or session.identity is None or session.identity.is_same(identity):
            return
        raise ServiceFault(StatusCodes.BadIdentityChangeNotSupported, "the session is another user's")


def _certificates(identity: ApplicationIdentity) -> tuple[bytes, ...]:
    """What a client may sign: our certificate, and the chain it is sent where there is one.

    It is the former by 1.04 and later, the latter before (OPC 10000-4 §5.7.3.2).
    """
    own = identity.der
    if not identity.issuers:
        return (own,)
    return own, own + b"".join(files.der(issuer) for issuer in identity.issuers)


def _still_waited_for(request: Request) -> None:
    """Raises ServiceFault where the client is gone or has been told that it took too long."""
    if request.answered:
        raise ServiceFault(StatusCodes.BadTimeout, "nobody waits for it any more")


def _locales(asked: list[str] | None) -> tuple[str, ...]:
    return tuple(locale for locale in asked or () if locale and len(locale) <= _MAX_LOCALE)[:_MAX_LOCALES]


def _check_sizes(asked: ua.CreateSessionParameters, nonce: bytes) -> None:
    """What a client tells of itself is kept as long as its session. Raises ServiceFault."""
    if (
        len(nonce) > _MAX_NONCE
        or len(asked.EndpointUrl or "") > _MAX_URL
        or len(asked.ServerUri or "") > _MAX_URL
        or len(structs.encode(asked.ClientDescription)) > _MAX_DESCRIPTION
    ):
        raise ServiceFault(StatusCodes.BadEncodingLimitsExceeded, "more about a client than is kept")
