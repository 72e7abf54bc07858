"""What a client found on its way through a whole address space, and questions to it (OPC 10000-3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

OBJECT, VARIABLE, METHOD, OBJECT_TYPE, VARIABLE_TYPE, REFERENCE_TYPE, DATA_TYPE, VIEW = (
    1 << bit for bit in range(8)
)
(
    NODE_ID,
    NODE_CLASS,
    BROWSE_NAME,
    DISPLAY_NAME,
    DESCRIPTION,
    WRITE_MASK,
    USER_WRITE_MASK,
    IS_ABSTRACT,
    SYMMETRIC,
    INVERSE_NAME,
    CONTAINS_NO_LOOPS,
    EVENT_NOTIFIER,
    VALUE,
    DATA_TYPE_OF,
    VALUE_RANK,
    ARRAY_DIMENSIONS,
    ACCESS_LEVEL,
    USER_ACCESS_LEVEL,
    MINIMUM_SAMPLING_INTERVAL,
    HISTORIZING,
    EXECUTABLE,
    USER_EXECUTABLE,
    DATA_TYPE_DEFINITION,
    ROLE_PERMISSIONS,
    USER_ROLE_PERMISSIONS,
    ACCESS_RESTRICTIONS,
    ACCESS_LEVEL_EX,
) = range(1, 28)

HIERARCHICAL, AGGREGATES = "ns=0;i=33", "ns=0;i=44"
HAS_SUBTYPE, HAS_TYPE_DEFINITION, HAS_MODELLING_RULE, HAS_ENCODING = (
    f"ns=0;i={number}" for number in (45, 40, 37, 38)
)
MANDATORY = "ns=0;i=78"


class Link(NamedTuple):
    """A reference as the node that has it tells it."""

    kind: str
    forward: bool
    target: str


@dataclass(slots=True)
class Found:
    """One node: its references, and its 27 attributes in order, each with its ``status``."""

    node: str
    links: list[Link]
    attributes: list[dict[str, Any]]

    def status(self, attribute: int) -> str:
        return str(self.attributes[attribute - 1]["status"])

    def value(self, attribute: int) -> Any:
        return self.attributes[attribute - 1].get("value")

    @property
    def node_class(self) -> int:
        return int(self.value(NODE_CLASS))

    @property
    def name(self) -> tuple[int, str]:
        """Its BrowseName."""
        given = self.value(BROWSE_NAME)
        return given.get("namespaceIndex", 0), given["name"]

    def __str__(self) -> str:
        return f"{self.node} {self.name[1]}"


class Walk:
    """All nodes by their NodeIds."""

    def __init__(self, file: Path) -> None:
        self.nodes: dict[str, Found] = {}
        with file.open() as lines:
            for line in lines:
                one = json.loads(line)
                links = [Link(*link) for link in one["references"]]
                self.nodes[one["node"]] = Found(one["node"], links, one["attributes"])
        self.hierarchical = self._kinds(HIERARCHICAL)
        self.aggregates = self._kinds(AGGREGATES)

    def __iter__(self) -> Iterator[Found]:
        return iter(self.nodes.values())

    def __getitem__(self, node: str) -> Found:
        return self.nodes[node]

    def of(self, *classes: int) -> Iterator[Found]:
        return (one for one in self if one.node_class in classes)

    def _kinds(self, top: str) -> frozenset[str]:
        return frozenset(one.node for one in self.of(REFERENCE_TYPE) if top in self.line(one.node))

    def line(self, node: str) -> list[str]:
        """A type and those above it, up to the top."""
        found = [node]
        while True:
            above = [k.target for k in self[found[-1]].links if k.kind == HAS_SUBTYPE and not k.forward]
            if not above:
                return found
            (one,) = above
            found.append(one)

    def targets(self, node: Found, kinds: frozenset[str] | str) -> list[Found]:
        """Where references lead forward."""
        return [
            self[k.target]
            for k in node.links
            if k.forward and (k.kind == kinds if isinstance(kinds, str) else k.kind in kinds)
        ]

    def children(self, node: Found) -> list[Found]:
        """Components and properties."""
        return self.targets(node, self.aggregates)

    def child(self, node: Found, *names: str) -> Found:
        for name in names:
            (node,) = (one for one in self.children(node) if one.name[1] == name)
        return node

    def instances(self) -> Iterator[Found]:
        """What hangs below the Objects folder, no declaration among it."""
        waiting, seen = ["ns=0;i=85"], {"ns=0;i=85"}
        while waiting:
            one = self[waiting.pop()]
            yield one
            for child in self.targets(one, self.hierarchical):
                if child.node not in seen and child.node_class in {OBJECT, VARIABLE, METHOD}:
                    seen.add(child.node)
                    waiting.append(child.node)

    def declared(self, kind: str) -> dict[tuple[tuple[int, str], ...], Found]:
        """What every instance of a type has, by its BrowseNames from there: mandatory declarations."""
        found: dict[tuple[tuple[int, str], ...], Found] = {}

        def down(node: Found, path: tuple[tuple[int, str], ...], passed: frozenset[str]) -> None:
            for child in self.children(node):
                rules = {rule.node for rule in self.targets(child, HAS_MODELLING_RULE)}
                if rules == {MANDATORY} and child.node not in passed:
                    found[(*path, child.name)] = child
                    down(child, (*path, child.name), passed | {child.node})

        for one in reversed(self.line(kind)):
            down(self[one], (), frozenset())
        return found
