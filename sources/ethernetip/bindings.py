"""The configuration's bindings against what the controller says it has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sources.ethernetip.decode import LogixTag
from sources.ethernetip.symbols import BindingError, Place, SymbolTable, unlocated


@dataclass(slots=True)
class Bindings:
    """Which tags there are, by name, and what is wrong with the others.

    ``refused`` can neither be read nor written, ``unwritable`` ought to be writable and is
    not; both say why.
    """

    tags: dict[str, LogixTag] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unwritable: dict[str, str] = field(default_factory=dict)

    def has(self, tag: LogixTag) -> bool:
        """Whether it is one of those that were bound, and not merely one of the same name."""
        return self.tags.get(tag.name) is tag

    def located(self, tags: Iterable[LogixTag]) -> list[tuple[LogixTag, Place]]:
        """Those of them that have a place here, with it."""
        return [(tag, self.places[tag.name]) for tag in tags if self.has(tag) and tag.name in self.places]


def bind(tags: Sequence[LogixTag], table: SymbolTable | None, uploaded: Wanted | None = None) -> Bindings:
    """Find each tag's place; without a table every address is taken on trust.

    So are those that lead to where the upload, which was of ``uploaded``, has not looked.
    """
    found = Bindings()
    if uploaded is not None and uploaded.covers(wanted(tags)):
        uploaded = None
    for tag in tags:
        found.tags[tag.name] = tag
        if table is None or (uploaded is not None and not uploaded.covers(wanted((tag,)))):
            found.places[tag.name] = unlocated(tag.address)
            continue
        try:
            place = table.locate(tag.address)
        except BindingError as error:
            found.refused[tag.name] = str(error)
            continue
        symbol = place.symbol
        if symbol is not None and not symbol.is_readable:
            found.refused[tag.name] = (
                f"the External Access of {symbol.name} is None; make it Read/Write or Read Only"
            )
            continue
        found.places[tag.name] = place
        if tag.writable and symbol is not None and not symbol.is_writable:
            found.unwritable[tag.name] = (
                f"the External Access of {symbol.name} is {symbol.access}; make it Read/Write, or take "
                "access: rw away"
            )
    return found


class Wanted(NamedTuple):
    """What of a controller is uploaded, by names in lower case: tags with their types, and programs."""

    names: frozenset[str]
    programs: frozenset[str]

    def covers(self, other: Wanted) -> bool:
        """Whether an upload of this has all of that."""
        return other.names <= self.names and other.programs <= self.programs


def wanted(tags: Sequence[LogixTag]) -> Wanted:
    """The controller's tags that bindings lead into, and the programs."""
    names: set[str] = set()
    programs: set[str] = set()
    for tag in tags:
        segments = tag.address.segments
        program = tag.address.program
        if program is not None:
            programs.add(program.casefold())
        depth = 1 if program is None else 2
        names.add(".".join(segment.name for segment in segments[:depth]).casefold())
    return Wanted(frozenset(names), frozenset(programs))
