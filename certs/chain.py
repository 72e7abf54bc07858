"""From a certificate over its issuers to a root (OPC 10000-4 §6.1.3: build chain, signature)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certs import files
from certs.errors import CertificateRefused, Step
from certs.snapshot import TrustSnapshot
from certs.structure import extension

MAX_PATHS: Final = 8
"""Ways from one certificate to a root that are looked at; cross-signed CAs have two."""

# What a peer sends decides how much is tried, so there is an end to it.
_MAX_TRIES: Final = 200

Chain = tuple[x509.Certificate, ...]


def chains(sent: Sequence[x509.Certificate], trust: TrustSnapshot) -> list[Chain]:
    """Every way from ``sent[0]`` to a certificate that signed itself, the likeliest first; at least one.

    An issuer is whose subject is the name sought and whose key made the signature, be it
    stored or sent along: of several CAs with one name each is tried, the one the key
    identifiers point to first.

    Raises CertificateRefused (Chain, Signature).
    """
    search = _Search(sent[1:], trust)
    found = list(islice(search.paths((sent[0],)), MAX_PATHS))
    if not found:
        raise search.dead_end or _incomplete(sent[0])
    return found


class _Search:
    def __init__(self, sent: Sequence[x509.Certificate], trust: TrustSnapshot) -> None:
        self._sent = sent
        self._trust = trust
        self._verified: dict[tuple[x509.Certificate, x509.Certificate], bool] = {}
        self._tries = _MAX_TRIES
        self.dead_end: CertificateRefused | None = None
        """Why the first way that was tried leads nowhere."""

    def paths(self, chain: Chain) -> Iterator[Chain]:
        current = chain[-1]
        if current.subject == current.issuer and self._signed(current, current):
            yield chain
            return
        named = self._named(current)
        signers = [c for c in named if self._signed(current, c)]
        if not signers:
            self._fail(_no_signer(current, named))
        for issuer in signers:
            if issuer in chain or len(chain) == files.MAX_CHAIN:
                self._fail(_incomplete(current))
            else:
                yield from self.paths((*chain, issuer))

    def _named(self, current: x509.Certificate) -> list[x509.Certificate]:
        """Whose subject is the issuer sought: by key identifier first, then stored before sent."""
        candidates = (
            *self._trust.by_subject.get(current.issuer, ()),
            *(c for c in self._sent if c.subject == current.issuer),
        )
        wanted = _issuer_key_id(current)
        return sorted(
            (c for c in dict.fromkeys(candidates) if c != current),
            key=lambda c: wanted is None or _key_id(c) != wanted,
        )

    def _signed(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        if self._tries == 0:
            return False
        self._tries -= 1
        pair = (certificate, issuer)
        if pair not in self._verified:
            self._verified[pair] = _is_signed_by(certificate, issuer)
        return self._verified[pair]

    def _fail(self, refused: CertificateRefused) -> None:
        self.dead_end = self.dead_end or refused


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*files.PARSE_ERRORS, InvalidSignature):
        return False
    return True


def _key_id(certificate: x509.Certificate) -> bytes | None:
    found = extension(certificate, x509.SubjectKeyIdentifier)
    return None if found is None else found.digest


def _issuer_key_id(certificate: x509.Certificate) -> bytes | None:
    found = extension(certificate, x509.AuthorityKeyIdentifier)
    return None if found is None else found.key_identifier


def _no_signer(current: x509.Certificate, named: Sequence[x509.Certificate]) -> CertificateRefused:
    wanted = _issuer_key_id(current)
    own = (current,) if current.subject == current.issuer else ()
    if wanted is not None and all(_key_id(c) not in {None, wanted} for c in (*own, *named)):
        return _incomplete(current)  # the CAs of that name that are here are others than the one that signed
    if named:
        return CertificateRefused(
            Step.Signature, f"the signature on {files.title(current)} is not its issuer's"
        )
    if own:
        return CertificateRefused(Step.Signature, f"the signature on {files.title(current)} is wrong")
    return _incomplete(current)


def _incomplete(current: x509.Certificate) -> CertificateRefused:
    return CertificateRefused(
        Step.Chain,
        f"{files.title(current)} was issued by {current.issuer.rfc4514_string()}, whose certificate is not "
        "here; put it into issuers/certs, or into trusted/certs to trust all it issues",
    )
