"""The configuration's bindings against what the controller says it has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sources.ethernetip.decode import LogixTag
from sources.ethernetip.symbols import BindingError, Place, SymbolTable, unlocated


@dataclass(slots=True)
class Bindings:
    """Which tags there are, by name, and what is wrong with the others.

    ``refused`` can neither be read nor written, ``unwritable`` ought to be writable and is
    not; both say why.
    """

    places: dict[str, Place] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unwritable: dict[str, str] = field(default_factory=dict)


def bind(tags: Iterable[LogixTag], table: SymbolTable | None) -> Bindings:
    """Find each tag's place; without a table every address is taken on trust."""
    found = Bindings()
    for tag in tags:
        if table is None:
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


def wanted(tags: Sequence[LogixTag]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the controller's tags that bindings lead into, and of the programs; in lower case."""
    names: set[str] = set()
    programs: set[str] = set()
    for tag in tags:
        segments = tag.address.segments
        program = tag.address.program
        if program is not None:
            programs.add(program.casefold())
        depth = 1 if program is None else 2
        names.add(".".join(segment.name for segment in segments[:depth]).casefold())
    return frozenset(names), frozenset(programs)
