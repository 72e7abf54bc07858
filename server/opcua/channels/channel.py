"""The secure channel of a connection: chunks to messages, and messages to chunks (OPC 10000-6 §6.7)."""

from __future__ import annotations

import logging
import secrets
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from asyncua import ua

from server.opcua.channels import asymmetric, opening
from server.opcua.channels.assembly import Assembly, Message, following
from server.opcua.channels.asymmetric import AsymmetricHeader
from server.opcua.channels.gate import Client, Gatekeeper
from server.opcua.channels.keys import SEQUENCE_HEADER, Forged, Keys
from server.opcua.channels.opening import OpenRequest
from server.opcua.channels.policies import (
    MODE_NONE,
    MODE_SIGN,
    MODE_SIGN_AND_ENCRYPT,
    NONCE,
    NONE_URI,
    Policy,
)
from server.opcua.channels.tokens import Token, Tokens, revised_lifetime
from server.opcua.sessions.pool import Busy
from server.opcua.sessions.session import ChannelKey
from server.opcua.transport.framing import TransportError
from server.opcua.transport.limits import LIMITS, Limits, Negotiated
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.reader import DecodingError, Reader

log = logging.getLogger(__name__)

_HEADER: Final = struct.Struct("<4sIIIII")
_IDS: Final = struct.Struct("<II")
_CLEAR: Final = _HEADER.size
_AROUND: Final = 128
"""Bytes of a chunk that are header, padding and signature, at most."""
_CLOSE: Final = ord("C")


