"""The whole address space: namespace 0, the nodesets and the plant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from nodesets import standard
from nodesets.records import NodeRecord
from server.opcua.ids import Namespaces
from server.opcua.space.build import Builder
from server.opcua.space.plant import PlantBuilder
from server.opcua.space.space import Space
from server.opcua.space.standard import add_standard
from server.opcua.wire.nodeid import Key
from server.plant.model import Plant
from server.plant.values import Point
from server.progress import Progress, silent


def build_space(
    records: Iterable[NodeRecord],
    namespaces: Namespaces,
    plant: Plant | None,
    points: Mapping[str, Point],
    *,
    writable: bool,
    methods: Collection[Key] = (),
    progress: Progress = silent,
) -> Space:
    """Every node there is, each with its value; `server.ServerObject` gives the Server object its own.

    ``records`` are the nodesets that namespace 0 and the plant are joined by; ``points`` the
    plant's, by the property's key. ``methods`` of the standard's Server object are served; the
    others are left out. Takes a moment and touches nothing shared, so it may run in a thread.
    Raises UnknownNamespace, DuplicateNode.
    """
    space = Space()
    add_standard(space, standard.load(), methods)
    builder = Builder(space, namespaces, writable=writable)
    builder.add(records)
    if plant is not None:
        PlantBuilder(space, namespaces, builder, plant).add(points, progress)
    return space
