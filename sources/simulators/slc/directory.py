"""File 0 of a controller, which says what data files there are, and its diagnostic status.

The layout is that of an SLC 5/05 (file 0 of type 1, rows of ten bytes from byte 79 on), for
MicroLogix with other types and places. No manual has it: it is what clients of such
controllers found out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HOLE: Final = 0x81
"""A number that no file has."""
_LADDER: Final = 0x22
_LADDERS: Final = 3
_ROW: Final = 10
_SIZE_AT: Final = 0x46
_LADDERS_AT: Final = 0x2E
_FILES_AT: Final = 0x34
_RUN: Final = 6

_LAYOUTS: Final[Mapping[str, tuple[int, int]]] = {
    "1762": (2, 103),
    "1763": (2, 103),
    "1764": (2, 103),
    "1766": (3, 113),
}
"""Type of file 0, and where its rows begin, by the first of the bulletin number."""
_SLC: Final = (1, 79)


@dataclass(frozen=True, slots=True)
class Processor:
    """What its diagnostic status says. ``program`` is another after a download."""

    bulletin: str = "5/05"
    program: int = 0x1747
    mode: int = _RUN

    @property
    def layout(self) -> tuple[int, int]:
        """Type of file 0, and where its rows begin."""
        return _LAYOUTS.get(self.bulletin[:4], _SLC)

    def status(self) -> bytes:
        """The 24 bytes of a diagnostic status reply (1770-6.5.16, chapter 10)."""
        name = self.bulletin.encode("ascii").ljust(11)
        return (
            b"\x00\xee\x34\x78\x20" + name + struct.pack("<HBBHBB", 0, self.mode, 0, self.program, 64, 0xFC)
        )


def directory(processor: Processor, files: Mapping[int, tuple[int, int]]) -> bytes:
    """File 0: of each data file, by its number, the code of its type and its bytes."""
    _, start = processor.layout
    rows = [struct.pack("<BH7x", *files.get(number, (HOLE, 0))) for number in range(max(files) + 1)]
    rows += [struct.pack("<BH7x", _LADDER, 32)] * _LADDERS
    head = bytearray(start)
    struct.pack_into("<H", head, _LADDERS_AT, _LADDERS)
    struct.pack_into("<H", head, _FILES_AT, len(files))
    whole = head + b"".join(rows)
    whole += bytes(len(whole) % 2)
    struct.pack_into("<H", whole, _SIZE_AT, len(whole))
    return bytes(whole)
