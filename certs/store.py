"""The trust list in the data directory: which certificates are trusted, and which were turned away.

``trusted/certs`` and ``trusted/crl`` hold what is trusted and the revocation lists of
trusted CAs; ``issuers/certs`` and ``issuers/crl`` the CAs that are needed to build a chain
but are not trusted by themselves (OPC 10000-12 §7.8.2). ``rejected`` holds the certificates
that were refused, for a person to look at.

PEM and DER are read, whatever the ending; only hidden files and editors' copies are left
alone. A revocation list is taken from every folder, for its signature says whose it is; a
certificate counts only in a folder of certificates.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs import files, folder
from certs.errors import CertificateError
from certs.folder import Contents, Look, NotNow
from certs.rejected import Rejected
from certs.revocation import kind_of, missing_lists
from certs.snapshot import TrustSnapshot
from certs.structure import is_authority

log = logging.getLogger(__name__)

_MIN_PREFIX: Final = 8

# A change inside a folder shows in the folder's own time, one inside a file does not: so files
# are looked at one by one, but not more often than this, and folders every time.
_LOOK_EVERY: Final = 0.5
# A folder changed so short a time ago may change again without its time doing so.
_SETTLED: Final = 2_000_000_000


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

    @property
    def is_authority(self) -> bool:
        """Whether it is a CA's: what it issues is believed with it."""
        return is_authority(self.certificate)


@dataclass(frozen=True, slots=True)
class StoredList:
    """A revocation list, the file it stands in, and the CA that signed it."""

    path: Path
    crl: x509.CertificateRevocationList
    issuer: x509.Certificate

    @property
    def issuer_name(self) -> str:
        """The CA's common name."""
        return files.common_name(self.issuer)


