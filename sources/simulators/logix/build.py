"""From a spec to the tag database: types resolved and laid out, tags made and filled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import JsonValue

from sources.simulators.logix.database import CONTROLLER_SCOPE, PROGRAM_PREFIX, Database
from sources.simulators.logix.tags import Access, Tag, declare
from sources.simulators.logix.types import ATOMICS, PREDEFINED, DataType, Declared, string, structure
from sources.simulators.logix.values import BadValueError, find_place, store

if TYPE_CHECKING:
    from sources.simulators.logix.spec import LogixSpec, TypeSpec

_TYPE: Final = re.compile(r"(\w+)(?:\((\d+)\))?(?:\[([\d,]+)\])?")
_ACCESS: Final = {"read/write": Access.READ_WRITE, "read only": Access.READ_ONLY, "none": Access.NONE}


class TypeName(NamedTuple):
    """A type as text, taken apart: ``capacity`` is the 20 of ``STRING(20)``."""

    name: str
    capacity: int | None
    dimensions: tuple[int, ...]


def parse_type(text: str) -> TypeName:
    """Take a type apart. Raises ValueError."""
    match = _TYPE.fullmatch(text)
    if match is None or (match[2] and match[1].upper() != "STRING"):
        raise ValueError(f"{text!r} is not a type; write REAL, DINT[10], STRING, STRING(20) or a type's name")
    dimensions = tuple(int(length) for length in match[3].split(",")) if match[3] else ()
    return TypeName(match[1], int(match[2]) if match[2] else None, dimensions)


def string_name(capacity: int) -> str:
    """What the type ``STRING(20)`` is called in the controller."""
    return f"STRING_{capacity}"


class Types:
    """Types by name, each laid out once, when it is first asked for."""

    def __init__(self, declared: Mapping[str, TypeSpec]) -> None:
        self._declared = declared
        basic: tuple[DataType, ...] = (*ATOMICS.values(), *PREDEFINED.values())
        self._known = {kind.name.casefold(): kind for kind in basic}
        self._open: list[str] = []

    def resolve(self, text: str) -> tuple[DataType, tuple[int, ...]]:
        """The type and the dimensions that a text names. Raises ValueError."""
        wanted = parse_type(text)
        if wanted.capacity is not None:
            return self._string(wanted.capacity), wanted.dimensions
        return self._named(wanted.name), wanted.dimensions

    def _string(self, capacity: int) -> DataType:
        name = string_name(capacity)
        return self._known.setdefault(name.casefold(), string(name, capacity))

    def _named(self, name: str) -> DataType:
        key = name.casefold()
        if key in self._known:
            return self._known[key]
        spec = self._declared.get(key)
        if spec is None:
            raise ValueError(f"there is no type {name}")
        if key in self._open:
            raise ValueError(f"type {name} contains itself")
        self._open.append(key)
        members = []
        for member in spec.members:
            kind, dimensions = self.resolve(member.type)
            if len(dimensions) > 1:
                raise ValueError(f"{name}.{member.name}: an array within a type has one dimension")
            members.append(Declared(member.name, kind, *dimensions))
        self._open.pop()
        return self._known.setdefault(key, structure(spec.name, members))


def build(spec: LogixSpec) -> Database:
    """The database of a spec, its tags holding their first values. Raises ValueError for what cannot be."""
    declared: dict[str, TypeSpec] = {}
    for type_spec in spec.types:
        key = type_spec.name.casefold()
        if key in declared or key.upper() in ATOMICS or key.upper() in PREDEFINED:
            raise ValueError(f"there are two types {type_spec.name}")
        declared[key] = type_spec
    types = Types(declared)
    scopes: dict[str, dict[str, Tag]] = {CONTROLLER_SCOPE: {}}
    names = {CONTROLLER_SCOPE: CONTROLLER_SCOPE}
    for wanted in spec.tags:
        scope = PROGRAM_PREFIX + wanted.program if wanted.program else CONTROLLER_SCOPE
        tags = scopes.setdefault(names.setdefault(scope.casefold(), scope), {})
        if wanted.name.casefold() in tags:
            raise ValueError(f"there are two tags {wanted.name} in {scope or 'the controller'}")
        kind, dimensions = types.resolve(wanted.type)
        tags[wanted.name.casefold()] = declare(
            wanted.name, kind, dimensions, _ACCESS[wanted.access], constant=wanted.constant
        )
    database = Database({name: tuple(tags.values()) for name, tags in scopes.items()})
    for path, value in spec.values.items():
        _fill(database, path, value)
    return database


def _fill(database: Database, path: str, value: JsonValue) -> None:
    try:
        store(find_place(database, path), value)
    except KeyError:
        raise ValueError(f"there is no tag {path} to give a value to") from None
    except BadValueError as error:
        raise ValueError(f"{path}: {error}") from error
