"""The files of the log: ``audit-000001.jsonl`` and on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from server.audit.record import LONGEST

_NAME: Final = re.compile(r"audit-(\d{6,12})\.jsonl")


class Segment(NamedTuple):
    """One file of the log."""

    number: int
    path: Path


def segments(folder: Path) -> list[Segment]:
    """Every file of the log, the oldest first. Raises OSError, FileNotFoundError where there is no folder."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(Segment(int(name[1]), path) for name, path in found if name)


def create(folder: Path, number: int) -> tuple[int, Path]:
    """Make a file that can only be added to; its descriptor, and where it is. Raises OSError.

    One that is there already is taken if it is empty: what was to be written did not get there.
    """
    path = folder / f"audit-{number:06d}.jsonl"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
    except FileExistsError:
        if path.stat().st_size:
            raise
        descriptor = reopen(path)
    try:
        _remember_names(folder)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, path


def reopen(path: Path) -> int:
    """The descriptor of a file that is there, to be added to. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | _BINARY)


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line, its end included; one without an end was cut.

    Of a line that is longer than any record no more is read than shows that.
    """
    number = 0
    while line := file.readline(LONGEST + 2):
        number += 1
        yield number, line


_BINARY: Final[int] = getattr(os, "O_BINARY", 0)


def _remember_names(folder: Path) -> None:
    """Have the disk hold the name of a new file as well. Windows knows no such thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
