"""The rules of opening a connection and its secure channel (OPC 10000-6 §6.7 and §7.1)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asyncua import ua
from cryptography import x509

from certs.errors import CertificateRefused
from certs.files import read_chain, thumbprint
from certs.own import ApplicationIdentity
from certs.store import TrustList
from certs.validate import Usage, validate
from server.opcua.endpoints import NONE_URI, Offer
from server.opcua.framing import MAX_CHUNK, TransportError
from server.opcua.status import certificate_status
from server.opcua.types import StatusCodes

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of the largest request taken; a tenth of a megabyte of it before a session is activated."""
MAX_EARLY_MESSAGE: Final = 128 * 1024
MAX_CHUNKS: Final = MAX_MESSAGE // 8192

_MIN_BUFFER: Final = 8192
_MAX_URL: Final = 4096
_MIN_LIFETIME: Final = 10_000
_MAX_LIFETIME: Final = 3_600_000
_NONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the two sides agreed on with Hello and Acknowledge; sizes in bytes, 0 for no limit."""

    receive_chunk: int
    send_chunk: int
    max_response: int
    max_response_chunks: int


def greet(hello: ua.Hello) -> Negotiated:
    """Answer a Hello. Raises TransportError for buffers nobody could work with."""
    if min(hello.ReceiveBufferSize, hello.SendBufferSize) < _MIN_BUFFER:
        raise TransportError(
            StatusCodes.BadConnectionRejected, "the client's buffers are smaller than 8192 bytes"
        )
    if len(hello.EndpointUrl or "") > _MAX_URL:
        raise TransportError(StatusCodes.BadTcpEndpointUrlInvalid, "the endpoint URL is too long")
    return Negotiated(
        receive_chunk=min(hello.SendBufferSize, MAX_CHUNK),
        send_chunk=min(hello.ReceiveBufferSize, MAX_CHUNK),
        max_response=hello.MaxMessageSize,
        max_response_chunks=hello.MaxChunkCount,
    )


def revised_lifetime(requested: int) -> int:
    """Milliseconds a security token lasts."""
    return min(max(requested or _MAX_LIFETIME, _MIN_LIFETIME), _MAX_LIFETIME)


class Gatekeeper:
    """Decides which secure channels are opened."""

    def __init__(self, offers: Sequence[Offer], identity: ApplicationIdentity, trust: TrustList) -> None:
        self._offers = offers
        self._trust = trust
        self._own_thumbprint = hashlib.sha1(identity.der, usedforsecurity=False).digest()

    @property
    def offers_none(self) -> bool:
        """Whether more than discovery is done over SecurityPolicy None."""
        return any(offer.policy.URI == NONE_URI for offer in self._offers)

    def check(self, header: ua.AsymmetricAlgorithmHeader) -> x509.Certificate | None:
        """Whether a channel may be opened with that header; gives the client's certificate, None over None.

        Touches the disk: call it off the loop. Nothing is decrypted for whom it refuses.
        Raises TransportError.
        """
        uri = header.SecurityPolicyURI
        if uri == NONE_URI:
            return None
        if not any(uri == offer.policy.URI for offer in self._offers):
            raise TransportError(
                StatusCodes.BadSecurityPolicyRejected, f"the security policy {uri!r} is not offered"
            )
        if header.ReceiverCertificateThumbPrint != self._own_thumbprint:
            raise TransportError(
                StatusCodes.BadCertificateInvalid, "the request is for another certificate than ours"
            )
        chain: list[x509.Certificate] = []
        try:
            chain = read_chain(header.SenderCertificate or b"")
            return validate(chain, self._trust.snapshot(), usage=Usage.Client, now=datetime.now(UTC))
        except CertificateRefused as refused:
            advice = ""
            if chain and self._trust.reject(chain[0]) is not None:
                advice = f"; to trust it: isthmus certs trust {thumbprint(chain[0])}"
            raise TransportError(certificate_status(refused.step), f"{refused}{advice}") from refused

    def check_mode(self, uri: str, mode: ua.MessageSecurityMode) -> None:
        """Raises TransportError where that mode is not offered with that policy; None is, for discovery."""
        if uri == NONE_URI and mode == ua.MessageSecurityMode.None_:
            return
        if not any(uri == offer.policy.URI and offer.mode == mode for offer in self._offers):
            raise TransportError(
                StatusCodes.BadSecurityModeRejected, f"the mode {mode!r} is not offered with {uri}"
            )


def check_nonce(uri: str, nonce: bytes | None) -> None:
    """A client's nonce for the keys of a channel. Raises TransportError."""
    if uri != NONE_URI and len(nonce or b"") != _NONCE:
        raise TransportError(StatusCodes.BadNonceInvalid, "the client's nonce is not of 32 bytes")
