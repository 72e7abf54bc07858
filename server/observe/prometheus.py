"""A snapshot as Prometheus metrics. Names end in their unit; counters in ``_total``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.mqtt.publisher import MqttStatus
from server.observe.snapshot import ConfigurationStatus, Snapshot
from sources.clock import TICKS_PER_SECOND, UNIX_EPOCH_TICKS
from sources.status import SourceState, SourceStatus

_ANCHOR_DIGITS: Final = 12


class SnapshotCollector(Collector):
    """Takes a snapshot at every scrape."""

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        now = self._take()
        yield _one("isthmus_info", "The server; always 1.", 1, {"version": now.version})
        yield _one("isthmus_start_time_seconds", "When the server started, in Unix time.", _unix(now.started))
        yield from _configuration(now.configuration)
        yield _one("isthmus_memory_resident_bytes", "Memory the server holds.", now.memory)
        yield _one("isthmus_event_loop_tasks", "Tasks of the event loop.", now.tasks)
        lag = GaugeMetricFamily(
            "isthmus_event_loop_lag_seconds", "How late the event loop was, last minute.", labels=["quantile"]
        )
        lag.add_metric(["0.5"], now.lag_p50)
        lag.add_metric(["0.99"], now.lag_p99)
        yield lag
        yield _one("isthmus_points", "Properties of the plant.", now.points)
        yield _one("isthmus_points_not_good", "Properties whose quality is not Good.", now.not_good)
        yield _one("isthmus_opcua_sessions", "Sessions that are open.", now.opcua.sessions)
        yield _one("isthmus_opcua_subscriptions", "Subscriptions.", now.opcua.subscriptions)
        yield _one("isthmus_opcua_monitored_items", "MonitoredItems.", now.opcua.monitored_items)
        yield _count(
            "isthmus_opcua_notifications", "Notifications handed to clients.", now.opcua.notifications
        )
        yield _one("isthmus_opcua_connections", "TCP connections of clients.", now.opcua.connections)
        yield _count("isthmus_opcua_accepted", "Connections accepted.", now.opcua.accepted)
        ended = CounterMetricFamily(
            "isthmus_opcua_ended", "Connections the server refused or ended.", labels=["reason"]
        )
        for reason, count in now.opcua.ended.items():
            ended.add_metric([reason], count)
        yield ended
        yield _count(
            "isthmus_opcua_refused_requests", "Requests answered with a fault.", now.opcua.refused_requests
        )
        yield _count(
            "isthmus_opcua_refused_sessions", "Sessions that were refused.", now.opcua.refused_sessions
        )
        yield from _sources(now.sources)
        bad = GaugeMetricFamily(
            "isthmus_source_points_not_good", "Its properties whose quality is not Good.", labels=["source"]
        )
        for name, count in now.not_good_of.items():
            bad.add_metric([name], count)
        yield bad
        yield from _writes(now)
        if now.mqtt is not None:
            yield from _mqtt(now.mqtt)


def registry(take: Callable[[], Snapshot]) -> CollectorRegistry:
    """A registry of its own with the snapshot's metrics in it."""
    own = CollectorRegistry(auto_describe=False)
    own.register(SnapshotCollector(take))
    return own


def exposition(own: CollectorRegistry) -> bytes:
    """The text format, version 0.0.4."""
    return generate_latest(own)


def _one(name: str, text: str, value: float, labels: dict[str, str] | None = None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels or ()))
    family.add_metric(list((labels or {}).values()), value)
    return family


def _count(name: str, text: str, value: float) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _configuration(configuration: ConfigurationStatus) -> Iterator[Metric]:
    text = "When the configuration was applied last, the start included, in Unix time."
    yield _one("isthmus_configuration_applied_time_seconds", text, _unix(configuration.since))
    changes = CounterMetricFamily(
        "isthmus_configuration_changes", "Hot changes by what came of them.", labels=["outcome"]
    )
    changes.add_metric(["applied"], configuration.applied)
    changes.add_metric(["rejected"], configuration.rejected)
    yield changes


def _sources(sources: tuple[SourceStatus, ...]) -> Iterator[Metric]:
    yield _states(sources)
    for name, text, gauge in _GAUGES:
        family = GaugeMetricFamily(f"isthmus_source_{name}", text, labels=["source"])
        for source in sources:
            family.add_metric([source.name], gauge(source))
        yield family
    for name, text, counter in _COUNTERS:
        total = CounterMetricFamily(f"isthmus_source_{name}", text, labels=["source"])
        for source in sources:
            total.add_metric([source.name], counter(source))
        yield total
    errors = CounterMetricFamily("isthmus_source_errors", "Failures by cause.", labels=["source", "cause"])
    for source in sources:
        for cause, count in source.errors.items():
            errors.add_metric([source.name, cause], count)
    yield errors
    yield from _scans(sources)


def _unix(ticks: int) -> float:
    """Unix time; 0 for never."""
    return (ticks - UNIX_EPOCH_TICKS) / TICKS_PER_SECOND if ticks else 0.0


