"""Properties: from what classes and equipment declare to property types, every rule checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from server.config.clauses import Clause, clause_places, parse_clause
from server.config.enumerations import Enumerations
from server.config.errors import article, did_you_mean, listed
from server.config.fields import Verify
from server.config.models import PropertyStanza, WriteStanza
from server.config.report import Report
from server.config.tree import Loc
from server.config.units import Units
from server.config.validate import Damage
from server.plant.model import DEFAULT_WRITERS, Enumeration, PropertyType, Range, Role, WriteRule
from sources.tag import ANY_LENGTH, INTEGER_LIMITS, ScanClass, Value, ValueType

DEFAULT_SCAN: Final = "normal"
RESERVED: Final = frozenset({"EquipmentLevel"})
"""Members an equipment has of its own (OPC 10030 §9.2)."""

_FIXED: Final = ("type", "array", "enum", "kind")
"""What a refinement may not change: clients of the base would meet another kind of value."""

_WRITE_KEYS: Final = {"limits": "write_limits", "roles": "writers"}
"""Keys of ``write`` that may be given beside it as well, by the names they have there."""

_RULES: Final = (
    "write_limits",
    "writers",
    "max_step",
    "max_rate",
    "max_per_minute",
    "interlock",
    "verify",
    "latest_wins",
)
"""Keys that mean something only where a property can be written."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A property as a class or an equipment has it, what it inherits included.

    ``sound`` is false where the type is in doubt: nothing that depends on it can be judged.
    """

    type: PropertyType
    declared_by: str | None
    scan: ScanClass
    value: Value = None
    sound: bool = True
    stated: Mapping[str, Any] = field(default_factory=dict)

    @property
    def interlock(self) -> Sequence[tuple[Loc, Clause]]:
        """What has to hold for a write, each with its place in the file."""
        clauses: Sequence[tuple[Loc, Clause]] = self.stated.get("interlock", ())
        return clauses if self.type.write is not None else ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names a property may use."""

    units: Units
    enumerations: Enumerations
    scans: Mapping[str, ScanClass]
    report: Report
    damage: Damage

    def scan(self, name: str, loc: Loc) -> ScanClass | None:
        """The scan class of that name. One that does not exist is told of at ``loc``."""
        found = self.scans.get(name)
        if found is None and not self.damage.within(("scan", name)):
            self.report.error(loc, f"there is no scan class '{name}'", did_you_mean(name, self.scans))
        return found


def declare(
    name: str, stanza: PropertyStanza, loc: Loc, base: Declared | None, words: Vocabulary, owner: str | None
) -> Declared:
    """What a stanza declares, on top of what is inherited. ``owner`` is the class, None for an equipment."""
    return _Declaration(name, stanza, loc, base, words).make(owner)


