"""A blocking session of the bench, over SecurityPolicy None or with SignAndEncrypt.

Requests are encoded and secured by asyncua; what comes is read no further than it must be.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies as stack
from asyncua.ua import ua_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

# Their annotations do not say what their own callers pass.
ua: Any = asyncua.ua
security_policies: Any = stack

URI: Final = "urn:bench:client"
HEADER: Final = 24
"""Of a chunk without security: type and size, channel and token, sequence number and request id."""

FINAL: Final = ord("F")
"""The fourth byte of a message's last chunk."""

_BUFFER: Final = 65_535
_FAULT: Final = ua.ObjectIds.ServiceFault_Encoding_DefaultBinary
_PEEK: Final = 4096
_LIFETIME: Final = 3_600_000
_TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the client is where that is asked."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> Identity:
        """A new key, and a certificate that it signed itself."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bench")])
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=True,
            key_encipherment=True,
            data_encipherment=True,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    def trusted_in(self, pki: Path) -> None:
        """Have a server trust it whose trust list is there."""
        folder = pki / "trusted" / "certs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.der").write_bytes(self.certificate.public_bytes(Encoding.DER))


class Session:
    """An anonymous session on a connection of its own; with an identity, secured."""

    def __init__(self, url: str, identity: Identity | None = None) -> None:
        self.url = url
        self._server = b"" if identity is None else _certificate(url)
        self._policy = _policy(identity, self._server)
        self._channel: Any = SecureConnection(self._policy, TransportLimits())
        self._symmetric = self._policy.symmetric_cryptography
        self._requests = 1
        self.token: Any = ua.NodeId()
        self.other: Callable[[memoryview], None] = _ignore
        """Takes the chunks that come while the answer to something else is awaited."""
        self.unfinished: Any = None
        """What whoever reads chunks knows of a message whose last has not come."""
        self._buffer = bytearray(1 << 20)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open_channel()

    def begin(self) -> Session:
        """CreateSession, ActivateSession."""
        create = ua.CreateSessionRequest()
        asked = create.Parameters
        asked.ClientDescription.ApplicationUri = URI
        asked.ClientDescription.ApplicationType = ua.ApplicationType.Client
        asked.EndpointUrl, asked.SessionName = self.url, "bench"
        asked.RequestedSessionTimeout = float(_LIFETIME)
        asked.ClientNonce = os.urandom(32)
        asked.ClientCertificate = self._policy.host_certificate
        created = self.call(create, ua.CreateSessionResponse).Parameters
        self.token = created.AuthenticationToken
        policies = [
            policy.PolicyId
            for endpoint in created.ServerEndpoints
            if endpoint.SecurityMode == self._policy.Mode
            for policy in endpoint.UserIdentityTokens
            if policy.TokenType == ua.UserTokenType.Anonymous
        ]
        activate = ua.ActivateSessionRequest()
        activate.Parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId=policies[0])
        if self._server:
            signature = self._policy.asymmetric_cryptography.signature(self._server + created.ServerNonce)
            activate.Parameters.ClientSignature.Algorithm = self._policy.AsymmetricSignatureURI
            activate.Parameters.ClientSignature.Signature = signature
        self.call(activate, ua.ActivateSessionResponse)
        return self

    def namespace(self, uri: str) -> int:
        """The index of a namespace."""
        request = ua.ReadRequest()
        node = ua.NodeId(ua.ObjectIds.Server_NamespaceArray)
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)]
        return int(self.call(request, ua.ReadResponse).Results[0].Value.Value.index(uri))

    def call(self, request: Any, response: type[Any]) -> Any:
        """Send a request and decode its answer, whatever else comes; raises UaError when it is bad."""
        request.RequestHeader.AuthenticationToken = self.token
        request.RequestHeader.TimeoutHint = 60_000
        body = self.ask(ua_binary.struct_to_binary(request))
        kind = ua_binary.nodeid_from_binary(Buffer(body))
        answer = ua_binary.struct_from_binary(
            ua.ServiceFault if kind.Identifier == _FAULT else response, Buffer(body)
        )
        answer.ResponseHeader.ServiceResult.check()
        return answer

    def ask(self, body: bytes) -> bytes:
        """Send an encoded request; the body of its answer. What else comes goes to ``other``."""
        number = self.send(body)
        parts: list[bytes] = []
        whole = False
        while not whole:
            for frame in self.frames():
                plain = self._plain(bytes(frame[16:]))
                if struct.unpack_from("<I", plain, 4)[0] != number:
                    self.other(frame)
                    continue
                parts.append(plain[8:])
                whole = frame[3] == FINAL
        return b"".join(parts)

    def send(self, body: bytes) -> int:
        """Send an encoded request; its id."""
        self._requests += 1
        self.socket.sendall(self._channel.message_to_binary(body, request_id=self._requests))
        return self._requests

    def close(self) -> None:
        """CloseSession with its subscriptions, and the end of the connection."""
        try:
            self.call(ua.CloseSessionRequest(DeleteSubscriptions=True), ua.CloseSessionResponse)
        finally:
            self.socket.close()

    def frames(self) -> Iterator[memoryview]:
        """Every chunk that is there, received once if none is; each is to be used before the next."""
        if not self._size():
            self._receive()
        while size := self._size():
            frame = self._view[self._start : self._start + size]
            if bytes(frame[:3]) == b"ERR":
                raise ConnectionError(f"the server refused: {bytes(frame[8:])!r}")
            self._start += size
            yield frame

    def _size(self) -> int:
        """Of the chunk that is next; 0 where it is not whole."""
        there = self._end - self._start
        if there < 8:
            return 0
        size = int(struct.unpack_from("<I", self._buffer, self._start + 4)[0])
        return size if size <= there else 0

    def _receive(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < _BUFFER:
            rest = self._end - self._start
            self._view[:rest] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, rest
        got = self.socket.recv_into(self._view[self._end :])
        if not got:
            raise ConnectionError("the server closed the connection")
        self._end += got

    def peek(self, frame: memoryview) -> bytes:
        """Request id and the beginning of the body of a chunk: its first four thousand bytes or so."""
        if not self._server:
            return bytes(frame[20 : 20 + _PEEK])
        return bytes(self._symmetric.Decryptor.decrypt(bytes(frame[16 : 16 + _PEEK])))[4:]

    def _plain(self, data: bytes) -> bytes:
        plain = self._symmetric.decrypt(data)
        size = self._symmetric.vsignature_size()
        return bytes(self._symmetric.remove_padding(plain[:-size] if size else plain))

    def _open_channel(self) -> None:
        encoded = self.url.encode()
        hello = struct.pack("<IIIIIi", 0, _BUFFER, _BUFFER, 0, 0, len(encoded)) + encoded
        self.socket.sendall(b"HELF" + struct.pack("<I", len(hello) + 8) + hello)
        self._first()
        nonce = os.urandom(self._policy.secure_channel_nonce_length)
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestType = ua.SecurityTokenRequestType.Issue
        request.Parameters.SecurityMode = self._policy.Mode
        request.Parameters.RequestedLifetime = _LIFETIME
        request.Parameters.ClientNonce = nonce
        body = ua_binary.struct_to_binary(request)
        self.socket.sendall(self._channel.message_to_binary(body, ua.MessageType.SecureOpen, 1))
        buffer = Buffer(self._first())
        header = ua_binary.header_from_binary(buffer)
        message = self._channel.receive_from_header_and_body(header, buffer)
        response = ua_binary.struct_from_binary(ua.OpenSecureChannelResponse, message.body())
        response.ResponseHeader.ServiceResult.check()
        self._channel.set_channel(response.Parameters, ua.SecurityTokenRequestType.Issue, nonce)

    def _first(self) -> bytes:
        while True:
            for frame in self.frames():
                return bytes(frame)


def _ignore(_frame: memoryview) -> None:
    """Nobody wants it."""


def _policy(identity: Identity | None, server: bytes) -> Any:
    if identity is None:
        return security_policies.SecurityPolicyNone()
    return security_policies.SecurityPolicyBasic256Sha256(
        server, identity.certificate, identity.key, ua.MessageSecurityMode.SignAndEncrypt
    )


def _certificate(url: str) -> bytes:
    """The server's, as its endpoints tell it."""
    plain = Session(url)
    request = ua.GetEndpointsRequest()
    request.Parameters.EndpointUrl = url
    endpoints = plain.call(request, ua.GetEndpointsResponse).Endpoints
    plain.socket.close()
    return bytes(next(one.ServerCertificate for one in endpoints if one.ServerCertificate))
