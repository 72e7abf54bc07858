"""Our ISA-95 nodeset against the official one: alike but for what the table mends or leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodesets import SHARED

from nodesets import isa95, ua
from nodesets.isa95 import (
    HAS_ISA95_CLASS_PROPERTY,
    HAS_ISA95_PROPERTY,
    ISA95,
    MADE_UP_OF_PHYSICAL_ASSET,
)
from nodesets.reader import read_nodeset
from nodesets.records import DataTypeDefinition, NodeId, NodeRecord, QualifiedName

Edge = tuple[NodeId, NodeId, NodeId]

ORPHANS = {5224, 5278, 5279, 5280, 5281, 5282, 5283, 5295}
DICTIONARIES = {4759, 4761, 4765, 4767, 4785, 4789, 4864, 4868, 4896, 4904, 4970, 4974}
MENDED = {
    (NodeId(ISA95, 5040), NodeId(ISA95, 5041)): (HAS_ISA95_CLASS_PROPERTY, HAS_ISA95_PROPERTY),
    (NodeId(ISA95, 5085), NodeId(ISA95, 5136)): (HAS_ISA95_PROPERTY, MADE_UP_OF_PHYSICAL_ASSET),
}


OF_ANY_RANK = {NodeId(ISA95, 954), NodeId(ISA95, 5017)}
"""Types of properties, which the official nodeset has for scalars alone."""


def load(nodes: list[NodeRecord]) -> dict[NodeId, NodeRecord]:
    return {node.node_id: node for node in nodes}


def edges(nodes: dict[NodeId, NodeRecord]) -> set[Edge]:
    """Every reference in its forward direction."""
    return {
        (node.node_id, r.type, r.target) if r.forward else (r.target, r.type, node.node_id)
        for node in nodes.values()
        for r in node.references
    }


@pytest.fixture(scope="module")
def official() -> dict[NodeId, NodeRecord]:
    return load(read_nodeset(SHARED / "nodesets" / "Opc.ISA95.NodeSet2.xml").nodes)


@pytest.fixture(scope="module")
def ours() -> dict[NodeId, NodeRecord]:
    return load(isa95.load().nodes)


def test_only_orphans_and_dictionaries_are_left_out(
    official: dict[NodeId, NodeRecord], ours: dict[NodeId, NodeRecord]
) -> None:
    left_out = {node_id.identifier for node_id in official if node_id not in ours}
    assert left_out == ORPHANS | DICTIONARIES


def test_what_is_added_has_identifiers_the_foundation_does_not_give(
    official: dict[NodeId, NodeRecord], ours: dict[NodeId, NodeRecord]
) -> None:
    added = {node_id for node_id in ours if node_id not in official}
    assert all(str(node_id.identifier).startswith("NamespaceMetadata") for node_id in added)
    assert all(isinstance(node_id.identifier, int) for node_id in official)


def plain(node: NodeRecord) -> NodeRecord:
    """Without what is compared elsewhere or deliberately not taken over."""
    definition = node.definition
    if definition is not None:
        definition = DataTypeDefinition(QualifiedName(ISA95, definition.name.name), definition.fields)
    return replace(node, references=[], description=(), definition=definition)


def test_every_node_has_the_same_attributes(
    official: dict[NodeId, NodeRecord], ours: dict[NodeId, NodeRecord]
) -> None:
    for node_id, node in ours.items():
        if node_id in OF_ANY_RANK:
            assert (node.value_rank, official[node_id].value_rank) == (-2, -1)
            assert plain(replace(node, value_rank=-1)) == plain(official[node_id])
        elif node_id in official:
            assert plain(node) == plain(official[node_id])


def test_every_reference_is_the_same_but_for_those_mended(
    official: dict[NodeId, NodeRecord], ours: dict[NodeId, NodeRecord]
) -> None:
    expected: set[Edge] = set()
    for source, kind, target in edges(official):
        if {source.identifier, target.identifier} & (ORPHANS | DICTIONARIES) and ISA95 in {
            source.namespace,
            target.namespace,
        }:
            continue
        if (source, target) in MENDED and kind not in {ua.HAS_TYPE_DEFINITION, ua.HAS_MODELLING_RULE}:
            wrong, right = MENDED[source, target]
            assert kind == wrong
            expected.add((source, right, target))
        else:
            expected.add((source, kind, target))
    present = {edge for edge in edges(ours) if edge[0] in official or edge[2] in official}
    assert present == expected
