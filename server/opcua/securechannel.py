"""One secure channel: chunks to requests and responses to chunks (OPC 10000-6 §6.7).

The cryptography and the chunking are asyncua's, the order of things and every refusal ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, cast

from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyFactory, SecurityPolicyNone
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary, uatcp_to_binary

from server.opcua.channel import (
    MAX_CHUNKS,
    MAX_EARLY_MESSAGE,
    MAX_MESSAGE,
    Gatekeeper,
    Negotiated,
    check_nonce,
    greet,
    revised_lifetime,
)
from server.opcua.endpoints import NONE_URI
from server.opcua.framing import MAX_CHUNK, TransportError
from server.opcua.session import ChannelKey
from server.opcua.types import ServiceFault, StatusCodes, UaStatusCodeError, utc_now

_WHOLE: Final = b"F"


class Request(NamedTuple):
    """A whole request: the number its response has to bear, and its bytes."""

    id: int
    body: Buffer


class _Numbers(NamedTuple):
    """Where asyncua takes the number of a new channel from."""

    next: Callable[[], int]

    def get_new_channel_id(self) -> int:
        return self.next()


class SecureChannel:
    """The one channel of a connection: Hello first, then it is opened, then it carries messages."""

    def __init__(
        self, gatekeeper: Gatekeeper, factories: Sequence[SecurityPolicyFactory], next_id: Callable[[], int]
    ) -> None:
        self._gatekeeper = gatekeeper
        self._numbers = _Numbers(next_id)
        self._negotiated: Negotiated | None = None
        self._limits = TransportLimits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE)
        # Typed as what it is used for: its own annotations promise more than they hold.
        self._stack: Any = SecureConnection(cast("Any", SecurityPolicyNone)(), self._limits)
        self._stack.set_policy_factories(list(factories))

    @property
    def policy(self) -> Any:
        """The security policy with its keys."""
        return self._stack.security_policy

    @property
    def key(self) -> ChannelKey:
        """What a session on this channel is bound to."""
        return ChannelKey(self.policy.peer_certificate or b"", self.policy.URI, int(self.policy.Mode))

    @property
    def is_secure(self) -> bool:
        """Whether messages are signed."""
        return bool(self.policy.URI != NONE_URI)

    @property
    def discovery_only(self) -> bool:
        """Whether nothing but FindServers and GetEndpoints is answered here."""
        return not self.is_secure and not self._gatekeeper.offers_none

    async def take(self, frame: bytes, *, early: bool) -> bytes | Request | None:
        """What to send back at once, a request that is now whole, or nothing yet.

        ``early``: no session is activated, so only little is kept. Raises TransportError.
        """
        kind = frame[:3]
        if kind == b"HEL":
            return self._hello(frame)
        if self._negotiated is None:
            raise TransportError(
                StatusCodes.BadTcpMessageTypeInvalid, "the connection does not start with Hello"
            )
        if len(frame) > self._negotiated.receive_chunk:
            raise TransportError(StatusCodes.BadTcpMessageTooLarge, f"a chunk of {len(frame)} bytes")
        if kind == b"OPN":
            return await self._open(frame)
        if not self._stack.is_open():
            raise TransportError(
                StatusCodes.BadSecureChannelIdInvalid, "a message before the channel is open"
            )
        message = self._receive(frame)
        self._check_token()
        if message is None:
            if early and self._stack._incoming_size > MAX_EARLY_MESSAGE:  # noqa: SLF001  # told by nothing else
                raise TransportError(StatusCodes.BadTcpMessageTooLarge, "a large message without a session")
            return None
        return Request(message.SequenceHeader().RequestId, message.body())

    def encode(self, request_id: int, response: Any) -> bytes:
        """A response as chunks. Raises ServiceFault where the client would not take so much."""
        body = struct_to_binary(response)
        agreed = self._negotiated
        if agreed is not None and (
            (agreed.max_response and len(body) > agreed.max_response)
            or (agreed.max_response_chunks and len(body) > agreed.max_response_chunks * agreed.send_chunk)
        ):
            raise ServiceFault(StatusCodes.BadResponseTooLarge, f"a response of {len(body)} bytes")
        return cast("bytes", self._stack.message_to_binary(body, request_id=request_id))

    def _hello(self, frame: bytes) -> bytes:
        if self._negotiated is not None:
            raise TransportError(StatusCodes.BadTcpMessageTypeInvalid, "a second Hello")
        data = Buffer(frame)
        hello = _decoded(lambda: (header_from_binary(data), struct_from_binary(ua.Hello, data))[1])
        agreed = self._negotiated = greet(hello)
        self._limits.max_recv_buffer = agreed.receive_chunk
        self._limits.max_send_buffer = agreed.send_chunk
        answer = cast("Any", ua.Acknowledge)(
            ReceiveBufferSize=agreed.receive_chunk,
            SendBufferSize=agreed.send_chunk,
            MaxMessageSize=MAX_MESSAGE,
            MaxChunkCount=MAX_CHUNKS,
        )
        return uatcp_to_binary(cast("Any", ua.MessageType.Acknowledge), answer)

    async def _open(self, frame: bytes) -> bytes:
        if frame[3:4] != _WHOLE:
            raise TransportError(
                StatusCodes.BadTcpMessageTypeInvalid, "OpenSecureChannel in more than one chunk"
            )
        data = Buffer(frame)
        header = _decoded(
            lambda: (header_from_binary(data), struct_from_binary(ua.AsymmetricAlgorithmHeader, data))[1]
        )
        renewal = self._stack.is_open()
        if renewal:
            self._check_same_client(header)
        else:
            await asyncio.to_thread(self._gatekeeper.check, header)
        message = self._receive(frame)
        request = _decoded(lambda: struct_from_binary(ua.OpenSecureChannelRequest, message.body()))
        parameters = request.Parameters
        self._check_request(header.SecurityPolicyURI, parameters, renewal=renewal)
        parameters.RequestedLifetime = revised_lifetime(parameters.RequestedLifetime)
        response = cast("Any", ua.OpenSecureChannelResponse())
        response.Parameters = self._stack.open(parameters, self._numbers)
        response.ResponseHeader.RequestHandle = request.RequestHeader.RequestHandle
        return cast(
            "bytes",
            self._stack.message_to_binary(
                struct_to_binary(response),
                message_type=ua.MessageType.SecureOpen,
                request_id=message.SequenceHeader().RequestId,
            ),
        )

    def _check_same_client(self, header: ua.AsymmetricAlgorithmHeader) -> None:
        """A channel is renewed with the certificate and policy it was opened with (OPC 10000-6 §6.7.6)."""
        sent = header.SenderCertificate or b""
        if header.SecurityPolicyURI != self.policy.URI or not sent.startswith(self.key.certificate):
            raise TransportError(StatusCodes.BadSecurityChecksFailed, "a channel is renewed by somebody else")

    def _check_request(self, uri: str, parameters: Any, *, renewal: bool) -> None:
        wanted = ua.SecurityTokenRequestType.Renew if renewal else ua.SecurityTokenRequestType.Issue
        if parameters.RequestType != wanted:
            raise TransportError(
                StatusCodes.BadRequestTypeInvalid, f"{parameters.RequestType!r} where {wanted!r} was due"
            )
        check_nonce(uri, parameters.ClientNonce)
        if renewal:
            if parameters.SecurityMode != self.policy.Mode:
                raise TransportError(
                    StatusCodes.BadSecurityModeRejected, "a channel is renewed in another mode"
                )
            return
        self._gatekeeper.check_mode(uri, parameters.SecurityMode)
        # By now the policy was chosen by its name alone; here the mode joins it.
        self._stack.select_policy(uri, self.policy.peer_certificate, parameters.SecurityMode)

    def _receive(self, frame: bytes) -> Any:
        """The message a chunk completes, decrypted and verified; None while chunks are missing."""
        data = Buffer(frame)
        try:
            header = header_from_binary(data)
            return self._stack.receive_from_header_and_body(header, data)
        except UaStatusCodeError as error:
            raise TransportError(
                StatusCodes.BadTcpMessageTooLarge, f"too much for one request: {error}"
            ) from error
        except Exception as error:  # bytes from a stranger, and asyncua raises what it likes
            raise TransportError(
                StatusCodes.BadSecurityChecksFailed, f"a chunk that cannot be read: {error!r}"
            ) from error

    def _check_token(self) -> None:
        """A token serves for its lifetime and a quarter of it more (OPC 10000-4 §5.6.2)."""
        token = self._stack.security_token
        if utc_now() > token.CreatedAt + timedelta(milliseconds=token.RevisedLifetime * 1.25):
            raise TransportError(StatusCodes.BadSecureChannelTokenUnknown, "the security token has expired")


def _decoded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # bytes from a stranger, and asyncua raises what it likes
        raise TransportError(
            StatusCodes.BadDecodingError, f"a message that cannot be read: {error!r}"
        ) from error
