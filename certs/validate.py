"""Whether a peer's certificate is to be believed (OPC 10000-4 §6.1.3)."""

from __future__ import annotations

import enum
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import files
from certs.chain import Chain, chains
from certs.errors import CertificateError, CertificateRefused, Step
from certs.revocation import FOREVER, Tolerated, check_revocation
from certs.snapshot import TrustSnapshot
from certs.structure import check_certificate, extension

log = logging.getLogger(__name__)


class Usage(enum.Enum):
    """What the peer is to us; the value is the ExtendedKeyUsage it needs where it has any."""

    Client = ExtendedKeyUsageOID.CLIENT_AUTH
    Server = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What a SecurityPolicy asks of the keys and signatures of a chain (OPC 10000-7 §6.6)."""

    min_bits: int = 2048
    max_bits: int = 4096
    hashes: tuple[str, ...] = ("sha256", "sha384", "sha512")


RSA_2048_TO_4096: Final = KeyRules()
"""Of Basic256Sha256, Aes128_Sha256_RsaOaep and Aes256_Sha256_RsaPss alike."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A certificate that passed, with the issuers it was believed for, and until when that holds.

    ``until`` is when the first certificate of the chain or revocation list it needs runs out.
    """

    chain: Chain
    until: datetime

    @property
    def certificate(self) -> x509.Certificate:
        """The peer's own."""
        return self.chain[0]


def _warn(refused: CertificateRefused) -> None:
    log.warning("accepted although the check of the %s failed: %s", refused.step.value, refused)


def validate(
    sent: Sequence[x509.Certificate],
    trust: TrustSnapshot,
    *,
    usage: Usage,
    now: datetime,
    rules: KeyRules = RSA_2048_TO_4096,
    application_uri: str | None = None,
    tolerated: Tolerated = _warn,
) -> x509.Certificate:
    """Check the chain a peer sent, its own certificate first, and return that certificate.

    Trusted is a certificate when it or one of its issuers up to the root is in the trust
    list; every issuer must be at hand, sent or stored, and, unless the trust list says
    otherwise, an up-to-date revocation list of each CA. A self-signed application
    certificate needs none. ``tolerated`` is told what the administrator's choice passes
    over. Without an ``application_uri`` that check is left out: a server hears the URI only
    when a session is created (`check_application_uri`).

    Raises CertificateRefused for the first check that fails.
    """
    return assess(
        sent,
        trust,
        usage=usage,
        now=now,
        rules=rules,
        application_uri=application_uri,
        tolerated=tolerated,
    ).certificate


def assess(
    sent: Sequence[x509.Certificate],
    trust: TrustSnapshot,
    *,
    usage: Usage,
    now: datetime,
    rules: KeyRules = RSA_2048_TO_4096,
    application_uri: str | None = None,
    tolerated: Tolerated = _warn,
) -> Accepted:
    """As `validate`; gives also whom the certificate is believed for and until when.

    Where several ways lead to a root, one that passes is enough; where none does, the
    refusal is that of the way that got furthest.
    """
    for certificate in sent[: files.MAX_CHAIN]:
        _check_structure(certificate)
    worst: CertificateRefused | None = None
    for chain in chains(sent[: files.MAX_CHAIN], trust):
        passed_over: list[CertificateRefused] = []
        try:
            _check_chain(chain, trust, usage=usage, now=now, rules=rules, application_uri=application_uri)
            until = check_revocation(chain, trust, now, passed_over.append)
        except CertificateRefused as refused:
            if worst is None or refused.step.order > worst.step.order:
                worst = refused
            continue
        for failure in passed_over:
            tolerated(failure)
        return Accepted(chain, min(until, *(c.not_valid_after_utc for c in chain), FOREVER))
    raise worst or CertificateRefused(Step.Chain, f"{files.title(sent[0])} leads to no root")


def check_application_uri(certificate: x509.Certificate, application_uri: str | None) -> None:
    """Raises CertificateRefused where the certificate is for another ApplicationUri (OPC 10000-4 §6.1.3)."""
    named = files.application_uri(certificate)
    if not named or named != application_uri:
        raise CertificateRefused(
            Step.ApplicationUri,
            f"the certificate is for the ApplicationUri {named}, but the application calls itself "
            f"{application_uri}",
        )


