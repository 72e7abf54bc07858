"""References in both directions, each with what Browse tells of its target (OPC 10000-4 §7.30)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, cast

from asyncua import ua

from nodesets import ua as standard
from nodesets.records import NodeRecord
from server.opcua.attributes import display_name
from server.opcua.ids import Namespaces, UnknownNamespace

log = logging.getLogger(__name__)

# A type or a rule would list every node of the plant: nobody asks them that way round.
_ONE_WAY: Final = frozenset({standard.HAS_TYPE_DEFINITION, standard.HAS_MODELLING_RULE})
_TOLD: Final = 5


class Described(NamedTuple):
    """What a reference says of its target."""

    node_class: ua.NodeClass
    browse_name: ua.QualifiedName
    display_name: ua.LocalizedText
    type_definition: ua.NodeId


def describe(record: NodeRecord, namespaces: Namespaces) -> Described:
    """A record as the target of a reference. Raises UnknownNamespace."""
    type_definition = next(
        (r.target for r in record.references if r.type == standard.HAS_TYPE_DEFINITION and r.forward), None
    )
    return Described(
        ua.NodeClass(record.node_class),
        namespaces.qualified_name(record.browse_name),
        display_name(record),
        namespaces.node_id(type_definition) if type_definition is not None else ua.NodeId(),
    )


def both_ways(
    records: Iterable[NodeRecord], namespaces: Namespaces, known: Callable[[ua.NodeId], Described | None]
) -> Iterator[tuple[ua.NodeId, ua.ReferenceDescription]]:
    """Every reference of the records and its inverse, once each, with the node that holds it.

    ``known`` describes any node there is. A reference to a node that is not there is left
    out and told in the log.
    """
    done: set[tuple[ua.NodeId, ua.NodeId, ua.NodeId, bool]] = set()
    missing: dict[str, str] = {}
    for record in records:
        source = namespaces.node_id(record.node_id)
        for reference in record.references:
            try:
                kind, target = namespaces.node_id(reference.type), namespaces.node_id(reference.target)
            except UnknownNamespace as error:
                missing.setdefault(str(reference.target), str(error))
                continue
            here, there = known(source), known(target)
            if here is None or there is None:
                missing.setdefault(str(reference.target), f"{record.node_id} refers to it")
                continue
            ways = [(source, target, there, reference.forward)]
            if reference.type not in _ONE_WAY:
                ways.append((target, source, here, not reference.forward))
            for holder, other, described, forward in ways:
                key = (holder, kind, other, forward)
                if key not in done:
                    done.add(key)
                    yield holder, _description(kind, other, described, forward=forward)
    if missing:
        told = "; ".join(f"{node}: {why}" for node, why in list(missing.items())[:_TOLD])
        log.warning("references to %d nodes that are not there are left out: %s", len(missing), told)


def _description(
    kind: ua.NodeId, target: ua.NodeId, described: Described, *, forward: bool
) -> ua.ReferenceDescription:
    made = cast("Any", ua.ReferenceDescription)(
        ReferenceTypeId=kind,
        IsForward=forward,
        NodeId=target,
        BrowseName=described.browse_name,
        DisplayName=described.display_name,
        NodeClass=described.node_class,
        TypeDefinition=described.type_definition,
    )
    return cast("ua.ReferenceDescription", made)
