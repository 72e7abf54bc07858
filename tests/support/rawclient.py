"""A client that speaks OPC UA by hand: whatever it sends may be a lie, in any field."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar, cast

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_to_binary, struct_from_binary, struct_to_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from support import channels, pki
from support.wire import Wire, chunk, connect

from server.opcua.endpoints import ANONYMOUS_POLICY, NONE_URI, USER_NAME_POLICY
from server.opcua.types import ObjectIds
from server.opcua.wire.reader import Reader

T = TypeVar("T")

CLIENT_URI = "urn:test:client"
NO_TOKEN = b"\0\0"
NO_HEADER = b"\0\0\0"
"""No AdditionalHeader."""
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep"


def bytes_of(value: bytes | None) -> bytes:
    """A ByteString or String."""
    return struct.pack("<i", -1) if value is None else struct.pack("<i", len(value)) + value


def kind_of(service: str) -> int:
    """The number of a request's encoding, by the service's name: ``Read``."""
    return int(getattr(ObjectIds, f"{service}Request_Encoding_DefaultBinary"))


def encode(parameters: object) -> bytes:
    """A structure of the stack, or bytes already."""
    return parameters if isinstance(parameters, bytes) else struct_to_binary(parameters)


def message(
    service: str | int,
    parameters: object = b"",
    *,
    token: bytes = NO_TOKEN,
    handle: int = 99,
    hint: int = 0,
    additional: bytes = NO_HEADER,
) -> bytes:
    """A request: its type (a service's name, or any number), its header, its parameters."""
    number = kind_of(service) if isinstance(service, str) else service
    header = token + struct.pack("<qIIiI", 0, handle, 0, -1, hint) + additional
    return b"\x01\x00" + struct.pack("<H", number) + header + encode(parameters)


class Answer(NamedTuple):
    """A response: its RequestHandle, its type, its result, what follows its header, and all of it."""

    handle: int
    kind: int
    code: int
    body: bytes
    message: bytes

    def of(self, kind: type[T]) -> T:
        """The parameters of a response without a fault: one of `ua.…Result`."""
        assert self.code == 0, ua.StatusCode(cast("Any", self.code))
        return struct_from_binary(kind, cast("Any", Buffer)(self.body))

    def whole(self, kind: type[T]) -> T:
        """A response without a fault: one of `ua.…Response`."""
        assert self.code == 0, ua.StatusCode(cast("Any", self.code))
        return struct_from_binary(kind, cast("Any", Buffer)(self.message))

    @property
    def fault(self) -> int:
        """The code of a ServiceFault."""
        assert self.kind == ObjectIds.ServiceFault_Encoding_DefaultBinary, self
        return self.code


def answer_of(body: bytes) -> Answer:
    reader = Reader(body)
    kind = int.from_bytes(reader.key()[2:], "little")
    reader.skip(8)
    handle, code = reader.uint32(), reader.uint32()
    assert reader.byte() == 0
    assert reader.int32() in {0, -1}
    reader.extension_object()
    return Answer(handle, kind, code, body[reader.at :], body)


class RawClient:
    """A client with a secure channel: over None by hand, else through the stack's codec (`channels.peer`)."""

    def __init__(self, wire: Wire, peer: channels.Peer | None = None) -> None:
        self.wire = wire
        self.peer = peer
        self.sequence = 0
        self.channel = 0
        self.token_id = 0
        self.token = NO_TOKEN
        """The AuthenticationToken that `call` and `ask` send."""
        self.nonce = b""
        """The session's last server nonce."""
        self.number = 100

    @property
    def private(self) -> rsa.RSAPrivateKey | None:
        """The key of its certificate; None over None."""
        policy = None if self.peer is None else self.peer.policy
        return None if policy is None else policy.asymmetric_cryptography.Signer.host_privkey

    # --- Channel

    async def open(self) -> None:
        """Hello, and a channel."""
        await self.wire.greet()
        if self.peer is not None:
            self.wire.send(self.peer.opening())
            self.peer.opened(await self.wire.chunk())
            return
        self.wire.send(self.opening())
        self.take(await self.wire.chunk())

    def opening(
        self,
        uri: bytes = NONE_URI.encode(),
        certificate: bytes | None = None,
        thumbprint: bytes | None = None,
        secured: bytes | None = None,
        **changed: Any,
    ) -> bytes:
        """An OPN chunk in the clear; ``secured`` is what stands for its encrypted part."""
        self.sequence += 1
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestedLifetime = 60_000
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        for name, value in changed.items():
            setattr(request.Parameters, name, value)
        header = struct.pack("<I", self.channel) + bytes_of(uri) + bytes_of(certificate)
        plain = struct.pack("<II", self.sequence, 1) + encode(request)
        return chunk(b"OPNF", header + bytes_of(thumbprint) + (plain if secured is None else secured))

    def take(self, opened: bytes) -> None:
        """Learn channel and token from the answer to an OPN chunk over None."""
        assert opened[:4] == b"OPNF", opened
        reader = Reader(opened, 12)
        for _ in range(3):
            reader.byte_string()
        reader.skip(8)
        answer = answer_of(opened[reader.at :])
        found = answer.of(ua.OpenSecureChannelResult)
        self.channel, self.token_id = found.SecurityToken.ChannelId, found.SecurityToken.TokenId

    # --- Messages

    def seal(self, body: bytes, request: int = 7, final: bytes = b"F", kind: bytes = b"MSG") -> bytes:
        """One chunk."""
        if self.peer is not None:
            return self.peer.chunk(body, final, request, kind)
        self.sequence += 1
        ids = struct.pack("<IIII", self.channel, self.token_id, self.sequence, request)
        return chunk(kind + final, ids + body)

    def ask(self, service: str | int, parameters: object = b"", **more: Any) -> int:
        """Send a request, in as many chunks as it takes; returns its number, which is its handle too."""
        self.number += 1
        fields: dict[str, Any] = {"token": self.token, "handle": self.number} | more
        body = message(service, parameters, **fields)
        self.say(body, self.number)
        return self.number

    def say(self, body: bytes, request: int = 7, piece: int = 60_000) -> None:
        """Send a message that is encoded already."""
        for at in range(0, max(1, len(body)), piece):
            final = b"C" if at + piece < len(body) else b"F"
            self.wire.send(self.seal(body[at : at + piece], request, final))

    async def answer(self) -> Answer:
        """The next response, whatever it answers."""
        parts = []
        while True:
            piece = await self.wire.chunk()
            assert piece[:3] == b"MSG", piece
            parts.append(piece)
            if piece[3:4] == b"F":
                break
        if self.peer is None:
            return answer_of(b"".join(part[24:] for part in parts))
        return answer_of(self.peer.text(parts))

    async def call(self, service: str | int, parameters: object = b"", **more: Any) -> Answer:
        """Send a request, and hear the answer."""
        number = self.ask(service, parameters, **more)
        found = await self.answer()
        assert found.handle == more.get("handle", number)
        return found

    # --- Sessions

    async def create(self, **changed: Any) -> ua.CreateSessionResult:
        """CreateSession, whose token is used from then on; ``changed`` are parameters to send instead."""
        made = (await self.call("CreateSession", self.creation(**changed))).of(ua.CreateSessionResult)
        self.token, self.nonce = nodeid_to_binary(made.AuthenticationToken), made.ServerNonce or b""
        return made

    def creation(self, **changed: Any) -> ua.CreateSessionParameters:
        """The parameters of CreateSession."""
        parameters = ua.CreateSessionParameters()
        parameters.ClientDescription.ApplicationUri = CLIENT_URI
        parameters.RequestedSessionTimeout = 60_000
        parameters.ClientNonce = os.urandom(32)
        if self.peer is not None:
            parameters.ClientCertificate = self.peer.policy.host_certificate
        for name, value in changed.items():
            setattr(parameters, name, value)
        return parameters

    def activation(
        self,
        user: object = None,
        *,
        server: x509.Certificate | None = None,
        private: rsa.RSAPrivateKey | None = None,
        nonce: bytes | None = None,
    ) -> ua.ActivateSessionParameters:
        """The parameters of ActivateSession, signed where there are a certificate of the server and a key."""
        parameters = ua.ActivateSessionParameters()
        made: Any = ua.AnonymousIdentityToken
        parameters.UserIdentityToken = user or made(PolicyId=ANONYMOUS_POLICY)
        if server is not None and private is not None:
            over = pki.der(server) + (self.nonce if nonce is None else nonce)
            signed: Any = ua.SignatureData
            parameters.ClientSignature = signed(
                Algorithm=_RSA_SHA256,
                Signature=private.sign(over, padding.PKCS1v15(), hashes.SHA256()),
            )
        return parameters

    async def activate(self, user: object = None, **signing: Any) -> None:
        """ActivateSession, anonymously where no user token is given."""
        answer = await self.call("ActivateSession", self.activation(user, **signing))
        self.nonce = answer.of(ua.ActivateSessionResult).ServerNonce or b""

    async def ready(self, user: tuple[str, str] | None = None) -> None:
        """Channel, session and user: everything as it should be."""
        await self.open()
        made = await self.create()
        secure = self.peer is not None
        server = x509.load_der_x509_certificate(cast("bytes", made.ServerCertificate))
        await self.activate(
            None if user is None else user_token(*user, self.nonce, server),
            server=server if secure else None,
            private=self.private,
        )

    async def read(self, *nodes: tuple[str, int]) -> list[ua.DataValue]:
        """Read attributes of nodes, each as text and number."""
        wanted = [read_value(node, attribute) for node, attribute in nodes]
        answer = await self.call("Read", reading(wanted))
        return answer.whole(ua.ReadResponse).Results


def reading(wanted: list[ua.ReadValueId]) -> ua.ReadParameters:
    """The parameters of Read."""
    made: Any = ua.ReadParameters
    return cast("ua.ReadParameters", made(NodesToRead=wanted))


def read_value(node: str, attribute: int = 13) -> ua.ReadValueId:
    made: Any = ua.ReadValueId
    return cast("ua.ReadValueId", made(NodeId=ua.NodeId.from_string(node), AttributeId=attribute))


def user_token(name: str, password: str, nonce: bytes, server: x509.Certificate) -> ua.UserNameIdentityToken:
    """A UserNameIdentityToken, encrypted for the server (OPC 10000-4 §7.40.2.2)."""
    key = cast("rsa.RSAPublicKey", server.public_key())
    secret = password.encode() + nonce
    plain = struct.pack("<I", len(secret)) + secret
    block = key.key_size // 8 - 42
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    made: Any = ua.UserNameIdentityToken
    return cast(
        "ua.UserNameIdentityToken",
        made(
            PolicyId=USER_NAME_POLICY,
            UserName=name,
            EncryptionAlgorithm=_OAEP,
            Password=b"".join(
                key.encrypt(plain[at : at + block], oaep) for at in range(0, len(plain), block)
            ),
        ),
    )


@asynccontextmanager
async def raw(
    port: int, *, source: str | None = None, peer: channels.Peer | None = None
) -> AsyncIterator[RawClient]:
    """A client that is connected, and has not said a word yet."""
    made = RawClient(await connect(port, source), peer)
    try:
        yield made
    finally:
        await made.wire.close()
