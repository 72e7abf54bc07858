"""The application's own key and certificate: loaded, or made where there is none.

They lie in ``pki/own``: ``certificate.der`` (or ``certificate.pem``, which may go on with
the issuers' certificates) and ``private-key.pem``. ``self-made`` holds the thumbprints of
the certificates this module made: only those are ever replaced. A certificate that a
user or a CA put there is never touched.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certs import files
from certs.errors import CertificateError, CertificateFileError
from certs.hosts import default_application_uri, own_hosts
from certs.issue import KEY_SIZE, make_key, self_signed

log = logging.getLogger(__name__)

EXPIRES_SOON: Final = timedelta(days=90)
"""From then on every start warns."""

CERTIFICATE: Final = "certificate.der"
CERTIFICATE_PEM: Final = "certificate.pem"
PRIVATE_KEY: Final = "private-key.pem"
SELF_MADE: Final = "self-made"


@dataclass(frozen=True, slots=True)
class ApplicationIdentity:
    """What this application proves itself with. ``issuers`` follow the certificate in its chain."""

    application_uri: str
    certificate: x509.Certificate
    private_key: rsa.RSAPrivateKey
    issuers: tuple[x509.Certificate, ...] = ()
    self_made: bool = True

    @property
    def der(self) -> bytes:
        """The certificate as DER."""
        return files.der(self.certificate)

    @property
    def thumbprint(self) -> str:
        """The certificate's SHA-1 in upper-case hex."""
        return files.thumbprint(self.certificate)


def load_or_make(
    pki: Path,
    *,
    application_uri: str | None = None,
    common_name: str = "Isthmus",
    hosts: Iterable[str] = (),
    key_size: int = KEY_SIZE,
    now: datetime | None = None,
) -> ApplicationIdentity:
    """The identity in ``pki/own``; makes key and certificate where both are missing.

    The ApplicationUri is ``urn:<host name>:isthmus`` where none is given.

    A self-made certificate is replaced (keeping its key) when it names another
    ApplicationUri, lacks one of ``hosts``, or has expired: no client would accept it any
    more. Names and addresses that this machine merely got in the meantime are told in the
    log and left alone, for every client must trust a new certificate anew.

    Takes up to some seconds when a key is made: not for the event loop.
    Raises CertificateFileError when a file is broken, or a user's own certificate does not fit.
    """
    moment = now or datetime.now(UTC)
    own = _Own(pki / "own")
    uri = application_uri or default_application_uri()
    wanted = tuple(dict.fromkeys(hosts))
    found = own.certificates()
    if found is None:
        key = own.key() if own.has_key() else own.make_key(key_size)
        return own.issue(key, uri, common_name, (*own_hosts(), *wanted), moment)
    certificate, *issuers = found
    self_made = own.made(certificate)
    key = own.matching_key(certificate)
    reason = _why_replace(certificate, uri, wanted, moment)
    if reason is not None and self_made:
        log.warning("%s; made a new one, which every client has to trust again", reason)
        return own.issue(key, uri, common_name, (*own_hosts(), *wanted), moment)
    if reason is not None:
        raise CertificateFileError(
            f"{own.certificate_path}: {reason}. It was not made by this program, so it is left alone: put a "
            f"fitting certificate there, or remove it and {PRIVATE_KEY} to have one made"
        )
    _tell_weaknesses(own.certificate_path, certificate, moment)
    return ApplicationIdentity(uri, certificate, key, tuple(issuers), self_made)


def _why_replace(
    certificate: x509.Certificate, application_uri: str, hostnames: Iterable[str], now: datetime
) -> str | None:
    named = files.application_uri(certificate)
    if named != application_uri:
        return f"the certificate is for the ApplicationUri {named}, not {application_uri}"
    if certificate.not_valid_after_utc <= now:
        return f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    missing = [host for host in hostnames if host.lower() not in _hosts(certificate)]
    if missing:
        return f"the certificate lacks the host names {', '.join(missing)}"
    return None


