"""Whether a peer's certificate is to be believed (OPC 10000-4 §6.1.3)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import files
from certs.errors import CertificateRefused, Step
from certs.store import TrustSnapshot

MIN_KEY_SIZE: Final = 2048
MAX_KEY_SIZE: Final = 4096
_WEAK: Final = (hashes.MD5, hashes.SHA1, hashes.SHA224)

T = TypeVar("T")
ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)


class Usage(enum.Enum):
    """What the peer is to us; the value is the ExtendedKeyUsage it needs where it has any."""

    Client = ExtendedKeyUsageOID.CLIENT_AUTH
    Server = ExtendedKeyUsageOID.SERVER_AUTH


def validate(
    sent: Sequence[x509.Certificate], trust: TrustSnapshot, *, usage: Usage, now: datetime
) -> x509.Certificate:
    """Check the chain a peer sent, its own certificate first, and return that certificate.

    Trusted is a certificate when it or one of its issuers up to the root is in the trust
    list; every issuer must be at hand, sent or stored. A revocation list is honoured where
    there is one and not asked for where there is none. The ApplicationUri is checked apart
    (`check_application_uri`): it is not known before the session is created.

    Raises CertificateRefused for the first check that fails.
    """
    leaf = sent[0]
    for certificate in sent[: files.MAX_CHAIN]:
        _check_structure(certificate)
    chain = _build_chain(leaf, (*trust.trusted, *trust.issuers, *sent[1 : files.MAX_CHAIN]))
    for certificate in chain:
        _check_policy(certificate)
    if not any(certificate in trust.trusted for certificate in chain):
        raise CertificateRefused(Step.Trust, f"{_name(leaf)} is not trusted, nor is any of its issuers")
    _check_validity(leaf, now, Step.Validity)
    for issuer in chain[1:]:
        _check_validity(issuer, now, Step.IssuerValidity)
    _check_usage(leaf, usage)
    for depth, issuer in enumerate(chain[1:]):
        _check_issuer(issuer, depth)
    for index, certificate in enumerate(chain[:-1]):
        step = Step.Revoked if index == 0 else Step.IssuerRevoked
        _check_revocation(certificate, chain[index + 1], trust.crls, step)
    return leaf


def check_application_uri(certificate: x509.Certificate, application_uri: str | None) -> None:
    """Raises CertificateRefused where the certificate is for another ApplicationUri (OPC 10000-4 §6.1.3)."""
    named = files.application_uri(certificate)
    if not named or named != application_uri:
        raise CertificateRefused(
            Step.ApplicationUri,
            f"the certificate is for the ApplicationUri {named}, but the application calls itself "
            f"{application_uri}",
        )


def _name(certificate: x509.Certificate) -> str:
    return f"{files.common_name(certificate) or 'a certificate'} ({files.thumbprint(certificate)})"


def _readable(certificate: x509.Certificate, read: Callable[[], T]) -> T:
    """What ``read`` gives; a part that makes no sense fails the structure check."""
    try:
        return read()
    except files.PARSE_ERRORS as error:
        raise CertificateRefused(Step.Structure, f"{_name(certificate)} is malformed: {error}") from error


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return _readable(certificate, lambda: certificate.extensions).get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_structure(certificate: x509.Certificate) -> None:
    if _readable(certificate, lambda: certificate.version) is not x509.Version.v3:
        raise CertificateRefused(Step.Structure, f"{_name(certificate)} is not an X.509 v3 certificate")
    for part in (
        lambda: certificate.subject,
        lambda: certificate.issuer,
        lambda: certificate.not_valid_after_utc,
        lambda: certificate.extensions,
        certificate.public_key,
    ):
        _readable(certificate, part)


def _build_chain(leaf: x509.Certificate, candidates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """From the leaf to a root that signed itself."""
    chain = [leaf]
    while True:
        current = chain[-1]
        if current.subject == current.issuer and _is_signed_by(current, current):
            return chain
        named = [c for c in candidates if c.subject == current.issuer and c != current]
        issuer = next((c for c in named if _is_signed_by(current, c)), None)
        if issuer is None and named:
            raise CertificateRefused(Step.Signature, f"the signature on {_name(current)} is not its issuer's")
        if issuer is None and current.subject == current.issuer:
            raise CertificateRefused(Step.Signature, f"the signature on {_name(current)} is wrong")
        if issuer is None or issuer in chain or len(chain) == files.MAX_CHAIN:
            raise CertificateRefused(
                Step.Chain,
                f"{_name(current)} was issued by {current.issuer.rfc4514_string()}, whose certificate is not "
                "here; put it into issuers/certs, or into trusted/certs to trust all it issues",
            )
        chain.append(issuer)


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*files.PARSE_ERRORS, InvalidSignature):
        return False
    return True


def _check_policy(certificate: x509.Certificate) -> None:
    """RSA of 2048 to 4096 bits, signed with SHA-256 or better, as every policy we offer wants it."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise CertificateRefused(Step.Policy, f"{_name(certificate)} has no RSA key")
    if not MIN_KEY_SIZE <= key.key_size <= MAX_KEY_SIZE:
        raise CertificateRefused(
            Step.Policy,
            f"{_name(certificate)} has a key of {key.key_size} bits; {MIN_KEY_SIZE} to {MAX_KEY_SIZE} are "
            "allowed",
        )
    algorithm = _readable(certificate, lambda: certificate.signature_hash_algorithm)
    if algorithm is None or isinstance(algorithm, _WEAK):
        named = algorithm.name if algorithm is not None else "an unknown algorithm"
        raise CertificateRefused(
            Step.Policy, f"{_name(certificate)} is signed with {named}; SHA-256 is needed"
        )


