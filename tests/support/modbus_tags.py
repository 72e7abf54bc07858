"""Modbus settings and tags in few words, and a listener that keeps what a source emits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Never

from support.net import until

from sources.batch import Batch
from sources.errors import ConnectionLost
from sources.modbus.config import ModbusAddress, ModbusSettings, parse_tag
from sources.modbus.driver import ModbusSession, ModbusSource
from sources.quality import BAD_WAITING_FOR_INITIAL_DATA, GOOD, Quality
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag, Value, ValueType

FAST = ScanClass("fast", 0.05)
NORMAL = ScanClass("normal", 0.2)
SLOW = ScanClass("slow", 3600.0)


def settings(port: int = 502, **more: Any) -> ModbusSettings:
    """Settings of a device on loopback."""
    return ModbusSettings.model_validate({"driver": "modbus", "host": "127.0.0.1", "port": port} | more)


def tag(
    address: str,
    encoding: str | None = None,
    scan: ScanClass = FAST,
    *,
    words: str | None = None,
    writable: bool = False,
    natural: ValueType = ValueType.UInt16,
    name: str | None = None,
    of: ModbusSettings | None = None,
) -> Tag[ModbusAddress]:
    """A tag; its name is its address unless given."""
    spec = TagSpec(name or address, address, natural, scan, encoding, words, writable)
    return parse_tag(spec, of or settings())


class Listener:
    """What came, latest by tag: the value, None where the batch brought none, and the quality."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.values: dict[str, Value] = {}
        self.qualities: dict[str, Quality] = {}

    def __call__(self, batch: Batch) -> None:
        self.batches.append(batch)
        for index, its in enumerate(batch.tags):
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
class Scanning:
    """A session that scans, and what it brings."""

    session: ModbusSession
    listener: Listener
    task: asyncio.Task[Never]

    async def good(self, *tags: Tag[Any]) -> None:
        """Wait until these tags are Good."""
        await until(lambda: all(self.listener.quality(its) == GOOD for its in tags), every=0.005, what="Good")

    async def lost(self, within: float = 20.0) -> ConnectionLost:
        """Wait until the scan ends with ConnectionLost."""
        await asyncio.wait((self.task,), timeout=within)
        assert self.task.done(), f"the scan still runs after {within} s"
        error = self.task.exception()
        assert isinstance(error, ConnectionLost)
        return error


@asynccontextmanager
async def scanning(source: ModbusSource) -> AsyncIterator[Scanning]:
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
