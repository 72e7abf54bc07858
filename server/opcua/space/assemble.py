"""The whole address space: namespace 0, the nodesets and the plant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from nodesets import standard
from nodesets.records import NodeId, NodeRecord
from server.opcua.ids import Namespaces
from server.opcua.space.build import Builder
from server.opcua.space.space import Space
from server.opcua.space.standard import add_standard
from server.opcua.wire.nodeid import Key
from server.plant.values import Point


def build_space(
    records: Iterable[NodeRecord],
    namespaces: Namespaces,
    points: Mapping[str, Point],
    node_of: Mapping[str, NodeId],
    *,
    writable: bool,
    methods: Collection[Key] = (),
) -> Space:
    """Every node there is, each with its value; `server.ServerObject` gives the Server object its own.

    ``points`` and ``node_of`` give the point and the node of each property by its key.
    ``methods`` of the standard's Server object are served; the others are left out. Takes
    a moment and touches nothing shared, so it may run in a thread. Raises UnknownNamespace,
    DuplicateNode.
    """
    space = Space()
    add_standard(space, standard.load(), methods)
    by_node = {node: points[key] for key, node in node_of.items()}
    Builder(space, namespaces, by_node, writable=writable).add(records)
    return space