def _check_validity(certificate: x509.Certificate, now: datetime, step: Step) -> None:
    if now < certificate.not_valid_before_utc:
        raise CertificateRefused(
            step,
            f"{_name(certificate)} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} on",
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateRefused(
            step, f"{_name(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}"
        )


def _check_usage(certificate: x509.Certificate, usage: Usage) -> None:
    """What an RSA channel does with the key; a certificate that says nothing of its use may be used."""
    key_usage = _extension(certificate, x509.KeyUsage)
    if key_usage is not None and not (
        key_usage.digital_signature and (key_usage.key_encipherment or key_usage.data_encipherment)
    ):
        raise CertificateRefused(
            Step.Usage, f"{_name(certificate)} is neither for signing nor for encrypting"
        )
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and not {usage.value, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(extended):
        raise CertificateRefused(Step.Usage, f"{_name(certificate)} is not for use as a {usage.name.lower()}")
    constraints = _extension(certificate, x509.BasicConstraints)
    # Older self-signed application certificates say they are a CA, of nothing but themselves.
    if constraints is not None and constraints.ca and certificate.subject != certificate.issuer:
        raise CertificateRefused(
            Step.Usage, f"{_name(certificate)} is a CA's certificate, not an application's"
        )


def _check_issuer(certificate: x509.Certificate, depth: int) -> None:
    """``depth``: how many CAs stand between it and the application's certificate."""
    constraints = _extension(certificate, x509.BasicConstraints)
    key_usage = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or (key_usage is not None and not key_usage.key_cert_sign):
        raise CertificateRefused(Step.IssuerUsage, f"{_name(certificate)} may not issue certificates")
    # A self-signed application certificate of older make is marked as a CA: who trusts the
    # application does not mean to trust whatever it might sign.
    if files.application_uri(certificate) is not None:
        raise CertificateRefused(
            Step.IssuerUsage, f"{_name(certificate)} is an application's certificate, not a CA's"
        )
    if constraints.path_length is not None and depth > constraints.path_length:
        raise CertificateRefused(Step.IssuerUsage, f"{_name(certificate)} may not issue so long a chain")


def _check_revocation(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: Iterable[x509.CertificateRevocationList],
    step: Step,
) -> None:
    for crl in _lists_of(issuer, crls):
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise CertificateRefused(step, f"{_name(certificate)} was revoked by its issuer")


def _lists_of(
    issuer: x509.Certificate, crls: Iterable[x509.CertificateRevocationList]
) -> Iterator[x509.CertificateRevocationList]:
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return
    for crl in crls:
        if crl.issuer == issuer.subject and crl.is_signature_valid(key):
            yield crl
