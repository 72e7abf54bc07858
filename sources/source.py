"""Source and Session: the contract of every driver.

A source is one configured device. It holds no retry, no task and no socket between
connections; `sources.supervisor` gives it its life.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Never, Protocol, runtime_checkable

from sources.batch import Batch, Emit
from sources.quality import Quality
from sources.tag import Tag, Written


class Session(Protocol):
    """A live connection. It exists only while the device answers."""

    async def scan(self, emit: Emit) -> Never:
        """Read every tag of the source at its scan class and emit one batch per block read.

        Runs until cancelled. Raises ConnectionLost when the device falls silent or breaks
        its protocol. A failure of one block or point is a batch with its quality, not an error.
        """
        ...

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """Read these tags now, past the scan. Raises ConnectionLost."""
        ...

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """Write once, in order; one quality per pair. Never repeated: writes move machines.

        Of a `Part` no other elements are written, or nothing is and it is BadWriteNotSupported.

        Raises ConnectionLost when the outcome of any pair is unknown.
        """
        ...


class Source(Protocol):
    """One configured device."""

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        ...

    @property
    def address(self) -> str:
        """Where the device is, for people: ``10.20.1.11:502``."""
        ...

    @property
    def tags(self) -> Sequence[Tag[Any]]:
        """What is read of it."""
        ...

    def connect(self) -> AbstractAsyncContextManager[Session]:
        """Dial. Raises Unreachable (tried again) or Refused (waits for a person)."""
        ...

    def retag(self, tags: Sequence[Tag[Any]]) -> None:
        """Read these tags from now on, over the connection there is and over those that follow.

        Returns at once and raises nothing: the set is another in one step, which no cancellation can
        divide, and whatever that asks of the device is done by the scan. What that is, is the same
        for every driver:

        - A tag that is the same object as before stays as it is. It is read on in its rhythm, never
          later than it would have been, and brings no quality but the device's own; what was learnt
          of it is kept.
        - A tag that is no more brings nothing further, not even what was on its way.
        - A tag that is new, be it by another type, address or scan class under a name that was there,
          comes at once, as all do when a scan begins, and then in the rhythm of its class; but what it
          takes to find it in the device may come first.
        - No reply to a request of the old plan is taken for one of the new.
        - Reads and writes that were begun, and those that come later with a tag of before, go on with
          the tags they were given, each write once.
        """
        ...


@runtime_checkable
class Adapts(Protocol):
    """A source some of whose settings may be others while it lives."""

    def fits(self, settings: Any) -> bool:
        """Whether these differ from its own in nothing but that."""
        ...

    def adapt(self, settings: Any) -> None:
        """Take them, over the connection there is; returns at once."""
        ...
