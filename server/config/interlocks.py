"""Interlocks resolved: which properties they compare, and with values of which type."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from server.config.clauses import Clause
from server.config.errors import article, closest, did_you_mean, listed
from server.config.properties import misfit
from server.config.repeat import Variables, shown
from server.config.report import Report
from server.config.tree import Loc
from server.plant.interlock import Condition
from server.plant.model import Equipment, Property, PropertyType
from sources.tag import Value, ValueType

_UNORDERED: Final = "use == or !="


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Clauses of one property of one equipment, each with its place in the file."""

    equipment: str
    name: str
    clauses: Sequence[tuple[Loc, Clause]]
    variables: Variables


class Interlocks:
    """Gathers the interlocks of all equipment, and resolves them once all properties are known."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._wanted: list[_Wanted] = []
        self._warned: set[Loc] = set()

    def want(
        self, equipment: str, name: str, clauses: Sequence[tuple[Loc, Clause]], variables: Variables
    ) -> None:
        """The property of that name of that equipment has an interlock."""
        if clauses:
            self._wanted.append(_Wanted(equipment, name, clauses, variables))

    def resolve(self, equipment: Sequence[Equipment]) -> tuple[Equipment, ...]:
        """The equipment with its interlocks. A clause that cannot be meant is told of once."""
        if not self._wanted:
            return tuple(equipment)
        # Where something else is wrong, what is missing may follow from that.
        elsewhere = any(".write" not in problem.path for problem in self._report.problems)
        known = {prop.key: prop for each in equipment for prop in each.properties}
        lookup = _Lookup(known, {each.path for each in equipment})
        found: dict[str, dict[str, tuple[Condition, ...]]] = {}
        for wanted in self._wanted:
            conditions = [
                self._condition(lookup, wanted, loc, clause, tell=not elsewhere)
                for loc, clause in wanted.clauses
            ]
            sound = tuple(condition for condition in conditions if condition is not None)
            found.setdefault(wanted.equipment, {})[wanted.name] = sound
        return tuple(_locked(each, found.get(each.path)) for each in equipment)

    def _condition(
        self, lookup: _Lookup, wanted: _Wanted, loc: Loc, clause: Clause, *, tell: bool
    ) -> Condition | None:
        """``tell`` of a property that is missing."""
        try:
            prop = lookup.find(wanted.equipment, clause)
        except LookupError as error:
            if tell:
                self._tell(wanted, loc, str(error))
            return None
        try:
            value = _value(clause, prop.type)
        except ValueError as error:
            self._tell(wanted, loc, str(error))
            return None
        if prop.binding is not None and not prop.binding.enabled and loc not in self._warned:
            self._warned.add(loc)
            locked = f"{wanted.equipment}.{wanted.name}"
            what = f"{prop.key} is not read (enabled: false), so nobody can write {locked}"
            self._report.warn(loc, what)
        return Condition(prop.key, clause.comparison, value, clause.text)

    def _tell(self, wanted: _Wanted, loc: Loc, text: str) -> None:
        message, _, hint = text.partition("; ")
        suffix = f" (with {shown(wanted.variables)})" if wanted.variables else ""
        if loc[0] != "equipment":
            suffix = f" (for {wanted.equipment})"
        self._report.once(loc, "interlock", message + suffix, hint)


def _locked(equipment: Equipment, found: Mapping[str, tuple[Condition, ...]] | None) -> Equipment:
    if found is None:
        return equipment
    properties = tuple(
        replace(prop, interlock=found[prop.name]) if prop.name in found else prop
        for prop in equipment.properties
    )
    return replace(equipment, properties=properties)


class _Lookup:
    """Finds properties by the paths that clauses name them with."""

    def __init__(self, known: Mapping[str, Property], equipment: set[str]) -> None:
        self._known = known
        self._equipment = equipment

    def find(self, home: str, clause: Clause) -> Property:
        """Raises LookupError with a text for people."""
        if clause.up >= 0:
            base = _above(home, clause.up)
            if base is None:
                raise LookupError(f"'{clause.left}' leads above the top of the plant")
            places = [_below(base, clause.path)]
        else:
            places = [_below(home, clause.path), clause.path] if clause.path else [home]
        keys = [f"{place}.{clause.name}" for place in dict.fromkeys(places)]
        found = [self._known[key] for key in keys if key in self._known]
        if len(found) == 1:
            return found[0]
        if found:
            raise LookupError(
                f"'{clause.left}' may mean {found[0].key} or {found[1].key}; "
                f"write ./{clause.left} for the first, or ../ and its path for the second"
            )
        raise LookupError(self._missing(home, clause, places))

    def _missing(self, home: str, clause: Clause, places: Sequence[str]) -> str:
        for steps in range(1, home.count("/") + 1):
            base = _above(home, steps)
            if base is not None and f"{_below(base, clause.path)}.{clause.name}" in self._known:
                written = f"{'../' * steps}{clause.path}{'.' if clause.path else ''}{clause.name}"
                return f"there is no property '{clause.left}' here; did you mean '{written}'?"
        for place in places:
            if place in self._equipment:
                names = [key.rpartition(".")[2] for key in self._known if key.startswith(f"{place}.")]
                hint = did_you_mean(clause.name, names)
                return f"{place} has no property '{clause.name}'" + (f"; {hint}" if hint else "")
        near = closest(places[0], self._equipment, 0.8)
        meant = near.removeprefix(f"{home}/") if near else ""
        hint = f"; did you mean '{meant}.{clause.name}'?" if near else ""
        return f"there is no equipment '{places[-1]}'{hint}"


def _above(path: str, steps: int) -> str | None:
    parts = path.split("/")
    return "/".join(parts[: len(parts) - steps]) if steps < len(parts) else None


def _below(base: str, path: str) -> str:
    return f"{base}/{path}" if path else base


def _value(clause: Clause, made: PropertyType) -> Value:
    """The literal as a value of the property. Raises ValueError with a text for people."""
    literal, kind = clause.literal, made.type
    if made.length is not None:
        raise ValueError(f"{made.name} is an array, and an interlock compares single values")
    if clause.comparison.orders and (made.enumeration is not None or not kind.is_number):
        what = "an enumeration" if made.enumeration is not None else article(kind.name)
        raise ValueError(f"{made.name} is {what}, which has no order; {_UNORDERED}")
    if made.enumeration is not None and isinstance(literal.value, str):
        numbers = {label: number for number, label in made.enumeration.members.items()}
        if literal.value not in numbers:
            near = closest(literal.value, numbers)
            hint = f"did you mean '{near}'?" if near else f"it has {listed(list(numbers), 20)}"
            raise ValueError(f"'{literal.value}' is no state of {made.enumeration.name}; {hint}")
        return numbers[literal.value]
    if kind is ValueType.String and isinstance(literal.value, str) and not literal.quoted:
        raise ValueError(f"{made.name} is a String; put the text in quotes: '{literal.value}'")
    wrong = misfit(literal.value, replace(made, range=None))
    if wrong is not None:
        raise ValueError("; ".join(part for part in wrong if part))
    if isinstance(literal.value, int | float) and kind is ValueType.Float:
        (nearest,) = struct.unpack("<f", struct.pack("<f", literal.value))  # as a device holds it
        return float(nearest)
    return (
        float(literal.value)
        if kind is ValueType.Double and not isinstance(literal.value, str)
        else literal.value
    )
