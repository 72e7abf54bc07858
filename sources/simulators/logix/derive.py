"""A controller from nothing but the paths that somebody reads: types and tags that such paths would need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import JsonValue

from sources.simulators.logix.build import parse_type
from sources.simulators.logix.database import PROGRAM_PREFIX
from sources.simulators.logix.spec import LogixSpec, MemberSpec, TagPoint, TagSpec, TypeSpec
from sources.simulators.logix.tagpath import parse_tag_path
from sources.simulators.logix.types import ATOMICS, BOOL, COUNTER, PREDEFINED, TIMER

_LONGEST_NAME: Final = 40


@dataclass(slots=True)
class _Node:
    """A tag or member as the paths show it: a type of its own, members, bits, and how far indices reach."""

    name: str
    path: str
    type: str | None = None
    members: dict[str, _Node] = field(default_factory=dict)
    highest_bit: int = -1
    extent: tuple[int, ...] = ()

    def reach(self, extent: Sequence[int]) -> None:
        """See the node indexed: an array is as long as its highest index needs."""
        if not extent:
            return
        if self.extent and len(self.extent) != len(extent):
            raise ValueError(f"{self.path} is indexed with {len(self.extent)} and with {len(extent)} numbers")
        self.extent = tuple(map(max, self.extent or extent, extent))

    def member(self, name: str) -> _Node:
        """The member of that name, new where none was seen."""
        path = f"{self.path}.{name}" if self.path else name
        return self.members.setdefault(name.casefold(), _Node(name, path))


def spec_from_paths(
    name: str,
    paths: Iterable[tuple[str, str]],
    *,
    points: Iterable[TagPoint] = (),
    values: Mapping[str, JsonValue] | None = None,
    **more: Any,
) -> LogixSpec:
    """A spec with the tags that ``paths``, each with its CIP type, and the points' addresses need.

    ``("Program:Packer.PML.Status.CurMachSpeed", "REAL")`` makes a program, a tag and two
    types. Arrays are as long as the highest index seen; ``Word.3`` of type BOOL is a bit of a
    DINT (a LINT from bit 32 on) unless ``Word`` has a type of its own; members as a TIMER's or
    a COUNTER's make one. ``more`` are further fields of the spec. Raises ValueError where paths
    contradict each other.
    """
    points = tuple(points)
    scopes: dict[str, _Node] = {}
    seen = [(path, kind) for path, kind in paths] + [(p.address.tag, p.address.type) for p in points]
    for path, kind in seen:
        _note(scopes, path, kind)
    types = _Types()
    tags = tuple(
        TagSpec(name=node.name, type=types.of(node), program=scope.name or None)
        for scope in scopes.values()
        for node in scope.members.values()
    )
    return LogixSpec(
        name=name,
        types=tuple(types.made.values()),
        tags=tags,
        values=dict(values or {}),
        points=points,
        **more,
    )


def _note(scopes: dict[str, _Node], path: str, kind: str) -> None:
    parsed = parse_tag_path(path)
    program = parsed.scope[len(PROGRAM_PREFIX) :]
    node = scopes.setdefault(program.casefold(), _Node(program, parsed.scope))
    for name, indices in parsed.parts:
        node = node.member(name)
        node.reach([index + 1 for index in indices])
    wanted = parse_type(kind)
    if parsed.bit is not None:
        if wanted.name.upper() != BOOL.name:
            raise ValueError(f"{path} is one bit: a BOOL, not a {kind}")
        node.highest_bit = max(node.highest_bit, parsed.bit)
        return
    node.reach(wanted.dimensions)
    plain = kind.partition("[")[0]
    plain = plain.upper() if wanted.name.upper() in {*ATOMICS, *PREDEFINED} else plain
    if node.type not in {None, plain}:
        raise ValueError(f"{path} is a {node.type} and a {plain}")
    node.type = plain


class _Types:
    """The types of nodes; ``made`` are the user-defined ones, by name."""

    def __init__(self) -> None:
        self.made: dict[str, TypeSpec] = {}

    def of(self, node: _Node) -> str:
        """A node's type as text. Raises ValueError where its paths contradict each other."""
        extent = f"[{','.join(map(str, node.extent))}]" if node.extent else ""
        return self._plain(node) + extent

    def _plain(self, node: _Node) -> str:
        if node.highest_bit >= 0:
            return _word(node)
        if not node.members:
            if node.type is None:
                raise ValueError(f"{node.path} has no type")
            return node.type
        known = node.type or _control(node)
        if known is None:
            return self._make(node)
        kind = PREDEFINED.get(known)
        if kind is None or not kind.by_name.keys() >= node.members.keys():
            raise ValueError(f"{node.path} is a {known} and has members")
        return known

    def _make(self, node: _Node) -> str:
        members = tuple(MemberSpec(name=m.name, type=self.of(m)) for m in node.members.values())
        path = node.path.partition(".")[2] if node.path.startswith(PROGRAM_PREFIX) else node.path
        base = path.replace(".", "_").replace(":", "_")[: _LONGEST_NAME - 3]
        name, number = base, 1
        while name.casefold() in self.made or name.upper() in {*ATOMICS, *PREDEFINED}:
            known = self.made.get(name.casefold())
            if known is not None and known.members == members:
                return known.name
            number += 1
            name = f"{base}_{number}"
        self.made[name.casefold()] = TypeSpec(name=name, members=members)
        return name


def _word(node: _Node) -> str:
    """The integer whose bits are read."""
    kind = node.type or ("DINT" if node.highest_bit < 32 else "LINT")
    atomic = ATOMICS.get(kind)
    if node.members or atomic is None or not atomic.is_integer or node.highest_bit >= atomic.size * 8:
        raise ValueError(f"{node.path} has no bit {node.highest_bit}")
    return kind


def _control(node: _Node) -> str | None:
    """TIMER or COUNTER, where the members are some of theirs, with their types, PRE or ACC among them."""
    if not {"pre", "acc"} & node.members.keys():
        return None
    for kind in (TIMER, COUNTER):
        if all(
            (theirs := kind.by_name.get(key)) is not None
            and theirs.type.name == member.type
            and not member.extent
            for key, member in node.members.items()
        ):
            return kind.name
    return None
