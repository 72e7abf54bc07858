"""Host names: in certificates, in URLs, of this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from certs.files import PARSE_ERRORS

_LONGEST_URL: Final = 4096


def url_host(url: str | None) -> str | None:
    """The host of a URL as it is compared: in lower case, an address in its one form; None for no URL."""
    if not url or len(url) > _LONGEST_URL:
        return None
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return normal(host) if host else None


def normal(host: str) -> str:
    """A host name in lower case without a closing dot, an address in its one form."""
    plain = host.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(plain.partition("%")[0]))
    except ValueError:
        return plain


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_unspecified(address: str) -> bool:
    """Whether an address to listen on means every address: ``0.0.0.0``, ``::``."""
    return ipaddress.ip_address(address).is_unspecified


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, whatever it is called."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def certificate_hosts(certificate: x509.Certificate) -> frozenset[str]:
    """The names and addresses in a certificate's SubjectAltName (OPC 10000-6 §6.2.2)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*PARSE_ERRORS, x509.ExtensionNotFound):
        return frozenset()
    addresses: Iterable[object] = names.get_values_for_type(x509.IPAddress)
    return frozenset(
        [*map(normal, names.get_values_for_type(x509.DNSName)), *(normal(str(one)) for one in addresses)]
    )
