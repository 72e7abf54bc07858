"""A moment's picture of a running server, for people and for Prometheus alike."""

from __future__ import annotations

import dataclasses
import enum
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.audit.log import AuditStatus
from server.mqtt.publisher import MqttStatus
from server.opcua.statistics import OpcUaStatistics
from sources.status import SourceStatus

if sys.platform != "win32":
    import resource


@dataclass(frozen=True, slots=True)
class ConfigurationStatus:
    """Which configuration runs. ``since`` (ticks) is when it was applied last, the start included."""

    file: str
    digest: str
    """SHA-256 of its files, in hexadecimal digits."""
    since: int
    applied: int
    """Hot changes that were carried out since the start."""
    rejected: int
    """Hot changes that were refused as a whole."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it. Times are ticks, lags seconds, memory bytes."""

    version: str
    pid: int
    started: int
    configuration: ConfigurationStatus
    endpoints: tuple[str, ...]
    points: int
    not_good: int
    sources: tuple[SourceStatus, ...]
    not_good_of: Mapping[str, int]
    """Properties whose quality is not Good, by source."""
    opcua: OpcUaStatistics
    mqtt: MqttStatus | None
    audit: AuditStatus
    writes: Mapping[str, int]
    """Attempts to write, by how they ended."""
    writes_waiting: Mapping[str, int]
    """Writes that wait for their device, by source."""
    lag_p50: float
    lag_p99: float
    memory: int
    tasks: int
    """Of the event loop: of connections, sources, requests under way."""

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return dict(_plain(self))


def resident_memory() -> int:
    """Bytes this process holds in memory; where the system does not tell, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        if sys.platform == "win32":
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
