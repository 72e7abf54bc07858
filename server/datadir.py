"""The data directory: what a server keeps between its runs. One server at a time uses it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

FORMAT: Final = 1

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class DataDirectoryError(OSError):
    """The data directory cannot be used; the text says why and what to do."""


class DataDirectory:
    """Paths below the directory, and JSON files written all or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pki = root / "pki"
        self.state = root / "state"
        self.audit = root / "audit"
        self.users = root / "users.yaml"

    def prepare(self) -> None:
        """Make the folders. Raises DataDirectoryError where that fails or a newer version wrote them."""
        try:
            for folder in (self.root, self.pki, self.state, self.audit):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirectoryError(
                f"{error.filename or self.root}: cannot make the data directory: {error.strerror}; "
                "choose another one with --data"
            ) from error
        version = self.read_json("format", {"format": FORMAT})
        if not isinstance(version, dict) or version.get("format") != FORMAT:
            raise DataDirectoryError(
                f"{self.root}: written by another version of Isthmus (format {version!r}, this one "
                f"knows {FORMAT}); use that version, or another directory with --data"
            )
        self.write_json("format", {"format": FORMAT})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory. Raises DataDirectoryError where another server holds it."""
        if fcntl is None:
            yield
            return
        path = self.root / "lock"
        try:
            file = path.open("a+", encoding="ascii")
        except OSError as error:
            raise DataDirectoryError(f"{path}: cannot be opened: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise DataDirectoryError(
                    f"{self.root}: in use by a running server (pid {holder}); stop it, "
                    "or choose another directory with --data"
                ) from error
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield

    def read_json(self, name: str, default: Any) -> Any:
        """The content of ``state/<name>.json``, or the default where there is none.

        Raises DataDirectoryError where the file cannot be read.
        """
        path = self.state / f"{name}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as error:
            raise DataDirectoryError(
                f"{path}: cannot be read: {error}; restore it from a backup, or delete it to start anew"
            ) from error

    def write_json(self, name: str, content: Any) -> None:
        """Write ``state/<name>.json`` all or not at all. Raises DataDirectoryError."""
        path = self.state / f"{name}.json"
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.state, prefix=f".{name}-", delete=False
            ) as file:
                json.dump(content, file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError as error:
            raise DataDirectoryError(f"{path}: cannot be written: {error.strerror or error}") from error
