"""The trust list in the data directory: which certificates are trusted, and which were turned away.

``trusted/certs`` and ``trusted/crl`` hold what is trusted and the revocation lists of
trusted CAs; ``issuers/certs`` and ``issuers/crl`` the CAs that are needed to build a chain
but are not trusted by themselves (OPC 10000-12 §7.8.2). ``rejected`` holds the certificates
that were refused, for a person to look at. PEM and DER are read, whatever the ending.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509

from certs import files
from certs.errors import CertificateError

log = logging.getLogger(__name__)

MAX_REJECTED: Final = 100
"""So many of the newest refused certificates are kept."""

_MAX_FILE: Final = 1 << 20
_MIN_PREFIX: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate and the file it stands in."""

    path: Path
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """The SHA-1 in upper-case hex."""
        return files.thumbprint(self.certificate)

    @property
    def name(self) -> str:
        """The subject's common name."""
        return files.common_name(self.certificate)

    @property
    def application_uri(self) -> str | None:
        """The ApplicationUri it is for."""
        return files.application_uri(self.certificate)


@dataclass(frozen=True, slots=True)
class TrustSnapshot:
    """What the trust list said at one moment."""

    trusted: tuple[x509.Certificate, ...] = ()
    issuers: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()


class TrustList:
    """The folders of one trust list below ``pki``. All methods touch the disk: call them off the loop."""

    def __init__(self, pki: Path) -> None:
        self._own = pki / "own"
        self._trusted = pki / "trusted" / "certs"
        self._trusted_crl = pki / "trusted" / "crl"
        self._issuers = pki / "issuers" / "certs"
        self._issuers_crl = pki / "issuers" / "crl"
        self._rejected = pki / "rejected"
        self._seen: object = None
        self._snapshot = TrustSnapshot()
        self.problems: tuple[str, ...] = ()
        """Files that could not be read and are therefore passed over."""

    def prepare(self) -> None:
        """Make the folders that are missing. Raises CertificateError."""
        for folder in (*self._folders(), self._rejected):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CertificateError(f"{folder} cannot be made: {error.strerror}") from error

    def snapshot(self) -> TrustSnapshot:
        """The list as it stands on disk now; read again only when a file changed.

        A file that cannot be read is passed over and told in the log, once.
        """
        seen = [_look(folder) for folder in self._folders()]
        if seen != self._seen:
            problems: list[str] = []
            self._snapshot = TrustSnapshot(
                trusted=tuple(c for s in self._stored(self._trusted, problems) for c in s),
                issuers=tuple(c for s in self._stored(self._issuers, problems) for c in s),
                crls=tuple(
                    crl
                    for folder in (self._trusted_crl, self._issuers_crl)
                    for _, crl in _read_all(folder, files.read_crl, problems)
                ),
            )
            for problem in problems:
                if problem not in self.problems:
                    log.error("%s; it is passed over", problem)
            self.problems = tuple(problems)
            self._seen = seen
        return self._snapshot

    def own(self) -> list[StoredCertificate]:
        """This application's own certificate, and the issuers' that follow it."""
        return _list(self._own)  # the key that lies there too is no certificate and passed over

    def trusted(self) -> list[StoredCertificate]:
        """The trusted certificates with their files; what cannot be read is in ``problems``."""
        self.snapshot()
        return _list(self._trusted)

    def issuers(self) -> list[StoredCertificate]:
        """The issuers' certificates with their files; what cannot be read is in ``problems``."""
        self.snapshot()
        return _list(self._issuers)

    def rejected(self) -> list[StoredCertificate]:
        """The refused certificates, the newest first."""
        entries = _list(self._rejected)
        times = {entry.path: _modified(entry.path) for entry in entries}
        return sorted(entries, key=lambda entry: times[entry.path], reverse=True)

    def reject(self, certificate: x509.Certificate) -> Path | None:
        """Keep a refused certificate for a person to look at; None where the disk refuses.

        Of more than `MAX_REJECTED` the oldest go. Anybody can fill this folder, nobody beyond that.
        """
        path = self._rejected / files.file_name(certificate)
        try:
            if path.exists():
                path.touch()
            else:
                files.write_atomically(path, files.der(certificate), 0o644)
            kept = sorted(self._rejected.glob("[!.]*"), key=_modified, reverse=True)
            for old in kept[MAX_REJECTED:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the refused certificate %s cannot be kept: %s", path.name, error.strerror)
            return None
        return path

    def trust(self, what: str | Path) -> StoredCertificate:
        """Trust a certificate: a file that holds one, or a refused one named by how its thumbprint begins.

        Raises CertificateError, whose text says what would do.
        """
        file = Path(what)
        is_file = isinstance(what, Path) or file.is_file()
        chosen = _from_file(file) if is_file else _by_thumbprint(self.rejected(), str(what))
        path = self._move(chosen, self._trusted)
        for entry in self.rejected():
            if entry.certificate == chosen.certificate:
                entry.path.unlink(missing_ok=True)
        return StoredCertificate(path, chosen.certificate)

    def distrust(self, thumbprint: str) -> StoredCertificate:
        """Move a trusted certificate to the refused ones. Raises CertificateError."""
        chosen = _by_thumbprint(self.trusted(), thumbprint)
        path = self._move(chosen, self._rejected)
        for entry in self.trusted():
            if entry.certificate == chosen.certificate:
                entry.path.unlink(missing_ok=True)
        return StoredCertificate(path, chosen.certificate)

    def _folders(self) -> tuple[Path, ...]:
        return (self._trusted, self._trusted_crl, self._issuers, self._issuers_crl)

    @staticmethod
    def _stored(folder: Path, problems: list[str]) -> list[list[x509.Certificate]]:
        return [found for _, found in _read_all(folder, files.read_certificates, problems)]

    @staticmethod
    def _move(chosen: StoredCertificate, folder: Path) -> Path:
        path = folder / files.file_name(chosen.certificate)
        try:
            files.write_atomically(path, files.der(chosen.certificate), 0o644)
        except OSError as error:
            raise CertificateError(f"{path} cannot be written: {error.strerror}") from error
        return path


def _look(folder: Path) -> list[tuple[str, int, int]]:
    """What tells whether a folder changed."""
    try:
        with os.scandir(folder) as entries:
            looks = [(e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in entries if e.is_file()]
    except OSError:
        return []
    return sorted(looks)


def _read_all(folder: Path, read: Callable[[bytes], T], problems: list[str]) -> list[tuple[Path, T]]:
    found: list[tuple[Path, T]] = []
    for name, _time, size in _look(folder):
        path = folder / name
        if name.startswith("."):
            continue
        if size > _MAX_FILE:
            problems.append(f"{path} is too large for a certificate")
            continue
        try:
            found.append((path, read(path.read_bytes())))
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        except CertificateError as error:
            problems.append(f"{path} is {error}")
    return found


def _list(folder: Path) -> list[StoredCertificate]:
    found = _read_all(folder, files.read_certificates, [])
    return [StoredCertificate(path, certificate) for path, several in found for certificate in several]


def _from_file(path: Path) -> StoredCertificate:
    try:
        certificates = files.read_certificates(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except CertificateError as error:
        raise CertificateError(f"{path} is {error}") from error
    if len(certificates) != 1:
        raise CertificateError(f"{path} holds {len(certificates)} certificates; name a file that holds one")
    return StoredCertificate(path, certificates[0])


def _by_thumbprint(entries: Sequence[StoredCertificate], wanted: str) -> StoredCertificate:
    prefix = wanted.replace(":", "").replace(" ", "").upper()
    if len(prefix) < _MIN_PREFIX:
        raise CertificateError(f"{wanted!r} is too short; give at least {_MIN_PREFIX} digits of a thumbprint")
    matches = {entry.thumbprint: entry for entry in entries if entry.thumbprint.startswith(prefix)}
    if len(matches) > 1:
        raise CertificateError(f"{wanted} fits {len(matches)} certificates; give more digits")
    if not matches:
        raise CertificateError(f"no certificate has the thumbprint {wanted}")
    return next(iter(matches.values()))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
