"""Certificates as tests need them: good ones, and ones with exactly one thing wrong."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime.now(UTC).replace(microsecond=0)


Hash = hashes.SHA224 | hashes.SHA256


def key(number: int = 0, size: int = 2048) -> rsa.RSAPrivateKey:
    """Key number so-and-so; the same one every time, for making keys is slow."""
    return _key(number, size)


@functools.cache
def _key(_number: int, size: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


@dataclass(frozen=True)
class Ca:
    """A certificate authority."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    def revoke(
        self,
        *certificates: x509.Certificate,
        start: timedelta = timedelta(hours=-1),
        end: timedelta = timedelta(days=30),
        extra: Sequence[x509.ExtensionType] = (),
        reason: x509.ReasonFlags | None = None,
    ) -> x509.CertificateRevocationList:
        """A revocation list; without certificates one that says nobody is revoked."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW + start)
            .next_update(NOW + end)
        )
        for extension in extra:
            builder = builder.add_extension(extension, critical=True)
        for certificate in certificates:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(NOW - timedelta(hours=2))
            )
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def usage(*, sign: bool = True, encipher: bool = True, certify: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=sign,
        key_encipherment=encipher,
        data_encipherment=encipher,
        key_agreement=False,
        key_cert_sign=certify,
        crl_sign=certify,
        encipher_only=False,
        decipher_only=False,
    )


def application(  # noqa: PLR0913  # each argument is one thing that can be wrong
    common: str = "Client",
    *,
    uri: str = "urn:test:client",
    private: rsa.RSAPrivateKey | None = None,
    issuer: Ca | None = None,
    start: timedelta = timedelta(days=-1),
    end: timedelta = timedelta(days=365),
    algorithm: Hash | None = None,
    key_usage: x509.KeyUsage | None = None,
    extended: ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ca: bool = False,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    own = private or key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(issuer.certificate.subject if issuer else name(common))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + start)
        .not_valid_after(NOW + end)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier(uri),
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(key_usage or usage(certify=issuer is None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
    )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer.key if issuer else own, algorithm or hashes.SHA256())


def authority(  # as application
    common: str = "Plant CA",
    *,
    private: rsa.RSAPrivateKey | None = None,
    issuer: Ca | None = None,
    end: timedelta = timedelta(days=3650),
    ca: bool = True,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Ca:
    own = private or key(1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(issuer.certificate.subject if issuer else name(common))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True)
        .add_extension(key_usage or usage(sign=False, encipher=False, certify=True), critical=True)
    )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return Ca(builder.sign(issuer.key if issuer else own, hashes.SHA256()), own)


def key_ids(own: rsa.RSAPrivateKey, issuer: rsa.RSAPrivateKey) -> list[tuple[x509.ExtensionType, bool]]:
    """Whose key a certificate has, and whose signed it."""
    return [
        (x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False),
    ]


def crl_der(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(Encoding.DER)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def key_pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(folder: Path, certificate: x509.Certificate, private: rsa.RSAPrivateKey) -> tuple[Path, Path]:
    """Certificate and key as PEM files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(pem(certificate))
    paths[1].write_bytes(key_pem(private))
    return paths