class _Declaration:
    def __init__(
        self, name: str, stanza: PropertyStanza, loc: Loc, base: Declared | None, words: Vocabulary
    ) -> None:
        self._name = name
        self._loc = loc
        self._base = base
        self._words = words
        self._report = words.report
        doubtful = any(words.damage.at((*loc, key)) for key in ("type", "array", "enum"))
        self._sound = (base is None or base.sound) and not doubtful
        self._given = {
            key: getattr(stanza, key)
            for key in PropertyStanza.model_fields
            if key in stanza.model_fields_set and getattr(stanza, key) is not None
        }
        self._places: dict[str, tuple[str, ...]] = {}
        """Where keys stand that were given within another."""
        if "write" in self._given:
            self._take_in(self._given.pop("write"))
        self._stated: dict[str, Any] = {**(base.stated if base else {}), **self._given}

    def make(self, owner: str | None) -> Declared:
        if self._name in RESERVED:
            hint = "it is there already, from the key level; choose another name"
            self._report.key_error(self._loc, f"{self._name} is a member of every equipment", hint)
        if self._base is not None:
            self._refuse_changes(self._base)
        inherited = self._base.type if self._base else None
        unit = inherited.unit if inherited else None
        if "unit" in self._given:
            unit = self._words.units.find(self._given["unit"], (*self._loc, "unit"))
        enumeration = inherited.enumeration if inherited else None
        if "enum" in self._given:
            enumeration = self._words.enumerations.find(self._given["enum"], (*self._loc, "enum"))
        scan = (
            self._base.scan
            if self._base
            else self._words.scans.get(DEFAULT_SCAN, ScanClass(DEFAULT_SCAN, 1.0))
        )
        if "scan" in self._given:
            scan = self._words.scan(self._given["scan"], (*self._loc, "scan")) or scan
        kind = self._type()
        if self._sound:
            self._check_kind(kind)
            self._check_ranges(kind)
        made = PropertyType(
            self._name,
            kind,
            description=self._stated.get("description", ""),
            unit=unit,
            range=self._stated.get("range"),
            enumeration=enumeration,
            kind=self._stated.get("kind", ""),
            write=self._write_rule(),
            length=self._stated.get("array"),
        )
        value = self._value(made) if self._sound else None
        by = owner if owner is not None else self._base.declared_by if self._base else None
        return Declared(made, by, scan, value, self._sound, self._stated)

    def _take_in(self, write: WriteStanza) -> None:
        """The rules of ``write`` as keys of the property, so that a refinement may change each by itself."""
        for name in write.model_fields_set:
            value = getattr(write, name)
            if value is None:
                continue
            key = _WRITE_KEYS.get(name, name)
            if key in self._given:
                loc = (*self._loc, "write", name)
                self._report.error(loc, f"write.{name} and {key} say the same twice", "keep one")
                continue
            if name == "interlock":
                value = self._clauses(value)
            self._given[key], self._places[key] = value, ("write", name)
        if self._given.get("access") == "r":
            self._report.error((*self._loc, "write"), "it has rules for writing and access: r", "keep one")
        self._given["access"] = "rw"

    def _clauses(self, texts: Sequence[str]) -> tuple[tuple[Loc, Clause], ...]:
        """The clauses of an interlock that are any, each with its place."""
        found: list[tuple[Loc, Clause]] = []
        for loc, text in zip(clause_places(self._report.tree, self._loc), texts, strict=True):
            try:
                found.append((loc, parse_clause(text)))
            except ValueError as error:
                message, _, hint = str(error).partition("; ")
                self._report.error(loc, message, hint)
        return tuple(found)

    def _complain(self, key: str, message: str, hint: str = "") -> None:
        place = self._places.get(key, (key,))
        loc = (*self._loc, *place) if key in self._given else self._loc
        self._report.error(loc, message, hint)

    def _written(self, key: str) -> str:
        """A key as it is written here."""
        return ".".join(self._places.get(key, (key,)))

    def _refuse_changes(self, base: Declared) -> None:
        for key in _FIXED:
            if key not in self._given:
                continue
            its = {"type": base.type.type.name, "kind": base.type.kind, "array": base.type.length}
            before = its.get(key, base.stated.get(key))
            if self._given[key] != before and base.sound:
                origin = base.declared_by or "its class"
                message = (
                    f"{self._name} comes from {origin}, and {key} may not change: "
                    f"it is {_stated(key, before)}"
                )
                self._complain(key, message, "take the key out, or use another name")
                self._sound = False

    def _type(self) -> ValueType:
        stated = self._stated.get("type")
        if "enum" in self._stated:
            if stated not in {None, "Int32"} and self._sound:
                key = "type" if "type" in self._given else "enum"
                message = f"an enumeration is an Int32, not {article(stated)}"
                self._complain(key, message, "take the type out")
                self._sound = False
            return ValueType.Int32
        return ValueType[stated or "Double"]

    def _check_kind(self, kind: ValueType) -> None:
        what = "an enumeration" if "enum" in self._stated else article(kind.name)
        if kind.is_number and "enum" not in self._stated:
            return
        for key in ("unit", "range", "write_limits", "max_step", "max_rate", "kind"):
            if key in self._stated:
                message = f"{what} has no {self._written(key)}: that is for numbers"
                self._complain(key, message, "take it out, or change the type")
        if self._verify().within is not None:
            message = f"{what} is verified exactly or not at all: a tolerance is for numbers"
            self._complain("verify", message, "write exact or none")

    def _check_ranges(self, kind: ValueType) -> None:
        limits = INTEGER_LIMITS.get(kind)
        for key in ("range", "write_limits"):
            given: Range | None = self._given.get(key)
            if given and limits and not limits[0] <= given.low < given.high <= limits[1]:
                span = f"{limits[0]} to {limits[1]}"
                self._complain(key, f"{_shown(given)} is out of range for {kind.name} ({span})")
        normal: Range | None = self._stated.get("range")
        write: Range | None = self._given.get("write_limits")
        if normal and write and not normal.low <= write.low < write.high <= normal.high:
            message = f"clients may write {_shown(write)}, which is more than the range {_shown(normal)}"
            self._report.warn((*self._loc, *self._places.get("write_limits", ("write_limits",))), message)

    def _verify(self) -> Verify:
        found: Verify = self._stated.get("verify", Verify())
        return found

    def _write_rule(self) -> WriteRule | None:
        stated, verify = self._stated, self._verify()
        if stated.get("access") == "rw":
            names = stated.get("writers")
            if stated.get("max_rate") is not None and stated.get("array") is not None:
                message = "elements of an array are written each at its own time, and have no rate in common"
                self._complain("max_rate", message, "write max_step, or take max_rate out")
            for rule, what in (("max_step", "a step"), ("max_rate", "a rate")):
                if stated.get(rule) is not None and not verify.read_back:
                    key = "verify" if "verify" in self._given else rule
                    message = (
                        f"{what} is measured from a value that is read back, and verify: none reads none"
                    )
                    self._complain(key, message, f"write verify: exact or {{within: …}}, or take {rule} out")
            return WriteRule(
                frozenset(Role(name) for name in names) if names else DEFAULT_WRITERS,
                stated.get("write_limits"),
                stated.get("max_step"),
                stated.get("max_per_minute"),
                verify.read_back,
                verify.within,
                stated.get("latest_wins", False),
                stated.get("max_rate"),
            )
        for key in _RULES:
            if key in self._given and not self._words.damage.within((*self._loc, "access")):
                message = f"{self._written(key)} on a property that cannot be written"
                self._complain(key, message, "add access: rw")
        return None

    def _value(self, made: PropertyType) -> Value:
        given = "value" in self._given
        value: Value = self._given["value"] if given else self._base.value if self._base else None
        if value is None:
            return None
        wrong = misfit(value, made)
        if wrong is not None:
            # An inherited value that no longer fits does so because of the range given here.
            self._complain("value" if given else "range", *wrong)
            return None
        return typed(value, made.type)


