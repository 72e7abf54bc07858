"""Takes the snapshots of a running server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from certs.own import ApplicationIdentity
from server import __version__
from server.audit.log import AuditLog
from server.mqtt.publisher import MqttPublisher
from server.observe.meter import Meter
from server.observe.prometheus import exposition, registry
from server.observe.snapshot import ConfigurationStatus, Snapshot, resident_memory
from server.opcua.server import OpcUaServer
from server.plant.commands import Commands
from server.plant.values import ValueStore
from sources.clock import now
from sources.quality import is_good
from sources.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Running:
    """What is up, for whoever shows it to a person."""

    server: OpcUaServer
    identity: ApplicationIdentity
    store: ValueStore
    supervisors: Collection[Supervisor]
    """Those of now, whenever it is looked at."""
    publisher: MqttPublisher | None
    audit: AuditLog
    commands: Commands
    configuration: Callable[[], ConfigurationStatus]
    reload: Callable[[], None]
    """Apply the file the server was started with once more."""


class Observer:
    """Looks at the parts when asked; only its meter looks by itself."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._started = now()
        self._registry = registry(self.snapshot)
        self.meter = Meter()

    def snapshot(self) -> Snapshot:
        """How everything is now."""
        running = self._running
        points = running.store.points.values()
        return Snapshot(
            version=__version__,
            pid=os.getpid(),
            started=self._started,
            configuration=running.configuration(),
            endpoints=tuple(dict.fromkeys(endpoint.url for endpoint in running.server.endpoints)),
            points=len(points),
            not_good=sum(not is_good(point.status) for point in points),
            sources=tuple(supervisor.status for supervisor in running.supervisors),
            not_good_of=self._not_good(),
            opcua=running.server.statistics,
            mqtt=running.publisher.status if running.publisher else None,
            audit=running.audit.status,
            writes=dict(running.commands.outcomes),
            writes_waiting=running.commands.waiting,
            lag_p50=self.meter.lag(0.5),
            lag_p99=self.meter.lag(0.99),
            memory=resident_memory(),
            tasks=len(asyncio.all_tasks()),
        )

    def exposition(self) -> bytes:
        """The snapshot in Prometheus' text format."""
        return exposition(self._registry)

    async def status(self, _request: dict[str, Any]) -> dict[str, Any]:
        """The snapshot for the control socket."""
        return self.snapshot().as_json()

    def _not_good(self) -> dict[str, int]:
        counts = {supervisor.name: 0 for supervisor in self._running.supervisors}
        for point in self._running.store.points.values():
            binding = point.property.binding
            if binding is not None and binding.source in counts and not is_good(point.status):
                counts[binding.source] += 1
        return counts
