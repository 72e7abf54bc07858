"""From a plant file to what the server runs on: every stanza read, every name looked up."""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from nodesets.records import UA
from server.audit.settings import AuditSettings
from server.config.bindings import SourceDraft, Sources
from server.config.classes import resolve_classes
from server.config.devices import read_sources
from server.config.enumerations import Enumerations
from server.config.equipment import EquipmentPlan, Made, Scope, check_count
from server.config.errors import ConfigurationError, Problem, did_you_mean
from server.config.files import read_files
from server.config.hierarchy import arrange
from server.config.interlocks import Interlocks
from server.config.models import PlantFile
from server.config.properties import DEFAULT_SCAN, Vocabulary
from server.config.report import Report
from server.config.tree import Entry, Loc
from server.config.tree import Mapping as Tree
from server.config.units import Units
from server.config.validate import Damage, validate
from server.mqtt.settings import MqttSettings
from server.observe.settings import MetricsSettings
from server.opcua.settings import OpcUaSettings
from server.plant.model import Asset, Equipment, Plant
from server.progress import Progress
from sources.registry import Driver
from sources.tag import ScanClass, Stale, Tag

SectionT = TypeVar("SectionT", bound=BaseModel)

_TOLD_EVERY: Final = 20
"""Equipment made between two words about how far it is."""

_FOUNDATION: Final = ("http://opcfoundation.org/", "http://www.opcfoundation.org/")


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One source: its driver, its settings, and the tags to read of it; none while it is disabled.

    ``stale`` is None where the scan classes say how old its values may grow.
    """

    name: str
    driver: Driver
    settings: BaseModel
    tags: tuple[Tag[Any], ...]
    enabled: bool
    stale: Stale | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A plant file that is right. The tags of ``sources`` are the very objects of the plant's bindings."""

    path: Path
    plant: Plant
    sources: tuple[SourceEntry, ...]
    opcua: OpcUaSettings
    audit: AuditSettings
    mqtt: MqttSettings | None
    metrics: MetricsSettings | None
    warnings: tuple[Problem, ...]
    digest: str = ""
    """Of the files it was read from: see `files.read_files`."""


def resolve(path: Path, drivers: Mapping[str, Driver], progress: Progress) -> Configuration:
    """Read a plant file with what it includes. Raises ConfigurationError with every problem there is."""
    problems: list[Problem] = []
    try:
        tree, digest = read_files(path, problems)
    except ConfigurationError as error:
        raise ConfigurationError(_sorted([*problems, *error.problems], path)) from None
    report = Report(tree)
    report.problems = problems
    damage = Damage()
    file = validate(PlantFile, (), report, damage)
    if file is None:
        raise ConfigurationError(_sorted(problems, path))
    configuration = _Resolver(path, file, report, damage, progress).resolve(drivers)
    if problems:
        raise ConfigurationError(_sorted(problems, path))
    return replace(configuration, digest=digest)


def _sorted(problems: list[Problem], path: Path) -> list[Problem]:
    """By line, the plant file before those it includes."""
    return sorted(set(problems), key=lambda p: (p.file != str(path), p.file, p.line, p.column, p.message))


