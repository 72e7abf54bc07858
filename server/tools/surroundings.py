"""What a tool lends an OPC UA source: the certificate and trust list of the server's data directory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from certs.files import application_uri, read_certificates
from certs.own import CERTIFICATE, CERTIFICATE_PEM, PRIVATE_KEY, load_or_make
from certs.store import TrustList
from server.datadir import DataDirectory
from sources.opcua.security import NeedsSurroundings, Surroundings
from sources.source import Source


def surroundings(data: Path) -> Surroundings:
    """Those of a data directory, if it has a certificate that is good; nothing there is made or replaced.

    Without them only ``security: none`` connects. Raises CertificateError, and OSError.
    """
    pki = DataDirectory(data).pki
    own = pki / "own"
    present = [own / name for name in (CERTIFICATE, CERTIFICATE_PEM) if (own / name).exists()]
    if not present or not (own / PRIVATE_KEY).exists():
        return Surroundings()
    certificate = read_certificates(present[0].read_bytes())[0]
    uri = application_uri(certificate)
    if uri is None or certificate.not_valid_after_utc <= datetime.now(UTC):
        return Surroundings()
    # By its own name, so that there is no reason to make another.
    return Surroundings(load_or_make(pki, application_uri=uri), TrustList(pki))


def settle(source: Source, lent: Surroundings | None) -> Source:
    """Lend them to a source that needs them."""
    if lent is not None and isinstance(source, NeedsSurroundings):
        source.settle(lent)
    return source
