"""One attempt to write, from being asked for to its end."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from server.plant.model import Property, Role
from server.plant.values import Point
from sources.asking import Asker
from sources.quality import Quality
from sources.tag import Part, Value


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the user's name, the roles granted, and where the client sits."""

    user: str
    roles: frozenset[Role]
    client: str = ""
    entry: str = ""
    """What the client calls the request in an audit log of its own (AuditEntryId, OPC 10000-4 §7.32)."""

    @property
    def asker(self) -> Asker:
        """The same in the words of the sources."""
        return Asker(self.user, frozenset(role.value for role in self.roles))


class Outcome(enum.Enum):
    """What became of an attempt; the enum's value is what the audit says."""

    Asked = "asked"
    """It is allowed, and about to be sent."""
    Refused = "refused"
    """Nothing was sent."""
    Done = "done"
    """The device took it, or what it made of it."""
    Failed = "failed"
    """The device refused it, or holds another value."""
    Unknown = "unknown"
    """It was sent, and nobody knows what the device did. It is not sent again."""
    Seen = "seen"
    """What the device held when it was next heard after an unknown outcome."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who wants which value in which property, and what that held when it was asked."""

    caller: Caller
    point: Point
    property: Property
    """What the point was of when it was asked; a change of the configuration may make that another."""
    old: Value
    asked: object
    acts_as: str = ""
    """In whose name the device is told, where it knows users."""


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended: the client is told ``quality``; ``held`` is what the device was read to hold."""

    quality: Quality
    outcome: Outcome
    reason: str = ""
    held: Value = None


def elements(value: object) -> tuple[Any, ...]:
    """The elements of an array or a part of one; of a scalar itself."""
    if isinstance(value, Part):
        return value.values
    return value if isinstance(value, tuple) else (value,)


def refused(quality: Quality, reason: str = "") -> Result:
    """Nothing was sent, for this reason."""
    return Result(quality, Outcome.Refused, reason)