def _check_structure(certificate: x509.Certificate) -> None:
    try:
        check_certificate(certificate)
    except CertificateError as error:
        raise CertificateRefused(Step.Structure, f"{files.title(certificate)} is {error}") from error


def _check_chain(
    chain: Chain,
    trust: TrustSnapshot,
    *,
    usage: Usage,
    now: datetime,
    rules: KeyRules,
    application_uri: str | None,
) -> None:
    """The checks between the signature and the revocation lists, in the specification's order."""
    leaf, *issuers = chain
    for certificate in chain:
        _check_policy(certificate, rules)
    if trust.anchors.isdisjoint(chain):
        raise CertificateRefused(Step.Trust, f"{files.title(leaf)} is not trusted, nor is any of its issuers")
    _check_validity(leaf, now, Step.Validity)
    for issuer in issuers:
        _check_validity(issuer, now, Step.IssuerValidity)
    if application_uri is not None:
        check_application_uri(leaf, application_uri)
    _check_usage(leaf, usage)
    for depth, issuer in enumerate(issuers):
        _check_issuer(issuer, depth)


def _check_policy(certificate: x509.Certificate, rules: KeyRules) -> None:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise CertificateRefused(Step.Policy, f"{files.title(certificate)} has no RSA key")
    if not rules.min_bits <= key.key_size <= rules.max_bits:
        raise CertificateRefused(
            Step.Policy,
            f"{files.title(certificate)} has a key of {key.key_size} bits; {rules.min_bits} to "
            f"{rules.max_bits} are allowed",
        )
    named = _hash_name(certificate)
    if named not in rules.hashes:
        raise CertificateRefused(
            Step.Policy,
            f"{files.title(certificate)} is signed with {named or 'an unknown algorithm'}; "
            f"{' or '.join(rules.hashes)} is needed",
        )


def _hash_name(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return algorithm.name if algorithm is not None else ""


def _check_validity(certificate: x509.Certificate, now: datetime, step: Step) -> None:
    if now < certificate.not_valid_before_utc:
        raise CertificateRefused(
            step,
            f"{files.title(certificate)} is valid only from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} on",
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateRefused(
            step, f"{files.title(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}"
        )


def _check_usage(certificate: x509.Certificate, usage: Usage) -> None:
    """What an RSA channel does with the key; a certificate that says nothing of its use may be used."""
    key_usage = extension(certificate, x509.KeyUsage)
    if key_usage is not None and not (
        key_usage.digital_signature and (key_usage.key_encipherment or key_usage.data_encipherment)
    ):
        raise CertificateRefused(
            Step.Usage, f"{files.title(certificate)} is neither for signing nor for encrypting"
        )
    extended = extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and not {usage.value, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(extended):
        raise CertificateRefused(
            Step.Usage, f"{files.title(certificate)} is not for use as a {usage.name.lower()}"
        )
    constraints = extension(certificate, x509.BasicConstraints)
    # Older self-signed application certificates say they are a CA, of nothing but themselves.
    own = certificate.subject == certificate.issuer and files.application_uri(certificate) is not None
    if constraints is not None and constraints.ca and not own:
        raise CertificateRefused(
            Step.Usage, f"{files.title(certificate)} is a CA's certificate, not an application's"
        )


def _check_issuer(certificate: x509.Certificate, depth: int) -> None:
    """``depth``: how many CAs stand between it and the application's certificate."""
    constraints = extension(certificate, x509.BasicConstraints)
    key_usage = extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or (key_usage is not None and not key_usage.key_cert_sign):
        raise CertificateRefused(Step.IssuerUsage, f"{files.title(certificate)} may not issue certificates")
    # A self-signed application certificate of older make is marked as a CA: who trusts the
    # application does not mean to trust whatever it might sign.
    if files.application_uri(certificate) is not None:
        raise CertificateRefused(
            Step.IssuerUsage, f"{files.title(certificate)} is an application's certificate, not a CA's"
        )
    if constraints.path_length is not None and depth > constraints.path_length:
        raise CertificateRefused(
            Step.IssuerUsage, f"{files.title(certificate)} may not issue so long a chain"
        )