class TrustList:
    """The folders of one trust list below ``pki``.

    All methods touch the disk: call them off the loop, from as many threads as you like.
    ``require_crl`` says whether every CA needs an up-to-date revocation list
    (OPC 10000-4 §6.1.3 lets the administrator do without).
    """

    def __init__(self, pki: Path, *, require_crl: bool = True) -> None:
        self._own = pki / "own"
        self._trusted = pki / "trusted" / "certs"
        self._trusted_crl = pki / "trusted" / "crl"
        self._issuers = pki / "issuers" / "certs"
        self._issuers_crl = pki / "issuers" / "crl"
        self._rejected = Rejected(pki / "rejected")
        self._lock = threading.Lock()
        self._seen: tuple[Look, ...] | None = None
        self._times: tuple[int, ...] = ()
        self._next_look = 0.0
        self._snapshot = TrustSnapshot(require_crl=require_crl)
        self._not_now = ""
        self.problems: tuple[str, ...] = ()
        """Files that could not be read and are therefore passed over."""

    def prepare(self) -> None:
        """Make the folders that are missing. Raises CertificateError."""
        for path in (*self._folders(), self._rejected.path):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CertificateError(f"{path} cannot be made: {error.strerror}") from error

    def snapshot(self) -> TrustSnapshot:
        """The list as it stands on disk now: the same object as before where no file changed.

        A file that cannot be read is passed over and told in the log, once. While the disk
        cannot be read at all (no file handle left, say), what was read before holds. A file
        that is written over in place is taken up within half a second, all else at once.
        """
        with self._lock:
            times = tuple(_changed(path) for path in self._folders())
            settled = times == self._times and time.time_ns() - max(times) > _SETTLED
            if settled and time.monotonic() < self._next_look:
                return self._snapshot
            try:
                self._look_again()
            except NotNow as error:
                if str(error) != self._not_now:
                    log.warning("%s; what was read before holds", error)
                self._not_now = str(error)
            else:
                self._times, self._not_now = times, ""
                self._next_look = time.monotonic() + _LOOK_EVERY
            return self._snapshot

    def findings(self) -> list[str]:
        """What a person should see to: bad files, expired certificates, CAs without a revocation list."""
        snapshot, now = self.snapshot(), datetime.now(UTC)
        found = [f"{problem}; it is passed over" for problem in self.problems]
        found += [
            f"{files.title(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
            for certificate in dict.fromkeys((*snapshot.trusted, *snapshot.issuers))
            if certificate.not_valid_after_utc < now
        ]
        return found + missing_lists(snapshot, now)

    def missing_for(self, entry: StoredCertificate) -> list[str]:
        """What is missing before that CA's certificates are accepted; nothing for an application's."""
        return missing_lists(self.snapshot(), datetime.now(UTC), entry.certificate)

    def own(self) -> list[StoredCertificate]:
        """This application's own certificate, and the issuers' that follow it."""
        return _stored(folder.read_all(self._own))  # the key that lies there too is passed over

    def trusted(self) -> list[StoredCertificate]:
        """The trusted certificates with their files; what cannot be read is in ``problems``."""
        self.snapshot()
        return _stored(folder.read_all(self._trusted))

    def issuers(self) -> list[StoredCertificate]:
        """The issuers' certificates with their files; what cannot be read is in ``problems``."""
        self.snapshot()
        return _stored(folder.read_all(self._issuers))

    def lists(self) -> list[StoredList]:
        """The revocation lists whose CA is here, with their files."""
        snapshot = self.snapshot()
        authorities = (*snapshot.trusted, *snapshot.issuers)
        found = [entry for path in self._folders() for entry in folder.read_all(path).lists]
        return [
            StoredList(path, crl, signer)
            for path, crl in found
            if (signer := _signer(crl, authorities)) is not None
        ]

    def rejected(self) -> list[StoredCertificate]:
        """The refused certificates, the newest first."""
        return [StoredCertificate(path, certificate) for path, certificate in self._rejected.entries()]

    def reject(self, certificate: x509.Certificate) -> Path | None:
        """Keep a refused certificate for a person to look at; None where it is not kept."""
        return self._rejected.keep(certificate)

    def trust(self, what: str | Path) -> StoredCertificate:
        """Trust a certificate: a file that holds one, or a refused one named by how its thumbprint begins.

        With a CA's certificate all it issues is trusted. Raises CertificateError, whose text
        says what would do.
        """
        return self._take(what, self._trusted)

    def add_issuer(self, what: str | Path) -> StoredCertificate:
        """Put a CA's certificate among the issuers: chains are built with it, it is not trusted for it.

        Named as for `trust`. Raises CertificateError.
        """
        return self._take(what, self._issuers, authority=True)

    def distrust(self, thumbprint: str) -> StoredCertificate:
        """Move a trusted certificate to the refused ones. Raises CertificateError."""
        trusted = self.trusted()
        chosen = _by_thumbprint(trusted, thumbprint)
        paths = {entry.path for entry in trusted if entry.certificate == chosen.certificate}
        for entry in trusted:
            if entry.path in paths and entry.certificate != chosen.certificate:
                raise CertificateError(f"{entry.path} holds others too; take it out of that file by hand")
        kept = _write(
            self._rejected.path / files.file_name(chosen.certificate), files.der(chosen.certificate)
        )
        for path in paths:
            path.unlink(missing_ok=True)
        return StoredCertificate(kept, chosen.certificate)

    def add_list(self, file: Path) -> list[StoredList]:
        """Put the revocation lists of a file in place, each beside the CA that signed it.

        A list takes the place of its CA's older one. Raises CertificateError where the CA is
        not here, and where the list here is newer.
        """
        lists = folder.read_file(file).lists
        if not lists:
            raise CertificateError(f"{file} holds no revocation list")
        snapshot = self.snapshot()
        authorities = (*snapshot.trusted, *snapshot.issuers)
        signed = [(crl, _signer(crl, authorities)) for _, crl in lists]
        for crl, signer in signed:
            if signer is None:
                raise CertificateError(
                    f"{file} is not signed by a CA of this trust list; add the certificate of "
                    f"{crl.issuer.rfc4514_string()} first"
                )
        return [self._put_list(crl, signer) for crl, signer in signed if signer is not None]

    def _put_list(self, crl: x509.CertificateRevocationList, signer: x509.Certificate) -> StoredList:
        path = self._trusted_crl if signer in self._snapshot.anchors else self._issuers_crl
        path /= files.list_file_name(signer, kind_of(crl))
        for here in self.lists():
            if here.path == path and here.crl.last_update_utc > crl.last_update_utc:
                raise CertificateError(
                    f"the list of {files.common_name(signer)} that is here is newer: of "
                    f"{here.crl.last_update_utc:%Y-%m-%d %H:%M}, not of {crl.last_update_utc:%Y-%m-%d %H:%M}"
                )
        return StoredList(_write(path, crl.public_bytes(Encoding.DER)), crl, signer)

    def _take(self, what: str | Path, into: Path, *, authority: bool = False) -> StoredCertificate:
        file = Path(what)
        is_file = isinstance(what, Path) or file.is_file()
        chosen = _from_file(file) if is_file else _by_thumbprint(self.rejected(), str(what))
        if authority and not chosen.is_authority:
            raise CertificateError(f"{files.title(chosen.certificate)} is not a CA's certificate")
        path = _write(into / files.file_name(chosen.certificate), files.der(chosen.certificate))
        self._rejected.discard(chosen.certificate)
        return StoredCertificate(path, chosen.certificate)

    def _folders(self) -> tuple[Path, ...]:
        return (self._trusted, self._trusted_crl, self._issuers, self._issuers_crl)

    def _look_again(self) -> None:
        """Read the folders again where something changed. Raises NotNow."""
        seen = tuple(folder.look(path) for path in self._folders())
        if seen == self._seen:
            return
        trusted, trusted_crl, issuers, issuers_crl = found = [
            folder.read(path, look) for path, look in zip(self._folders(), seen, strict=True)
        ]
        trusted_crl.only_lists(self._trusted)
        issuers_crl.only_lists(self._issuers)
        self._snapshot = TrustSnapshot(
            trusted=tuple(certificate for _, certificate in trusted.certificates),
            issuers=tuple(certificate for _, certificate in issuers.certificates),
            crls=tuple(crl for contents in found for _, crl in contents.lists),
            require_crl=self._snapshot.require_crl,
        )
        problems = tuple(problem for contents in found for problem in contents.problems)
        for problem in problems:
            if problem not in self.problems:
                log.error("%s; it is passed over", problem)
        self.problems = problems
        self._seen = seen


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _stored(contents: Contents) -> list[StoredCertificate]:
    return [StoredCertificate(path, certificate) for path, certificate in contents.certificates]


def _write(path: Path, data: bytes) -> Path:
    try:
        files.write_atomically(path, data, 0o644)
    except OSError as error:
        raise CertificateError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _signer(
    crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    alone = TrustSnapshot(crls=(crl,))
    return next((c for c in authorities if c.subject == crl.issuer and alone.lists_of(c)), None)


def _from_file(path: Path) -> StoredCertificate:
    found = folder.read_file(path).certificates
    if len(found) != 1:
        raise CertificateError(f"{path} holds {len(found)} certificates; name a file that holds one")
    return StoredCertificate(*found[0])


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
