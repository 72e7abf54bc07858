"""The nodes, found by their keys, and the references between them (OPC 10000-3 §4)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from server.opcua.space.node import Node, Reference
from server.opcua.space.shapes import Holder, Member, Members, PlantVariable, Shape
from server.opcua.wire import nodeid
from server.opcua.wire.nodeid import Key, numeric

_HAS_SUBTYPE: Final = numeric(45)
_HAS_TYPE_DEFINITION: Final = numeric(40)
_HAS_MODELLING_RULE: Final = numeric(37)
_ONE_WAY: Final = frozenset({_HAS_TYPE_DEFINITION, _HAS_MODELLING_RULE})
_HIERARCHICAL: Final = numeric(33)
_REFERENCE_TYPE: Final = 32
_SWEEP_ABOVE: Final = 8


class DuplicateNode(Exception):
    """Two nodes with one NodeId."""


class ModelChange(NamedTuple):
    """What changed about one node; ``verb`` has bits of ModelChangeStructureVerbMask (OPC 10000-5 §12.17).

    It has none where attributes changed that no event tells of.
    """

    node: Node
    verb: int


NODE_ADDED: Final = 1
NODE_DELETED: Final = 2
REFERENCE_ADDED: Final = 4
REFERENCE_DELETED: Final = 8
DATA_TYPE_CHANGED: Final = 16
TOLD: Final = 0xFF
"""What of a verb an event tells."""
SUPERSEDED: Final = 1 << 8
"""No bit of the mask, and in no event: another object stands for the node now, under the same NodeId."""
_DATA_TYPE: Final = 14
_ACCESS_LEVEL: Final = 17

ChangeListener = Callable[[Sequence[ModelChange]], None]
"""Takes what one `Space.changing` changed, a change a node. Synchronous; must neither block nor raise."""


class Space:
    """All nodes. Adding, deleting and browsing take time linear in what they touch.

    Several changes that belong together stand in one `changing` block; none of them needs one.
    """

    def __init__(self) -> None:
        self.nodes: dict[Key, Node] = {}
        """By key, but for what follows from one of them; `find` knows all."""
        self.members = Members()
        """Nodes that are not in ``nodes``, for they follow from another: see `shapes`."""
        self.generation = 0
        """Grows with every change of nodes, references or permissions."""
        self.lasting = 0
        """Grows with every such change but quiet ones: what was planned with plant nodes before is void."""
        self.touched = 0
        """Grows when others may do something with nodes that stay: what was allowed may not be now."""
        self._listeners: list[ChangeListener] = []
        self._subtypes: dict[Node, frozenset[Node]] = {}
        self._dead: dict[Node, int] = {}
        """How many references to deleted nodes a node still holds."""
        self._dead_variables: dict[Holder, int] = {}
        """How many deleted variables it does."""
        self._derived = 0
        """How many members the plant variables have together."""
        self._ended_types: set[Node] = set()
        """Reference types deleted in this change, whose references are still held."""
        self._depth = 0
        self._changed = False
        self._told: dict[Node, int] | None = None
        """What the listeners will be told; None where nobody is."""
        self.quiet = False
        """While listeners are told: whether no client wants an event for it."""
        self._shared: dict[Reference, Reference] = {}

    def __len__(self) -> int:
        return len(self.nodes) + self._derived

    def __iter__(self) -> Iterator[Node]:
        for node in self.nodes.values():
            yield node
            if isinstance(node, PlantVariable):
                yield from node.members()

    def find(self, key: Key) -> Node | None:
        """The node of a key, None where there is none."""
        node = self.nodes.get(key)
        return self.members.find(self.nodes, key) if node is None else node

    def number(self, identifier: int) -> Node:
        """A node of namespace 0 that is there. Raises KeyError."""
        return self.nodes[numeric(identifier)]

    # Changes

    @contextlib.contextmanager
    def changing(self, *, quiet: bool = False) -> Iterator[None]:
        """Take the changes made within as one: one generation, listeners told once, at its end.

        ``quiet`` is for the diagnostics of sessions, which come and go: listeners find it as
        `Space.quiet`. Nothing may be awaited within.
        """
        if self._depth == 0:
            self._told = {} if self._listeners else None
            self.quiet = quiet
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                if self._ended_types:
                    self._end_references()
                self._settle()

    def _settle(self) -> None:
        told, self._told = self._told, None
        self._shared = {}
        if not self._changed:
            return
        self._changed = False
        self.generation += 1
        if not self.quiet:
            self.lasting += 1
        if told:
            changes = [ModelChange(node, verb) for node, verb in told.items()]
            for listener in self._listeners:
                listener(changes)

    def touch(self) -> None:
        """Attributes or permissions changed that somebody may have planned with."""
        self.touched += 1
        with self.changing():
            self._changed = True

    def on_change(self, listener: ChangeListener) -> Callable[[], None]:
        """Have every change told; returns what ends that.

        What is told is what a GeneralModelChangeEvent reports (OPC 10000-3 §9.32.2): nodes added and
        deleted, and of those that stay the ones that gained or lost references.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def add(self, node: Node) -> None:
        """Put a node in, still without references. Raises DuplicateNode."""
        if self.nodes.setdefault(node.key, node) is not node:
            raise DuplicateNode(f"two nodes are {nodeid.text(node.key)}")
        self._note(NODE_ADDED, node)

    def add_variable(self, variable: PlantVariable) -> None:
        """Put a plant variable in: its holder has it, and its references follow. Raises DuplicateNode."""
        self.add(variable)
        variable.holder.variables.append(variable)
        self._derived += len(variable.shape.members)
        self._note(REFERENCE_ADDED, variable.holder)

    def link(self, source: Node, kind: Node, target: Node) -> bool:
        """Have ``source`` refer to ``target``, which then holds the inverse; False where it did already.

        A type or a modelling rule does not hold the inverse of HasTypeDefinition or
        HasModellingRule: it would list every node of the plant. Raises ValueError for a deleted node.
        """
        if not (source.alive and target.alive and kind.alive):
            raise ValueError("a reference from, to or of a deleted node")
        forward = Reference(kind, True, target)
        if kind.key in _ONE_WAY:
            # Equal in every instance, so one object for all of them.
            forward = self._shared.setdefault(forward, forward)
            if forward in source.links:
                return False
            source.hold(forward)
            if kind.key == _HAS_TYPE_DEFINITION:
                source.type_definition = target
        else:
            inverse = Reference(kind, False, source)
            # Both ends hold it, so the end with fewer references is asked.
            if len(source.links) <= len(target.links):
                known = forward in source.links
            else:
                known = inverse in target.links
            if known:
                return False
            source.hold(forward)
            target.hold(self._shared.setdefault(inverse, inverse))
            if kind.key == _HAS_SUBTYPE:
                self._subtypes.clear()
        self._note(REFERENCE_ADDED, source, target)
        return True

    def alter(self, node: Node, pattern: Node) -> None:
        """Give a node that stays the names, attributes and permissions of a pattern."""
        verb = _data_type_changed(node, pattern)
        self.touched += _permits_others(node, pattern)
        node.take_over(pattern)
        self._alter(node, verb)

    def reshape(self, variable: PlantVariable, shape: Shape) -> None:
        """Make a plant variable one of another shape. Its members are others by that."""
        verb = _data_type_changed(variable, shape.pattern)
        self.touched += _permits_others(variable, shape.pattern)
        before = variable.shape.members
        self._derived += len(shape.members) - len(before)
        former = self.members.part(variable)
        verb |= REFERENCE_ADDED if shape.members.keys() - before.keys() else 0
        verb |= REFERENCE_DELETED if before.keys() - shape.members.keys() else 0
        variable.reshape(shape)
        with self.changing():
            self._end_members(former, shape.members)
            self._alter(variable, verb)

    def _alter(self, node: Node, verb: int) -> None:
        with self.changing():
            self._changed = True
            self._tell(node, verb)

    def _end_members(self, members: Iterable[Member], names: Container[bytes] = ()) -> None:
        """Members somebody holds are no more, or, of these names, others: who watches them has to know."""
        for member in members:
            member.alive = False
            if self._told is not None:
                self._told[member] = SUPERSEDED if member.name in names else NODE_DELETED

    def unlink(self, source: Node, kind: Node, target: Node) -> bool:
        """Take a reference out, both ways; False where there is none. Linear in what the nodes hold."""
        forward = Reference(kind, True, target)
        if forward not in source.links:
            return False
        source.links.remove(forward)
        if kind.key == _HAS_TYPE_DEFINITION:
            source.type_definition = None
        if kind.key not in _ONE_WAY:
            target.links.remove(Reference(kind, False, source))
        if kind.key == _HAS_SUBTYPE:
            self._subtypes.clear()
        self._note(REFERENCE_DELETED, source, target)
        return True

    def _note(self, verb: int, *nodes: Node) -> None:
        self._changed = True
        if self._depth == 0:
            with self.changing():
                self._note(verb, *nodes)
        elif self._told is not None:
            for node in nodes:
                self._tell(node, verb)

    def _tell(self, node: Node, verb: int) -> None:
        if self._told is not None:
            known = self._told.get(node, 0)
            if not known & (NODE_ADDED | NODE_DELETED | SUPERSEDED):
                self._told[node] = known | verb

    def delete(self, keys: Iterable[Key]) -> int:
        """Take nodes out, with every reference to them; returns how many there were.

        What refers to them is cleaned when more than half of it is dead, so that any number
        of deletions costs no more than the references they end.
        """
        found = 0
        with self.changing():
            for key in keys:
                node = self.nodes.pop(key, None)
                if node is not None:
                    found += 1
                    self._end(node)
        return found

    def _end(self, node: Node) -> None:
        node.alive = False
        self._changed = True
        self._dead.pop(node, None)
        links, node.links = node.links, []
        for link in links:
            other = link.target
            if not other.alive or link.type.key in _ONE_WAY:
                continue
            dead = self._dead.get(other, 0) + 1
            if dead > _SWEEP_ABOVE and 2 * dead > len(other.links):
                other.links = [link for link in other.links if link.target.alive]
                self._dead.pop(other, None)
            else:
                self._dead[other] = dead
            self._tell(other, REFERENCE_DELETED)
        if isinstance(node, PlantVariable):
            self._end_variable(node)
        self._subtypes.clear()
        if self._told is not None:
            if self._told.get(node) == NODE_ADDED:
                del self._told[node]
            else:
                self._told[node] = NODE_DELETED
        if node.node_class == _REFERENCE_TYPE:
            self._ended_types.add(node)

    def _end_variable(self, variable: PlantVariable) -> None:
        self._derived -= len(variable.shape.members)
        self._end_members(self.members.part(variable))
        holder = variable.holder
        dead = self._dead_variables.get(holder, 0) + 1
        if dead > _SWEEP_ABOVE and 2 * dead > len(holder.variables):
            holder.variables = [one for one in holder.variables if one.alive]
            self._dead_variables.pop(holder, None)
        else:
            self._dead_variables[holder] = dead
        self._tell(holder, REFERENCE_DELETED)

    def _end_references(self) -> None:
        """Reference types went: so do their references, wherever they are. One pass for all of one change."""
        ended, self._ended_types = self._ended_types, set()
        for node in self.nodes.values():
            if any(link.type in ended for link in node.links):
                node.links = [link for link in node.links if link.type not in ended]
                self._tell(node, REFERENCE_DELETED)

    # Questions

    def subtypes(self, node: Node) -> frozenset[Node]:
        """A type and everything below it by HasSubtype; looked up once until types change."""
        found = self._subtypes.get(node)
        if found is None:
            seen, waiting = {node}, [node]
            while waiting:
                for link in waiting.pop().references():
                    if link.forward and link.type.key == _HAS_SUBTYPE and link.target not in seen:
                        seen.add(link.target)
                        waiting.append(link.target)
            found = self._subtypes[node] = frozenset(seen)
        return found

    def is_subtype(self, node: Node, base: Node) -> bool:
        """Whether a type is ``base`` or below it."""
        return node in self.subtypes(base)

    @staticmethod
    def supertypes(node: Node) -> Iterator[Node]:
        """The types above one, the closest first."""
        above: Node | None = node
        seen = {node}
        while above is not None:
            above = next(
                (r.target for r in above.references() if not r.forward and r.type.key == _HAS_SUBTYPE), None
            )
            if above is None or above in seen:
                return
            seen.add(above)
            yield above

    def targets(self, node: Node, kind: Node, *, forward: bool = True) -> Iterator[Node]:
        """Where references of a type and its subtypes lead."""
        kinds = self.subtypes(kind)
        return (r.target for r in node.references() if r.forward is forward and r.type in kinds)

    def children(self, node: Node) -> Iterator[Node]:
        """Where hierarchical references lead."""
        return self.targets(node, self.number(33))

    def child(self, node: Node, browse_name: bytes, kind: Node | None = None) -> Node | None:
        """The child of an encoded BrowseName, by references of ``kind`` or else any hierarchical ones."""
        found = self.targets(node, kind or self.number(33))
        return next((child for child in found if child.browse_name == browse_name), None)

    def owned(self, node: Node) -> list[Node]:
        """A node and what hangs on nothing else: every hierarchical way to it comes through the node.

        It is what a deletion of the node takes along.
        """
        kinds = self.subtypes(self.nodes[_HIERARCHICAL])
        found = {node: True}
        missing: dict[Node, int] = {}
        waiting = [node]
        while waiting:
            for link in waiting.pop().references():
                target = link.target
                if not link.forward or link.type not in kinds or target in found:
                    continue
                left = missing.get(target)
                if left is None:
                    left = sum(1 for r in target.references() if not r.forward and r.type in kinds)
                missing[target] = left - 1
                if left == 1:
                    found[target] = True
                    waiting.append(target)
        return list(found)


def _permits_others(node: Node, pattern: Node) -> bool:
    """Whether a pattern may be seen, read or written by others than a node."""
    return (
        node.role_permissions is not pattern.role_permissions
        or node.access_restrictions != pattern.access_restrictions
        or node.attributes.get(_ACCESS_LEVEL) != pattern.attributes.get(_ACCESS_LEVEL)
    )


def _data_type_changed(node: Node, pattern: Node) -> int:
    same = node.attributes.get(_DATA_TYPE) == pattern.attributes.get(_DATA_TYPE)
    return 0 if same else DATA_TYPE_CHANGED
