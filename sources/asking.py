"""In whose name something is written: who asks here, and the way to the device in his name there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from sources.quality import Quality
from sources.tag import Tag, Written

RoleName = Literal[
    "AuthenticatedUser",
    "Observer",
    "Operator",
    "Engineer",
    "Supervisor",
    "ConfigureAdmin",
    "SecurityAdmin",
]
"""The well-known roles (OPC 10000-18 §4.2) but Anonymous: what is written is always somebody's."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for a write: the user's name here, and the names of his roles (OPC 10000-18 §4.2)."""

    user: str
    roles: frozenset[str] = frozenset()


class Way(Protocol):
    """The way to a device in one name."""

    @property
    def acts_as(self) -> str:
        """That name, for the audit log; empty where the device knows no users."""
        ...

    async def ready(self) -> None:
        """Have at hand what sending takes, a session in that name above all. Nothing is written.

        Raises Unreachable, and Denied where the device does not let that name in.
        """
        ...

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """As `sources.source.Session.write`; it dials nobody. Raises Unreachable where nothing was sent."""
        ...


@runtime_checkable
class ActsFor(Protocol):
    """A source whose device knows users: in whose name something is written there depends on who asks."""

    def acting(self, asker: Asker) -> Way:
        """The way for whoever asks. Raises Denied for whom nothing is written."""
        ...

    async def try_names(self) -> list[str]:
        """Whether each name that is configured is let in there: what keeps out those that are not.

        Nothing is written. While it is connected.
        """
        ...
