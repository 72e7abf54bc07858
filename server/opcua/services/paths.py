"""TranslateBrowsePathsToNodeIds (OPC 10000-4 §5.9.4)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

from server.opcua.limits import (
    MAX_NODES_PER_TRANSLATE,
    MAX_TRANSLATE_MATCHES,
    MAX_TRANSLATE_VISITS,
    MAX_TRANSLATE_VISITS_PER_CALL,
)
from server.opcua.requests import Request, Service, service
from server.opcua.services.sight import (
    NO_DIAGNOSTICS,
    Sight,
    access_of,
    check_operations,
    is_null,
    not_found,
)
from server.opcua.services.turns import Eventually, Work, in_turns
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node, Reference
from server.opcua.space.permissions import Access
from server.opcua.space.space import Space
from server.opcua.types import StatusCodes
from server.opcua.wire.nodeid import Key
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, uint32

_SMALLEST_PATH: Final = 6
_SMALLEST_ELEMENT: Final = 10
_VISITS_A_STEP: Final = 512
_MANY: Final = 64
"""References of a node from which on an index of them pays, once it is asked again."""

_REFERENCE_TYPE: Final = 32
_ALL_OF_THE_PATH: Final = uint32(0xFFFFFFFF)


class PathElement(NamedTuple):
    """One step of a RelativePath (OPC 10000-4 §7.31)."""

    reference_type: Key
    inverse: bool
    subtypes: bool
    name: bytes | None
    """The target's BrowseName, encoded; None where it was not given."""


class BrowsePath(NamedTuple):
    """A starting node and the steps from there."""

    start: Key
    elements: list[PathElement]


def browse_path(reader: Reader) -> BrowsePath:
    """Decode one. Raises DecodingError."""
    start = reader.key()
    count = reader.count(_SMALLEST_ELEMENT)
    return BrowsePath(start, [_element(reader) for _ in range(count)])


def _element(reader: Reader) -> PathElement:
    kind, inverse, subtypes = reader.key(), reader.boolean(), reader.boolean()
    at = reader.at
    _, name = reader.qualified_name()
    return PathElement(kind, inverse, subtypes, reader.data[at : reader.at] if name else None)


class _TooComplex(Exception):
    """A path that would keep the server busy for too long."""


class Paths:
    """Answers TranslateBrowsePathsToNodeIds requests."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (service("TranslateBrowsePathsToNodeIds", self.translate),)

    def translate(self, session: Session, request: Request) -> Eventually:
        """Follow each path; what the session may not browse is not there."""
        reader = request.reader
        count = reader.count(_SMALLEST_PATH)
        check_operations(count, MAX_NODES_PER_TRANSLATE)
        return in_turns(self._translate_all(session, access_of(session), reader, count), request)

    def _translate_all(self, session: Session, access: Access, reader: Reader, count: int) -> Work:
        follow = _Follow(self._space, access)
        results = [int32(count)]
        for _ in range(count):
            path = browse_path(reader)
            start = session.resolve(path.start)
            found = yield from follow.path(start, path.elements)
            if isinstance(found, int):
                results.append(uint32(found) + int32(0))
            else:
                targets = [node.key + _ALL_OF_THE_PATH for node in found]
                results.append(uint32(0) + int32(len(targets)) + b"".join(targets))
            yield
        results.append(NO_DIAGNOSTICS)
        return results


class _Follow:
    """Follows the paths of one request, with an index of each large node that they pass again and again."""

    def __init__(self, space: Space, access: Access) -> None:
        self._space = space
        self._sight = Sight(access)
        self._large: dict[Node, dict[bytes, list[Reference]] | None] = {}
        self._visits = self._limit = 0

    def path(self, start: Key, elements: list[PathElement]) -> Generator[None, None, list[Node] | int]:
        """The nodes a path leads to, or the StatusCode that says why there are none."""
        node = self._sight.find(self._space, start)
        if node is None:
            return not_found(start)
        if not elements:
            return StatusCodes.BadNothingToDo
        if any(element.name is None for element in elements):
            # Of the last element too: §5.9.4.2 narrows what §7.31 allows.
            return StatusCodes.BadBrowseNameInvalid
        self._limit = min(self._visits + MAX_TRANSLATE_VISITS, MAX_TRANSLATE_VISITS_PER_CALL)
        nodes = [node]
        for element in elements:
            try:
                nodes = yield from self._step(nodes, element)
            except _TooComplex:
                return StatusCodes.BadQueryTooComplex
            if not nodes:
                return StatusCodes.BadNoMatch
        return nodes if len(nodes) <= MAX_TRANSLATE_MATCHES else StatusCodes.BadTooManyMatches

    def _step(self, nodes: list[Node], element: PathElement) -> Generator[None, None, list[Node]]:
        """Where one element leads from each of the nodes; a node that is reached twice counts once."""
        kinds = self._kinds(element)
        if kinds is not None and not kinds:
            return []
        found: dict[Node, None] = {}
        forward, name = not element.inverse, element.name or b""
        sees = self._sight.sees
        for node in nodes:
            visits = 0
            references = yield from self._references(node, name)
            for reference in references:
                visits += 1
                if not visits % _VISITS_A_STEP:
                    yield
                target = reference.target
                if (
                    target.browse_name == name
                    and reference.forward is forward
                    and (kinds is None or reference.type in kinds)
                    and sees(target)
                ):
                    found[target] = None
            if visits > _MANY:
                self._large.setdefault(node, None)
            self._visits += visits + 1
            if self._visits > self._limit:
                raise _TooComplex
        return list(found)

    def _kinds(self, element: PathElement) -> frozenset[Node] | None:
        """The reference types an element follows, none for one that is none; None for every type."""
        if is_null(element.reference_type):
            return None
        kind = self._sight.find(self._space, element.reference_type)
        if kind is None or kind.node_class != _REFERENCE_TYPE:
            return frozenset()
        return self._space.subtypes(kind) if element.subtypes else frozenset((kind,))

    def _references(self, node: Node, name: bytes) -> Generator[None, None, Iterator[Reference]]:
        """References that may lead to a node of that name."""
        if node not in self._large:
            return node.references()
        index = self._large[node]
        if index is None:
            index = {}
            for visits, reference in enumerate(node.references()):
                index.setdefault(reference.target.browse_name, []).append(reference)
                if not visits % _VISITS_A_STEP:
                    yield
            self._large[node] = index
        return iter(index.get(name, ()))
