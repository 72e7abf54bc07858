"""Two states of a plant: what of the one stands unchanged in the other, and what the points have to do.

A new state that was read from a file is equal to the old one almost everywhere, and made of other
objects everywhere. `reconcile` puts the old objects in their place, so that from then on what
did not change is what is identical: points, blocks and connections of it need not be touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

from server.plant.model import Binding, Equipment, EquipmentClass, Plant, Property, PropertyType
from sources.tag import Tag, same

_rest = attrgetter(
    *(each.name for each in fields(Property) if each.name not in {"type", "binding", "constant"})
)
"""What a property has beside its type, its binding and its constant value."""
_OF_TYPE: Final = ("type", "length", "description", "unit", "range", "enumeration", "kind", "write")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A new state of the plant with the old objects where they are equal."""

    plant: Plant
    kept: Mapping[int, Tag[Any]]
    """The old tag that stands for a new one, by the identity of the new; the new plant has to live on
    as long as this is used."""

    def tags(self, tags: Iterable[Tag[Any]]) -> tuple[Tag[Any], ...]:
        """The tags of a source, the old ones where they are equal."""
        return tuple([self.kept.get(id(tag), tag) for tag in tags])


def reconcile(old: Plant, new: Plant) -> Reconciled:
    """The new state, equal to ``new``. Takes seconds for a large plant and shares nothing: for a thread."""
    return _Reconciliation(old, new).carry_out()


class _Reconciliation:
    def __init__(self, old: Plant, new: Plant) -> None:
        self._old = old
        self._new = new
        self._types: dict[int, PropertyType] = {}
        """The old type that stands for a new one."""
        self._unlike: set[tuple[int, int]] = set()
        """Pairs of an old and a new type that are not equal: asked for once."""
        self._tags: dict[int, Tag[Any]] = {}

    def carry_out(self) -> Reconciled:
        old, new = self._old, self._new
        classes = {name: self._class(old.classes.get(name), each) for name, each in new.classes.items()}
        before = {equipment.path: equipment for equipment in old.equipment}
        equipment = tuple([self._equipment(before.get(each.path), each) for each in new.equipment])
        plant = replace(
            new,
            equipment=equipment,
            classes=classes,
            assets=_kept(old.assets, new.assets),
            enumerations=_kept(old.enumerations, new.enumerations),
        )
        return Reconciled(plant, self._tags)

    def _class(self, old: EquipmentClass | None, new: EquipmentClass) -> EquipmentClass:
        known = {kind.name: kind for kind in old.properties} if old else {}
        types = tuple([self._type(known.get(kind.name), kind) for kind in new.properties])
        made = replace(new, properties=types)
        return old if old is not None and old == made else made

    def _type(self, old: PropertyType | None, new: PropertyType) -> PropertyType:
        found = self._types.get(id(new))
        if found is not None and (old is None or found is old):
            return found
        if old is None or (id(old), id(new)) in self._unlike:
            return found or new
        if old == new:
            self._types.setdefault(id(new), old)
            return old
        self._unlike.add((id(old), id(new)))
        return found or new

    def _equipment(self, old: Equipment | None, new: Equipment) -> Equipment:
        known = {prop.name: prop for prop in old.properties} if old else {}
        properties = tuple([self._property(known.get(prop.name), prop) for prop in new.properties])
        if (
            old is not None
            and _identical(properties, old.properties)
            and replace(old, properties=()) == (replace(new, properties=()))
        ):
            return old
        return replace(new, properties=properties)

    def _property(self, old: Property | None, new: Property) -> Property:
        kind = self._type(old.type if old else None, new.type)
        alike = old is not None and old.type.type is new.type.type
        binding = self._binding(old.binding if old and alike else None, new.binding)
        if (
            old is not None
            and kind is old.type
            and binding is old.binding
            and _rest(new) == _rest(old)
            and same(old.constant, new.constant)
        ):
            return old
        return replace(new, type=kind, binding=binding)

    def _binding(self, old: Binding | None, new: Binding | None) -> Binding | None:
        if old is None or new is None:
            return new
        if old.source != new.source or old.tag != new.tag:
            return new
        if old.conversion != new.conversion or old.enabled != new.enabled:
            return new  # its point begins anew, and a device that tells of changes alone is asked again
        self._tags[id(new.tag)] = old.tag
        return old


def _kept(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {name: old[name] if name in old and old[name] == each else each for name, each in new.items()}


def _identical(some: tuple[Property, ...], others: tuple[Property, ...]) -> bool:
    return len(some) == len(others) and all(map(lambda a, b: a is b, some, others))


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """A property that is there before and after, and is another. ``keeps`` what it held as its value."""

    old: Property
    new: Property
    keeps: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What of a plant's properties comes, goes and changes."""

    added: tuple[Property, ...]
    removed: tuple[Property, ...]
    changed: tuple[PropertyChange, ...]


def difference(old: Plant, new: Plant) -> Difference:
    """From ``old`` to ``new``, which was reconciled with it."""
    before = dict(_properties(old, new))
    after = dict(_properties(new, old))
    return Difference(
        added=tuple([prop for key, prop in after.items() if key not in before]),
        removed=tuple([prop for key, prop in before.items() if key not in after]),
        changed=tuple(
            [
                PropertyChange(was, prop, _keeps(was, prop))
                for key, prop in after.items()
                if (was := before.get(key)) is not None and was is not prop
            ]
        ),
    )


def _properties(plant: Plant, other: Plant) -> Iterator[tuple[str, Property]]:
    """The properties of every equipment that is not the same object in the other state."""
    there = set(map(id, other.equipment))
    for equipment in plant.equipment:
        if id(equipment) not in there:
            for prop in equipment.properties:
                yield prop.key, prop


def _keeps(old: Property, new: Property) -> bool:
    """Whether a value of the old property is one of the new, as it stands."""
    if old.type.type is not new.type.type or old.type.length != new.type.length:
        return False
    before, after = old.binding, new.binding
    if before is None or after is None:
        # What clients wrote counts only as long as they may write.
        alike = (old.type.write is None) is (new.type.write is None)
        return before is after and alike and same(old.constant, new.constant)
    return (
        before.source == after.source
        and before.enabled == after.enabled
        and before.conversion == after.conversion
        and before.tag.address == after.tag.address
        and before.tag.type is after.tag.type
        and before.tag.length == after.tag.length
    )


def aspects(old: Property, new: Property) -> list[str]:
    """In what two states of a property differ, in words of the configuration."""
    found = [name for name in _OF_TYPE if getattr(old.type, name) != getattr(new.type, name)]
    found = ["array" if name == "length" else name for name in found]
    before, after = old.binding, new.binding
    if (before is None) is not (after is None):
        found.append("binding")
    elif before is not None and after is not None:
        pairs = {
            "source": (before.source, after.source),
            "address": (before.tag.address, after.tag.address),
            "encoding": (before.tag.type, after.tag.type),
            "scan": (before.tag.scan, after.tag.scan),
            "scaling": (before.conversion, after.conversion),
            "enabled": (before.enabled, after.enabled),
        }
        found += [name for name, (was, now) in pairs.items() if was != now]
    elif not same(old.constant, new.constant):
        found.append("value")
    if old.pinned_id != new.pinned_id:
        found.append("id")
    if old.declared_by != new.declared_by:
        found.append("class")
    if old.interlock != new.interlock:
        found.append("interlock")
    return found
