"""Checking a log, and reading it, beside the server that writes it or without one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.audit.chain import Chain, Place, follow
from server.audit.errors import AuditError
from server.audit.record import Record
from server.audit.segments import Segment, segments


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. ``broken`` is None where nothing is wrong."""

    files: int
    records: int
    first: int
    """The number of the first record that is there."""
    seq: int
    """The number of the last one that is in order."""
    head: str
    """Its hash."""
    broken: Place | None
    notes: tuple[Place, ...]


def verify(folder: Path, heads: Collection[str] = (), start: int = 1) -> Report:
    """Follow the whole chain. Raises AuditError where it cannot be read.

    ``heads`` are hashes, or beginnings of hashes, that were noted elsewhere: each must be that
    of a record. ``start`` is the number of the first file, where earlier ones were moved away.
    """
    missing = dict.fromkeys(head.lower() for head in heads)

    def seen(record: Record) -> None:
        for head in [head for head in missing if record.hash.startswith(head)]:
            del missing[head]

    files = _files(folder)
    if start > 1:
        files = [file for file in files if file.number >= start]
    if not files:
        raise AuditError(f"{folder}: there is no audit log from file {start} on")
    if files[0].number != start:
        what = "files before it are missing; if they were moved away on purpose, say --start "
        place = Place(files[0].path, 0, f"{what}{files[0].number}")
        return Report(0, 0, 0, 0, "", place, ())
    chain = _follow(files, seen)
    notes, broken = list(chain.notes), chain.broken
    if broken is None and chain.fault is not None:
        # What was damaged then was taken away since, and records with it.
        broken = chain.fault
    if broken is None:
        if chain.torn:
            what = f"the last record is cut ({chain.torn} bytes); a start of the server goes on in a new file"
            notes.append(Place(files[-1].path, 0, what))
        if missing:
            what = f"no record has the hash {', '.join(missing)}: the log was shortened or rewritten"
            broken = Place(files[-1].path, 0, what)
    return Report(len(files), chain.records, chain.first, chain.seq, chain.head, broken, tuple(notes))


def each(folder: Path, wanted: Mapping[str, str], show: Callable[[dict[str, Any]], object]) -> Place | None:
    """Show every record whose fields have the ``wanted`` texts; where the chain broke, if it did.

    Nothing is shown from there on. Raises AuditError.
    """

    def seen(record: Record) -> None:
        if all(text.lower() in str(record.fields.get(key, "")).lower() for key, text in wanted.items()):
            show({**record.fields, "hash": record.hash})

    return _follow(_files(folder), seen).broken


def _files(folder: Path) -> list[Segment]:
    try:
        files = segments(folder)
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise AuditError(f"{folder}: cannot be read: {error.strerror}") from error
    if not files:
        raise AuditError(f"{folder}: there is no audit log; name the data directory with --data")
    return files


def _follow(files: list[Segment], seen: Callable[[Record], None]) -> Chain:
    try:
        return follow(files, seen)
    except OSError as error:
        raise AuditError(f"{error.filename}: cannot be read: {error.strerror}") from error
