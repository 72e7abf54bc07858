"""A folder of certificates and revocation lists: what lies in it, and whether that changed."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from certs import files
from certs.errors import CertificateError
from certs.structure import check_certificate, check_list

MAX_FILE: Final = 8 << 20
"""Bytes of a file that is read: the revocation list of a large CA has a few million."""

NO_FILE: Final = -1
"""The size of what is no file: a folder, a link to nowhere."""

Look = tuple[tuple[str, int, int, int], ...]
"""Names, times, sizes and file numbers: the same where nothing changed."""

# Of the machine, not of the file: what was known before is better than nothing.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EINTR})

# What editors, downloads and copies in progress leave beside the file that is meant.
_ASIDE: Final = (".bak", ".orig", ".part", ".swo", ".swp", ".tmp", "~")


class NotNow(Exception):
    """The disk cannot be read at the moment; its text says why."""


@dataclass(slots=True)
class Contents:
    """What was found, with the files it stood in; ``problems`` has a sentence for each bad file."""

    certificates: list[tuple[Path, x509.Certificate]] = field(default_factory=list)
    lists: list[tuple[Path, x509.CertificateRevocationList]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def only_lists(self, instead: Path) -> None:
        """Pass over the certificates, for nobody is trusted for lying in a folder of lists."""
        for path in dict.fromkeys(path for path, _ in self.certificates):
            self.problems.append(
                f"{path} is a certificate among the revocation lists; it belongs in {instead}"
            )
        self.certificates.clear()


def is_aside(name: str) -> bool:
    """Whether a file is not meant to be read: hidden, or an editor's copy."""
    return name.startswith((".", "#")) or name.endswith(_ASIDE)


def look(folder: Path) -> Look:
    """What tells whether a folder changed; empty where it cannot be read. Raises NotNow."""
    try:
        with os.scandir(folder) as entries:
            looks = [_look_at(entry) for entry in entries if not is_aside(entry.name)]
    except OSError as error:
        _passing(folder, error)
        return ()
    return tuple(sorted(seen for seen in looks if seen is not None))


def _look_at(entry: os.DirEntry[str]) -> tuple[str, int, int, int] | None:
    try:
        if not entry.is_file():
            return (entry.name, 0, NO_FILE, 0)
        found = entry.stat()
    except FileNotFoundError:  # gone since
        return None
    except OSError as error:  # a link in a circle, say: one file never hides the others
        _passing(Path(entry.path), error)
        return (entry.name, 0, NO_FILE, 0)
    return entry.name, max(found.st_mtime_ns, found.st_ctime_ns), found.st_size, found.st_ino


def read(folder: Path, seen: Look) -> Contents:
    """Read the files of one look, PEM and DER, whatever their endings. Raises NotNow."""
    contents = Contents()
    for name, _time, size, _number in seen:
        path = folder / name
        if size == NO_FILE:
            contents.problems.append(f"{path} is no file; it is passed over")
            continue
        if size > MAX_FILE:
            contents.problems.append(f"{path} is larger than {MAX_FILE >> 20} MiB")
            continue
        try:
            found = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            _passing(path, error)
            contents.problems.append(f"{path} cannot be read: {error.strerror}")
        except CertificateError as error:
            contents.problems.append(f"{path} is {error}")
        else:
            contents.certificates += found.certificates
            contents.lists += found.lists
    return contents


def read_all(folder: Path) -> Contents:
    """What lies in a folder now; nothing where the disk cannot be read."""
    try:
        return read(folder, look(folder))
    except NotNow as error:
        return Contents(problems=[str(error)])


def read_file(path: Path) -> Contents:
    """One file that a person named. Raises CertificateError where it is bad."""
    try:
        return _read(path)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except CertificateError as error:
        raise CertificateError(f"{path} is {error}") from error


def _read(path: Path) -> Contents:
    certificates, lists = files.read_objects(path.read_bytes())
    for certificate in certificates:
        check_certificate(certificate)
    for crl in lists:
        check_list(crl)
    return Contents([(path, c) for c in certificates], [(path, c) for c in lists])


def _passing(path: Path, error: OSError) -> None:
    if error.errno in _PASSING:
        raise NotNow(f"{path} cannot be read now: {error.strerror}") from error
