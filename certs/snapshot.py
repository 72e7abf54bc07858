"""What a trust list says at one moment, and where to find things in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs import files
from certs.structure import extension

_MAX_KEPT: Final = 256

_Lists = tuple[x509.CertificateRevocationList, ...]


@dataclass(frozen=True)
class TrustSnapshot:
    """A trust list at one moment; never changes, so any number of threads may share it.

    With ``require_crl`` a certificate is accepted only where every CA of its chain has a
    revocation list here that is up to date.
    """

    trusted: tuple[x509.Certificate, ...] = ()
    issuers: tuple[x509.Certificate, ...] = ()
    crls: _Lists = ()
    require_crl: bool = True
    _signed: dict[tuple[x509.Name, bytes], _Lists] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def anchors(self) -> frozenset[x509.Certificate]:
        """The trusted certificates, to look one up."""
        return frozenset(self.trusted)

    @cached_property
    def by_subject(self) -> Mapping[x509.Name, tuple[x509.Certificate, ...]]:
        """Every certificate by its subject, the trusted ones first."""
        found: dict[x509.Name, dict[x509.Certificate, None]] = {}
        for certificate in (*self.trusted, *self.issuers):
            found.setdefault(certificate.subject, {})[certificate] = None
        return {name: tuple(certificates) for name, certificates in found.items()}

    def lists_of(self, issuer: x509.Certificate) -> _Lists:
        """The revocation lists that this very CA signed (RFC 5280 §6.3.3).

        Two CAs may bear one name: what counts is the key. A signature is verified once.
        """
        key = issuer.public_key()
        usage = extension(issuer, x509.KeyUsage)
        if not isinstance(key, rsa.RSAPublicKey) or (usage is not None and not usage.crl_sign):
            return ()
        sought = (issuer.subject, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        lists = self._signed.get(sought)
        if lists is None:
            lists = tuple(c for c in self.crls if c.issuer == issuer.subject and _is_signed_with(key, c))
            if len(self._signed) < _MAX_KEPT:
                self._signed[sought] = lists
        return lists


def _is_signed_with(key: rsa.RSAPublicKey, crl: x509.CertificateRevocationList) -> bool:
    try:
        return crl.is_signature_valid(key)
    except files.PARSE_ERRORS:
        return False
