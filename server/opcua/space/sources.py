"""The sources in the address space: how each fares, worked out when it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from nodesets.records import NodeId
from server.opcua.ids import Namespaces
from server.opcua.space import defaults, encode
from server.opcua.space.build import Builder
from server.opcua.space.setting import show
from server.opcua.space.space import Space
from server.opcua.space.value import LiveValue
from server.opcua.wire.nodeid import key
from server.plant.build.sources import (
    SCAN_CLASS,
    SOURCE,
    STATES,
    Field,
    member_id,
    scan_class_id,
    source_id,
    source_nodes,
    source_types,
    sources_id,
)
from sources.insight import PlannedBlock
from sources.statistics import ScanFigures
from sources.status import SourceStatus

_MOST_BLOCKS: Final = 1000
"""So many blocks of a plan are told; of more only their number."""
_MOST_ERRORS: Final = 100
"""So many imports that came to nothing are told."""
_FRESH: Final = 0.01
"""Seconds for which a status serves whoever reads: the variables of one answer are of one moment."""
_LASTING: Final = 1.0
"""The same for a plan, which may be long and changes seldom."""
_MOST: Final = 0xFFFFFFFF

T = TypeVar("T")


class Watched(Protocol):
    """What of a source is shown; `sources.supervisor.Supervisor` is one."""

    @property
    def name(self) -> str:
        """The source's name."""
        ...

    @property
    def scans(self) -> Sequence[str]:
        """The names of its scan classes."""
        ...

    @property
    def status(self) -> SourceStatus:
        """How it is now; ``scans`` has every class."""
        ...

    def plan(self) -> Sequence[PlannedBlock]:
        """What is read of it, and why so."""
        ...


def _count(value: int) -> bytes:
    return encode.uint32(min(value, _MOST))


def _ms(seconds: float) -> bytes:
    return encode.double(1000.0 * seconds)


_OF_SOURCE: Final[Mapping[str, Callable[[SourceStatus], bytes]]] = {
    "Address": lambda status: encode.string(status.address),
    "State": lambda status: encode.int32(STATES[status.state]),
    "ConnectedSince": lambda status: encode.time(status.connected_since),
    "LastSuccess": lambda status: encode.time(status.last_success),
    "LastError": lambda status: encode.string(status.last_error),
    "LastErrorCause": lambda status: encode.status_code(status.last_error_cause),
    "LastErrorTime": lambda status: encode.time(status.last_error_time),
    "Connects": lambda status: _count(status.connects),
    "Points": lambda status: _count(status.tags),
    "ValuesPerSecond": lambda status: encode.double(status.rates.values),
    "RequestsPerSecond": lambda status: encode.double(status.rates.requests),
    "BytesPerSecondIn": lambda status: encode.double(status.rates.bytes_in),
    "BytesPerSecondOut": lambda status: encode.double(status.rates.bytes_out),
    "BadPointCount": lambda status: _count(status.bad_point_count),
    "BadPoints": lambda status: encode.strings(status.bad_points),
    "StalePoints": lambda status: _count(status.stale),
    "ImportedNodes": lambda status: _count(sum(one.nodes for one in status.imports)),
    "ImportedVariables": lambda status: _count(sum(one.variables for one in status.imports)),
    "RefusedVariables": lambda status: _count(sum(one.refused for one in status.imports)),
    "LastWalk": lambda status: encode.time(max((one.walked for one in status.imports), default=0)),
    "WalkDuration": lambda status: _ms(sum(one.seconds for one in status.imports)),
    "ImportErrors": lambda status: encode.strings(
        [f"{one.holder}: {one.error}" for one in status.imports if one.error][:_MOST_ERRORS]
    ),
}
"""All but the plan."""

_OF_SCAN_CLASS: Final[Mapping[str, Callable[[ScanFigures], bytes]]] = {
    "PlannedPeriod": lambda scan: _ms(scan.planned),
    "MeasuredScanTime": lambda scan: _ms(scan.measured),
    "P99ScanTime": lambda scan: _ms(scan.p99),
    "Blocks": lambda scan: _count(scan.blocks),
    "Overruns": lambda scan: _count(scan.overruns),
}


