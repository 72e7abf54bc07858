"""Which secure channels are opened: policies, modes, certificates (OPC 10000-6 §6.7.7)."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certs.errors import CertificateError, CertificateRefused
from certs.files import der, read_chain, thumbprint
from certs.own import ApplicationIdentity
from certs.store import TrustList
from certs.validate import Usage, validate
from server.opcua.channels.asymmetric import AsymmetricHeader
from server.opcua.channels.policies import MAX_RSA, MIN_RSA, MODE_NONE, NONE_URI, POLICIES, Policy
from server.opcua.endpoints import Offer
from server.opcua.sessions.pool import Pool
from server.opcua.status import audit_status, peer_status
from server.opcua.transport.framing import TransportError, printable
from server.opcua.types import StatusCodes, status_name

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

_THREADS: Final = 2
_WAITING: Final = 256
_WAITING_EACH: Final = 128
"""Of one host: whole plants are behind one, and all of them come back after a restart."""
_IDS: Final = 1 << 32


class Client(NamedTuple):
    """The application at the other end."""

    certificate: bytes
    """Its own certificate, in DER."""
    chain: bytes
    """As it was sent: its own certificate, then its issuers'."""
    key: rsa.RSAPublicKey
    thumbprint: bytes


class Gatekeeper:
    """Decides which secure channels are opened, and has what opening takes: our key, threads, numbers."""

    def __init__(
        self,
        offers: Sequence[Offer],
        identity: ApplicationIdentity,
        trust: TrustList,
        *,
        pool: Pool | None = None,
    ) -> None:
        self.key: Final = identity.private_key
        self.certificate: Final = identity.der
        self.chain: Final = identity.der + b"".join(der(issuer) for issuer in identity.issuers)
        self.pool: Final = pool or Pool(_THREADS, _WAITING, _WAITING_EACH)
        self._offers = frozenset((offer.policy.URI, int(offer.mode)) for offer in offers)
        self._uris = frozenset(uri for uri, _ in self._offers)
        self.offers_none: Final = NONE_URI in self._uris
        """Whether more than discovery is done over SecurityPolicy None."""
        self._trust = trust
        self._thumbprint = hashlib.sha1(identity.der, usedforsecurity=False).digest()
        # A number that is likely to be another after a restart (OPC 10000-6 §6.7.2.2).
        self._ids = itertools.count(secrets.randbelow(_IDS))

    def next_id(self) -> int:
        """A number for a new channel, never 0."""
        return next(self._ids) % _IDS or self.next_id()

    def policy(self, uri: str) -> Policy | None:
        """The policy of that name, None for SecurityPolicy None. Raises TransportError for others."""
        if uri == NONE_URI:
            return None
        policy = POLICIES.get(uri)
        if policy is None or uri not in self._uris:
            raise TransportError(
                StatusCodes.BadSecurityPolicyRejected, f"the security policy {uri!r} is not offered"
            )
        return policy

    def is_offered(self, uri: str, mode: int) -> bool:
        """Whether channels are opened with that policy in that mode; with None they are, for discovery."""
        return (uri, mode) in self._offers or (uri == NONE_URI and mode == MODE_NONE)

    def admit(self, header: AsymmetricHeader, peer: str) -> Client:
        """Who sent an OpenSecureChannel request, if it may be opened for them.

        OPC 10000-4 §6.1.3 says how. Touches the disk: call it off the loop. Nothing is decrypted
        for whom it refuses.
        Raises TransportError.
        """
        if not hmac.compare_digest(header.thumbprint, self._thumbprint):
            raise TransportError(
                StatusCodes.BadCertificateInvalid, "the request is for another certificate than ours"
            )
        chain: list[x509.Certificate] = []
        try:
            chain = read_chain(header.certificates)
            leaf = validate(
                chain,
                self._trust.snapshot(),
                usage=Usage.Client,
                now=datetime.now(UTC),
                tolerated=partial(_tell_tolerated, chain, peer),
            )
        except CertificateRefused as refused:
            raise self._refusal(refused, chain, peer) from refused
        except CertificateError as error:
            raise TransportError(
                StatusCodes.BadTcpInternalError, f"certificates cannot be checked: {error}"
            ) from error
        key = leaf.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or not MIN_RSA <= key.key_size <= MAX_RSA:
            raise TransportError(
                StatusCodes.BadSecurityChecksFailed,
                "the client's key is not an RSA key of 2048 to 4096 bits",
            )
        data = der(leaf)
        return Client(data, header.certificates, key, hashlib.sha1(data, usedforsecurity=False).digest())

    def _refusal(
        self, refused: CertificateRefused, chain: list[x509.Certificate], peer: str
    ) -> TransportError:
        reason = printable(str(refused))
        audit.warning(
            "secure channel for %s refused: %s",
            peer,
            reason,
            extra={
                "event": "channel",
                "client": peer,
                "step": refused.step.value,
                "status": status_name(audit_status(refused.step)),
                "certificate": thumbprint(chain[0]) if chain else None,
            },
        )
        advice = ""
        if chain and self._trust.reject(chain[0]) is not None:
            advice = f"; to trust it: isthmus certs trust {thumbprint(chain[0])}"
        return TransportError(peer_status(refused.step), f"{reason}{advice}")


def _tell_tolerated(chain: list[x509.Certificate], peer: str, failure: CertificateRefused) -> None:
    """The audit hears of what only the administrator's choice lets pass."""
    audit.warning(
        "secure channel for %s opened all the same: %s",
        peer,
        printable(str(failure)),
        extra={
            "event": "channel",
            "client": peer,
            "step": failure.step.value,
            "status": status_name(audit_status(failure.step)),
            "certificate": thumbprint(chain[0]),
        },
    )