class _Resolver:
    def __init__(
        self, path: Path, file: PlantFile, report: Report, damage: Damage, progress: Progress
    ) -> None:
        self._path = path
        self._file = file
        self._report = report
        self._damage = damage
        self._progress = progress

    def resolve(self, drivers: Mapping[str, Driver]) -> Configuration:
        """The configuration; worth something only where no problem has been told of."""
        file, report = self._file, self._report
        self._check_namespaces()
        drafts = read_sources(self._names("sources"), drivers, report, self._damage)
        self._check_imported_namespaces(drafts)
        sources = Sources(drafts, self._names("sources"), report)
        enumerations = Enumerations(file.enums, report)
        words = Vocabulary(Units(file.units, report), enumerations, self._scans(), report, self._damage)
        classes = resolve_classes(file.classes, self._names("classes"), words)
        assets = self._assets()
        interlocks = Interlocks(report)
        scope = Scope(words, interlocks, sources, classes, self._names("classes"), self._names("assets"))
        equipment = self._equipment(scope)
        plant = Plant(
            file.namespaces.plant if file.namespaces else "",
            file.namespaces.types if file.namespaces else "",
            interlocks.resolve(equipment),
            {name: each.made for name, each in classes.items()},
            assets,
            enumerations.used(),
        )
        self._warn(plant, drafts)
        entries = tuple(
            SourceEntry(d.name, d.driver, settings, tuple(d.tags), d.enabled, d.stale)
            for d in drafts.values()
            if d.driver is not None
            and (settings := self._with_files(d.settings, "sources", d.name)) is not None
        )
        mqtt = self._with_files(file.mqtt, "mqtt")
        metrics = self._with_files(file.metrics, "metrics")
        warnings = tuple(report.warnings)
        return Configuration(self._path, plant, entries, file.opcua, file.audit, mqtt, metrics, warnings)

    def _names(self, section: str) -> KeysView[str]:
        """Every name of a section in the order of the file, that of a stanza with errors too."""
        entry = self._report.tree.entries.get(section)
        entries: dict[str, Entry] = entry.node.entries if entry and isinstance(entry.node, Tree) else {}
        return entries.keys()

    def _scans(self) -> dict[str, ScanClass]:
        given = {name: ScanClass(name, its.every, its.stale.rule) for name, its in self._file.scan.items()}
        return {DEFAULT_SCAN: ScanClass(DEFAULT_SCAN, 1.0), **given}

    def _check_namespaces(self) -> None:
        named = self._file.namespaces
        if named is None:
            if not self._damage.within(("namespaces",)):
                hint = 'add namespaces: {plant: "urn:<company>:plant", types: "urn:<company>:types"}'
                self._report.error(("namespaces",), "the section 'namespaces' is missing", hint)
            return
        for key, uri in (("plant", named.plant), ("types", named.types)):
            loc = ("namespaces", key)
            if uri == UA or uri.lower().startswith(_FOUNDATION):
                message = f"{uri} belongs to the OPC Foundation"
                self._report.error(loc, message, "use a URI of your own, like urn:acme:plant")
            if uri == self._file.opcua.application_uri:
                message = "this is the server's application_uri, which is a namespace of its own"
                self._report.error(loc, message, "use another URI")
        if named.plant == named.types:
            message = "plant and types have the same URI"
            self._report.error(("namespaces", "types"), message, "give types another one")

    def _check_imported_namespaces(self, drafts: Mapping[str, SourceDraft]) -> None:
        """What a source imports has no place among the nodes of ours, nor among those of the standards."""
        named = self._file.namespaces
        ours = {named.plant, named.types} if named else set()
        ours.add(self._file.opcua.application_uri or "")
        for name, draft in drafts.items():
            for there, here in getattr(draft.settings, "namespaces", {}).items():
                if here in ours or here == UA or here.lower().startswith(_FOUNDATION):
                    message = f"{here} has nodes of this server's own, or of a standard's"
                    hint = f"use a URI of the source's own, like {there}#{name}"
                    self._report.error(("sources", name, "namespaces", there), message, hint)

    def _assets(self) -> dict[str, Asset]:
        found = {}
        for key, stanza in self._file.assets.items():
            if stanza.source is not None and stanza.source not in self._names("sources"):
                hint = did_you_mean(stanza.source, self._names("sources"))
                self._report.error(("assets", key, "source"), f"there is no source '{stanza.source}'", hint)
            found[key] = Asset(
                key, stanza.manufacturer, stanza.model, stanza.serial, stanza.description, stanza.source
            )
        return found

    def _equipment(self, scope: Scope) -> tuple[Equipment, ...]:
        stanzas = self._file.equipment
        if not self._names("equipment") and not self._damage.within(("equipment",)):
            message = "the section 'equipment' is missing or empty"
            self._report.error(("equipment",), message, "add equipment: {Acme: {level: Enterprise}}")
        if not check_count(stanzas, scope):
            return ()
        plans = [EquipmentPlan(key, stanza, scope) for key, stanza in stanzas.items()]
        made = self._expanded(plans)
        unknown = [plan.key for plan in plans if not plan.readable]
        unknown += self._names("equipment") - stanzas.keys()
        return arrange(made, unknown, self._report)

    def _expanded(self, plans: list[EquipmentPlan]) -> list[Made]:
        of = sum(plan.repetitions for plan in plans)
        made: list[Made] = []
        for plan in plans:
            for item in plan.expand():
                made.append(item)
                if not len(made) % _TOLD_EVERY:
                    self._progress("reading the plant", len(made), of)
        self._progress("reading the plant", of, of)
        return made

    def _with_files(self, settings: SectionT | None, *loc: str | int) -> SectionT | None:
        """A section with the paths of its files taken from the plant file's directory."""
        if settings is None:
            return None
        found = {name: self._filed(value, (*loc, name)) for name, value in settings}
        return settings.model_copy(update=found)

    def _filed(self, value: Any, loc: Loc) -> Any:
        if isinstance(value, Path):
            file = self._path.parent / value
            self._check_file(file, loc)
            return file
        if isinstance(value, str) and value.startswith("file:"):
            return f"file:{self._path.parent / value.removeprefix('file:')}"
        if isinstance(value, BaseModel):
            return self._with_files(value, *loc)
        if isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
            return tuple(self._filed(one, (*loc, place)) for place, one in enumerate(value))
        return value

    def _check_file(self, file: Path, loc: Loc) -> None:
        try:
            with file.open("rb"):
                return
        except FileNotFoundError:
            message, hint = f"there is no file {file}", "paths are relative to the plant file"
        except OSError as error:
            message, hint = f"{file} cannot be read: {error.strerror}", ""
        self._report.error(loc, message, hint)

    def _warn(self, plant: Plant, drafts: Mapping[str, SourceDraft]) -> None:
        for draft in drafts.values():
            if not draft.used:
                self._report.warn(("sources", draft.name), "no equipment reads this source")
        writable = sum(prop.type.write is not None for prop in plant.properties())
        if writable and not self._file.opcua.writable:
            subject = "1 property is" if writable == 1 else f"{writable:,} properties are"
            message = f"{subject} access: rw, but nobody may write while opcua.writable is false"
            self._report.warn(
                ("opcua", "writable"), message, "write opcua: {writable: true} if clients shall"
            )
