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
from sources.tag import Tag, Value


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

    async def write(self, pairs: Sequence[tuple[Tag[Any], Value]]) -> list[Quality]:
        """Write once, in order; one quality per pair. Never repeated: writes move machines.

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


@runtime_checkable
class TakesTags(Protocol):
    """A source whose tags may be replaced while it lives."""

    def replace_tags(self, tags: Sequence[Tag[Any]]) -> None:
        """Read other tags from the next connection on."""
        ...
