"""The nodes, found by their keys (OPC 10000-3 §4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from server.opcua.space.node import Node
from server.opcua.wire.nodeid import Key, numeric

_HAS_SUBTYPE: Final = numeric(45)


class ModelChange(NamedTuple):
    """One change of the model; ``verb`` is a bit of ModelChangeStructureVerbMask (OPC 10000-5 §12.17)."""

    node: Node
    verb: int


NODE_ADDED: Final = 1
NODE_DELETED: Final = 2
REFERENCE_ADDED: Final = 4
REFERENCE_DELETED: Final = 8

ChangeListener = Callable[[Sequence[ModelChange]], None]


class Space:
    """All nodes. Adding, deleting and browsing take time linear in what they touch."""

    def __init__(self) -> None:
        self.nodes: dict[Key, Node] = {}
        """By key; `find` is what readers use."""
        self.find: Callable[[Key], Node | None] = self.nodes.get
        """The node of a key, None where there is none."""
        self.generation = 0
        """Grows with every change of nodes, references or permissions: what was planned before is void."""
        self._listeners: list[ChangeListener] = []
        self._subtypes: dict[Node, frozenset[Node]] = {}

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def number(self, identifier: int) -> Node:
        """A node of namespace 0 that is there. Raises KeyError."""
        return self.nodes[numeric(identifier)]
