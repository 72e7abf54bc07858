"""Equipment classes: inheritance flattened, the base's properties first."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from server.config.errors import did_you_mean
from server.config.models import ClassStanza
from server.config.properties import Declared, Vocabulary, declare
from server.plant.model import EquipmentClass, EquipmentLevel


@dataclass(frozen=True, slots=True)
class ResolvedClass:
    """A class with what it inherits.

    ``complete`` is false where its properties are not all known, because it or a base of
    it could not be read: then nothing can be said of a property it seems to lack.
    """

    made: EquipmentClass
    properties: Mapping[str, Declared]
    complete: bool


def resolve_classes(
    stanzas: Mapping[str, ClassStanza], names: AbstractSet[str], words: Vocabulary
) -> dict[str, ResolvedClass]:
    """Every class by name. ``names`` are all that stand in the file, readable or not."""
    resolver = _Resolver(stanzas, names, words)
    for name in stanzas:
        resolver.resolve(name)
    return {name: resolver.done[name] for name in stanzas if name in resolver.done}


class _Resolver:
    def __init__(
        self, stanzas: Mapping[str, ClassStanza], names: AbstractSet[str], words: Vocabulary
    ) -> None:
        self._stanzas = stanzas
        self._names = names
        self._words = words
        self._rings: set[frozenset[str]] = set()
        self.done: dict[str, ResolvedClass] = {}

    def resolve(self, name: str) -> None:
        """This class and those it extends, the base first."""
        line: list[str] = []
        here: str | None = name
        while here is not None and here not in self.done and here in self._stanzas:
            if here in line:
                self._ring(line[line.index(here) :])
                break
            line.append(here)
            here = self._stanzas[here].extends
        for each in reversed(line):
            self._make(each)

    def _ring(self, ring: list[str]) -> None:
        if frozenset(ring) not in self._rings:
            self._rings.add(frozenset(ring))
            message = f"these classes extend each other in a ring: {' → '.join([*ring, ring[0]])}"
            self._words.report.error(("classes", ring[0], "extends"), message, "take one extends out")

    def _make(self, name: str) -> None:
        stanza = self._stanzas[name]
        loc = ("classes", name)
        base = self._base(stanza, name)
        broken = any(name in ring for ring in self._rings) or self._words.damage.at((*loc, "extends"))
        complete = not broken and (stanza.extends is None or (base is not None and base.complete))
        complete = complete and not self._words.damage.at((*loc, "properties"))
        inherited = dict(base.properties) if base else {}
        properties = dict(inherited)
        for key, own in stanza.properties.items():
            properties[key] = declare(
                key, own, (*loc, "properties", key), inherited.get(key), self._words, owner=name
            )
        level = EquipmentLevel[stanza.level] if stanza.level else base.made.level if base else None
        made = EquipmentClass(
            name,
            tuple(declared.type for declared in properties.values()),
            frozenset(stanza.properties),
            extends=stanza.extends,
            level=level,
            description=stanza.description,
        )
        self.done[name] = ResolvedClass(made, properties, complete)

    def _base(self, stanza: ClassStanza, name: str) -> ResolvedClass | None:
        if stanza.extends is None:
            return None
        if stanza.extends not in self._names:
            hint = did_you_mean(stanza.extends, self._names - {name})
            loc = ("classes", name, "extends")
            self._words.report.error(loc, f"there is no class '{stanza.extends}'", hint)
        return self.done.get(stanza.extends)
