"""Equipment: each stanza planned once, then made as often as its ``for:`` says, in plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from server.config.bindings import BindingPlan, SourceDraft, Sources
from server.config.classes import ResolvedClass
from server.config.clauses import Clause, clause_places, parse_clause
from server.config.errors import closest, did_you_mean, listed
from server.config.fields import NAME, NAME_HINT
from server.config.interlocks import Interlocks
from server.config.models import EquipmentStanza, ImportRights, OwnPropertyStanza
from server.config.properties import DEFAULT_SCAN, Declared, Vocabulary, declare, misfit, typed
from server.config.repeat import MAX_PROPERTIES, Repetition, Template, TemplateError, Variables, shown
from server.config.tree import Loc
from server.plant.model import DEFAULT_WRITERS, Equipment, EquipmentLevel, Import, Property, Role
from sources.errors import AddressError
from sources.tag import ScanClass, Value

_PATH: Final = re.compile(f"{NAME}(?:/{NAME})*")


@dataclass(frozen=True, slots=True)
class Scope:
    """What an equipment may name. ``class_names`` and ``asset_names`` are all that stand in the file."""

    words: Vocabulary
    interlocks: Interlocks
    sources: Sources
    classes: Mapping[str, ResolvedClass]
    class_names: AbstractSet[str]
    asset_names: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class Made:
    """One equipment, and the stanza and repetition it comes from."""

    equipment: Equipment
    loc: Loc
    variables: Variables


@dataclass(frozen=True, slots=True)
class _Row:
    """One property of the stanza's equipment. The templates are None where the text is fixed."""

    declared: Declared
    plan: BindingPlan | None
    pinned: Template | None = None
    description: Template | None = None
    value: Template | None = None
    interlock: tuple[tuple[Loc, Template], ...] = ()
    """In place of the declared one where its texts are calculated."""


def count(stanzas: Mapping[str, EquipmentStanza], classes: Mapping[str, ResolvedClass]) -> int:
    """About how many properties there will be, before any is made."""
    total = 0
    for stanza in stanzas.values():
        found = classes.get(stanza.class_name or "")
        each = len(found.properties) if found else 0
        total += (stanza.repetition.count if stanza.repetition else 1) * max(1, each + len(stanza.properties))
    return total


@dataclass(frozen=True, slots=True)
class _ImportPlan:
    """An import, ready to be made for any number of equipment."""

    source: Template
    under: Template | None
    nodes: tuple[Template, ...]
    scan: ScanClass
    writers: frozenset[Role]
    callers: frozenset[Role]
    mqtt: bool | tuple[str, ...]


def _roles(rights: ImportRights | None) -> frozenset[Role]:
    """Nobody, where it is not said."""
    if rights is None:
        return frozenset()
    return frozenset(map(Role, rights.roles)) if rights.roles else DEFAULT_WRITERS


