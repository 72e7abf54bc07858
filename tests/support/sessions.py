"""Peers and channels without a network, for the rules of sessions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from support import pki

from server.opcua.requests import Needs, Request, Service
from server.opcua.sessions.session import ChannelKey, Session
from server.opcua.wire import structs
from server.opcua.wire.nodeid import NULL, Key
from server.opcua.wire.reader import Reader

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SECURE = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
NONE = "http://opcfoundation.org/UA/SecurityPolicy#None"

SERVICE = Service("Test", NULL, NULL, lambda *_: b"", Needs.Session)

_ports = itertools.count(50_000)
T = TypeVar("T")


def sign(private: rsa.RSAPrivateKey, data: bytes, algorithm: str = RSA_SHA256) -> ua.SignatureData:
    made = private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return cast("ua.SignatureData", cast("Any", ua.SignatureData)(Algorithm=algorithm, Signature=made))


@dataclass
class FakeChannel:
    """A channel that was opened already."""

    certificate: bytes = b""
    policy_uri: str = NONE
    mode: int = 1
    server_key: rsa.RSAPrivateKey | None = None
    discovery_only: bool = False

    @property
    def key(self) -> ChannelKey:
        return ChannelKey(self.certificate, self.policy_uri, self.mode)

    @property
    def signed(self) -> bool:
        return self.mode > 1

    @property
    def encrypted(self) -> bool:
        return self.mode > 2

    def sign(self, data: bytes) -> ua.SignatureData:
        assert self.server_key is not None
        return sign(self.server_key, data)

    def verify(self, data: bytes, algorithm: str, signature: bytes) -> None:
        if algorithm != RSA_SHA256:
            raise ValueError(algorithm)
        public = cast("rsa.RSAPublicKey", x509.load_der_x509_certificate(self.certificate).public_key())
        public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())


@dataclass(eq=False)
class FakePeer:
    """A connection as services see it."""

    channel: Any = field(default_factory=FakeChannel)
    address: str = "10.0.0.1"
    backlogged: bool = False
    sessions: dict[Key, Session] = field(default_factory=dict)
    refusals: int = 0
    changes: int = 0
    refused: list[int] = field(default_factory=list)
    ended: int | None = None
    cancelled: list[tuple[Session, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"{self.address}:{next(_ports)}"

    def sessions_changed(self) -> None:
        self.changes += 1

    def respond(self, request: Request, body: bytes | list[bytes]) -> None:  # noqa: ARG002
        raise AssertionError("services of sessions answer by what they return")

    def refuse(self, request: Request, code: int) -> None:  # noqa: ARG002
        self.refused.append(code)

    def cancel(self, session: Session, handle: int) -> int:
        self.cancelled.append((session, handle))
        return 3

    def end(self, code: int, reason: str) -> None:  # noqa: ARG002
        self.ended = code


def secure_peer(
    certificate: x509.Certificate,
    server_key: rsa.RSAPrivateKey,
    *,
    mode: int = 3,
    policy: str = SECURE,
    address: str = "10.0.0.1",
) -> FakePeer:
    """A peer whose channel was opened with that client certificate."""
    return FakePeer(FakeChannel(pki.der(certificate), policy, mode, server_key), address)


def request(peer: FakePeer, parameters: object = b"", token: Key = NULL) -> Request:
    """A request whose parameters are encoded, or bytes already."""
    body = parameters if isinstance(parameters, bytes) else structs.encode(parameters)
    return Request(peer, 1, SERVICE, token, 1, None, Reader(body))


def result(kind: type[T], answer: object) -> T:
    """What a service answered."""
    assert isinstance(answer, bytes)
    reader = Reader(answer)
    found = structs.decode(kind, reader)
    assert reader.left == 0
    return found
