"""The client's end of a secure channel: the stack's own, which shares no code with ours."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from asyncua import ua
from asyncua.common.connection import MessageChunk, SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies as stack
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from support import pki

from certs.own import ApplicationIdentity
from certs.store import TrustList
from server.opcua.channels.channel import SecureChannel
from server.opcua.channels.gate import Gatekeeper
from server.opcua.endpoints import Offer
from server.opcua.transport.limits import LIMITS, Limits, Negotiated

NONE, SIGN, ENCRYPT = (
    ua.MessageSecurityMode.None_,
    ua.MessageSecurityMode.Sign,
    ua.MessageSecurityMode.SignAndEncrypt,
)
POLICIES: dict[str, Any] = {
    "Basic256Sha256": stack.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": stack.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": stack.SecurityPolicyAes256Sha256RsaPss,
}
SERVER_KEY, CLIENT_KEY = 10, 11


def identity(size: int = 2048, issuers: tuple[x509.Certificate, ...] = ()) -> ApplicationIdentity:
    """The server's; the same one every time."""
    certificate = _certificate("Isthmus", "urn:test:isthmus", SERVER_KEY, size)
    return ApplicationIdentity("urn:test:isthmus", certificate, pki.key(SERVER_KEY, size), issuers)


def client_certificate(size: int = 2048) -> x509.Certificate:
    """A client's, self-signed; the same one every time."""
    return _certificate("Client", "urn:test:client", CLIENT_KEY, size)


@functools.cache
def _certificate(common: str, uri: str, number: int, size: int) -> x509.Certificate:
    return pki.application(common, uri=uri, private=pki.key(number, size))


def all_offers(*, none: bool = False) -> list[Offer]:
    found = [Offer(name, policy, mode, 1) for name, policy in POLICIES.items() for mode in (SIGN, ENCRYPT)]
    if none:
        found.append(Offer("None", stack.SecurityPolicyNone, NONE, 0))
    return found


def gatekeeper(
    folder: Path,
    *trusted: x509.Certificate,
    own: ApplicationIdentity | None = None,
    offers: Sequence[Offer] | None = None,
) -> Gatekeeper:
    """One that trusts those certificates."""
    trust = TrustList(folder / "pki")
    trust.prepare()
    for number, certificate in enumerate(trusted):
        (folder / "pki" / "trusted" / "certs" / f"{number}.der").write_bytes(pki.der(certificate))
    return Gatekeeper(all_offers() if offers is None else offers, own or identity(), trust)


def channel(gate: Gatekeeper, negotiated: Negotiated | None = None, limits: Limits = LIMITS) -> SecureChannel:
    return SecureChannel(
        gate, negotiated or Negotiated(65535, 65535), address="10.1.2.3", peer="10.1.2.3:50000", limits=limits
    )


@dataclass
class Peer:
    """A client: asyncua secures what it sends and reads what it gets."""

    policy: Any
    limits: TransportLimits = field(default_factory=TransportLimits)
    requests: Any = field(default_factory=lambda: itertools.count(1))
    nonce: bytes = b""
    kind: ua.SecurityTokenRequestType = ua.SecurityTokenRequestType.Issue

    def __post_init__(self) -> None:
        self.stack: Any = SecureConnection(self.policy, self.limits)
        self.mode: ua.MessageSecurityMode = self.policy.Mode

    def opening(self, **changed: Any) -> bytes:
        """An OPN chunk; ``changed`` are parameters to send instead of the right ones."""
        self.nonce = os.urandom(self.policy.secure_channel_nonce_length)
        request = ua.OpenSecureChannelRequest()
        request.RequestHeader.RequestHandle = cast("Any", 4711)
        for name, value in (
            {
                "RequestType": self.kind,
                "SecurityMode": self.mode,
                "RequestedLifetime": 60_000,
                "ClientNonce": self.nonce,
            }
            | changed
        ).items():
            setattr(request.Parameters, name, value)
        return self.seal(struct_to_binary(request), ua.MessageType.SecureOpen)

    def opened(self, chunk: bytes) -> ua.OpenSecureChannelResult:
        """Take the answer to an OPN chunk."""
        response = struct_from_binary(ua.OpenSecureChannelResponse, self.read(chunk))
        assert response.ResponseHeader.RequestHandle == 4711
        self.stack.set_channel(response.Parameters, self.kind, self.nonce)
        self.kind = ua.SecurityTokenRequestType.Renew
        return cast("ua.OpenSecureChannelResult", response.Parameters)

    def seal(
        self,
        body: bytes,
        kind: Any = ua.MessageType.SecureMessage,
        request: int | None = None,
    ) -> bytes:
        """The chunks of a message, one after the other."""
        number = next(self.requests) if request is None else request
        return cast("bytes", self.stack.message_to_binary(body, message_type=kind, request_id=number))

    def chunk(self, body: bytes, final: bytes, request: int = 7, kind: bytes = b"MSG") -> bytes:
        """One chunk with that IsFinal."""
        made: Any
        (made,) = cast("Any", MessageChunk).message_to_chunks(
            self.policy,
            body or b"\0",
            65535,
            channel_id=self.stack.security_token.ChannelId,
            request_id=request,
            token_id=self.stack.security_token.TokenId,
        )
        made.Body = body
        made.MessageHeader.ChunkType = final
        made.MessageHeader.MessageType = kind
        self.stack._sequence_number += 1
        made.SequenceHeader.SequenceNumber = self.stack._sequence_number
        return cast("bytes", made.to_binary())

    def read(self, *chunks: bytes) -> Buffer:
        """The body of a message the server sent."""
        message = None
        for chunk in chunks:
            assert message is None
            data = Buffer(chunk)
            message = self.stack.receive_from_header_and_body(header_from_binary(data), data)
        assert message is not None
        return cast("Buffer", message.body())

    def text(self, chunks: Sequence[bytes]) -> bytes:
        """As `read`, as bytes."""
        body = self.read(*chunks)
        return body.read(len(body))


def peer(
    name: str = "Basic256Sha256",
    mode: ua.MessageSecurityMode = ENCRYPT,
    *,
    own: ApplicationIdentity | None = None,
    certificate: x509.Certificate | None = None,
    private: rsa.RSAPrivateKey | None = None,
) -> Peer:
    """A client of the server with that identity."""
    if name == "None":
        return Peer(cast("Any", stack.SecurityPolicyNone)())
    key = private or pki.key(CLIENT_KEY)
    mine = certificate or client_certificate(key.key_size)
    server = (own or identity()).certificate
    return Peer(POLICIES[name](server, mine, key, mode))


def thumbprint(certificate: x509.Certificate) -> bytes:
    return hashlib.sha1(pki.der(certificate)).digest()


def sequence_number(chunk: bytes) -> int:
    """Of a chunk over None."""
    return int(struct.unpack_from("<I", chunk, 16)[0])
