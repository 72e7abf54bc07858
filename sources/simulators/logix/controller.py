"""A whole simulated controller: device, server, and what the control port asks of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

from sources.simulators.logix.build import build
from sources.simulators.logix.device import Device
from sources.simulators.logix.identity import Identity
from sources.simulators.logix.points import Points
from sources.simulators.logix.served import ServedController
from sources.simulators.logix.spec import LogixSpec
from sources.simulators.logix.values import find_place, load, store
from sources.simulators.spec import Scalar


class LogixController(ServedController):
    """One controller as its spec says. Its machines start to move when it is made."""

    def __init__(self, spec: LogixSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        database = build(spec)
        wanted = spec.identity
        identity = Identity(wanted.controller, wanted.product, wanted.serial, wanted.major, wanted.minor)
        self._device = Device(identity, database, Points(spec.points, database, clock), spec.slot, spec.hops)
        super().__init__(self._device, spec.host, spec.port)

    def get(self, machine: str, name: str) -> Scalar | None:
        """The engineering value of a point, as a client would read it. Raises KeyError."""
        return self._device.points.get(machine, name)

    def freeze(self, machine: str, name: str, value: Scalar | None) -> None:
        """Freeze a point, None to let go. Raises KeyError, and ValueError for what it cannot hold."""
        self._device.points.freeze(machine, name, value)

    def read_tag(self, path: str) -> JsonValue:
        """What a tag or a part of it holds. Raises KeyError, and ValueError for what is no path."""
        self._device.points.catch_up()
        return load(find_place(self._device.database, path))

    def write_tag(self, path: str, value: JsonValue) -> None:
        """Write a tag past all access rights, as the controller's own program would.

        Raises KeyError, and ValueError for what it cannot hold.
        """
        self._device.points.catch_up()
        place = find_place(self._device.database, path)
        store(place, value)
        self._device.points.written(place.tag)

    def fail_tag(self, path: str, status: tuple[int, ...] | None) -> None:
        """Let every access to a tag answer a CIP status and extended status; None heals it.

        A path into a tag means the whole tag. Raises KeyError and ValueError.
        """
        find_place(self._device.database, path).tag.failure = status

    def replace(self, spec: LogixSpec, *, close_connections: bool) -> None:
        """Hold the types, tags and values of another spec, as after the download of another program.

        Raises ValueError where machines move its values: they know their places.
        """
        if len(self._device.points):
            raise ValueError("the points of this controller have their places in its program")
        self._device.replace(build(spec), close_connections=close_connections)

    def download(self, *, close_connections: bool) -> None:
        """Renumber all instances, as a program download does."""
        self._device.download(close_connections=close_connections)

    def status(self) -> Mapping[str, Any]:
        """What it is and how much it has done, as JSON values."""
        faults = self.faults
        database = self._device.database
        return {
            "name": self._spec.name,
            "kind": self._spec.kind,
            "pid": os.getpid(),
            "tags": sum(1 for scope in database.scopes for _ in scope.tags()),
            "points": len(self._device.points),
            "clients": self._server.clients,
            "connections": self._device.open_connections,
            "requests": self._device.requests,
            "downloads": database.downloads,
            "faults": {
                "mute": faults.mute,
                "delay": faults.delay,
                "delay_once": faults.delay_once,
                "cut": faults.cut,
                "refuse": faults.refuse,
                "refuse_large": faults.refuse_large,
                "no_counters": faults.no_counters,
                "strict": faults.strict,
                "mode": faults.mode.value,
            },
        }
