"""What the configuration says of a source that is played back.

Its bindings stay as they were for the device that was recorded: a tag is found in the
recording by its name, and, where the plant calls it otherwise now, by its address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from sources.settings import SettingsModel
from sources.spec import TagSpec
from sources.tag import Tag, ValueType


class ReplaySettings(SettingsModel):
    """A source of ``driver: replay``: a recording in the place of the device.

    ``source`` is what it was called when it was recorded; left out, as it is now. ``speed``
    is how many times faster than it was; ``loop`` begins again at the end.
    """

    driver: Literal["replay"]
    file: Path = Field(strict=False)
    source: Annotated[str, Field(min_length=1)] | None = None
    speed: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    loop: bool = False


@dataclass(frozen=True, slots=True)
class ReplayAddress:
    """An address in the words of the driver that was recorded."""

    text: str
    encoding: str | None = None
    length: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a driver may have called it in a recording."""
        if self.length is not None:
            return tuple(self._arrays(self.length))
        return (self.text,) if self.encoding is None else (f"{self.text} as {self.encoding}", self.text)

    def _arrays(self, length: int) -> Iterator[str]:
        """The same of an array: each driver says in its own way where it ends."""
        if self.encoding is not None:
            yield f"{self.text} as {self.encoding}[{length}]"
        yield self.text
        yield f"{self.text}[{length}]"
        match = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", self.text)
        if match is not None:
            first = int(match[2] or 0)
            yield f"{match[1]}[{first}..{first + length - 1}]"
        if (match := re.fullmatch(r".*[:/](\d+)", self.text)) is not None:
            yield f"{self.text}..{int(match[1]) + length - 1}"

    def __str__(self) -> str:
        return self.names[0]


_TYPES: Final[Mapping[str, ValueType]] = {
    "bool": ValueType.Boolean,
    "sint": ValueType.SByte,
    "int": ValueType.Int16,
    "dint": ValueType.Int32,
    "lint": ValueType.Int64,
    "usint": ValueType.Byte,
    "uint": ValueType.UInt16,
    "udint": ValueType.UInt32,
    "ulint": ValueType.UInt64,
    "real": ValueType.Float,
    "lreal": ValueType.Double,
    "int16": ValueType.Int16,
    "uint16": ValueType.UInt16,
    "int32": ValueType.Int32,
    "uint32": ValueType.UInt32,
    "int64": ValueType.Int64,
    "uint64": ValueType.UInt64,
    "float32": ValueType.Float,
    "float64": ValueType.Double,
    "string": ValueType.String,
}


def parse_tag(spec: TagSpec, settings: ReplaySettings) -> Tag[ReplayAddress]:
    """The tag a binding means. Whether the recording has it shows when it is opened."""
    del settings  # nothing in them bears on an address
    encoding = None if spec.encoding is None else re.sub(r"\(.*", "", spec.encoding)
    kind = spec.natural if encoding is None else _TYPES.get(encoding, spec.natural)
    address = ReplayAddress(spec.address, spec.encoding, spec.length)
    return Tag(spec.name, address, kind, spec.scan, spec.writable, spec.length)