_GAUGES: Final[tuple[tuple[str, str, Callable[[SourceStatus], float]], ...]] = (
    (
        "connected_since_timestamp_seconds",
        "Since when the device answers, in Unix time; 0 while it does not.",
        lambda source: _unix(source.connected_since),
    ),
    (
        "last_success_timestamp_seconds",
        "When it last gave a value, in Unix time; 0 before the first.",
        lambda source: _unix(source.last_success),
    ),
    (
        "last_error_timestamp_seconds",
        "When something last went wrong, in Unix time; 0 for never.",
        lambda source: _unix(source.last_error_time),
    ),
    ("tags", "Values that are read of it.", lambda source: source.tags),
    (
        "bad_points",
        "Points the device does not have as configured.",
        lambda source: source.bad_point_count,
    ),
    ("stale_points", "Values that were read once and are no longer.", lambda source: source.stale),
    ("imported_nodes", "Nodes imported of it.", lambda source: sum(one.nodes for one in source.imports)),
    (
        "imported_variables",
        "Variables among them.",
        lambda source: sum(one.variables for one in source.imports),
    ),
    (
        "refused_variables",
        "Imported variables that it would not watch.",
        lambda source: sum(one.refused for one in source.imports),
    ),
    (
        "failed_imports",
        "Imports that came to nothing when they were carried out last.",
        lambda source: sum(bool(one.error) for one in source.imports),
    ),
    (
        "last_walk_timestamp_seconds",
        "When its nodes were looked at last, in Unix time; 0 for never.",
        lambda source: _unix(max((one.walked for one in source.imports), default=0)),
    ),
    (
        "walk_seconds",
        "How long that took, of all imports together.",
        lambda source: sum(one.seconds for one in source.imports),
    ),
)
_COUNTERS: Final[tuple[tuple[str, str, Callable[[SourceStatus], float]], ...]] = (
    ("connects", "Connections made.", lambda source: source.connects),
    ("reads", "Block reads that brought values.", lambda source: source.reads),
    ("values", "Values read.", lambda source: source.values),
    ("requests", "Requests sent.", lambda source: source.traffic.requests),
    ("received_bytes", "Bytes received.", lambda source: source.traffic.bytes_in),
    ("sent_bytes", "Bytes sent.", lambda source: source.traffic.bytes_out),
    ("slowed", "Times it had to wait, as it said too much.", lambda source: source.traffic.slowed),
)


def _states(sources: tuple[SourceStatus, ...]) -> Metric:
    family = GaugeMetricFamily(
        "isthmus_source_state", "1 for the state a source is in.", labels=["source", "state"]
    )
    for source in sources:
        for each in SourceState:
            family.add_metric([source.name, each.value], float(each is source.state))
    return family


def _scans(sources: tuple[SourceStatus, ...]) -> Iterator[Metric]:
    by = ["source", "scan_class"]
    overruns = CounterMetricFamily("isthmus_scan_overruns", "Block reads skipped as too late.", labels=by)
    planned = GaugeMetricFamily("isthmus_scan_planned_seconds", "The scan class's period.", labels=by)
    measured = GaugeMetricFamily("isthmus_scan_measured_seconds", "What one scan took.", labels=by)
    p99 = GaugeMetricFamily(
        "isthmus_scan_p99_seconds", "What 99 of 100 scans did not exceed, last minutes.", labels=by
    )
    blocks = GaugeMetricFamily("isthmus_scan_blocks", "Requests a scan takes.", labels=by)
    for source in sources:
        for name, scan in source.scans.items():
            overruns.add_metric([source.name, name], scan.overruns)
            planned.add_metric([source.name, name], scan.planned)
            measured.add_metric([source.name, name], scan.measured)
            p99.add_metric([source.name, name], scan.p99)
            blocks.add_metric([source.name, name], scan.blocks)
    yield from (overruns, planned, measured, p99, blocks)


def _writes(now: Snapshot) -> Iterator[Metric]:
    ended = CounterMetricFamily("isthmus_writes", "Attempts to write, by outcome.", labels=["outcome"])
    for outcome, count in now.writes.items():
        ended.add_metric([outcome], count)
    yield ended
    waiting = GaugeMetricFamily(
        "isthmus_writes_waiting", "Writes that wait for their device.", labels=["source"]
    )
    for source, count in now.writes_waiting.items():
        if source:
            waiting.add_metric([source], count)
    yield waiting
    audit = now.audit
    yield _count("isthmus_audit_records", "The number of the audit log's last record.", audit.seq)
    # As much of a hash as a Double holds exactly: kept elsewhere, it is an anchor of the log.
    head = int(audit.head[:_ANCHOR_DIGITS], 16)
    yield _one("isthmus_audit_head", "The first 12 hexadecimal digits of that record's hash.", head)
    yield _count("isthmus_audit_unrecorded", "What could not be recorded.", audit.unrecorded)
    yield _one("isthmus_audit_failing", "1 while nothing can be recorded.", float(bool(audit.failure)))


def _mqtt(mqtt: MqttStatus) -> Iterator[Metric]:
    yield _one("isthmus_mqtt_connected", "1 while the broker is connected.", float(mqtt.connected))
    yield _one("isthmus_mqtt_queued", "Messages that wait for the broker.", mqtt.queued)
    yield _count("isthmus_mqtt_published", "Messages the broker took.", mqtt.published)
    yield _count("isthmus_mqtt_dropped", "Messages that were due and did not go out.", mqtt.dropped)
    yield _one("isthmus_mqtt_data_sets", "Data sets that are published.", mqtt.data_sets)
    yield _one("isthmus_mqtt_imported", "Imported variables that are published.", mqtt.mirrored)
    left_out = sum(mqtt.left_out.values())
    yield _one("isthmus_mqtt_left_out", "Imported variables that cannot be published.", left_out)
    yield _count("isthmus_mqtt_unencodable", "Values published as none for want of a form.", mqtt.unencodable)
