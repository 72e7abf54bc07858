"""Which data files a controller has, and which program it runs: its file 0 and diagnostic status. Pure.

No manual describes file 0. What is known of it are rows, one a data file in the order of their
numbers, somewhere in it: the code of the type, its bytes in two more, and something of no
interest here. Where they begin depends on the processor, so they are looked for: the first
three are outputs, inputs and the status file in every controller there is, and how many
there are stands in the head. What does not look so is no directory, and nothing is made of it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sources.ethernetip.slc.config import SIZES, SlcAddress

_ROWS: Final = (10, 8)
"""Bytes of a row: MicroLogix 1000 and SLC 5/02 have the shorter ones."""
_FILES_AT: Final = 0x34
_DATA: Final = range(0x81, 0x9F)
_HOLE: Final = 0x81
_LETTERS: Final[Mapping[int, str]] = {
    0x82: "O", 0x83: "I", 0x84: "S", 0x85: "B", 0x86: "T", 0x87: "C", 0x88: "R", 0x89: "N", 0x8A: "F",
    0x8B: "O", 0x8C: "I", 0x8D: "ST", 0x8E: "A", 0x91: "L", 0x92: "MG", 0x93: "PD", 0x94: "PLS",
}  # fmt: skip
_ELEMENTS: Final[Mapping[str, int]] = {**SIZES, "R": 6, "A": 2, "MG": 50, "PD": 46, "PLS": 12}
_FIRST: Final = {
    row: re.compile(rb"[\x82\x8b](?=.{%d}[\x83\x8c].{%d}\x84)" % (row - 1, row - 1), re.DOTALL)
    for row in _ROWS
}
"""Where outputs, inputs and status file follow each other, by the length of a row."""
_TRIED: Final = 8
"""So many places that look so are tried: rows begin behind a short head."""
_MOST: Final = 256
"""Numbers that files may have."""

_STATUS: Final = struct.Struct("<5s11sHHHBB")
"""Mode, types and revision; bulletin; major error; mode of the processor; program; RAM; owner."""
_MODES: Final[Mapping[int, str]] = {
    0: "download", 1: "program", 3: "suspended", 6: "run", 7: "test", 8: "test, single scan",
    16: "download", 17: "program", 27: "suspended", 30: "run",
}  # fmt: skip
_TYPES: Final[Mapping[str, int]] = {"1761": 0, "1762": 2, "1763": 2, "1764": 2, "1766": 3, "5/02": 0}
"""Type of file 0 by the first of the bulletin's name: MicroLogix, and all else."""
_TYPE: Final = 1


@dataclass(frozen=True, slots=True)
class Processor:
    """What a controller's diagnostic status says (1770-6.5.16, chapter 10).

    ``bulletin`` is its name (``5/05``, ``1766-LEC``), ``program`` a number of the program's own,
    ``mode`` run, program or another, empty where it is none that is known.
    """

    bulletin: str
    types: bytes
    program: int
    ram: int
    mode: str = ""

    @property
    def same(self) -> tuple[str, bytes, int, int]:
        """What stays the same as long as the program does: the mode does not."""
        return self.bulletin, self.types, self.program, self.ram

    @property
    def directory_type(self) -> int:
        """Of file 0, as a read of it has to name."""
        return _TYPES.get(self.bulletin[:4], _TYPE)


def parse_processor(data: bytes) -> Processor:
    """What a diagnostic status says. Raises ValueError for what is none."""
    if len(data) < _STATUS.size:
        raise ValueError(f"a diagnostic status of {len(data)} bytes")
    types, bulletin, _, mode, program, ram, _ = _STATUS.unpack_from(data)
    name = bulletin.decode("latin-1").strip(" \0")
    if types[1] != 0xEE or not name.isascii() or not name.isprintable():
        raise ValueError("a diagnostic status of no SLC")
    return Processor(name, types, program, ram, _MODES.get(mode & 0x1F, ""))


@dataclass(frozen=True, slots=True)
class DataFile:
    """One: its letters, empty for a type that is not known here, and how many elements it has."""

    letters: str
    number: int
    elements: int

    @property
    def name(self) -> str:
        """As ``N7``."""
        return f"{self.letters or '?'}{self.number}"

    def __str__(self) -> str:
        return f"{self.name} of {self.elements}"


@dataclass(frozen=True, slots=True)
class Directory:
    """Every data file, in the order of their numbers."""

    files: tuple[DataFile, ...]

    def of(self, address: SlcAddress) -> DataFile | None:
        """The file with an address's number."""
        for its in self.files:
            if its.number == address.number:
                return its
        return None

    def conflict(self, address: SlcAddress) -> str:
        """What speaks against reading an address: its file is one of another type. Empty for nothing."""
        its = self.of(address)
        if its is None or its.letters == address.file:
            return ""
        what = f"is {its.name}" if its.letters else "has a type that this driver does not know"
        return f"file {its.number} {what}, not {address.file}{address.number}"

    def remark(self, address: SlcAddress) -> str:
        """What it says of an address that the controller refuses; empty for nothing."""
        its = self.of(address)
        if its is None:
            return f"there is no file {address.file}{address.number}"
        if address.element >= its.elements and address.file not in {"I", "O"}:
            return f"{its.name} has {its.elements} elements"
        return ""


def differences(before: Directory, now: Directory) -> Iterator[str]:
    """What changed from one to the other, in words for people."""
    old = {its.number: its for its in before.files}
    new = {its.number: its for its in now.files}
    for number in sorted(old.keys() | new.keys()):
        was, its = old.get(number), new.get(number)
        if was is None:
            yield f"{its} is new"
        elif its is None:
            yield f"{was.name} is gone"
        elif was.letters != its.letters:
            yield f"{was.name} is {its.name} now"
        elif was.elements != its.elements:
            yield f"{was.name} has {its.elements} elements instead of {was.elements}"


def find_directory(data: bytes, *, whole: bool) -> Directory | None:
    """The directory in file 0, or in its first part; None where there is none, or its end is missing.

    ``whole`` says that there is no more of it.
    """
    if len(data) < _FILES_AT + 2:
        return None
    count = int.from_bytes(data[_FILES_AT : _FILES_AT + 2], "little")
    for row, first in _FIRST.items():
        for match in islice(first.finditer(data, _FILES_AT + 2), _TRIED):
            found = _rows(data, match.start(), row, count, whole=whole)
            if found is not None:
                return found
    return None


def _rows(data: bytes, start: int, row: int, count: int, *, whole: bool) -> Directory | None:
    files: list[DataFile] = []
    number, at = 0, start
    while at + 3 <= len(data) and data[at] in _DATA and number < _MOST:
        if data[at] != _HOLE:
            letters = _LETTERS.get(data[at], "")
            size = int.from_bytes(data[at + 1 : at + 3], "little")
            files.append(DataFile(letters, number, size // _ELEMENTS.get(letters, 2)))
        number, at = number + 1, at + row
    ended = (at < len(data) and data[at] not in _DATA) or whole
    # Whether numbers that no file has are counted is not known.
    return Directory(tuple(files)) if ended and count in {len(files), number} else None
