"""Reads of devices beside the scan, for a client that wants a value of now (OPC 10000-4 §5.11.2, MaxAge)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

from server.plant.commands import Device
from server.plant.values import Point, ValueStore
from sources.errors import ConnectionLost, Unreachable
from sources.quality import BAD_NOT_CONNECTED, Quality
from sources.tag import Tag

log = logging.getLogger(__name__)


class FreshReads:
    """Brings values of now into the store.

    Of each device at most one such read is under way, whoever asks for it: what is asked for
    meanwhile goes together into the next one. So clients cannot load a PLC beyond that.
    """

    def __init__(self, store: ValueStore, devices: Mapping[str, Device]) -> None:
        """``devices`` by the names of their sources; they may come, go and be others later."""
        self._store = store
        self._devices = devices
        self._lines: dict[str, _Line] = {}

    async def read(self, points: Collection[Point]) -> dict[str, Quality]:
        """Read these points' tags now; the store has their values when it returns.

        Gives, by its name, why each source that did not answer has none.
        """
        wanted: dict[str, list[Tag[Any]]] = {}
        for point in points:
            binding = point.property.binding
            if binding is not None and binding.enabled:
                wanted.setdefault(binding.source, []).append(binding.tag)
        lines = [(name, tags, self._line(name)) for name, tags in wanted.items()]
        found = await asyncio.gather(*(line.read(tags) for _, tags, line in lines if line is not None))
        answers = iter(found)
        qualities = {
            name: BAD_NOT_CONNECTED if line is None else next(answers) for name, _tags, line in lines
        }
        return {name: quality for name, quality in qualities.items() if quality is not None}

    def _line(self, name: str) -> _Line | None:
        device, line = self._devices.get(name), self._lines.get(name)
        if device is None:
            self._lines.pop(name, None)
            return None
        if line is None or line.device is not device:
            line = self._lines[name] = _Line(device, self._store)
        return line


class _Round:
    """One read of a device, and what it is to bring."""

    def __init__(self) -> None:
        self.tags: dict[int, Tag[Any]] = {}
        self.done = asyncio.Event()
        self.failure: Quality | None = BAD_NOT_CONNECTED
        """What those who wait are told if the one who reads is cancelled."""


class _Line:
    """The reads of one device, one after the other."""

    def __init__(self, device: Device, store: ValueStore) -> None:
        self.device = device
        self._store = store
        self._busy = asyncio.Lock()
        self._next: _Round | None = None

    async def read(self, tags: Collection[Tag[Any]]) -> Quality | None:
        """None where the device answered, else why it did not."""
        joined = self._next
        if joined is not None:
            joined.tags.update((id(tag), tag) for tag in tags)
            await joined.done.wait()
            return joined.failure
        mine = self._next = _Round()
        mine.tags.update((id(tag), tag) for tag in tags)
        try:
            async with self._busy:
                self._next = None  # who asks from now on wants a value of later
                mine.failure = await self._carry_out(mine)
        finally:
            if self._next is mine:
                self._next = None
            mine.done.set()
        return mine.failure

    async def _carry_out(self, wanted: _Round) -> Quality | None:
        try:
            batch = await self.device.read(tuple(wanted.tags.values()))
        except Unreachable:
            return BAD_NOT_CONNECTED
        except ConnectionLost as error:
            log.debug("a read for a client failed: %s", error)  # the scan tells of it
            return error.quality
        self._store.ingest(batch)
        return None
