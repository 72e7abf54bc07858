"""Certificates as bytes and files: PEM and DER, names, thumbprints, atomic writes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from certs.errors import CertificateError, CertificateRefused, Step

PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What reading a certificate or one of its parts raises when its bytes make no sense.

The warning is of what RFC 5280 forbids, such as a serial number that is not positive; it is raised where
warnings are errors.
"""

MAX_CHAIN: Final = 10
"""Certificates in one chain, the leaf included."""

_PEM: Final = b"-----BEGIN "
_PEM_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_PEM_LIST: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def read_certificates(data: bytes) -> list[x509.Certificate]:
    """Every certificate of a PEM or DER file. Raises CertificateError where there is none."""
    try:
        if _PEM in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except PARSE_ERRORS as error:
        raise CertificateError(f"not a certificate: {error}") from error


def read_objects(data: bytes) -> tuple[list[x509.Certificate], list[x509.CertificateRevocationList]]:
    """Every certificate and every revocation list of a PEM or DER file; what it is, its bytes say.

    Raises CertificateError where there is neither.
    """
    try:
        if _PEM not in data:
            return _read_der(data)
        certificates = x509.load_pem_x509_certificates(data) if _PEM_CERTIFICATE.search(data) else []
        lists = [x509.load_pem_x509_crl(block) for block in _PEM_LIST.findall(data)]
    except PARSE_ERRORS as error:
        raise CertificateError(f"neither a certificate nor a revocation list: {error}") from error
    if not certificates and not lists:
        raise CertificateError("neither a certificate nor a revocation list")
    return certificates, lists


def _read_der(data: bytes) -> tuple[list[x509.Certificate], list[x509.CertificateRevocationList]]:
    try:
        return [x509.load_der_x509_certificate(data)], []
    except PARSE_ERRORS as no_certificate:
        try:
            return [], [x509.load_der_x509_crl(data)]
        except PARSE_ERRORS:
            raise no_certificate from None


def read_chain(data: bytes) -> list[x509.Certificate]:
    """The certificates a peer sends: one DER after the other, its own first (OPC 10000-6 §6.2.6).

    Raises CertificateRefused (Structure).
    """
    chain: list[x509.Certificate] = []
    rest = data
    while rest:
        if len(chain) == MAX_CHAIN:
            raise CertificateRefused(Step.Structure, f"more than {MAX_CHAIN} certificates in one chain")
        size = _der_size(rest)
        try:
            chain.append(x509.load_der_x509_certificate(rest[:size]))
        except PARSE_ERRORS as error:
            raise CertificateRefused(Step.Structure, f"not a certificate: {error}") from error
        rest = rest[size:]
    if not chain:
        raise CertificateRefused(Step.Structure, "no certificate was sent")
    return chain


def _der_size(data: bytes) -> int:
    """The length of the DER sequence that ``data`` starts with."""
    if len(data) < 2 or data[0] != 0x30:
        raise CertificateRefused(Step.Structure, "not a certificate: no DER sequence")
    if data[1] < 0x80:
        return 2 + data[1]
    octets = data[1] & 0x7F
    size = 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")
    if not 1 <= octets <= 4 or size > len(data):
        raise CertificateRefused(Step.Structure, "not a certificate: its DER length is wrong")
    return size


def der(certificate: x509.Certificate) -> bytes:
    """The certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def thumbprint(certificate: x509.Certificate) -> str:
    """The SHA-1 of the DER in upper-case hex: OPC UA's name for a certificate (OPC 10000-6 §6.7.2.3)."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303  # prescribed, and a name only


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name, empty where it has none."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except PARSE_ERRORS:
        return ""
    return str(names[0].value) if names else ""


def title(certificate: x509.Certificate) -> str:
    """Common name and thumbprint, as a message names a certificate."""
    return f"{common_name(certificate) or 'a certificate'} ({thumbprint(certificate)})"


def application_uri(certificate: x509.Certificate) -> str | None:
    """The first URI of the SubjectAltName: the ApplicationUri (OPC 10000-6 §6.2.2)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*PARSE_ERRORS, x509.ExtensionNotFound):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else None


def file_name(certificate: x509.Certificate) -> str:
    """Common name and thumbprint: what a certificate is called in every folder of the trust list."""
    return f"{_plain(common_name(certificate)) or 'unnamed'} [{thumbprint(certificate)}].der"


def list_file_name(issuer: x509.Certificate, kind: str = "") -> str:
    """What the list of a CA is called: one name a key, so that a new list takes the old one's place."""
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = _plain(common_name(issuer)) or "unnamed"
    return f"{name} [{hashlib.sha256(spki).hexdigest()[:40].upper()}]{kind and f' {kind}'}.crl"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:64]


def write_atomically(path: Path, data: bytes, mode: int, *, durable: bool = True) -> None:
    """Write a whole file or nothing, never readable by more than ``mode`` allows.

    Not ``durable`` is what may be lost with the power: the disk is not waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
