"""What a certificate or revocation list must be before anything else is asked of it (RFC 5280 §4 and §5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from cryptography import x509

from certs import files
from certs.errors import CertificateError

T = TypeVar("T")
ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

# What limits a certificate and is not understood must not be passed over (RFC 5280 §4.2): no
# name constraints and policy constraints here, for nothing here would keep to them.
_UNDERSTOOD: Final = (
    x509.AuthorityInformationAccess,
    x509.AuthorityKeyIdentifier,
    x509.BasicConstraints,
    x509.CertificatePolicies,
    x509.CRLDistributionPoints,
    x509.ExtendedKeyUsage,
    x509.IssuerAlternativeName,
    x509.KeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
)
_UNDERSTOOD_OF_A_LIST: Final = (
    x509.AuthorityKeyIdentifier,
    x509.CRLNumber,
    x509.DeltaCRLIndicator,
    x509.IssuingDistributionPoint,
)


def check_certificate(certificate: x509.Certificate) -> None:
    """Raises CertificateError where a part makes no sense, or limits it in a way that is not understood."""
    version = _readable(lambda: certificate.version)
    if version is not x509.Version.v3:
        raise CertificateError("not an X.509 v3 certificate")
    for part in (
        lambda: certificate.subject,
        lambda: certificate.issuer,
        lambda: certificate.not_valid_before_utc,
        lambda: certificate.not_valid_after_utc,
        lambda: certificate.signature_algorithm_oid,
        certificate.public_key,
    ):
        _readable(part)
    _check_critical(_readable(lambda: certificate.extensions), _UNDERSTOOD)


def check_list(crl: x509.CertificateRevocationList) -> None:
    """Raises CertificateError where a part makes no sense, or limits it in a way that is not understood."""
    for part in (
        lambda: crl.issuer,
        lambda: crl.last_update_utc,
        lambda: crl.next_update_utc,
        lambda: crl.signature_algorithm_oid,
        lambda: crl.get_revoked_certificate_by_serial_number(0),
    ):
        _readable(part)
    _check_critical(_readable(lambda: crl.extensions), _UNDERSTOOD_OF_A_LIST)


def extension(
    of: x509.Certificate | x509.CertificateRevocationList, kind: type[ExtensionT]
) -> ExtensionT | None:
    """The extension of that kind, None where there is none; ``of`` passed its check."""
    try:
        return of.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it is a CA's certificate (OPC 10000-6 §6.2.2).

    A self-signed application certificate of older make says of itself that it is a CA: it
    has an ApplicationUri, which no CA has.
    """
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca and files.application_uri(certificate) is None


def _readable(read: Callable[[], T]) -> T:
    try:
        return read()
    except files.PARSE_ERRORS as error:
        raise CertificateError(f"malformed: {error}") from error


def _check_critical(extensions: x509.Extensions, understood: tuple[type[x509.ExtensionType], ...]) -> None:
    for found in extensions:
        if found.critical and not isinstance(found.value, understood):
            raise CertificateError(
                f"limited by a critical extension that is not understood: {found.oid.dotted_string}"
            )
