"""A self-made application certificate (OPC 10000-6 §6.2.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.hosts import is_address

KEY_SIZE: Final = 3072
"""Bits. The certificate outlives 2030, after which 2048 are no longer held to be enough."""

VALIDITY: Final = timedelta(days=5 * 365)
"""How long a self-made certificate is valid."""

_CLOCK_SKEW: Final = timedelta(hours=24)
"""Valid from the day before: a client whose clock is behind must still get in."""


def make_key(size: int = KEY_SIZE) -> rsa.RSAPrivateKey:
    """A fresh RSA key. Takes up to some seconds: not for the event loop."""
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def self_signed(
    key: rsa.RSAPrivateKey, *, application_uri: str, name: str, hosts: Iterable[str], now: datetime
) -> x509.Certificate:
    """A certificate of this application, signed with its own key.

    The SubjectAltName holds the ApplicationUri first, then every host as DNS name or IP
    address. For client and server use: the same application dials other servers.
    """
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Self-signed"),
        ]
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri)]
    names += [_host(host) for host in dict.fromkeys(hosts)]
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(_EXTENDED_KEY_USAGE, critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    return builder.sign(key, hashes.SHA256())


_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    data_encipherment=True,
    key_agreement=False,
    key_cert_sign=True,  # self-signed: it signs itself, though it is no CA
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_EXTENDED_KEY_USAGE: Final = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)


def _host(host: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