class EquipmentPlan:
    """One stanza of ``equipment``, its rules checked."""

    def __init__(self, key: str, stanza: EquipmentStanza, scope: Scope) -> None:
        """Checks what is the same in every repetition and tells of it."""
        self.key = key
        self.loc: Loc = ("equipment", key)
        self._stanza = stanza
        self._scope = scope
        self._words = scope.words
        self._report = scope.words.report
        self._damage = scope.words.damage
        self._repetition = stanza.repetition or Repetition({})
        self._names = frozenset(self._repetition.variables)
        self._class = self._find_class()
        self.level = self._find_level()
        self._path = self._key_template()
        self.readable = self._path is not None and not self._damage.at((*self.loc, "for"))
        """Whether all the paths it makes are known; what is beneath an unknown one lacks no parent."""
        self._texts = {
            name: self._template(getattr(stanza, name) or "", (*self.loc, name))
            for name in ("description", "display_name", "id", "source", "prefix", "implemented_by")
        }
        self._import = self._import_plan()
        self._default: dict[str, SourceDraft | None] = {}
        own = self._own()
        plans = self._plans({**(self._class.properties if self._class else {}), **own})
        self._rows = list(self._make_rows(own, plans))

    def _template(self, text: str, loc: Loc) -> Template | None:
        try:
            return Template.parse(text, self._names)
        except TemplateError as error:
            message, _, hint = str(error).partition("; ")
            self._report.error(loc, message, hint)
            return None

    def _key_template(self) -> Template | None:
        if not self._names and ("{" in self.key or "}" in self.key):
            if not self._damage.at((*self.loc, "for")):
                message = "the key has braces, and nothing says what runs through them"
                self._report.key_error(self.loc, message, "add for: 1..500")
            return None
        path = self._template(self.key, self.loc)
        lacking = sorted(self._names - path.used) if path else []
        if lacking:
            names = listed([f"{{{name}}}" for name in lacking])
            message = f"the key does not contain {names}: every repetition would be the same equipment"
            self._report.key_error(self.loc, message, f"put {names} into the last part of the key")
            return None
        return path

    def _find_class(self) -> ResolvedClass | None:
        name = self._stanza.class_name
        if name is None:
            return None
        if name not in self._scope.class_names:
            hint = did_you_mean(name, self._scope.class_names)
            self._report.error((*self.loc, "class"), f"there is no class '{name}'", hint)
        return self._scope.classes.get(name)

    def _find_level(self) -> EquipmentLevel:
        stanza = self._stanza
        if stanza.level is not None:
            return EquipmentLevel[stanza.level]
        if self._class and self._class.made.level is not None:
            return self._class.made.level
        name = stanza.class_name
        known = (
            self._class is not None
            and self._class.complete
            and not self._damage.within(("classes", name or ""))
        )
        unknown = name is not None and not known
        if not unknown and not any(self._damage.at((*self.loc, key)) for key in ("level", "class")):
            message = "it has no level" if name is None else f"neither it nor its class {name} has a level"
            self._report.error(self.loc, message, "add level: WorkUnit, or another level of ISA-95")
        return EquipmentLevel.Other

    def _own(self) -> dict[str, tuple[Declared, OwnPropertyStanza]]:
        found = {}
        inherited = self._class.properties if self._class else {}
        for name, stanza in self._stanza.properties.items():
            loc = (*self.loc, "properties", name)
            fixed = stanza
            if self._names and isinstance(stanza.value, str) and "{" in stanza.value:
                fixed = stanza.model_copy(update={"value": None})
            if stanza.write is not None and self._calculated(stanza):
                rules = stanza.write.model_copy(update={"interlock": None})
                fixed = fixed.model_copy(update={"write": rules})
            declared = declare(name, fixed, loc, inherited.get(name), self._words, owner=None)
            found[name] = (declared, stanza)
        return found

    def _calculated(self, stanza: OwnPropertyStanza) -> bool:
        """Whether its interlock has to be calculated for each repetition."""
        texts = stanza.write.interlock if stanza.write is not None else None
        return bool(self._names) and any("{" in text for text in texts or ())

    def _interlock(self, stanza: OwnPropertyStanza, loc: Loc) -> tuple[tuple[Loc, Template], ...]:
        """The clauses of a calculated interlock, each with its place."""
        if stanza.write is None or not self._calculated(stanza):
            return ()
        found = zip(clause_places(self._report.tree, loc), stanza.write.interlock or (), strict=True)
        parsed = ((place, self._template(text, place)) for place, text in found)
        return tuple((place, template) for place, template in parsed if template is not None)

    def _clauses(self, row: _Row, variables: Variables) -> Sequence[tuple[Loc, Clause]]:
        """What has to hold for the property of one repetition to be written."""
        if not row.interlock:
            return row.declared.interlock
        found = []
        for loc, template in row.interlock:
            try:
                found.append((loc, parse_clause(template.render(variables))))
            except (TemplateError, ValueError) as error:
                message, _, hint = str(error).partition("; ")
                suffix = f" (with {shown(variables)})"
                self._report.once(loc, "interlock", message + suffix, hint)
        return found

    def _plans(self, known: Mapping[str, object]) -> dict[str, BindingPlan]:
        plans = {}
        named_class = self._stanza.class_name is not None
        complete = self._class.complete if self._class else not named_class
        complete = complete and not self._damage.at((*self.loc, "properties"))
        inherited = self._class.properties if self._class else {}
        for name, stanza in self._stanza.map.items():
            loc = (*self.loc, "map", name)
            unreadable = self._damage.at((*self.loc, "properties", name))
            if name not in known and complete and not unreadable:
                hint = did_you_mean(name, known)
                self._report.key_error(loc, f"there is no property '{name}' here", hint)
            item = known.get(name)
            declared = item[0] if isinstance(item, tuple) else inherited.get(name)
            plan = BindingPlan(stanza, loc, declared, self._scope.sources, self._words, self._template)
            self._check_source(plan, loc)
            plans[name] = plan
        return plans

    def _check_source(self, plan: BindingPlan, loc: Loc) -> None:
        lacking = plan.needs_source and self._stanza.source is None
        if lacking and not any(self._damage.at((*place, "source")) for place in (self.loc, loc)):
            message = "nothing says which source this is read from"
            self._report.error(loc, message, "add source: to the equipment or here")

    def _make_rows(
        self, own: dict[str, tuple[Declared, OwnPropertyStanza]], plans: dict[str, BindingPlan]
    ) -> Iterator[_Row]:
        inherited = self._class.properties if self._class else {}
        # A name misspelt in the map has been told of; the property it meant is not missing too.
        meant = {
            closest(name, {**inherited, **own}) for name in plans if name not in inherited and name not in own
        }
        lacking: list[str] = []
        for name, declared in inherited.items():
            if name in own:
                continue
            if name not in plans and name not in meant and self._lacks_value(name, declared):
                lacking.append(name)
            yield _Row(declared, plans.get(name))
        for name, (declared, stanza) in own.items():
            yield self._own_row(name, declared, stanza, plans.get(name))
            if name not in plans and name not in meant and stanza.value is None:
                if name in inherited and self._lacks_value(name, declared):
                    lacking.append(name)
                elif self._lacks_value(name, declared):
                    message = "this property has neither a binding nor a value"
                    self._report.error(
                        (*self.loc, "properties", name), message, "add it to map, or give it value:"
                    )
        if lacking:
            one = "has" if len(lacking) == 1 else "have"
            message = f"{listed(lacking)} {one} neither a binding nor a value"
            self._report.error(self.loc, message, "add each to map, or give it value: under properties")

    def _lacks_value(self, name: str, declared: Declared) -> bool:
        places: list[Loc] = [(*self.loc, "map", name), (*self.loc, "properties", name, "value")]
        if declared.declared_by is not None:
            places.append(("classes", declared.declared_by, "properties", name, "value"))
        return declared.value is None and not any(self._damage.within(place) for place in places)

    def _own_row(
        self, name: str, declared: Declared, stanza: OwnPropertyStanza, plan: BindingPlan | None
    ) -> _Row:
        loc = (*self.loc, "properties", name)
        if plan is not None and stanza.value is not None:
            place = self._report.place((*loc, "value"))
            message = f"this property has a value already, at {place}"
            self._report.key_error((*self.loc, "map", name), message, "a property has a binding or a value")
        value = None
        if declared.value is None and isinstance(stanza.value, str) and self._names:
            value = self._template(stanza.value, (*loc, "value"))
        pinned = self._template(stanza.id, (*loc, "id")) if stanza.id is not None else None
        text = self._template(stanza.description or "", (*loc, "description"))
        moving = text if text is not None and text.used else None
        interlock = self._interlock(stanza, loc) if declared.type.write is not None else ()
        return _Row(declared, plan, pinned, moving, value, interlock)

    @property
    def repetitions(self) -> int:
        """How many equipment the stanza stands for."""
        return self._repetition.count

    def expand(self) -> Iterator[Made]:
        """Every equipment of the stanza. A problem is told of once, with the first repetition that has it."""
        if self._path is None:
            return
        for variables in self._repetition:
            made = self._make(self._path, variables)
            if made is not None:
                yield Made(made, self.loc, variables)

    def _once(self, kind: str, inner: Loc, message: str, variables: Variables, hint: str = "") -> None:
        suffix = f" (with {shown(variables)})" if variables else ""
        self._report.once((*self.loc, *inner), kind, message + suffix, hint)

    def _render(self, template: Template | None, inner: Loc, variables: Variables) -> str | None:
        """A text of one repetition; None where there is none or it cannot be calculated."""
        if template is None or template.fixed is not None:
            return template.fixed if template else None
        try:
            return template.render(variables)
        except TemplateError as error:
            self._once("template", inner, str(error), variables)
            return None

    def _make(self, template: Template, variables: Variables) -> Equipment | None:
        path = self._render(template, (), variables)
        if path is None:
            self.readable = False
            return None
        if not _PATH.fullmatch(path) and not self._may_go_on(path, variables):
            self.readable = False
            return None
        text = {key: self._render(each, (key,), variables) or "" for key, each in self._texts.items()}
        asset = text["implemented_by"] or None
        if asset is not None and asset not in self._scope.asset_names:
            hint = did_you_mean(asset, self._scope.asset_names)
            self._once("asset", ("implemented_by",), f"there is no asset '{asset}'", variables, hint)
        source = self._source(text["source"], variables)
        pinned = text["id"] or None
        properties = tuple(
            [self._property(row, path, pinned, source, text["prefix"], variables) for row in self._rows]
        )
        return Equipment(
            path,
            self.level,
            properties,
            class_name=self._stanza.class_name,
            implemented_by=asset,
            description=text["description"],
            display_name=text["display_name"],
            pinned_id=pinned,
            imported=self._imported(variables),
        )

    def _import_plan(self) -> _ImportPlan | None:
        stanza, loc = self._stanza.imported, (*self.loc, "import")
        if stanza is None:
            return None
        source = self._template(stanza.source, (*loc, "from"))
        under = self._template(stanza.under, (*loc, "under")) if stanza.under is not None else None
        nodes = [
            self._template(text, (*loc, "nodes", place)) for place, text in enumerate(stanza.nodes or [])
        ]
        scan = self._words.scan(stanza.scan or DEFAULT_SCAN, (*loc, "scan"))
        found = tuple(node for node in nodes if node is not None)
        if not (source and scan) or len(found) < len(nodes) or (under is None and stanza.under is not None):
            return None
        mqtt = stanza.mqtt if isinstance(stanza.mqtt, bool) else tuple(stanza.mqtt)
        return _ImportPlan(source, under, found, scan, _roles(stanza.write), _roles(stanza.call), mqtt)

    def _imported(self, variables: Variables) -> Import | None:
        """What one repetition imports; None where it has a problem, told of once."""
        plan = self._import
        if plan is None:
            return None
        name = self._render(plan.source, ("import", "from"), variables)
        if name is None:
            return None
        suffix = f" (with {shown(variables)})" if variables else ""
        source = self._scope.sources.find(name, (*self.loc, "import", "from"), suffix)
        if source is None or source.driver is None:
            return None
        if source.driver.node is None:
            message = f"nothing can be imported from {name}: its driver is {source.driver.kind}"
            self._once("import", ("import", "from"), message, variables, "name a source with driver: opcua")
            return None
        below = None
        if plan.under is not None:
            below = self._node(source.driver.node, plan.under, ("import", "under"), variables)
        nodes = [
            self._node(source.driver.node, node, ("import", "nodes", place), variables)
            for place, node in enumerate(plan.nodes)
        ]
        found = tuple(dict.fromkeys(node for node in nodes if node is not None))
        if None in nodes or (below is None and plan.under is not None):
            return None
        return Import(name, below, plan.scan, plan.writers, plan.callers, found, plan.mqtt)

    def _node(
        self, parse: Callable[[str], Any], given: Template, loc: Loc, variables: Variables
    ) -> Any | None:
        """A node as its driver names it; None where it has a problem, told of once."""
        text = self._render(given, loc, variables)
        if text is None:
            return None
        try:
            return parse(text)
        except AddressError as error:
            message, _, hint = str(error).partition("; ")
            self._once(".".join(map(str, loc)), loc, message, variables, hint)
            return None

    def _may_go_on(self, path: str, variables: Variables) -> bool:
        """Tell of a part that is no name; whether it stands further up, where its own stanza is told of."""
        parts = path.split("/")
        odd = "" if "" in parts else parts[-1]
        if re.fullmatch(NAME, odd):
            return True
        self._once("path", (), f"'{odd}' is not a name", variables, NAME_HINT)
        return False

    def _source(self, name: str, variables: Variables) -> SourceDraft | None:
        if not name:
            return None
        if name not in self._default:
            suffix = f" (with {shown(variables)})" if variables else ""
            self._default[name] = self._scope.sources.find(name, (*self.loc, "source"), suffix)
        return self._default[name]

    def _property(
        self,
        row: _Row,
        path: str,
        home: str | None,
        source: SourceDraft | None,
        prefix: str,
        variables: Variables,
    ) -> Property:
        made = row.declared.type
        if row.description is not None:
            text = self._render(row.description, ("properties", made.name, "description"), variables)
            made = replace(made, description=text or "")
        pinned = f"{home}.{made.name}" if home else None
        if row.pinned is not None:
            pinned = self._render(row.pinned, ("properties", made.name, "id"), variables)
        binding = None
        if row.plan is not None:
            binding = row.plan.make(f"{path}.{made.name}", source, prefix, variables)
        value = None if row.plan is not None else row.declared.value
        if row.value is not None:
            text = self._render(row.value, ("properties", made.name, "value"), variables)
            value = None if text is None else self._rendered_value(row, text, variables)
        self._scope.interlocks.want(path, made.name, self._clauses(row, variables), variables)
        return Property(path, made, row.declared.declared_by, binding, value, pinned)

    def _rendered_value(self, row: _Row, text: str, variables: Variables) -> Value:
        """The constant of one repetition, whose text came from an expression."""
        made = row.declared.type
        number = made.type.is_number and re.fullmatch(r"-?\d{1,40}", text)
        value: Value = int(text) if number else text
        wrong = misfit(value, made) if row.declared.sound else None
        if wrong is not None:
            self._once("value", ("properties", made.name, "value"), wrong[0], variables, wrong[1])
        return typed(value, made.type) if wrong is None else value


def check_count(stanzas: Mapping[str, EquipmentStanza], scope: Scope) -> bool:
    """Whether there are no more properties than a plant may have; more are told of at the largest stanza."""
    total = count(stanzas, scope.classes)
    if total <= MAX_PROPERTIES:
        return True
    largest = max(stanzas, key=lambda key: count({key: stanzas[key]}, scope.classes))
    message = f"the plant would have {total:,} properties; the most is {MAX_PROPERTIES:,}"
    repeated = stanzas[largest].repetition is not None
    loc: Loc = ("equipment", largest, "for") if repeated else ("equipment", largest)
    scope.words.report.error(loc, message, "make the range of for: smaller")
    return False
