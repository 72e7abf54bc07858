"""Certificates as bytes and files: PEM and DER, names, thumbprints, atomic writes."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.errors import CertificateError, CertificateRefused, Step

PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate or one of its parts raises when its bytes make no sense."""

MAX_CHAIN: Final = 10
"""Certificates in one chain, the leaf included."""

_PEM: Final = b"-----BEGIN "


def read_certificates(data: bytes) -> list[x509.Certificate]:
    """Every certificate of a PEM or DER file. Raises CertificateError where there is none."""
    try:
        if _PEM in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except PARSE_ERRORS as error:
        raise CertificateError(f"not a certificate: {error}") from error


def read_crl(data: bytes) -> x509.CertificateRevocationList:
    """The revocation list of a PEM or DER file. Raises CertificateError where there is none."""
    try:
        return x509.load_pem_x509_crl(data) if _PEM in data else x509.load_der_x509_crl(data)
    except PARSE_ERRORS as error:
        raise CertificateError(f"not a certificate revocation list: {error}") from error


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
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", common_name(certificate)).strip("._")[:64]
    return f"{name or 'unnamed'} [{thumbprint(certificate)}].der"


def write_atomically(path: Path, data: bytes, mode: int) -> None:
    """Write a whole file or nothing, never readable by more than ``mode`` allows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
