"""The tag database: scopes, symbols and templates by instance number, and their renumbering."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sources.simulators.logix.cip import CipError, Extended, Status
from sources.simulators.logix.tags import Place, Step, Tag, locate, structures_of
from sources.simulators.logix.types import Structure

T = TypeVar("T")

PROGRAM_PREFIX: Final = "Program:"
CONTROLLER_SCOPE: Final = ""

# Symbols that are no tags have the system bit and a kind.
_SYSTEM_TASK: Final = 0x1070
_SYSTEM_PROGRAM: Final = 0x1068
_SYSTEM_ROUTINE: Final = 0x106D

_FIRST_TEMPLATE: Final = 0x101
_LAST_TEMPLATE: Final = 0xEFF


@dataclass(frozen=True, slots=True)
class Symbol:
    """An entry of a symbol table: a tag, or (``system``) a task, program or routine."""

    name: str
    tag: Tag | None = None
    system: int = 0


class Scope:
    """The symbols of the controller or of one program, by name and by instance."""

    def __init__(self, name: str, symbols: Sequence[Symbol], first: int, step: int) -> None:
        self.name = name
        self._tags = {symbol.tag.name.casefold(): symbol.tag for symbol in symbols if symbol.tag is not None}
        self._instances = {first + index * step: symbol for index, symbol in enumerate(symbols)}

    def tag(self, name: str) -> Tag | None:
        """The tag of that name; names know no case."""
        return self._tags.get(name.casefold())

    def symbol(self, instance: int) -> Symbol | None:
        """The symbol of that number."""
        return self._instances.get(instance)

    def symbols(self, start: int = 0) -> Iterator[tuple[int, Symbol]]:
        """Symbols by rising instance, from ``start``."""
        for instance, symbol in self._instances.items():
            if instance >= start:
                yield instance, symbol

    def tags(self) -> Iterator[Tag]:
        """The scope's tags."""
        yield from self._tags.values()

    def renumber(self, random_: random.Random) -> None:
        """Give every symbol another's number."""
        numbers = list(self._instances)
        symbols = _deranged(list(self._instances.values()), random_)
        self._instances = dict(zip(numbers, symbols, strict=True))


class Database:
    """Everything a client can upload, read and write.

    ``scopes`` maps the controller scope ``""`` and ``Program:X`` names to their tags.
    """

    def __init__(self, scopes: Mapping[str, Sequence[Tag]]) -> None:
        programs = [name for name in scopes if name != CONTROLLER_SCOPE]
        controller = [
            Symbol("Task:MainTask", system=_SYSTEM_TASK),
            *(Symbol(name, system=_SYSTEM_PROGRAM) for name in programs),
            *(Symbol(tag.name, tag) for tag in scopes.get(CONTROLLER_SCOPE, ())),
        ]
        self._controller = Scope(CONTROLLER_SCOPE, controller, first=3, step=5)
        self._programs: dict[str, Scope] = {}
        for name in programs:
            symbols = [Symbol("Routine:MainRoutine", system=_SYSTEM_ROUTINE)]
            symbols += [Symbol(tag.name, tag) for tag in scopes[name]]
            self._programs[name.casefold()] = Scope(name, symbols, first=2, step=3)
        self._templates: dict[int, Structure] = {}
        self._template_ids: dict[str, int] = {}
        self._number_templates()
        self.downloads = 0

    @property
    def programs(self) -> list[str]:
        """``Program:X`` names, as declared."""
        return [scope.name for scope in self._programs.values()]

    @property
    def scopes(self) -> list[Scope]:
        """The controller's scope, then the programs'."""
        return [self._controller, *self._programs.values()]

    def scope(self, name: str) -> Scope | None:
        """The scope of that name."""
        return self._controller if name == CONTROLLER_SCOPE else self._programs.get(name.casefold())

    def template(self, instance: int) -> Structure | None:
        """The structure of that template instance."""
        return self._templates.get(instance)

    def template_instance(self, kind: Structure) -> int:
        """The template instance of a structure of this database."""
        return self._template_ids[kind.name.casefold()]

    def renumber(self, random_: random.Random) -> None:
        """Change every symbol's and user-defined template's instance, as a program download does.

        Memory stays. A client that kept the old numbers now reads other tags.
        """
        for scope in self.scopes:
            scope.renumber(random_)
        fixed = {number: kind for number, kind in self._templates.items() if kind.predefined is not None}
        numbers = [number for number in self._templates if number not in fixed]
        kinds = _deranged([self._templates[number] for number in numbers], random_)
        self._templates = dict(sorted({**fixed, **dict(zip(numbers, kinds, strict=True))}.items()))
        self._template_ids = {kind.name.casefold(): number for number, kind in self._templates.items()}
        self.downloads += 1

    def become(self, other: Database) -> None:
        """Hold another program: its tags, types and memory."""
        self._controller = other._controller
        self._programs = other._programs
        self._templates = other._templates
        self._template_ids = other._template_ids
        self.downloads += 1

    def find(self, steps: Sequence[Step]) -> Place:
        """Follow a path of names and indices from the controller's scope. Raises CipError as `locate`.

        An unknown name answers 04, as real controllers do.
        """
        scope = self._controller
        if steps and isinstance(steps[0], str) and steps[0].casefold().startswith(PROGRAM_PREFIX.casefold()):
            program = self.scope(steps[0])
            if program is None:
                raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
            scope, steps = program, steps[1:]
        name = steps[0] if steps else None
        tag = scope.tag(name) if isinstance(name, str) else None
        if tag is None:
            raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
        return locate(tag, steps[1:])

    def _number_templates(self) -> None:
        kinds: dict[str, Structure] = {}
        for scope in self.scopes:
            for tag in scope.tags():
                for kind in structures_of(tag.type):
                    known = kinds.setdefault(kind.name.casefold(), kind)
                    if known is not kind:
                        raise ValueError(f"there are two different types {kind.name}")
        number = _FIRST_TEMPLATE
        for kind in kinds.values():
            if kind.predefined is not None:
                self._templates[kind.predefined] = kind
                continue
            if number > _LAST_TEMPLATE:
                raise ValueError("there are more types than a controller can number")
            self._templates[number] = kind
            number = _next_template(number)
        self._template_ids = {kind.name.casefold(): number for number, kind in self._templates.items()}


def _next_template(number: int) -> int:
    """The next template instance whose low byte is no CIP type code: pylogix looks at that byte alone."""
    number += 1
    while number & 0xFF == 0 or 0xA0 <= number & 0xFF <= 0xDF:
        number += 1
    return number


def _deranged(items: list[T], random_: random.Random) -> list[T]:
    """The same items, none in its old place where there are two or more (Sattolo's shuffle)."""
    for index in range(len(items) - 1, 0, -1):
        other = random_.randrange(index)
        items[index], items[other] = items[other], items[index]
    return items
