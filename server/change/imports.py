"""The imports of two states of a plant: which come, go, and are others; and what each source is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from server.config import SourceEntry
from server.opcua.server import OpcUaServer
from server.plant.model import Equipment, Import, Plant
from sources.opcua.imports import CanImport, Wanted
from sources.source import Source


@dataclass(frozen=True, slots=True)
class ImportChange:
    """Imports by the path of the equipment that holds them."""

    added: Mapping[str, str]
    """And from which source."""
    removed: Mapping[str, str]
    changed: Mapping[str, str]
    """And what that means."""
    untouched: int

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.added or self.removed or self.changed)


def import_change(old: Plant, new: Plant) -> ImportChange:
    """From one state to the other."""
    before, after = _imports(old), _imports(new)
    both = before.keys() & after.keys()
    changed = {path: what for path in sorted(both) if (what := _differs(before[path], after[path]))}
    return ImportChange(
        {path: one.source for path, (one, _) in after.items() if path not in before},
        {path: one.source for path, (one, _) in before.items() if path not in after},
        changed,
        len(both) - len(changed),
    )


def _imports(plant: Plant) -> dict[str, tuple[Import, Equipment]]:
    return {one.path: (one.imported, one) for one in plant.equipment if one.imported is not None}


def _differs(old: tuple[Import, Equipment], new: tuple[Import, Equipment]) -> str:
    (was, before), (now, after) = old, new
    if was.source != now.source:
        return f"from {now.source}, not from {was.source}"
    found = []
    if replace(was, mqtt=now.mqtt, writers=now.writers, callers=now.callers) != now:
        found.append("carried out anew")
    if (was.writers, was.callers) != (now.writers, now.callers):
        found.append("other roles")
    if was.mqtt != now.mqtt:
        found.append("mqtt")
    if before.node_id != after.node_id:
        found.append("held by another node")
    return ", ".join(found)


class Asked:
    """What sources are asked to import, for one state of the configuration."""

    def __init__(self, plant: Plant, entries: Iterable[SourceEntry]) -> None:
        stale = {entry.name: entry.stale for entry in entries}
        self._wanted: dict[str, list[Wanted]] = {}
        for path, (one, _) in _imports(plant).items():
            rule = stale.get(one.source)
            scan = one.scan if rule is None else replace(one.scan, stale=rule)
            self._wanted.setdefault(one.source, []).append(Wanted(path, one.below, scan, one.nodes))

    def of(self, source: str) -> Sequence[Wanted]:
        """What is imported of a source."""
        return self._wanted.get(source, ())

    def ask(self, source: Source, server: OpcUaServer) -> None:
        """Have a source show in the address space what the plant imports of it, and nothing else."""
        if isinstance(source, CanImport):
            source.mirror(server.imported, self.of(source.name))
