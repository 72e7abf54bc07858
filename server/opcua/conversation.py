"""What is said on one connection: discovery, sessions, and the services of a session (OPC 10000-4 §5)."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncua import ua
from asyncua.common.utils import Buffer, ServiceError
from asyncua.crypto.security_policies import SecurityPolicyFactory
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary
from cryptography.exceptions import InvalidSignature

from certs.errors import CertificateRefused
from certs.files import der, read_chain
from certs.validate import check_application_uri
from server.opcua.channel import MAX_MESSAGE, Gatekeeper
from server.opcua.dispatch import SERVICES, Service, pack
from server.opcua.endpoints import Endpoints
from server.opcua.framing import TransportError
from server.opcua.publishing import Publishing, PublishRequest
from server.opcua.securechannel import Request, SecureChannel
from server.opcua.session import Session, Sessions
from server.opcua.session_services import Services
from server.opcua.statistics import Tally
from server.opcua.status import certificate_status
from server.opcua.tokens import Authenticator, Identity
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes, UaStatusCodeError, error_code, status

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

_MIN_NONCE: Final = 32
_MAX_FAILED_LOGINS: Final = 5


@dataclass(frozen=True, slots=True)
class Host:
    """What all conversations of a server share."""

    endpoints: Endpoints
    gatekeeper: Gatekeeper
    factories: tuple[SecurityPolicyFactory, ...]
    authenticator: Authenticator
    sessions: Sessions
    services: Services
    next_channel: Callable[[], int]
    publish: Callable[[int, PublishRequest], Any]
    """Has a subscription answer a Publish request; awaitable, true when it did."""
    rebind: Callable[[Session], None]
    """Points a session's subscriptions to its owner."""
    tally: Tally