class SecureChannel:
    """A secure channel. Opened once, renewed at will, over with its connection.

    No method but `open` waits. While `open` runs, no further chunk may be given to it.
    """

    def __init__(
        self,
        gate: Gatekeeper,
        negotiated: Negotiated,
        *,
        address: str = "",
        peer: str = "",
        limits: Limits = LIMITS,
    ) -> None:
        """``address`` is the client's host, ``peer`` host and port for people."""
        self.id: Final = gate.next_id()
        self.policy_uri = NONE_URI
        self.mode = MODE_NONE
        """The MessageSecurityMode."""
        self.chain = b""
        """The client's certificates as it sent them, its own first; empty over None."""
        self.discovery_only = not gate.offers_none
        """Whether nothing but discovery is served on it: SecurityPolicy None is not offered for more."""
        self._gate = gate
        self._negotiated = negotiated
        self._address = address
        self._peer = peer or address
        self._policy: Policy | None = None
        self._client: Client | None = None
        self._tokens = Tokens()
        self._granted = 0
        self._incoming = Assembly(limits)
        self._sent = 0
        """Our last sequence number."""
        self._opening = False
        self._behind: list[bytes] | None = None
        """While the answer to a renewal is made: chunks that have to follow it."""
        self._max_body = min(negotiated.max_response or limits.response, limits.response)

    # --- What it is

    @property
    def largest(self) -> int:
        """Bytes a response may have for its client to take it, a little less where chunks are counted."""
        chunks = self._negotiated.max_response_chunks
        counted = chunks * (self._negotiated.send_chunk - _AROUND)
        return min(self._max_body, counted) if chunks else self._max_body

    @property
    def opened(self) -> bool:
        """Whether it carries messages."""
        return self._tokens.current is not None

    @property
    def certificate(self) -> bytes:
        """The client's own certificate in DER; empty over None."""
        return b"" if self._client is None else self._client.certificate

    @property
    def signed(self) -> bool:
        """Whether messages are signed."""
        return self.mode >= MODE_SIGN

    @property
    def encrypted(self) -> bool:
        """Whether messages are encrypted."""
        return self.mode == MODE_SIGN_AND_ENCRYPT

    @property
    def key(self) -> ChannelKey:
        """What a session on it is bound to."""
        return ChannelKey(self.certificate, self.policy_uri, self.mode)

    @property
    def expires(self) -> float:
        """When the last of its tokens ends, by the monotonic clock: later nothing is accepted any more."""
        return self._tokens.ends

    # --- Signatures of sessions (OPC 10000-4 §5.7.2, §5.7.3)

    def sign(self, data: bytes) -> ua.SignatureData:
        """A signature with our key. Takes milliseconds."""
        policy = self._policy
        if policy is None:
            return ua.SignatureData()
        return cast(
            "ua.SignatureData",
            cast("Any", ua.SignatureData)(
                Algorithm=policy.signature_algorithm, Signature=policy.sign(self._gate.key, data)
            ),
        )

    def verify(self, data: bytes, algorithm: str, signature: bytes) -> None:
        """Check a signature of the client's. Raises InvalidSignature, ValueError for another algorithm."""
        policy, client = self._policy, self._client
        if policy is None or client is None:
            raise ValueError("over SecurityPolicy None nothing is signed")
        if algorithm != policy.signature_algorithm:
            raise ValueError(f"signed with {algorithm!r}")
        policy.verify(client.key, data, signature)

    # --- Messages

    def receive(self, chunk: bytes, early: bool) -> Message | None:
        """The message that a MSG or CLO chunk completes; None while chunks are missing.

        ``early``: no session is activated, so only little is kept. Raises TransportError.
        """
        if len(chunk) < _CLEAR:
            raise TransportError(StatusCodes.BadTcpMessageTypeInvalid, f"a chunk of {len(chunk)} bytes")
        kind, _, channel, number, sequence, request = _HEADER.unpack_from(chunk)
        if channel != self.id or self._tokens.current is None:
            raise TransportError(
                StatusCodes.BadTcpSecureChannelUnknown, f"a message for channel {channel}, which is not open"
            )
        token = self._tokens.find(number)
        if token.theirs is None:
            body = chunk[_CLEAR:]
        else:
            try:
                plain = token.theirs.open(chunk)
            except Forged:
                raise TransportError(
                    StatusCodes.BadSecurityChecksFailed, "a chunk not secured with the channel's keys"
                ) from None
            sequence, request = _IDS.unpack_from(plain)
            body = plain[SEQUENCE_HEADER:]
        self._tokens.heard(token)
        self._incoming.count(sequence)
        if kind[0] == _CLOSE:
            self._incoming.clear()
            return Message(request, body, closing=True)
        return self._incoming.add(kind[3], request, body, early=early)

    def encode(self, request_id: int, parts: Sequence[bytes] | bytes) -> list[bytes]:
        """The chunks of a response; ``parts`` are joined.

        While a renewal is being answered there are none: they come from `open`, behind its answer.
        Raises ServiceFault (BadResponseTooLarge) for what the client would not take; nothing is
        sent of it then (OPC 10000-6 §6.7.3, §7.1.2.3).
        """
        if isinstance(parts, bytes):
            parts = (parts,)
        token = self._tokens.sending()
        if token is None:
            raise ServiceFault(StatusCodes.BadSecureChannelIdInvalid, "the channel is not open")
        keys, size = token.ours, sum(map(len, parts))
        most = self._negotiated.send_chunk
        room = most - _CLEAR if keys is None else keys.capacity(most)
        if size > room or size > self._max_body:
            chunks = self._split(token, request_id, parts, size, room)
        elif keys is None:
            header = _HEADER.pack(b"MSGF", _CLEAR + size, self.id, token.id, self._number(), request_id)
            chunks = [b"".join((header, *parts))]
        else:
            sequence = _IDS.pack(self._number(), request_id)
            chunks = [keys.seal(b"MSGF", self.id, token.id, sequence, parts)]
        if self._behind is not None:
            self._behind += chunks
            return []
        return chunks

    def _split(
        self, token: Token, request_id: int, parts: Sequence[bytes], size: int, room: int
    ) -> list[bytes]:
        count = -(-size // room)
        most = self._negotiated.max_response_chunks
        if size > self._max_body or (most and count > most):
            raise ServiceFault(
                StatusCodes.BadResponseTooLarge, f"a response of {size} bytes, in {count} chunks"
            )
        whole = memoryview(b"".join(parts))
        keys, chunks = token.ours, []
        for at in range(0, size, room):
            piece = whole[at : at + room]
            kind = b"MSGC" if at + room < size else b"MSGF"
            number = self._number()
            if keys is None:
                header = _HEADER.pack(kind, _CLEAR + len(piece), self.id, token.id, number, request_id)
                chunks.append(b"".join((header, piece)))
            else:
                sequence = _IDS.pack(number, request_id)
                chunks.append(keys.seal(kind, self.id, token.id, sequence, (piece,)))
        return chunks

    def _number(self) -> int:
        """Our next sequence number."""
        self._sent = number = following(self._sent)
        return number

    # --- OpenSecureChannel

    async def open(self, chunk: bytes) -> list[bytes]:
        """Answer an OPN chunk: open the channel, or renew its token (OPC 10000-4 §5.6.2).

        Certificates and RSA are seen to off the loop. What is to be sent is the answer, and behind
        it what `encode` was given meanwhile. Raises TransportError.
        """
        if self._opening:
            raise RuntimeError("a chunk arrived while the channel was being opened")
        self._opening = True
        try:
            return await self._open(chunk)
        except DecodingError as error:
            raise TransportError(
                StatusCodes.BadDecodingError, f"an OpenSecureChannel request that cannot be read: {error}"
            ) from error
        except TransportError:
            raise
        except Exception as error:
            log.exception("opening a secure channel for %s failed: a fault of ours", self._peer)
            raise TransportError(StatusCodes.BadTcpInternalError, "a fault of ours") from error
        finally:
            self._opening = False

    async def _open(self, chunk: bytes) -> list[bytes]:
        header = asymmetric.read_header(chunk)
        policy = self._check(header)
        client, plain = None, chunk[header.end :]
        if policy is not None:
            client, plain = await self._run(self._unseal, policy, header, chunk)
        reader = Reader(plain)
        sequence, request_id = reader.uint32(), reader.uint32()
        self._incoming.count(sequence)
        request = opening.read_request(reader)
        answer = _Answer(policy, client, request, request_id)
        code, reason = self._refusal(header.policy_uri, policy, request)
        if code:
            raise TransportError(code, reason, await self._send(answer, opening.fault(request, code)))
        return await self._grant(answer)

    def _check(self, header: AsymmetricHeader) -> Policy | None:
        """The policy to open or renew the channel with. Raises TransportError."""
        policy = self._gate.policy(header.policy_uri)
        if header.channel != (self.id if self.opened else 0):
            raise TransportError(
                StatusCodes.BadTcpSecureChannelUnknown, f"no channel {header.channel} to open here"
            )
        # Over None a certificate means nothing (OPC 10000-4 §5.6.2.2).
        sent = b"" if policy is None else header.certificates
        if self.opened and (policy is not self._policy or sent != self.chain):
            raise TransportError(StatusCodes.BadSecurityChecksFailed, "a channel is renewed by somebody else")
        return policy

    def _unseal(self, policy: Policy, header: AsymmetricHeader, chunk: bytes) -> tuple[Client, bytes]:
        """Runs off the loop."""
        client = self._gate.admit(header, self._peer)
        try:
            return client, asymmetric.unseal(policy, self._gate.key, client.key, chunk, header.end)
        except Forged:
            raise TransportError(
                StatusCodes.BadSecurityChecksFailed, "an OpenSecureChannel request that is not its sender's"
            ) from None

    def _refusal(self, uri: str, policy: Policy | None, request: OpenRequest) -> tuple[int, str]:
        """What keeps a request that was understood from being granted; 0 for nothing."""
        wanted = opening.RENEW if self.opened else opening.ISSUE
        if request.version != self._negotiated.version:
            return StatusCodes.BadProtocolVersionUnsupported, "another protocol version than in the Hello"
        if request.kind != wanted:
            return (
                StatusCodes.BadRequestTypeInvalid,
                f"a request of type {request.kind} where {wanted} was due",
            )
        if self.opened and request.mode != self.mode:
            return StatusCodes.BadSecurityModeRejected, "a channel is renewed in another mode"
        if not self._gate.is_offered(uri, request.mode):
            return StatusCodes.BadSecurityModeRejected, f"mode {request.mode} is not offered with {uri}"
        if policy is not None and len(request.nonce) != NONCE:
            return StatusCodes.BadNonceInvalid, f"a nonce of {len(request.nonce)} bytes"
        return 0, ""

    async def _grant(self, answer: _Answer) -> list[bytes]:
        policy, client, request, _ = answer
        number = self._granted = self._granted + 1
        lifetime = revised_lifetime(request.lifetime)
        ours = theirs = None
        nonce = b""
        if policy is not None:
            nonce = secrets.token_bytes(NONCE)
            # Each side's keys have the receiver's nonce as their secret (OPC 10000-6 §6.7.5).
            ours = Keys(policy, request.mode, request.nonce, nonce)
            theirs = Keys(policy, request.mode, nonce, request.nonce)
        chunks = await self._send(answer, opening.response(request, self.id, number, lifetime, nonce))
        if policy is not None and client is not None:
            self._policy, self._client, self.discovery_only = policy, client, False
            self.policy_uri, self.chain = policy.uri, client.chain
        self.mode = request.mode
        self._tokens.grant(Token(number, lifetime, ours, theirs))
        return chunks

    async def _send(self, answer: _Answer, body: bytes) -> list[bytes]:
        """The chunk of an answer, and what has to follow it."""
        number = self._number()
        plain = _IDS.pack(number, answer.request_id) + body
        policy, client = answer.policy, answer.client
        if policy is None or client is None:
            return [asymmetric.plain_chunk(asymmetric.security_header(NONE_URI), self.id, plain)]
        self._behind = []
        try:
            chunk = await self._run(self._seal, policy, client, plain)
            return [chunk, *self._behind]
        finally:
            self._behind = None

    def _seal(self, policy: Policy, client: Client, plain: bytes) -> bytes:
        """Runs off the loop. The issuers' certificates are left out where they would not fit in."""
        gate, key = self._gate, client.key
        head = asymmetric.security_header(policy.uri, gate.chain, client.thumbprint)
        if asymmetric.sealed_size(policy, gate.key, key, head, plain) > self._negotiated.send_chunk:
            head = asymmetric.security_header(policy.uri, gate.certificate, client.thumbprint)
        return asymmetric.seal(policy, gate.key, key, head, self.id, plain)

    async def _run(self, function: Any, *arguments: Any) -> Any:
        try:
            return await self._gate.pool.run(self._address, lambda: function(*arguments))
        except Busy as error:
            raise TransportError(StatusCodes.BadTcpServerTooBusy, str(error)) from error


class _Answer(NamedTuple):
    """What the answer to an OpenSecureChannel request is made for."""

    policy: Policy | None
    client: Client | None
    request: OpenRequest
    request_id: int
