"""Bindings: a declaration checked once, then turned into a tag and its conversion for each equipment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import BaseModel

from server.config.errors import article, did_you_mean, listed
from server.config.models import BindingStanza
from server.config.properties import Declared, Vocabulary
from server.config.repeat import Template, TemplateError, Variables, shown
from server.config.report import Report
from server.config.tree import Loc
from server.plant.convert import Cast, Elements, Linear, Lookup, ScalarConversion
from server.plant.model import Binding
from sources.errors import AddressError
from sources.registry import Driver
from sources.spec import TagSpec
from sources.tag import INTEGER_LIMITS, ScanClass, Stale, Tag, ValueType


@dataclass(slots=True)
class SourceDraft:
    """A source while its tags are gathered. ``settings`` is None where they had errors."""

    name: str
    driver: Driver | None
    settings: BaseModel | None
    enabled: bool = True
    stale: Stale | None = None
    tags: list[Tag[Any]] = field(default_factory=list)
    used: bool = False


class Sources:
    """The sources a binding may name; ``names`` are all that stand in the file, readable or not."""

    def __init__(self, drafts: Mapping[str, SourceDraft], names: AbstractSet[str], report: Report) -> None:
        self._drafts = drafts
        self._names = names
        self._report = report

    def find(self, name: str, loc: Loc, suffix: str = "") -> SourceDraft | None:
        """The source of that name. One that does not exist is told of at ``loc``, once."""
        found = self._drafts.get(name)
        if found is not None:
            found.used = True
        elif name not in self._names:
            hint = did_you_mean(name, self._names)
            self._report.once(loc, "source", f"there is no source '{name}'{suffix}", hint)
        return found


_FAILED: Final[Any] = object()


class BindingPlan:
    """One entry of ``map``, ready to be made for any number of equipment."""

    def __init__(
        self,
        stanza: BindingStanza,
        loc: Loc,
        declared: Declared | None,
        sources: Sources,
        words: Vocabulary,
        parse: Callable[[str, Loc], Template | None],
    ) -> None:
        """Checks what does not depend on the device. ``declared`` is None for an unknown property."""
        self._stanza = stanza
        self._loc = loc
        self._declared = declared
        self._sources = sources
        self._words = words
        self._conversions: dict[ValueType, object] = {}
        self._found: dict[str, SourceDraft | None] = {}
        self._address = parse(stanza.addr, (*loc, "addr"))
        self._source = parse(stanza.source, (*loc, "source")) if stanza.source is not None else None
        self._scan = self._scan_class()
        self._sound = declared is not None and declared.sound
        if self._sound and declared is not None:
            self._check(declared)

    def _scan_class(self) -> ScanClass | None:
        if self._stanza.scan is not None:
            return self._words.scan(self._stanza.scan, (*self._loc, "scan"))
        return self._declared.scan if self._declared else None

    def _complain(self, key: str, message: str, hint: str = "") -> None:
        self._sound = False
        self._words.report.error((*self._loc, key) if key else self._loc, message, hint)

    def _check(self, declared: Declared) -> None:
        stanza, made = self._stanza, declared.type
        linear = [key for key in ("scale", "gain", "offset") if getattr(stanza, key) is not None]
        kinds = [*linear[:1], *(["lut"] if stanza.lut is not None else [])]
        if "scale" in linear and len(linear) > 1:
            kinds = [linear[0], linear[1], *kinds[1:]]
        if len(kinds) > 1:
            self._complain(kinds[1], f"{listed(kinds)} exclude each other", "keep one")
        if linear and (made.enumeration is not None or not made.type.is_number):
            what = "an enumeration" if made.enumeration else article(made.type.name)
            hint = "use lut, or take it out" if made.enumeration else "take it out, or change the type"
            self._complain(linear[0], f"{what} cannot be scaled", hint)
        if stanza.lut is not None:
            self._check_lut(stanza.lut, declared)

    def _check_lut(self, lut: Lookup, declared: Declared) -> None:
        made = declared.type
        limits = INTEGER_LIMITS.get(made.type)
        if limits is None:
            message = f"a lookup table yields whole numbers, and {made.name} is {article(made.type.name)}"
            self._complain("lut", message, "give the property an integer type or an enum")
            return
        served = lut.table.values()
        if made.enumeration is not None:
            odd = [value for value in served if value not in made.enumeration.members]
            if odd:
                members = [f"{number} {label}" for number, label in made.enumeration.members.items()]
                message = f"{odd[0]} is no number of {made.enumeration.name}"
                self._complain("lut", message, f"it has {listed(members, 20)}")
        elif odd := [value for value in served if not limits[0] <= value <= limits[1]]:
            self._complain(
                "lut", f"{odd[0]} is out of range for {made.type.name} ({limits[0]} to {limits[1]})"
            )
        if made.write is not None and len(lut.inverse) < len(lut.table):
            twice = next(value for value in served if list(served).count(value) > 1)
            message = f"{made.name} can be written, but two raw values give {twice}"
            self._complain("lut", message, "make the table one to one, or the property access: r")

    def make(
        self, key: str, default: SourceDraft | None, prefix: str, variables: Variables
    ) -> Binding | None:
        """The binding of one equipment's property, or None where it has a problem, told of once."""
        suffix = f" (with {shown(variables)})" if variables else ""
        try:
            source = self._source_of(default, variables, suffix)
            address = self._address.render(variables) if self._address else None
        except TemplateError as error:
            self._words.report.once(self._loc, "template", f"{error}{suffix}")
            return None
        declared, scan = self._declared, self._scan
        if source is None or source.driver is None or source.settings is None or address is None:
            return None
        if declared is None or not declared.sound or scan is None:
            return None
        spec = TagSpec(
            key,
            prefix + address,
            declared.type.type,
            scan,
            encoding=self._stanza.encoding,
            words=self._stanza.words,
            writable=declared.type.write is not None,
            length=declared.type.length,
        )
        try:
            tag = source.driver.tag(spec, source.settings)
        except AddressError as error:
            message, _, hint = str(error).partition("; ")
            key = next((key for key in ("as", "words") if message.startswith(f"{key}: ")), "addr")
            message = message.removeprefix(f"{key}: ")
            self._words.report.once((*self._loc, key), "address", f"{message}{suffix}", hint)
            return None
        conversion = self._conversion(tag.type, declared, suffix) if self._sound else _FAILED
        if conversion is _FAILED:
            return None
        enabled = self._stanza.enabled and source.enabled
        if enabled:
            source.tags.append(tag)
        return Binding(source.name, tag, conversion, enabled)

    def _source_of(
        self, default: SourceDraft | None, variables: Variables, suffix: str
    ) -> SourceDraft | None:
        if self._stanza.source is None:
            return default
        if self._source is None:
            return None
        name = self._source.render(variables)
        if name not in self._found:
            self._found[name] = self._sources.find(name, (*self._loc, "source"), suffix)
        return self._found[name]

    @property
    def needs_source(self) -> bool:
        """Whether it relies on the equipment's source."""
        return self._stanza.source is None

    def _conversion(self, raw: ValueType, declared: Declared, suffix: str) -> Any:
        """Shared by all repetitions whose tags have the same type."""
        found = self._conversions.get(raw)
        if found is None and raw not in self._conversions:
            found = each = self._convert(raw, declared, suffix)
            if declared.type.length is not None and each is not _FAILED:
                found = Elements(raw, declared.type.length, cast("ScalarConversion | None", each))
            self._conversions[raw] = found
        return found

    def _convert(self, raw: ValueType, declared: Declared, suffix: str) -> ScalarConversion | object | None:
        stanza, kind = self._stanza, declared.type.type
        if stanza.lut is not None:
            return self._lookup(stanza.lut, raw, suffix)
        if stanza.scale is not None or stanza.gain is not None or stanza.offset is not None:
            key = "scale" if stanza.scale is not None else "gain" if stanza.gain is not None else "offset"
            if not raw.is_number:
                message = f"{article(raw.name)} of the device cannot be scaled{suffix}"
                return self._fail(key, message, "take it out")
            if stanza.scale is not None:
                return Linear.through(raw, kind, stanza.scale[:2], stanza.scale[2:])
            gain = 1.0 if stanza.gain is None else stanza.gain
            return Linear(raw, kind, gain, stanza.offset or 0.0)
        if any(self._words.damage.at((*self._loc, key)) for key in ("lut", "scale", "gain", "offset")):
            return None  # what was meant is not known; the mistake is told of
        if raw is kind:
            return None
        if {ValueType.String, ValueType.DateTime} & {raw, kind}:
            message = f"the device has {article(raw.name)}, the property is {article(kind.name)}{suffix}"
            return self._fail("addr", message, "change the property's type, or as:")
        return Cast(raw, kind)

    def _lookup(self, lut: Lookup, raw: ValueType, suffix: str) -> Lookup | object:
        limits = (0, 1) if raw is ValueType.Boolean else INTEGER_LIMITS.get(raw)
        if limits is None:
            message = f"a lookup table needs whole numbers, and the device has {article(raw.name)}{suffix}"
            return self._fail("lut", message, "say with as: that it is an integer")
        odd = [number for number in lut.table if not limits[0] <= number <= limits[1]]
        if odd:
            return self._fail(
                "lut", f"{odd[0]} is no raw value: {article(raw.name)} is {limits[0]} to {limits[1]}{suffix}"
            )
        return lut

    def _fail(self, key: str, message: str, hint: str = "") -> object:
        self._words.report.once((*self._loc, key), "conversion", message, hint)
        return _FAILED
