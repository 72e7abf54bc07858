"""A session that scans, and a listener that keeps what it brings: the same for every driver."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Never, Protocol, TypeVar

import pytest
from support.net import until

from sources.batch import Batch
from sources.errors import ConnectionLost
from sources.quality import BAD_WAITING_FOR_INITIAL_DATA, GOOD, Quality
from sources.source import Session
from sources.tag import ScanClass, Tag, Value

FAST = ScanClass("fast", 0.05)
NORMAL = ScanClass("normal", 0.2)
SLOW = ScanClass("slow", 3600.0)

SessionT = TypeVar("SessionT", bound=Session)
SessionT_co = TypeVar("SessionT_co", bound=Session, covariant=True)


class Dialled(Protocol[SessionT_co]):
    """A source, as far as dialling goes."""

    def connect(self) -> AbstractAsyncContextManager[SessionT_co]: ...


class Listener:
    """What came, latest by tag: the value, None where the batch brought none, and the quality."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.values: dict[str, Value] = {}
        self.qualities: dict[str, Quality] = {}

    def __call__(self, batch: Batch) -> None:
        self.batches.append(batch)
        told = batch.tags if batch.places is None else [batch.tags[place] for place in batch.places]
        for index, its in enumerate(told):
            quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[index]
            self.qualities[its.name] = quality
            if batch.values is not None:
                self.values[its.name] = batch.values[index]

    def saw(self, its: Tag[Any], quality: Quality) -> bool:
        """Whether the tag's whole block ever had this quality."""
        return any(its in batch.tags and batch.qualities == quality for batch in self.batches)

    def quality(self, its: Tag[Any]) -> Quality:
        """The latest quality of a tag, BadWaitingForInitialData before the first."""
        return self.qualities.get(its.name, BAD_WAITING_FOR_INITIAL_DATA)

    def value(self, its: Tag[Any]) -> Value:
        """The latest value of a tag."""
        return self.values.get(its.name)


@dataclass
class Scanning(Generic[SessionT]):
    """A session that scans, and what it brings."""

    session: SessionT
    listener: Listener
    task: asyncio.Task[Never]

    async def good(self, *tags: Tag[Any]) -> None:
        """Wait until these tags are Good."""
        await until(lambda: all(self.listener.quality(its) == GOOD for its in tags), every=0.005, what="Good")

    async def bad(self, quality: int, *tags: Tag[Any]) -> None:
        """Wait until these tags have that quality."""
        await until(
            lambda: all(self.listener.quality(its) == quality for its in tags), every=0.005, what="Bad"
        )

    async def lost(self, within: float = 20.0) -> ConnectionLost:
        """Wait until the scan ends with ConnectionLost."""
        await asyncio.wait((self.task,), timeout=within)
        assert self.task.done(), f"the scan still runs after {within} s"
        error = self.task.exception()
        assert isinstance(error, ConnectionLost), error
        return error


@asynccontextmanager
async def scanning(source: Dialled[SessionT]) -> AsyncIterator[Scanning[SessionT]]:
    """Connect and scan for the time of the block."""
    async with source.connect() as session:
        listener = Listener()
        task: asyncio.Task[Never] = asyncio.create_task(session.scan(listener))
        try:
            yield Scanning(session, listener, task)
        finally:
            task.cancel()
            await asyncio.wait((task,))
    if not task.cancelled() and not isinstance(error := task.exception(), ConnectionLost):
        raise AssertionError("the scan ended with an error of its own") from error


def grainy(monkeypatch: pytest.MonkeyPatch, grain: float) -> None:
    """Give the running loop a clock that moves by so many seconds at a time, as uvloop's does by 0.001."""
    monkeypatch.setattr(
        asyncio.get_running_loop(), "time", lambda: math.floor(time.monotonic() / grain) * grain
    )