class SourceObjects:
    """The folder Sources and what is in it, for those who may know of devices (`defaults.DEVICES`).

    Nothing costs until somebody reads; subscriptions sample. Sources may come and go.
    """

    def __init__(self, space: Space, namespaces: Namespaces, *, types_uri: str, plant_uri: str) -> None:
        """Raises UnknownNamespace, DuplicateNode."""
        self._space = space
        self._namespaces = namespaces
        self._types_uri = types_uri
        self._plant_uri = plant_uri
        self._builder = Builder(space, namespaces)
        self._shown: dict[str, tuple[Watched, tuple[str, ...]]] = {}
        """By name: the source, and its scan classes."""
        self._builder.add(source_types(types_uri, plant_uri))
        self._restrict(sources_id(plant_uri))

    def follow(self, sources: Iterable[Watched]) -> None:
        """Show these sources and no others; what is the same stays untouched."""
        wanted = {source.name: source for source in sources}
        with self._space.changing():
            for name, (source, scans) in list(self._shown.items()):
                if wanted.get(name) is not source or tuple(source.scans) != scans:
                    self.hide(name)
            for name, source in wanted.items():
                if name not in self._shown:
                    self.show(source)

    def show(self, source: Watched) -> None:
        """Add a source. Raises DuplicateNode."""
        self._shown[source.name] = source, tuple(source.scans)
        with self._space.changing():
            records = source_nodes(self._types_uri, self._plant_uri, source.name, source.scans)
            self._builder.add(records)
            for record in records:
                self._restrict(record.node_id)
            status = _Kept(lambda: source.status, _FRESH)
            here = source_id(self._plant_uri, source.name)
            for field in SOURCE:
                if field.name == "Plan":
                    self._give(here, field, _Kept(lambda: _plan(source.plan()), _LASTING))
                else:
                    self._give(here, field, partial(_told, _OF_SOURCE[field.name], status))
            for scan in source.scans:
                for field in SCAN_CLASS:
                    told = partial(_told_of_class, _OF_SCAN_CLASS[field.name], status, scan)
                    self._give(scan_class_id(self._plant_uri, source.name, scan), field, told)

    def hide(self, name: str) -> None:
        """Take a source out."""
        self._shown.pop(name, None)
        node = self._space.find(self._key(source_id(self._plant_uri, name)))
        if node is not None:
            self._space.delete([one.key for one in self._space.owned(node)])

    def _give(self, owner: NodeId, field: Field, variant: Callable[[], bytes]) -> None:
        show(self._space.nodes[self._key(member_id(owner, field))], LiveValue(variant))

    def _restrict(self, node_id: NodeId) -> None:
        self._space.nodes[self._key(node_id)].role_permissions = defaults.DEVICES

    def _key(self, node_id: NodeId) -> bytes:
        return key(node_id.identifier, self._namespaces.index(node_id.namespace))


class _Kept(Generic[T]):
    """What a function gives, kept for a while."""

    def __init__(self, make: Callable[[], T], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._until = 0.0
        self._made: T | None = None

    def __call__(self) -> T:
        now = time.monotonic()
        if self._made is None or now >= self._until:
            self._made, self._until = self._make(), now + self._seconds
        return self._made


def _told(variant: Callable[[SourceStatus], bytes], status: Callable[[], SourceStatus]) -> bytes:
    return variant(status())


def _told_of_class(
    variant: Callable[[ScanFigures], bytes], status: Callable[[], SourceStatus], scan: str
) -> bytes:
    return variant(status().scans.get(scan) or ScanFigures(0.0))


def _plan(blocks: Sequence[PlannedBlock]) -> bytes:
    lines = [str(block) for block in blocks[:_MOST_BLOCKS]]
    if len(blocks) > _MOST_BLOCKS:
        lines.append(f"and {len(blocks) - _MOST_BLOCKS} more")
    return encode.strings(lines)
