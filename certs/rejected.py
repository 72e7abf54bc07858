"""The certificates that were refused, kept for a person to look at.

Anybody who reaches the port can fill this folder, nobody beyond `MAX_REJECTED` files and
`MAX_BYTES`: the oldest go.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Final

from cryptography import x509

from certs import files, folder

log = logging.getLogger(__name__)

MAX_REJECTED: Final = 100
"""So many of the newest refused certificates are kept."""
MAX_BYTES: Final = 1 << 20
"""Bytes of all of them together."""
MAX_ONE: Final = 32 << 10
"""A certificate larger than this is not kept; application certificates have one or two thousand bytes."""


class Rejected:
    """The folder of refused certificates. Safe from several threads, and beside other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def keep(self, certificate: x509.Certificate) -> Path | None:
        """Keep a certificate as the newest; None where it is too large or the disk refuses."""
        data = files.der(certificate)
        if len(data) > MAX_ONE:
            return None
        path = self.path / files.file_name(certificate)
        with self._lock:
            try:
                if not _touch(path):
                    files.write_atomically(path, data, 0o644, durable=False)
                self._drop_the_oldest()
            except OSError as error:
                log.warning("the refused certificate %s cannot be kept: %s", path.name, error.strerror)
                return None
        return path

    def entries(self) -> list[tuple[Path, x509.Certificate]]:
        """What is kept, the newest first."""
        found = folder.read_all(self.path).certificates
        times = {path: _age(path)[0] for path, _ in found}
        return sorted(found, key=lambda entry: times[entry[0]], reverse=True)

    def discard(self, certificate: x509.Certificate) -> None:
        """Forget a certificate."""
        for path, kept in self.entries():
            if kept == certificate:
                path.unlink(missing_ok=True)

    def _drop_the_oldest(self) -> None:
        # Hidden files too: what a process wrote half before it was killed goes with the others.
        newest = sorted(((*_age(path), path) for path in self.path.iterdir()), reverse=True)
        total = 0
        for number, (_time, size, path) in enumerate(newest):
            total += size
            if number >= MAX_REJECTED or total > MAX_BYTES:
                path.unlink(missing_ok=True)


def _touch(path: Path) -> bool:
    """Make a file the newest; False where it is not there (`Path.touch` would make an empty one)."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _age(path: Path) -> tuple[int, int]:
    """When a file was written and its size; long ago and nothing where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