def _stated(key: str, value: object) -> object:
    """A key's value as it is written, where it is."""
    if key == "array" and value == ANY_LENGTH:
        return "any"
    return value or "not set"


def typed(value: Value, kind: ValueType) -> Value:
    """A constant that fits, as the plant holds it: whole numbers of a Float or Double are floats."""
    if kind not in {ValueType.Float, ValueType.Double}:
        return value
    if isinstance(value, tuple):
        return tuple(map(float, value))
    return float(value) if isinstance(value, int | float) else value


def misfit(value: Value, made: PropertyType) -> tuple[str, str] | None:
    """Why a constant is none of this property's values (message and hint), or None where it is one."""
    if made.length is None:
        if isinstance(value, tuple):
            return "this is a list, and the property is one value", "write one, or add array: to the property"
        return _misfit(value, made)
    if not isinstance(value, tuple):
        return "the property is an array", f"write a list: [{_quoted(value)}]"
    if len(value) != made.length != ANY_LENGTH:
        return f"this list has {len(value)} entries, and the array has {made.length} elements", ""
    found = [wrong for element in value if (wrong := _misfit(element, made)) is not None]
    return found[0] if found else None


def _misfit(value: Value, made: PropertyType) -> tuple[str, str] | None:
    kind = made.type
    if made.enumeration is not None:
        return _no_member(value, made.enumeration)
    if kind is ValueType.Boolean:
        return (
            None if isinstance(value, bool) else (f"{_quoted(value)} is not a Boolean", "write true or false")
        )
    if kind is ValueType.DateTime:
        return "a DateTime has no constant", "give it a binding"
    if kind is ValueType.String:
        return None if isinstance(value, str) else (f"{_quoted(value)} is not a String", "put it in quotes")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{_quoted(value)} is not {article(kind.name)}", "write a number"
    limits = INTEGER_LIMITS.get(kind)
    if limits is not None and not isinstance(value, int):
        return f"{value} is not {article(kind.name)}", "write a whole number"
    if limits is not None and not limits[0] <= value <= limits[1]:
        return f"{value} is out of range for {kind.name} ({limits[0]} to {limits[1]})", ""
    if kind is ValueType.Float and abs(value) > _FLOAT_MAX:
        return f"{value} is out of range for Float", ""
    if made.range is not None and not made.range.low <= value <= made.range.high:
        return f"{value} is out of range {_shown(made.range)}", ""
    return None


_FLOAT_MAX: Final = 3.4028234663852886e38


def _no_member(value: Value, enumeration: Enumeration) -> tuple[str, str] | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in enumeration.members:
        return None
    members = [f"{number} {label}" for number, label in enumeration.members.items()]
    return f"{_quoted(value)} is no number of {enumeration.name}", f"it has {listed(members, 20)}"


def _quoted(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _shown(limits: Range) -> str:
    return f"[{limits.low:g}, {limits.high:g}]"
