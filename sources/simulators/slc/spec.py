"""What a simulated SLC 500 or MicroLogix is to be: its identity, its data files, their first values."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from sources.settings import SettingsModel

LETTERS: Final = "O|I|S|B|T|C|R|N|F|ST|A|L"
_FILE: Final = re.compile(rf"({LETTERS})(\d{{1,3}})")
_FIRST: Final = {0: "O", 1: "I", 2: "S"}

Word: TypeAlias = StrictBool | StrictInt | StrictFloat | StrictStr
"""A value of an element or of a bit."""


class FileSpec(SettingsModel):
    """One data file: ``name`` with its letters and number, as ``N7``; ``elements`` how many it has."""

    name: str = Field(pattern=rf"^({LETTERS})\d{{1,3}}$")
    elements: int = Field(ge=1, le=256)
    protected: bool = False

    @property
    def letters(self) -> str:
        """Of its type."""
        return self._parts[0]

    @property
    def number(self) -> int:
        """From 0 to 255."""
        return int(self._parts[1])

    @property
    def _parts(self) -> tuple[str, str]:
        match = _FILE.fullmatch(self.name)
        if match is None:
            raise ValueError(f"{self.name!r} is no file")
        return match[1], match[2]


class SlcIdentity(SettingsModel):
    """Who it says it is: the catalogue number on its Ethernet port, and the processor's own name."""

    product: str = Field("1747-L553/C", min_length=1, max_length=64, pattern=r"^[ -~]*$")
    bulletin: str = Field("5/05", min_length=1, max_length=11, pattern=r"^[ -~]*$")
    serial: int = Field(0x00C0FFEE, ge=0, lt=2**32)
    major: int = Field(12, ge=1, le=127)
    minor: int = Field(1, ge=0, le=255)


class SlcSpec(SettingsModel):
    """One simulated controller. ``port`` 0 takes a free one.

    ``program`` is what its program calls itself, a number that is another after a download.
    ``values`` are first values by address (``N7:3``, ``B3:1/4``), where they are not zero.
    """

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["slc"] = "slc"
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    identity: SlcIdentity = SlcIdentity()
    program: int = Field(0x1747, ge=0, le=0xFFFF)
    files: tuple[FileSpec, ...] = Field(min_length=1)
    values: dict[str, Word] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: set[int] = set()
        for file in self.files:
            if file.number in seen or file.number > 255:
                raise ValueError(f"{file.name}: a file's number is from 0 to 255, and its own")
            seen.add(file.number)
            if (_FIRST.get(file.number) == file.letters) != (file.letters in _FIRST.values()):
                raise ValueError(f"{file.name}: file 0 is O, 1 is I and 2 is S")
        return self
