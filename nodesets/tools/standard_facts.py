"""Reads ``standard.txt``: what is said of namespace 0 beyond asyncua's copy of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from typing import Final, NamedTuple

_RESTRICTIONS: Final = {"-": 0, "Signing": 1, "Encryption": 2, "Session": 4}
_PERMISSIONS: Final = {"Browse": 0x1, "Read": 0x20, "Call": 0x1000}
_ALL: Final = {1: 0xFF8F, 2: 0xE7FF, 4: 0xF00F}
"""Every permission that means something, by NodeClass: no Read for an object, no Call for a variable."""


class Rule(NamedTuple):
    """Restrictions and permissions (None for all of them) by role, for the names that fit a pattern."""

    restrictions: int
    permissions: dict[str, int | None]
    patterns: tuple[str, ...]


class Permissions(NamedTuple):
    """AccessRestrictions of a node, and its RolePermissions by the role's name."""

    restrictions: int
    roles: dict[str, int]


@dataclass(frozen=True)
class Facts:
    """The file's content; DataTypes are by name, everything else by number."""

    abstract: set[int] = field(default_factory=set)
    symmetric: set[int] = field(default_factory=set)
    any: set[int] = field(default_factory=set)
    define: dict[str, list[tuple[str, str, bool]]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)

    def permissions(self, name: str, node_class: int) -> Permissions | None:
        """What the first rule that fits says of a node, None where none does."""
        for rule in self.rules:
            if any(fnmatchcase(name, pattern) for pattern in rule.patterns):
                every = _ALL[node_class]
                return Permissions(
                    rule.restrictions,
                    {role: every if given is None else given for role, given in rule.permissions.items()},
                )
        return None


def read_facts() -> Facts:
    """The facts of ``standard.txt``."""
    facts = Facts()
    text = (resources.files("nodesets.tools") / "standard.txt").read_text("utf-8")
    for line in text.splitlines():
        match line.split():
            case ["abstract", *numbers]:
                facts.abstract.update(map(int, numbers))
            case ["symmetric", *numbers]:
                facts.symmetric.update(map(int, numbers))
            case ["any", *numbers]:
                facts.any.update(map(int, numbers))
            case ["define", name, *fields]:
                known = facts.define.setdefault(name, [])
                for field in fields:
                    known += facts.define[field] if field in facts.define else [_field(field)]
            case ["allow", restrictions, permissions, *patterns]:
                facts.rules.append(
                    Rule(
                        sum(_RESTRICTIONS[one] for one in restrictions.split("+")),
                        dict(_role(text) for text in permissions.split(",")),
                        tuple(patterns),
                    )
                )
            case [] | ["#", *_]:
                continue
            case words:
                raise ValueError(f"standard.txt: {words}")
    return facts


def _field(text: str) -> tuple[str, str, bool]:
    name, _, kind = text.partition(":")
    return name, kind.removesuffix("*"), kind.endswith("*")


def _role(text: str) -> tuple[str, int | None]:
    role, _, given = text.partition("=")
    return role, None if given == "All" else sum(_PERMISSIONS[one] for one in given.split("+"))
