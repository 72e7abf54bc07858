"""Following the chain from record to record and from file to file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from server.audit.errors import BrokenRecord
from server.audit.record import GENESIS, LONGEST, Record, unseal
from server.audit.segments import Segment, lines

SEGMENT: Final = "segment"
"""The event of each file's first record."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found: a file, its line (0 for the file as a whole), and what."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        """``…/audit-000001.jsonl:31: …``."""
        return f"{self.path}:{self.line}: {self.what}" if self.line else f"{self.path}: {self.what}"


@dataclass(slots=True)
class Chain:
    """What is known once some files have been followed."""

    head: str = GENESIS
    """The hash of the last record."""
    seq: int = 0
    """Its number."""
    first: int = 0
    """The number of the first record there is."""
    log: str = ""
    """What tells this log from others."""
    number: int = 0
    """The number of the last file."""
    records: int = 0
    torn: int = 0
    """Bytes of a record that was cut, behind the last whole one."""
    size: int = 0
    """Bytes of the last file's whole records."""
    broken: Place | None = None
    """Where the chain broke first; nothing was looked at from there on."""
    fault: Place | None = None
    """Where a file says that the server found those before it, which were looked at, damaged."""
    notes: list[Place] = field(default_factory=list)
    """What is worth knowing and no break."""


Seen = Callable[[Record], None]


def follow(files: Sequence[Segment], seen: Seen = lambda _record: None) -> Chain:
    """Follow the chain through these files, to its end or to the first break. Raises OSError.

    Where the first of them is not the log's first, the chain is taken from what it says of
    its predecessor. ``seen`` is told of every record that is in order.
    """
    chain = Chain()
    for segment in files:
        if chain.number and segment.number != chain.number + 1:
            what = f"the file before it, number {chain.number + 1}, is missing"
            chain.broken = Place(segment.path, 0, what)
        else:
            _follow_file(chain, segment, seen, whole=files[0].number == 1)
        if chain.broken is not None:
            break
    return chain


def _follow_file(chain: Chain, segment: Segment, seen: Seen, *, whole: bool) -> None:
    """``whole`` where no file was left out before the first."""
    cut = chain.torn
    chain.size, chain.number = 0, segment.number
    with segment.path.open("rb") as file:
        for number, line in lines(file):
            if not line.endswith(b"\n") and len(line) <= LONGEST + 1:
                chain.torn += len(line)
                break
            try:
                record = unseal(line.removesuffix(b"\n"))
                if number == 1:
                    _check_first(chain, segment, record, cut, whole=whole)
                _check_next(chain, record)
            except BrokenRecord as error:
                chain.broken = Place(segment.path, number, str(error))
                return
            chain.head, chain.seq, chain.torn = record.hash, record.seq, 0
            chain.records += 1
            chain.size += len(line)
            seen(record)


def _check_first(chain: Chain, segment: Segment, record: Record, cut: int, *, whole: bool) -> None:
    """The head of a file: what it says of itself, of the log and of the file before. Raises BrokenRecord.

    ``cut`` is how many bytes of a cut record stand before it.
    """
    said: dict[str, Any] = dict(record.fields)
    told = said.get("torn", 0)
    if record.event != SEGMENT or said.get("segment") != segment.number:
        raise BrokenRecord(f"the file does not begin as number {segment.number} of the log")
    if not chain.records:
        chain.log, chain.first = str(said.get("log")), record.seq
        if not whole:
            chain.head, chain.seq, cut = record.previous, record.seq - 1, told
    elif said.get("log") != chain.log:
        raise BrokenRecord("the file belongs to another log")
    if told != cut:
        raise BrokenRecord(f"{cut} bytes of a cut record stand before it, and it tells of {told}")
    if isinstance(fault := said.get("fault"), str):
        place = Place(segment.path, 1, f"the server found the log damaged: {fault}")
        chain.notes.append(place)
        if chain.records and chain.fault is None:
            chain.fault = place
    if cut:
        what = f"the record before was cut ({cut} bytes): a power failure or a full disk"
        chain.notes.append(Place(segment.path, 1, what))


def _check_next(chain: Chain, record: Record) -> None:
    """Raises BrokenRecord where a record does not follow the one before."""
    if record.seq != chain.seq + 1:
        raise BrokenRecord(f"record {record.seq} follows record {chain.seq}: what was between is missing")
    if record.previous != chain.head:
        raise BrokenRecord(f"record {record.seq} does not follow record {chain.seq} as it stands here")
