"""Nodes and references: added, deleted, found, and what is told of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from server.opcua.space import defaults
from server.opcua.space.node import Node
from server.opcua.space.space import (
    NODE_ADDED,
    NODE_DELETED,
    REFERENCE_ADDED,
    REFERENCE_DELETED,
    DuplicateNode,
    ModelChange,
    Space,
)
from server.opcua.wire import writer
from server.opcua.wire.nodeid import key, numeric

REFERENCE_TYPES = {
    31: None,
    33: 31,
    34: 33,
    35: 33,
    44: 34,
    45: 34,
    46: 44,
    47: 44,
    32: 31,
    37: 32,
    40: 32,
}


def make(name: str | int, node_class: int = 1) -> Node:
    shown = writer.qualified_name(str(name))
    its_key = numeric(name) if isinstance(name, int) else key(name, 1)
    return Node(its_key, node_class, shown, writer.localized_text(str(name)), {}, defaults.STANDARD)


def with_reference_types() -> Space:
    space = Space()
    for number in REFERENCE_TYPES:
        space.add(make(number, 32))
    for number, above in REFERENCE_TYPES.items():
        if above is not None:
            space.link(space.number(above), space.number(45), space.number(number))
    return space


@pytest.fixture
def space() -> Space:
    return with_reference_types()


def ways(node: Node) -> set[tuple[bytes, bool, bytes]]:
    return {(r.type.key, r.forward, r.target.key) for r in node.references()}


def added(space: Space, *names: str) -> list[Node]:
    nodes = [make(name) for name in names]
    for node in nodes:
        space.add(node)
    return nodes


def test_a_node_is_found_by_its_key(space: Space) -> None:
    (node,) = added(space, "one")
    assert space.find(node.key) is node
    assert space.find(key("two", 1)) is None
    with pytest.raises(DuplicateNode, match="ns=1;s=one"):
        space.add(make("one"))
    assert space.find(node.key) is node


def test_a_reference_is_held_both_ways_and_once(space: Space) -> None:
    parent, child = added(space, "parent", "child")
    organizes = space.number(35)
    assert space.link(parent, organizes, child)
    assert not space.link(parent, organizes, child)
    assert ways(parent) == {(organizes.key, True, child.key)}
    assert ways(child) == {(organizes.key, False, parent.key)}
    assert space.unlink(parent, organizes, child)
    assert not space.unlink(parent, organizes, child)
    assert ways(parent) == ways(child) == set()


def test_a_node_may_refer_to_itself(space: Space) -> None:
    (node,) = added(space, "self")
    space.link(node, space.number(35), node)
    assert {forward for _, forward, _ in ways(node)} == {True, False}
    assert space.delete([node.key]) == 1


@pytest.mark.parametrize("one_way", [37, 40])
def test_a_type_does_not_list_its_instances(space: Space, one_way: int) -> None:
    kind, *instances = added(space, "kind", "a", "b")
    for instance in instances:
        assert space.link(instance, space.number(one_way), kind)
        assert not space.link(instance, space.number(one_way), kind)
    assert ways(kind) == set()
    assert instances[0].type_definition is (kind if one_way == 40 else None)


def test_a_deleted_node_takes_its_references_along(space: Space) -> None:
    parent, child = added(space, "parent", "child")
    space.link(parent, space.number(35), child)
    assert space.delete([child.key, key("nobody", 1)]) == 1
    assert space.find(child.key) is None
    assert list(parent.references()) == []
    with pytest.raises(ValueError, match="deleted"):
        space.link(parent, space.number(35), child)
    (again,) = added(space, "child")
    assert space.link(parent, space.number(35), again)
    assert [r.target for r in parent.references()] == [again]


def test_a_deleted_reference_type_takes_its_references_along(space: Space) -> None:
    kind = make("Feeds", 32)
    space.add(kind)
    one, two = added(space, "one", "two")
    space.link(one, kind, two)
    space.delete([kind.key])
    assert ways(one) == ways(two) == set()


class Walked(dict[bytes, Node]):
    """Nodes that count how often all of them are gone through."""

    times = 0

    def values(self) -> Any:
        self.times += 1
        return super().values()


def test_deleted_reference_types_are_sought_once_for_all_of_a_change(space: Space) -> None:
    kinds = [make(f"Feeds {number}", 32) for number in range(20)]
    one, two, other = added(space, "one", "two", "other")
    for kind in kinds:
        space.add(kind)
        space.link(one, kind, two)
    space.link(one, space.number(35), other)
    space.nodes = nodes = Walked(space.nodes)
    told = Told(space)
    with space.changing():
        for kind in kinds:
            space.delete([kind.key])
    assert nodes.times == 1
    assert ways(two) == set()
    assert ways(one) == {(numeric(35), True, other.key)}
    assert len(one.links) == 1
    verbs = told.batches[0]
    assert verbs == dict.fromkeys((kind.key for kind in kinds), NODE_DELETED) | {
        one.key: REFERENCE_DELETED,
        two.key: REFERENCE_DELETED,
    }
    added(space, "more")
    assert nodes.times == 1  # a change without one seeks none


def test_the_type_hierarchy_is_asked_in_both_directions(space: Space) -> None:
    hierarchical, aggregates, has_property = (space.number(n) for n in (33, 44, 46))
    assert space.is_subtype(has_property, hierarchical)
    assert space.is_subtype(hierarchical, hierarchical)
    assert not space.is_subtype(hierarchical, has_property)
    assert [node.key for node in space.supertypes(has_property)] == [numeric(n) for n in (44, 34, 33, 31)]
    known = space.subtypes(hierarchical)
    assert space.subtypes(hierarchical) is known
    added(space, "unrelated")
    assert space.subtypes(hierarchical) is known
    more = make("Holds", 32)
    space.add(more)
    space.link(aggregates, space.number(45), more)
    assert space.is_subtype(more, hierarchical)
    space.delete([more.key])
    assert more not in space.subtypes(hierarchical)


def test_children_are_found_by_browse_name(space: Space) -> None:
    parent, child, other = added(space, "parent", "child", "other")
    space.link(parent, space.number(46), child)
    space.link(other, space.number(35), parent)
    assert list(space.children(parent)) == [child]
    assert space.child(parent, writer.qualified_name("child")) is child
    assert space.child(parent, writer.qualified_name("child"), space.number(35)) is None
    assert space.child(parent, writer.qualified_name("other")) is None
    assert list(space.targets(parent, space.number(35), forward=False)) == [other]


def test_what_is_owned_has_no_other_way_to_it(space: Space) -> None:
    top, part, deep, shared, other = added(space, "top", "part", "deep", "shared", "other")
    has_component, organizes = space.number(47), space.number(35)
    for source, kind, target in (
        (top, has_component, part),
        (part, has_component, deep),
        (top, organizes, deep),
        (part, has_component, shared),
        (other, has_component, shared),
    ):
        space.link(source, kind, target)
    assert space.owned(top) == [top, part, deep]


class Told:
    def __init__(self, space: Space) -> None:
        self.batches: list[dict[bytes, int]] = []
        self.stop = space.on_change(self._take)

    def _take(self, changes: Sequence[ModelChange]) -> None:
        assert len({change.node.key for change in changes}) == len(changes)
        self.batches.append({change.node.key: change.verb for change in changes})


def test_changes_are_told_in_batches(space: Space) -> None:
    (parent,) = added(space, "parent")
    told, generation = Told(space), space.generation
    child = make("child")
    with space.changing():
        space.add(child)
        with space.changing():
            space.link(parent, space.number(35), child)
    assert told.batches == [{child.key: NODE_ADDED, parent.key: REFERENCE_ADDED}]
    assert space.generation == generation + 1
    space.delete([child.key])
    assert told.batches[1:] == [{child.key: NODE_DELETED, parent.key: REFERENCE_DELETED}]
    assert space.generation == generation + 2
    told.stop()
    added(space, "unheard")
    assert len(told.batches) == 2


def test_what_comes_and_goes_within_a_batch_is_not_told(space: Space) -> None:
    told = Told(space)
    with space.changing():
        (child,) = added(space, "child")
        space.delete([child.key])
    assert told.batches == []


def test_listeners_know_what_is_not_worth_an_event(space: Space) -> None:
    (parent,) = added(space, "parent")
    quiet = []
    space.on_change(lambda _: quiet.append(space.quiet))
    with space.changing(quiet=True):
        space.link(parent, space.number(35), added(space, "diagnostics")[0])
    added(space, "other")
    assert quiet == [True, False]


def test_single_changes_are_told_too(space: Space) -> None:
    told = Told(space)
    one, two = added(space, "one", "two")
    space.link(one, space.number(35), two)
    space.unlink(one, space.number(35), two)
    assert told.batches == [
        {one.key: NODE_ADDED},
        {two.key: NODE_ADDED},
        {one.key: REFERENCE_ADDED, two.key: REFERENCE_ADDED},
        {one.key: REFERENCE_DELETED, two.key: REFERENCE_DELETED},
    ]


def test_every_change_voids_plans_and_nothing_else_does(space: Space) -> None:
    generation = space.generation
    with space.changing():
        pass
    space.delete([key("nobody", 1)])
    assert space.generation == generation
    space.touch()
    assert space.generation == generation + 1


def steps(action: Callable[[], object]) -> int:
    """How many lines of Python and comparisons in C an action takes, roughly: its events."""
    count = 0

    def trace(_frame: object, _event: str, _arg: object) -> object:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def fill(space: Space, count: int) -> tuple[Node, list[Node]]:
    (parent,) = added(space, "parent")
    children = [make(f"child {number}") for number in range(count)]
    with space.changing():
        for child in children:
            space.add(child)
            space.link(parent, space.number(47), child)
    return parent, children


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_large_folder_costs_no_more_a_node_than_a_small_one(*, one_by_one: bool) -> None:
    def per_node(count: int) -> tuple[float, float, float]:
        space = with_reference_types()
        filling = steps(lambda: fill(space, count))
        parent = space.nodes[key("parent", 1)]
        browsing = steps(lambda: list(space.children(parent)))
        keys = [child.key for child in space.children(parent)]
        calls = [[one] for one in keys] if one_by_one else [keys]
        deleting = steps(lambda: [space.delete(call) for call in calls])
        assert list(parent.references()) == []
        assert len(parent.links) <= 8
        return filling / count, browsing / count, deleting / count

    small, large = per_node(200), per_node(4_000)
    for before, after in zip(small, large, strict=True):
        assert after < before * 1.3


class Counted(list[object]):
    """A list that counts how often an element is looked at for a membership test."""

    looked = 0

    def __contains__(self, item: object) -> bool:
        Counted.looked += len(self)
        return super().__contains__(item)


def test_no_reference_is_sought_among_twenty_thousand() -> None:
    space = with_reference_types()
    (parent,) = added(space, "parent")
    parent.links = Counted()  # type: ignore[assignment]
    with space.changing():
        for number in range(20_000):
            (child,) = added(space, f"child {number}")
            space.link(parent, space.number(47), child)
    assert len(parent.links) == 20_000
    assert Counted.looked < 20_000
