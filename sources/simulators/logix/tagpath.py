"""Tag paths as people write them: ``Program:Packer.PML.Admin.ProdProcessedCount[0].Count``, ``Word.3``."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sources.simulators.logix.database import CONTROLLER_SCOPE
from sources.simulators.logix.tags import Step

_PROGRAM: Final = re.compile(r"(Program:[A-Za-z_]\w*)\.", re.IGNORECASE)
_PART: Final = re.compile(r"([A-Za-z_][\w:]*)(?:\[(\d+(?:,\d+){0,2})\])?")
_BIT: Final = re.compile(r"\d{1,2}")


class TagPath(NamedTuple):
    """A parsed path.

    ``scope`` is ``""`` or ``Program:X``; ``parts`` are the tag and the members after it,
    each with its indices. ``bit`` is that of an integer, where the path ends in ``.3``.
    """

    scope: str
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    bit: int | None = None

    @property
    def steps(self) -> list[Step]:
        """What `Database.find` follows."""
        steps: list[Step] = [self.scope] if self.scope != CONTROLLER_SCOPE else []
        for name, indices in self.parts:
            steps += [name, *indices]
        return steps


def parse_tag_path(text: str) -> TagPath:
    """Parse a path. Raises ValueError, saying how one is written."""
    program = _PROGRAM.match(text)
    scope, rest = (program[1], text[program.end() :]) if program else (CONTROLLER_SCOPE, text)
    words = rest.split(".")
    bit = int(words.pop()) if len(words) > 1 and _BIT.fullmatch(words[-1]) else None
    parts: list[tuple[str, tuple[int, ...]]] = []
    for word in words:
        part = _PART.fullmatch(word)
        if part is None:
            raise ValueError(
                f"{text!r} is not a tag path; write Tag, Tag.Member[3], Tag.5 for a bit, or Program:Name.Tag"
            )
        indices = tuple(int(index) for index in part[2].split(",")) if part[2] else ()
        parts.append((part[1], indices))
    return TagPath(scope, tuple(parts), bit)
