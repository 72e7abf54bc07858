"""Studio 5000's export of tags as CSV. It has no types: members of user-defined ones are not known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from server.tools.errors import ImportProblem
from server.tools.inventory import LeftOut
from server.tools.logix import Alias, ControllerTags
from server.tools.studio import Declared, Types
from server.tools.table import rows

HEADER: Final = ("TYPE", "SCOPE", "NAME", "DESCRIPTION", "DATATYPE", "SPECIFIER", "ATTRIBUTES")

_TYPE: Final = re.compile(r"([A-Za-z_][\w:]*)(?:\[(\d+(?:,\d+)*)\])?")
_ACCESS: Final = re.compile(r"ExternalAccess\s*:=\s*([^,)]+)")
_ESCAPES: Final = {"$N": " ", "$L": " ", "$R": " ", "$T": " ", "$Q": '"', "$'": "'", "$$": "$"}


def is_studio_csv(path: Path) -> bool:
    """Whether a file has Studio 5000's heading among its first lines. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(64 * 1024).decode("latin-1")
    return any(re.match(r'"?TYPE"?,"?SCOPE"?,"?NAME"?', line, re.IGNORECASE) for line in head.splitlines())


def read_studio_csv(path: Path) -> tuple[ControllerTags, dict[str, str]]:
    """The tags of an export. Raises ImportProblem, and OSError."""
    types = Types()
    symbols = []
    aliases: list[Alias] = []
    descriptions: dict[str, str] = {}
    left: list[LeftOut] = []
    heading = False
    for line, row in rows(path, ","):
        if not heading:
            heading = tuple(cell.strip().upper() for cell in row[:3]) == HEADER[:3]
            continue
        cells = dict(zip(HEADER, [*row, *([""] * len(HEADER))], strict=False))
        kind, name = cells["TYPE"].strip().upper(), cells["NAME"].strip()
        if kind not in {"TAG", "ALIAS"}:
            continue  # comments of members and rungs
        if not name:
            raise ImportProblem(str(path), line, f"a {kind} without a NAME")
        scope = cells["SCOPE"].strip()
        full = f"Program:{scope}.{name}" if scope else name
        if text := _text(cells["DESCRIPTION"]):
            descriptions[full.casefold()] = text
        if kind == "ALIAS":
            aliases.append(Alias(full, cells["SPECIFIER"].strip()))
            continue
        match = _TYPE.fullmatch(cells["DATATYPE"].strip())
        if match is None:
            raise ImportProblem(str(path), line, f"{cells['DATATYPE']!r} is no DATATYPE, as DINT or REAL[10]")
        dimensions = tuple(int(part) for part in match[2].split(",")) if match[2] else ()
        access = _ACCESS.search(cells["ATTRIBUTES"])
        symbol = types.symbol(
            full, Declared(match[1], dimensions), access[1].strip() if access else "Read/Write"
        )
        if symbol.type is None:
            left.append(LeftOut(full, f"a tag CSV does not say what a {match[1]} is made of; export as L5X"))
        else:
            symbols.append(symbol)
    if not heading:
        raise ImportProblem(str(path), 0, f"there is no line {','.join(HEADER)}")
    return ControllerTags(symbols, aliases, descriptions, left), {}


def _text(raw: str) -> str:
    return " ".join(re.sub(r"\$[NLRTQ'$]", lambda found: _ESCAPES[found[0]], raw).split())
