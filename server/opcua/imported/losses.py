"""What imported values are worth while their device is away: usable for some scans, then no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from server.opcua.imported.value import ImportedValue
from server.opcua.wire.nodeid import Key
from sources.opcua.imports import Device, Model
from sources.quality import BAD_NO_COMMUNICATION, BAD_NOT_CONNECTED, Quality, is_bad

Owner = tuple[str, str]
"""Source and holder of an import."""


class Losses:
    """Marks the values of devices that are gone, as `sources.supervisor` does those of tags."""

    def __init__(
        self,
        models: Mapping[Owner, Model],
        values: Mapping[str, Mapping[Key, ImportedValue]],
        tell: Callable[[Sequence[ImportedValue]], None],
    ) -> None:
        """``values`` are by source; ``tell`` takes those that were marked."""
        self._models = models
        self._values = values
        self._tell = tell
        self._alive: set[str] = set()
        """Sources of which something came since they were lost."""
        self._unknown: set[str] = set()
        """Sources of which nothing came since they became other devices, or failed by a fault of ours."""
        self._former: dict[str, Device] = {}
        """What a source was before it became another device: how that ends concerns nobody."""
        self._timers: dict[Owner, asyncio.TimerHandle] = {}

    def close(self) -> None:
        """Let time no longer pass."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def heard(self, source: str) -> None:
        """Something came of a device."""
        self._alive.add(source)
        self._unknown.discard(source)
        self._former.pop(source, None)

    def lost(self, device: Device, quality: Quality) -> None:
        """A device is gone. To be gone again before anything came makes nothing usable for longer."""
        source = device.name
        if self._former.get(source) is device:
            return
        alive = source in self._alive
        self._alive.discard(source)
        held = [value for value in self._values.get(source, {}).values() if value.device is device]
        if is_bad(quality):
            self._unknown.add(source)
            self._mark(held, quality)
        elif alive:
            now = asyncio.get_running_loop().time()
            for value in held:
                if value.lost is None:
                    value.lost = now
            self._mark(held, quality)
            for owner, model in self._models.items():
                if owner[0] == source and owner not in self._timers:
                    self._wait(owner, model.usable)

    def missed(self, device: Device) -> None:
        """A device was not reached: values of which nothing is known say so."""
        if device.name in self._unknown and self._former.get(device.name) is not device:
            self._mark(self._values.get(device.name, {}).values(), BAD_NOT_CONNECTED)

    def mark(self, source: str, quality: Quality) -> None:
        """Mark all values of a source, of which nothing is known any more, for it is another device."""
        held = self._values.get(source, {}).values()
        for value in held:
            self._former[source] = value.device
            break
        self._alive.discard(source)
        self._unknown.add(source)
        self._mark(held, quality)

    def _wait(self, owner: Owner, seconds: float) -> None:
        self._timers[owner] = asyncio.get_running_loop().call_later(seconds, self._expire, owner)

    def _expire(self, owner: Owner) -> None:
        """Nothing that is lost for that long is usable."""
        self._timers.pop(owner, None)
        model, held = self._models.get(owner), self._values.get(owner[0], {})
        if model is None:
            return
        now = asyncio.get_running_loop().time()
        lost = [(value.lost, value) for key in model.nodes if (value := held.get(key)) is not None]
        until = [(since + model.usable, value) for since, value in lost if since is not None and value.value]
        self._mark([value for end, value in until if end <= now], BAD_NO_COMMUNICATION)
        left = [end for end, _ in until if end > now]
        if left:
            self._wait(owner, min(left) - now)

    def _mark(self, values: Iterable[ImportedValue], quality: Quality) -> None:
        self._tell([value for value in values if value.mark(quality)])
