"""What of imported nodes is published: the variables of each object a set, named by its path."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from asyncua import ua

from server.opcua.imported.datatypes import TypeBook, clean, decoded, name_of, node_text, types_of
from server.opcua.imported.value import ImportedValue
from server.opcua.space.space import Space
from server.opcua.types import AttributeIds
from server.opcua.wire.nodeid import Key, numeric
from server.plant.mirrored import MARK, MirroredField, MirroredSet
from server.plant.model import Range, Unit
from sources.opcua.imports import ImportedNode, Model

MOST: Final = 10_000
"""Variables of an import that are published without a choice."""
MOST_SETS: Final = 10_000
"""Sets of all imports together: each takes one of the 32,768 ids a publisher has."""
LONGEST: Final = 1000
"""Characters of a set's or a field's name: a topic has 65,535 bytes, of which a character may take eleven."""
_TOO_LONG: Final = f"their names or NodeIds, or those on the way to them, have more than {LONGEST} characters"
_TWICE: Final = "others have their names, whatever is put to them"

_OBJECT, _VARIABLE = 1, 2
_HAS_PROPERTY: Final = numeric(46)
_ITSELF: Final = str.maketrans({"[": "[[]", "?": "[?]"})
"""Of a pattern ``*`` alone means something else: brackets are common in names, as in ``Axis[1]``."""
_DIAGNOSTIC_INFO: Final = 25
_A: Final = AttributeIds


@dataclass(frozen=True, slots=True)
class Chosen:
    """An import of which something is published; ``holder`` is the string NodeId of what holds it."""

    source: str
    path: str
    holder: str
    patterns: tuple[str, ...]
    """Paths of variables below the holder, ``*`` for any characters; empty for all."""

    @property
    def prefix(self) -> str:
        """What the keys of its sets begin with."""
        return f"{self.holder}{MARK}"


@dataclass(slots=True)
class _Place:
    """An object on the way, or the import itself: whose variables make a set."""

    node: Key
    path: str
    name: str
    found: list[tuple[str, ImportedNode]]
    too_long: bool = False
    """Whether nothing there has a name that can be published."""


_NOWHERE: Final = _Place(b"", "", "", [], too_long=True)


class Sets:
    """Makes the sets of all imports; ``left_out`` counts what is none of any, by the reason."""

    def __init__(
        self, space: Space, name_of: Callable[[int], str], values: Mapping[str, Mapping[Key, ImportedValue]]
    ) -> None:
        """``values`` are by source. Nothing is changed, so that it may be used in a thread."""
        self._space = space
        self._name_of = name_of
        self._values = values
        self._types = TypeBook(space, name_of)
        self._hierarchical = {kind.key for kind in space.subtypes(space.number(33))}
        self._taken: set[Key] = set()
        """Variables that are in a set: one of two imports that share them has them."""
        self._names: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self.made: list[MirroredSet] = []
        self.hints: list[str] = []
        """Choices that nothing there fits."""
        self._fitting: set[str] = set()
        """Patterns of this import that something fits."""

    def add(self, chosen: Chosen, model: Model) -> None:
        """The sets of one import."""
        self._fitting = set()
        places = [place for place in self._places(chosen, model) if place.found]
        self.hints += [
            f"mqtt of the import of {chosen.path}: no variable is named {pattern}"
            for pattern in chosen.patterns
            if pattern not in self._fitting
        ]
        count = sum(len(place.found) for place in places)
        if count > MOST and not chosen.patterns:
            why = f"{chosen.path} imports more than {MOST} variables and chooses none with mqtt: [paths]"
            self.left_out[why] += count
            self._taken.difference_update(node.key for place in places for _, node in place.found)
            return
        for place in places:
            if len(self.made) >= MOST_SETS:
                self.left_out[f"there are more than {MOST_SETS} imported objects"] += len(place.found)
                continue
            made = self._set(chosen, place, model)
            if made is not None:
                self.made.append(made)

    def _places(self, chosen: Chosen, model: Model) -> list[_Place]:
        """Every object below the import with those of its variables that were chosen."""
        own = f"{chosen.path}/@{chosen.source}"
        root = _Place(b"", "", own, [])
        places = [root]
        met: set[Key] = set()
        waiting: deque[tuple[Key, Key, _Place, str]] = deque()
        waiting.extend((b"", top, root, "") for top in model.tops)
        while waiting:
            kind, key, place, prefix = waiting.popleft()
            node = model.nodes.get(key)
            if node is None or node.is_type or key in met or node.node_class not in {_OBJECT, _VARIABLE}:
                continue
            met.add(key)
            name = _name(node)
            if node.node_class == _OBJECT:
                place = _below(chosen, place, key, name)
                if place is not _NOWHERE:
                    places.append(place)
                prefix = ""
            else:
                if prefix and kind == _HAS_PROPERTY:
                    continue  # it describes a variable: its unit, its range, what its states are called
                name = f"{prefix}.{name}" if prefix else name
                if place.too_long or len(name) > LONGEST:
                    self.left_out[_TOO_LONG] += 1
                    place, name = _NOWHERE, "_"
                elif self._is_chosen(chosen, f"{place.path}/{name}".lstrip("/")) and key not in self._taken:
                    self._taken.add(key)
                    place.found.append((name, node))
                prefix = name
            waiting.extend(
                (its_kind, target, place, prefix)
                for its_kind, target in node.references
                if its_kind in self._hierarchical
            )
        return places

    def _is_chosen(self, chosen: Chosen, path: str) -> bool:
        fitting = [one for one in chosen.patterns if fnmatchcase(path, one.translate(_ITSELF))]
        self._fitting.update(fitting)
        return bool(fitting) or not chosen.patterns

    def _set(self, chosen: Chosen, place: _Place, model: Model) -> MirroredSet | None:
        values = self._values.get(chosen.source, {})
        names: Counter[str] = Counter(name for name, _ in place.found)
        fields = []
        for name, node in place.found:
            value = values.get(node.key)
            if value is None:
                self.left_out["their NodeIds are taken here by other nodes"] += 1
                continue
            alone = name if names[name] == 1 else f"{name} {node_text(node.key, self._name_of)}"
            if len(alone) > 2 * LONGEST or (alone != name and alone in names):
                self.left_out[_TOO_LONG if len(alone) > 2 * LONGEST else _TWICE] += 1
                continue
            names[alone] += 1
            made = self._field(alone, node, value)
            if made is not None:
                fields.append(replace(made, **dict(self._analog(node, model, values))))
        if not fields:
            return None
        which = node_text(place.node, self._name_of) if place.node else chosen.source
        its_name, apart = place.name, f"{place.name}/@{which}"
        if its_name in self._names:
            its_name = apart
        if len(which) > LONGEST or its_name in self._names:
            self.left_out[_TOO_LONG if len(which) > LONGEST else _TWICE] += len(fields)
            return None
        self._names.add(its_name)
        types = types_of(self._types.types, dict.fromkeys(field.data_type for field in fields))
        return MirroredSet(chosen.prefix + which, its_name, tuple(fields), types, apart)

    def _field(self, name: str, node: ImportedNode, value: ImportedValue) -> MirroredField | None:
        data_type = node.attributes.get(_A.DataType, b"")[1:]
        built_in = self._types.built_in(data_type) if data_type else 0
        if built_in in {0, _DIAGNOSTIC_INFO}:
            self.left_out["the device does not say of which built-in type they are"] += 1
            return None
        self._types.need(data_type)
        description = decoded(node.attributes.get(_A.Description))
        return MirroredField(
            name,
            node_text(node.key, self._name_of),
            value,
            built_in,
            self._types.text(data_type),
            _rank(node),
            _dimensions(node),
            clean(getattr(description, "Text", None)),
        )

    def _analog(
        self, node: ImportedNode, model: Model, values: Mapping[Key, ImportedValue]
    ) -> Iterator[tuple[str, Any]]:
        """Unit and range, as the device has them now."""
        for kind, target in node.references:
            property_ = model.nodes.get(target)
            if kind != _HAS_PROPERTY or property_ is None or target not in values:
                continue
            index, name = name_of(property_.browse_name)
            held = decoded(values[target].variant) if index == 0 else None
            if name == "EURange" and isinstance(held, ua.Range):
                yield "range", Range(float(held.Low), float(held.High))
            elif name == "EngineeringUnits" and isinstance(held, ua.EUInformation):
                symbol = clean(held.DisplayName.Text)
                uri, text = clean(held.NamespaceUri), clean(held.Description.Text)
                yield "unit", Unit(symbol, int(held.UnitId), uri, symbol, text)


def _below(chosen: Chosen, above: _Place, key: Key, name: str) -> _Place:
    """The place of an object. Names that grow with the way to them would fill the memory."""
    path = f"{above.path}/{name}" if above.path else name
    if above.too_long or len(path) > LONGEST:
        return _NOWHERE
    return _Place(key, path, f"{chosen.path}/{path}", [])


def _name(node: ImportedNode) -> str:
    """Its BrowseName without the namespace; a slash in it would look like one between names."""
    _, text = name_of(node.browse_name)
    return text.replace("/", "_") or "_"


def _rank(node: ImportedNode) -> int:
    found = node.attributes.get(_A.ValueRank, b"")
    return int.from_bytes(found[1:], "little", signed=True) if len(found) == 5 else -1


def _dimensions(node: ImportedNode) -> tuple[int, ...]:
    found = decoded(node.attributes.get(_A.ArrayDimensions))
    return tuple(map(int, found)) if isinstance(found, list) else ()
