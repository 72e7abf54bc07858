"""The nodes of one state of a plant made those of another, while clients look on.

`prepare` makes everything that can fail or takes time, in a thread; what it returns then only
puts it in place. What did not change is not touched. A node that stays keeps its object, so
references, monitored items and plans that hold it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final, TypeVar

from nodesets.records import NodeClass, NodeId, NodeRecord, Reference
from server.opcua.ids import Namespaces
from server.opcua.space.build import Builder
from server.opcua.space.node import Node
from server.opcua.space.plant import PlantBuilder, callers
from server.opcua.space.shapes import Holder, PlantVariable, Shape
from server.opcua.space.space import DuplicateNode, Space
from server.opcua.wire.nodeid import Key, key, split
from server.plant.build import equipment_id, shape_key, skeleton
from server.plant.difference import Difference
from server.plant.model import Equipment, Plant, Property
from server.plant.values import Point

T = TypeVar("T")

_AT_ONCE: Final = 1000
"""Nodes put in or taken out before others have their turn on the loop: a few milliseconds."""
_STAY: Final = frozenset({NodeClass.Object, NodeClass.ObjectType, NodeClass.DataType})
"""Classes whose nodes stay when their attributes change; a variable is made anew with its value."""


@dataclass(frozen=True, slots=True)
class NodeCount:
    """How many nodes come, go and stay as others."""

    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Altered:
    """A node that stays: what it looks like from now on, and which of its references go."""

    record: NodeRecord
    pattern: Node
    unlink: list[Reference]


@dataclass(slots=True)
class Edits:
    """Everything that is to be done, made as far as it can be before."""

    gone: list[Key] = field(default_factory=list)
    altered: list[Altered] = field(default_factory=list)
    made: list[tuple[Node, NodeRecord]] = field(default_factory=list)
    joined: list[NodeRecord] = field(default_factory=list)
    """Nodes that stay and may refer to some that come."""
    reshaped: list[tuple[Key, Shape]] = field(default_factory=list)
    variables: list[PlantVariable] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.gone) + len(self.made) + len(self.reshaped) + len(self.variables)


@dataclass(frozen=True, slots=True)
class Outline:
    """Which nodes come, go and stay as others: without members of variables.

    Those ``changed`` have other attributes, another value or other references; properties are
    not among them, for their difference is known already.
    """

    added: Sequence[NodeId]
    removed: Sequence[NodeId]
    changed: Sequence[NodeId]
    count: NodeCount
    """Of all nodes, members and changed properties among them."""


class SpaceChange:
    """A change that is ready to be made."""

    def __init__(
        self, space: Space, names: Namespaces, builder: Builder, edits: Edits, outline: Outline
    ) -> None:
        self.outline = outline
        self._space = space
        self._names = names
        self._builder = builder
        self._edits = edits

    def clash(self) -> str:
        """A node that comes and whose NodeId another has by now, imported ones among them; else nothing."""
        nodes, gone = self._space.nodes, set(self._edits.gone)
        coming = chain((node for node, _ in self._edits.made), self._edits.variables)
        taken = next((one.key for one in coming if one.key in nodes and one.key not in gone), None)
        if taken is None:
            return ""
        index, identifier = split(taken)
        return f"{NodeId(self._names.uris[index], identifier)} is the NodeId of an imported node already"

    def carry_out(self, between: Callable[[], Iterator[None]]) -> Iterator[None]:
        """Do it, in steps between which others may have their turn; no step takes long.

        The steps of ``between`` are taken when what goes is gone and before anything comes. A change that is
        not large is one step, and one event of the model.
        """
        steps = self._steps(between)
        if len(self._edits) <= _AT_ONCE:
            with self._space.changing():
                for _ in steps:
                    pass
            return
        yield from steps

    def _steps(self, between: Callable[[], Iterator[None]]) -> Iterator[None]:
        edits = self._edits
        for keys in _in_parts(edits.gone):
            self._delete(keys)
            yield
        yield from between()
        with self._space.changing():
            for altered in edits.altered:
                self._alter(altered)
        for made in _in_parts(edits.made):
            self._builder.put(made)
            yield
        self._join()
        for reshaped in _in_parts(edits.reshaped):
            self._reshape(reshaped)
            yield
        for variables in _in_parts(edits.variables):
            with self._space.changing():
                for variable in variables:
                    self._space.add_variable(variable)
            yield

    def _delete(self, keys: Sequence[Key]) -> None:
        nodes = self._space.nodes
        holders = [node for one in keys if isinstance(node := nodes[one], Holder)]
        self._space.delete(keys)
        for holder in holders:
            holder.variables = []  # they and it hold each other, out of the collector's sight

    def _alter(self, altered: Altered) -> None:
        space = self._space
        node = space.nodes[self._key(altered.record.node_id)]
        for reference in altered.unlink:
            kind = space.find(self._key(reference.type))
            target = space.find(self._key(reference.target))
            if kind is None or target is None:
                continue  # went with the target
            source, target = (node, target) if reference.forward else (target, node)
            space.unlink(source, kind, target)
        space.alter(node, altered.pattern)

    def _join(self) -> None:
        """Make the references that are missing, and the definitions that follow from them."""
        with self._space.changing():
            self._builder.join(self._edits.joined)
            for altered in self._edits.altered:
                if altered.record.definition is not None:
                    node = self._space.nodes[self._key(altered.record.node_id)]
                    self._builder.define(node, altered.record)

    def _reshape(self, reshaped: Sequence[tuple[Key, Shape]]) -> None:
        with self._space.changing():
            for one, shape in reshaped:
                variable = self._space.nodes[one]
                assert isinstance(variable, PlantVariable)  # noqa: S101  # found to be one
                self._space.reshape(variable, shape)

    def _key(self, name: NodeId) -> Key:
        return key(name.identifier, self._names.index(name.namespace))


def _in_parts(items: Sequence[T]) -> Iterator[list[T]]:
    left = iter(items)
    while part := list(islice(left, _AT_ONCE)):
        yield part


def prepare(  # the space, the two states, and what joins them
    space: Space,
    names: Namespaces,
    old: Plant,
    new: Plant,
    properties: Difference,
    points: Mapping[str, Point],
    *,
    writable: bool,
) -> SpaceChange:
    """What makes the nodes of ``old`` those of ``new``.

    ``points`` has those of added properties and of all that stay, by the property's key. For a
    thread: reads the space's plant nodes, which nobody else changes, and changes nothing.
    Raises DuplicateNode, UnknownNamespace.
    """
    return _Preparation(space, names, old, new, writable=writable).carry_out(properties, points)


class _Preparation:
    def __init__(self, space: Space, names: Namespaces, old: Plant, new: Plant, *, writable: bool) -> None:
        self._space = space
        self._old = old
        self._new = new
        self._names = names
        self._index = names.index(new.plant_uri)
        self._builder = Builder(space, names, writable=writable)
        self._plant = PlantBuilder(space, names, self._builder, new)
        self._edits = Edits()
        self._added: list[NodeId] = []
        self._removed: list[NodeId] = []
        self._changed: list[NodeId] = []
        self._holders: dict[NodeId, Holder] = {}
        """Equipment that comes."""

    def carry_out(self, properties: Difference, points: Mapping[str, Point]) -> SpaceChange:
        self._check_ids()
        edits = self._edits
        self._skeleton()
        before = {equipment.path: equipment for equipment in self._old.equipment}
        after = {equipment.path: equipment for equipment in self._new.equipment}
        going = list(properties.removed)
        coming = list(properties.added)
        altered = 0
        for one in properties.changed:
            equipment = after[one.new.equipment]
            moved = self._moved(before[one.old.equipment], equipment)
            if one.old.node_id != one.new.node_id or moved:
                going.append(one.old)
                coming.append(one.new)
                continue
            altered += 1
            if shape_key(one.old) != shape_key(one.new):
                shape = self._plant.shape(equipment, one.new)
                edits.reshaped.append((key(one.new.node_id, self._index), shape))
        known = {one.new.key for one in properties.changed}
        for prop in self._carried(before, known):  # equal, but below a node that is another
            going.append(prop)
            coming.append(prop)
        members = self._take(going) - len(going)
        for prop in coming:
            equipment = after[prop.equipment]
            holder = self._holder(equipment)
            shape = self._plant.shape(equipment, prop)
            point = points[prop.key]
            variable = PlantVariable(key(prop.node_id, self._index), shape, holder, point)
            edits.variables.append(variable)
            self._added.append(NodeId(self._new.plant_uri, prop.node_id))
        anew = set(self._added) & set(self._removed)
        added = [name for name in self._added if name not in anew]
        removed = [name for name in self._removed if name not in anew]
        changed = [*self._changed, *sorted(anew, key=str)]
        count = NodeCount(
            added=len(added) + sum(len(variable.shape.members) for variable in edits.variables),
            removed=len(removed) + members,
            changed=len(changed) + altered,
        )
        outline = Outline(added, removed, changed, count)
        ready = SpaceChange(self._space, self._names, self._builder, edits, outline)
        if clash := ready.clash():
            raise DuplicateNode(clash)
        return ready

    def _check_ids(self) -> None:
        """No two nodes of the new state may have one NodeId. Raises DuplicateNode."""
        seen: set[str] = set()
        for equipment in self._new.equipment:
            for name in (equipment.node_id, *(prop.node_id for prop in equipment.properties)):
                if name in seen:
                    raise DuplicateNode(f"two nodes are {name}")
                seen.add(name)

    def _moved(self, old: Equipment, new: Equipment) -> bool:
        return old.node_id != new.node_id or equipment_id(self._new, new) in self._holders

    def _carried(self, before: Mapping[str, Equipment], known: set[str]) -> Iterator[Property]:
        for equipment in self._new.equipment:
            was = before.get(equipment.path)
            if was is None or was is equipment or not self._moved(was, equipment):
                continue
            there = {prop.key for prop in was.properties}
            for prop in equipment.properties:
                if prop.key in there and prop.key not in known:
                    yield prop

    def _take(self, going: Sequence[Property]) -> int:
        """Have these variables go; how many nodes that is, with their members."""
        count = 0
        for prop in going:
            found = key(prop.node_id, self._index)
            variable = self._space.nodes[found]
            assert isinstance(variable, PlantVariable)  # noqa: S101  # the plant's state of now
            self._edits.gone.append(found)
            self._removed.append(NodeId(self._new.plant_uri, prop.node_id))
            count += 1 + len(variable.shape.members)
        return count

    def _holder(self, equipment: Equipment) -> Holder:
        name = equipment_id(self._new, equipment)
        found: Node | None = self._holders.get(name)
        if found is None:
            found = self._space.nodes[key(equipment.node_id, self._index)]
        assert isinstance(found, Holder)  # noqa: S101  # all equipment is
        return found

    # --- Everything but properties

    def _skeleton(self) -> None:
        old_paths, new_paths = self._touched()
        before = {record.node_id: record for record in skeleton(self._old, old_paths)}
        after = {record.node_id: record for record in skeleton(self._new, new_paths)}
        holders = {equipment_id(self._new, one) for one in self._new.equipment if one.path in new_paths}
        edits = self._edits
        allowed = callers(self._old)
        anew: set[NodeId] = set()
        for name, record in before.items():
            now = after.get(name)
            if now is None or (now != record and not _stays(record, now)):
                edits.gone.append(key(name.identifier, self._names.index(name.namespace)))
                self._removed.append(name)
        for name, record in after.items():
            was = before.get(name)
            if was is None or (was != record and not _stays(was, record)):
                node = self._builder.made(record, holders)
                if isinstance(node, Holder):
                    self._holders[name] = node
                edits.made.append((node, record))
                self._added.append(name)
                anew.add(name)
        for name, record in after.items():
            was = before.get(name)
            if was is None or name in anew:
                continue
            if was != record or allowed.get(name) != self._builder.callers.get(name):
                gone = [one for one in was.references if one not in record.references]
                edits.altered.append(Altered(record, self._builder.made(record), gone))
                self._changed.append(name)
            if was != record or any(one.target in anew for one in record.references):
                edits.joined.append(record)

    def _touched(self) -> tuple[set[str], set[str]]:
        """The paths of the equipment, before and after, whose nodes may differ."""
        old = {equipment.path: equipment for equipment in self._old.equipment}
        new = {equipment.path: equipment for equipment in self._new.equipment}
        both = old.keys() & new.keys()
        other = {path for path in both if old[path] is not new[path]}
        renamed = {path for path in other if old[path].node_id != new[path].node_id}
        if renamed:  # their children refer to another node
            other |= {path for path in both if new[path].parent in renamed}
        return (old.keys() - new.keys()) | other, (new.keys() - old.keys()) | other


def _stays(old: NodeRecord, new: NodeRecord) -> bool:
    """Whether a node can be changed as it stands."""
    return old.node_class is new.node_class and new.node_class in _STAY