def _tell_weaknesses(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_after_utc - now < EXPIRES_SOON:
        log.warning(
            "%s expires on %s; replace it (or remove it to have a new one made) while clients can be told",
            path,
            f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        )
    missing = [host for host in own_hosts() if host not in _hosts(certificate)]
    if missing:
        log.info(
            "the certificate does not name %s; a client that connects by one of these and checks host names "
            "will refuse it. List them under `hostnames` to have a new one made",
            ", ".join(missing),
        )


def _hosts(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*files.PARSE_ERRORS, x509.ExtensionNotFound):
        return frozenset()
    dns = names.get_values_for_type(x509.DNSName)
    return frozenset(
        [*(n.lower() for n in dns), *(str(a) for a in names.get_values_for_type(x509.IPAddress))]
    )


class _Own:
    """The folder ``pki/own``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = folder / PRIVATE_KEY
        self.certificate_path = folder / CERTIFICATE

    def certificates(self) -> list[x509.Certificate] | None:
        """The certificate and what follows it, or None where there is no file."""
        present = [p for p in (self._folder / CERTIFICATE, self._folder / CERTIFICATE_PEM) if p.exists()]
        if not present:
            return None
        if len(present) == 2:
            raise CertificateFileError(
                f"{self._folder} holds both {CERTIFICATE} and {CERTIFICATE_PEM}; keep the one that is meant"
            )
        self.certificate_path = present[0]
        data = _read(self.certificate_path)
        try:
            return files.read_certificates(data)
        except CertificateError as error:
            raise CertificateFileError(
                f"{self.certificate_path} is broken ({error}). Restore it from a copy, or remove it to have "
                "a new one made, which every client then has to trust again"
            ) from error

    def made(self, certificate: x509.Certificate) -> bool:
        """Whether this module made that certificate."""
        return files.thumbprint(certificate) in self._made()

    def _made(self) -> list[str]:
        marker = self._folder / SELF_MADE
        return _read(marker).decode("ascii", "replace").split() if marker.exists() else []

    def has_key(self) -> bool:
        """Whether there is a key file."""
        return self._key.exists()

    def key(self) -> rsa.RSAPrivateKey:
        """The private key. Raises CertificateFileError."""
        advice = (
            f"Restore it from a copy, or remove {PRIVATE_KEY} and the certificate beside it to have both "
            "made anew, which every client then has to trust again"
        )
        try:
            loaded = load_pem_private_key(_read(self._key), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            reason = "it needs a password" if isinstance(error, TypeError) else "it is not a PEM private key"
            raise CertificateFileError(f"{self._key} cannot be used: {reason}. {advice}") from error
        if not isinstance(loaded, rsa.RSAPrivateKey) or not 2048 <= loaded.key_size <= 4096:
            raise CertificateFileError(
                f"{self._key} cannot be used: not an RSA key of 2048 to 4096 bits. {advice}"
            )
        if stat.S_IMODE(self._key.stat().st_mode) & 0o077:
            self._close_to_others()
        return loaded

    def _close_to_others(self) -> None:
        """A key that others may read is taken from them, and told: they may have read it."""
        try:
            self._key.chmod(0o600)
        except OSError as error:
            raise CertificateFileError(
                f"{self._key} can be read by other users of this machine; chmod 600 it ({error.strerror})"
            ) from error
        log.warning(
            "%s could be read by other users of this machine until now; if they may, replace it", self._key
        )

    def matching_key(self, certificate: x509.Certificate) -> rsa.RSAPrivateKey:
        """The private key of that certificate. Raises CertificateFileError."""
        if not self.has_key():
            raise CertificateFileError(
                f"{self.certificate_path} has no key: {self._key} is missing. Restore it from a copy, or "
                "remove the certificate to have both made anew"
            )
        key = self.key()
        try:
            fits = certificate.public_key() == key.public_key()
        except files.PARSE_ERRORS:
            fits = False
        if not fits:
            raise CertificateFileError(
                f"{self._key} is not the key of {self.certificate_path}. Put the right pair there, or remove "
                "both to have them made anew"
            )
        return key

    def make_key(self, size: int) -> rsa.RSAPrivateKey:
        """A new key, stored 0600."""
        key = make_key(size)
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(self._key, data, 0o600)
        return key

    def issue(
        self, key: rsa.RSAPrivateKey, application_uri: str, name: str, hosts: Iterable[str], now: datetime
    ) -> ApplicationIdentity:
        """A new certificate for that key, stored in place of the former."""
        try:
            made = self_signed(key, application_uri=application_uri, name=name, hosts=hosts, now=now)
        except ValueError as error:
            raise CertificateFileError(
                f"no certificate can be made for {application_uri}: {error}. ApplicationUri and host names "
                "must be plain ASCII"
            ) from error
        # The marker first, and with the former one kept: whichever of the two certificates
        # a crash between the writes leaves behind, it is known as ours.
        thumbprints = [*self._made()[-1:], files.thumbprint(made)]
        _write(self._folder / SELF_MADE, "\n".join(thumbprints).encode("ascii"), 0o644)
        _write(self._folder / CERTIFICATE, files.der(made), 0o644)
        log.info(
            "made the application certificate %s, valid until %s",
            self._folder / CERTIFICATE,
            f"{made.not_valid_after_utc:%Y-%m-%d}",
        )
        return ApplicationIdentity(application_uri, made, key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateFileError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        files.write_atomically(path, data, mode)
    except OSError as error:
        raise CertificateFileError(f"{path} cannot be written: {error.strerror}") from error