class Conversation:
    """Answers the chunks of one connection; a `Handler`, and the owner of the session it serves."""

    def __init__(self, host: Host, transport: asyncio.Transport) -> None:
        self._host = host
        self._transport = transport
        self._channel = SecureChannel(host.gatekeeper, host.factories, host.next_channel)
        self._session: Session | None = None
        self._failed_logins = 0
        self._publishing = Publishing(
            lambda request, response: self._send(request.id, request.handle, response),
            lambda request, code: self._send(request.id, request.handle, _fault(code)),
            host.tally,
        )
        self.get_publish_request = self._publishing.get_publish_request
        self.forward_publish_response = self._publishing.forward_publish_response
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else "?"

    @property
    def active(self) -> bool:
        """Whether a session is activated on this connection."""
        return self._session is not None and self._session.active

    async def process(self, frame: bytes) -> bool:
        """Answer one chunk; False ends the connection. Raises TransportError."""
        if frame[:3] == b"CLO":
            return False
        taken = await self._channel.take(frame, early=not self.active)
        if isinstance(taken, bytes):
            self._transport.write(taken)
        elif taken is not None:
            return await self._answer(taken)
        return True

    async def closed(self) -> None:
        """The connection is gone; a session with subscriptions waits for its client to come back."""
        self._publishing.clear()
        session, self._session = self._session, None
        if session is None or session.owner is not self:
            return
        session.owner = None
        if not (session.active and session.subscriptions):
            await self._host.sessions.close(session)

    def release(self) -> None:
        """The session moved to another connection."""
        self._publishing.clear()
        self._session = None

    async def _answer(self, request: Request) -> bool:
        body = request.body
        try:
            kind = nodeid_from_binary(body)
            header = struct_from_binary(ua.RequestHeader, body)
        except Exception as error:  # bytes from a stranger, and asyncua raises what it likes
            raise TransportError(StatusCodes.BadDecodingError, f"no request header: {error!r}") from error
        number = kind.Identifier if kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int) else 0
        go_on = True
        try:
            response = await self._serve(number, header, request)
        except ServiceFault as fault:
            log.info("%s: service %d refused: %s", self.peer, number, fault)
            response = _fault(fault.code)
            go_on = not (self._channel.discovery_only or self._failed_logins >= _MAX_FAILED_LOGINS)
        except (ServiceError, UaStatusCodeError) as error:
            response = _fault(error.code if isinstance(error, ServiceError) else error_code(error))
        except Exception:
            log.exception("%s: service %d failed: a fault of ours", self.peer, number)
            response = _fault(StatusCodes.BadInternalError)
        if response is not None:
            self._send(request.id, header.RequestHandle, response)
        return go_on

    def _send(self, request_id: int, handle: int, response: Any) -> None:
        if self._transport.is_closing():
            return
        response.ResponseHeader.RequestHandle = handle
        try:
            data = self._channel.encode(request_id, response)
        except ServiceFault as fault:
            data = self._channel.encode(request_id, _fault(fault.code, handle))
        except Exception:
            log.exception("%s: a response that cannot be encoded: a fault of ours", self.peer)
            data = self._channel.encode(request_id, _fault(StatusCodes.BadEncodingError, handle))
        self._transport.write(data)

    async def _serve(self, number: int, header: ua.RequestHeader, request: Request) -> Any:
        """The response, or None where it comes later. Raises ServiceFault."""
        body = request.body
        match number:
            case ObjectIds.FindServersRequest_Encoding_DefaultBinary:
                found = self._host.endpoints.find_servers(_decode(ua.FindServersParameters, body))
                return ua.FindServersResponse(Servers=found)
            case ObjectIds.GetEndpointsRequest_Encoding_DefaultBinary:
                offered = self._host.endpoints.get_endpoints(_decode(ua.GetEndpointsParameters, body))
                return ua.GetEndpointsResponse(Endpoints=offered)
        if self._channel.discovery_only:
            raise ServiceFault(
                StatusCodes.BadSecurityPolicyRejected, "over None nothing but discovery is served"
            )
        match number:
            case ObjectIds.CreateSessionRequest_Encoding_DefaultBinary:
                created = await self._create(_decode(ua.CreateSessionParameters, body))
                return ua.CreateSessionResponse(Parameters=created)
            case ObjectIds.ActivateSessionRequest_Encoding_DefaultBinary:
                activated = await self._activate(header, _decode(ua.ActivateSessionParameters, body))
                return ua.ActivateSessionResponse(Parameters=activated)
            case ObjectIds.CloseSessionRequest_Encoding_DefaultBinary:
                await self._close(header)
                return ua.CloseSessionResponse()
            case ObjectIds.PublishRequest_Encoding_DefaultBinary:
                await self._publish(header, request)
                return None
        service = SERVICES.get(number)
        session = self._current(header)
        if service is None:
            raise ServiceFault(StatusCodes.BadServiceUnsupported)
        parameters = _decode(service.parameters, body)
        _check_operations(service, parameters)
        return pack(service, await getattr(self._host.services, service.method)(session, parameters))

    # --- Session service set (OPC 10000-4 §5.7)

    async def _create(self, request: ua.CreateSessionParameters) -> ua.CreateSessionResult:
        if self.active:
            raise ServiceFault(StatusCodes.BadTooManySessions, "the connection has a session already")
        if self._session is not None:
            await self._host.sessions.close(self._session)
            self._session = None
        self._check_client(request)
        key = self._channel.key
        await self._host.sessions.make_room()
        session = self._host.sessions.create(self, key, request.RequestedSessionTimeout)
        session.client = self.peer
        self._session = session
        policy = self._channel.policy
        signature = cast("Any", ua.SignatureData)(
            Algorithm=policy.AsymmetricSignatureURI or None,
            Signature=policy.asymmetric_cryptography.signature(key.certificate + (request.ClientNonce or b""))
            or None,
        )
        endpoints = self._host.endpoints.descriptions(request.EndpointUrl)
        result = cast("Any", ua.CreateSessionResult)(
            SessionId=session.id,
            AuthenticationToken=session.token,
            RevisedSessionTimeout=session.timeout * 1000.0,
            ServerNonce=session.nonce,
            ServerCertificate=endpoints[0].ServerCertificate,
            ServerEndpoints=endpoints,
            ServerSignature=signature,
            MaxRequestMessageSize=MAX_MESSAGE,
        )
        return cast("ua.CreateSessionResult", result)

    def _check_client(self, request: ua.CreateSessionParameters) -> None:
        """The client names the certificate its channel was opened with, and is who that is for."""
        if not self._channel.is_secure:
            return
        if len(request.ClientNonce or b"") < _MIN_NONCE:
            raise ServiceFault(StatusCodes.BadNonceInvalid)
        try:
            certificate = read_chain(request.ClientCertificate or b"")[0]
            if not hmac.compare_digest(der(certificate), self._channel.key.certificate):
                raise ServiceFault(
                    StatusCodes.BadSecurityChecksFailed, "the certificate is not that of the secure channel"
                )
            check_application_uri(certificate, request.ClientDescription.ApplicationUri)
        except CertificateRefused as refused:
            raise ServiceFault(certificate_status(refused.step), str(refused)) from refused

    async def _activate(
        self, header: ua.RequestHeader, request: ua.ActivateSessionParameters
    ) -> ua.ActivateSessionResult:
        session = self._host.sessions.find(header.AuthenticationToken)
        async with session.lock:
            self._check_owner(session)
            self._verify(session, request.ClientSignature)
            identity = await self._identify(session, request.UserIdentityToken)
            # Only now, with everything proved, does anything change.
            self._adopt(session, identity)
            result = cast("Any", ua.ActivateSessionResult)(ServerNonce=session.renew_nonce())
        audit.info(
            "%s logged in from %s",
            identity.user,
            self.peer,
            extra={"event": "login", "user": identity.user, "client": self.peer},
        )
        return cast("ua.ActivateSessionResult", result)

    def _check_owner(self, session: Session) -> None:
        """A session is activated where it was created; later it may move to an equal channel."""
        if session.owner is self:
            return
        if self._session is not None or not session.active:
            raise ServiceFault(StatusCodes.BadSecureChannelIdInvalid, "the session is of another connection")
        if session.key != self._channel.key:
            raise ServiceFault(StatusCodes.BadSecurityChecksFailed, "the session is another application's")

    def _verify(self, session: Session, signature: ua.SignatureData) -> None:
        if not self._channel.is_secure:
            return
        policy = self._channel.policy
        if signature.Algorithm != policy.AsymmetricSignatureURI:
            raise ServiceFault(StatusCodes.BadApplicationSignatureInvalid, "signed with another algorithm")
        try:
            policy.asymmetric_cryptography.verify(
                policy.host_certificate + session.nonce, signature.Signature or b""
            )
        except (InvalidSignature, ValueError) as error:
            raise ServiceFault(StatusCodes.BadApplicationSignatureInvalid) from error

    async def _identify(self, session: Session, token: object) -> Identity:
        try:
            identity = await self._host.authenticator.identify(token, session.nonce)
        except ServiceFault as fault:
            self._failed_logins += 1
            audit.warning(
                "login from %s refused: %s", self.peer, fault, extra={"event": "login", "client": self.peer}
            )
            raise
        if session.closed or self._transport.is_closing():
            raise ServiceFault(StatusCodes.BadSessionClosed)
        if session.owner is not self:
            self._check_owner(session)  # while the password was checked, others were at work
            if session.identity is not None and identity.user != session.identity.user:
                raise ServiceFault(StatusCodes.BadIdentityChangeNotSupported, "the session is another user's")
        return identity

    def _adopt(self, session: Session, identity: Identity) -> None:
        former = session.owner
        if isinstance(former, Conversation) and former is not self:
            former.release()
        moved = former is not self
        session.identity, session.owner, session.client = identity, self, self.peer
        session.touch()
        self._session, self._failed_logins = session, 0
        if moved:
            self._host.rebind(session)

    async def _close(self, header: ua.RequestHeader) -> None:
        session = self._session
        if session is None or session.closed or session.token != header.AuthenticationToken:
            raise ServiceFault(StatusCodes.BadSessionIdInvalid)
        self.release()
        await self._host.sessions.close(session)

    def _current(self, header: ua.RequestHeader) -> Session:
        session = self._session
        if session is None or session.closed or session.token != header.AuthenticationToken:
            raise ServiceFault(StatusCodes.BadSessionIdInvalid)
        if not session.active:
            raise ServiceFault(StatusCodes.BadSessionNotActivated)
        session.touch()
        return session

    async def _publish(self, header: ua.RequestHeader, request: Request) -> None:
        session = self._current(header)
        parameters = _decode(ua.PublishParameters, request.body)
        count, results = self._host.services.acknowledge(session, parameters.SubscriptionAcknowledgements)
        waiting = PublishRequest.of(request.id, header, results)
        await self._publishing.take(waiting, count, self._host.publish)


def _fault(code: int, handle: int = 0) -> Any:
    response = cast("Any", ua.ServiceFault())
    response.ResponseHeader.ServiceResult = status(code)
    response.ResponseHeader.RequestHandle = handle
    return response


def _decode(kind: type[Any], body: Buffer) -> Any:
    try:
        return struct_from_binary(kind, body)
    except Exception as error:  # bytes from a stranger, and asyncua raises what it likes
        raise ServiceFault(StatusCodes.BadDecodingError, f"{kind.__name__}: {error!r}") from error


def _check_operations(service: Service, parameters: Any) -> None:
    if not service.operations:
        return
    count = len(getattr(parameters, service.operations) or ())
    if not count:
        raise ServiceFault(StatusCodes.BadNothingToDo)
    if count > service.limit:
        raise ServiceFault(StatusCodes.BadTooManyOperations)
