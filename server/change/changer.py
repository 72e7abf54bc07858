"""Carries out changes, one at a time: reads, checks and prepares in a thread, then switches.

Whatever can fail does so before anything is touched. The switch itself puts in place what is
ready, in this order: sources that go fall silent, nodes go, values change, nodes come,
MQTT is told, sources run or read other tags. What did not change is the same object before and after.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Never

from server.change.fixed import needs_restart
from server.change.fleet import Fleet, FleetChange
from server.change.imports import Asked, import_change
from server.change.pieces import in_parts, let_go
from server.change.report import (
    Names,
    Nodes,
    Outcome,
    Report,
    datasets_report,
    imports_report,
    nodes_report,
    sources_report,
)
from server.config import Configuration, ConfigurationError, load
from server.constants import KeptConstants
from server.mqtt.change import WriterChange
from server.mqtt.errors import MqttStateError
from server.mqtt.publisher import MqttPublisher
from server.observe.snapshot import ConfigurationStatus
from server.opcua.errors import SpaceError
from server.opcua.server import OpcUaServer
from server.opcua.space.change import SpaceChange
from server.plant.build import node_ids
from server.plant.difference import Difference, difference, reconcile
from server.plant.model import Plant, Property
from server.plant.values import Point, ValueStore
from sources.clock import now
from sources.errors import SourceError
from sources.settings import SecretError

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

_TOLD: Final = 20
"""Problems of a rejected file that the log names."""
_AT_ONCE: Final = 2000
"""Points changed before others have their turn on the loop."""
_FROZEN_FROM: Final = 10_000
"""So many nodes and what hangs on them are kept from the collector's sight, as those of the start are: to
look through them once takes tenths of a second."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a change acts upon."""

    server: OpcUaServer
    store: ValueStore
    kept: KeptConstants
    fleet: Fleet
    publisher: MqttPublisher | None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A change that can only succeed. ``writers`` is None in a dry run, and without MQTT."""

    config: Configuration
    properties: Difference
    points: Sequence[Point]
    """Those of added properties."""
    unknown: tuple[Property, ...]
    fleet: FleetChange
    space: SpaceChange
    writers: WriterChange | None
    asked: Asked
    nodes: Nodes
    sources: Names
    imports: Names
    datasets: Names | None

    @property
    def is_nothing(self) -> bool:
        """Whether all stays as it is."""
        named = (self.sources, self.imports, *((self.datasets,) if self.datasets else ()))
        others = any(one.added or one.removed or one.changed for one in named)
        return not (others or self.nodes.lines or self.properties.changed)


class _Rejected(Exception):
    """Nothing was changed, and the report says why."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class _Job:
    """A change that somebody waits for."""

    def __init__(self, file: Path, *, dry_run: bool) -> None:
        self.file = file
        self.dry_run = dry_run
        self.done: asyncio.Future[Report] = asyncio.get_running_loop().create_future()


class Changer:
    """Takes orders from the control socket and from SIGHUP; `run` carries them out."""

    def __init__(self, config: Configuration, parts: Parts) -> None:
        """``config`` is what runs; its file is what `reload` reads."""
        self._config = config
        self._parts = parts
        self._file = config.path.absolute()
        self._wake = asyncio.Event()
        self._job: _Job | None = None
        self._again = False
        self._busy = False
        self._status = ConfigurationStatus(str(self._file), config.digest, now(), 0, 0)

    @property
    def status(self) -> ConfigurationStatus:
        """Which configuration runs, and what came of the changes so far."""
        return self._status

    async def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The command of the control socket: ``file``, an absolute path, and ``dry_run``. Gives a Report.

        What was begun is brought to its end whether or not whoever asked still waits.
        """
        file, dry_run = request.get("file"), request.get("dry_run", False)
        if not isinstance(file, str) or not Path(file).is_absolute() or not isinstance(dry_run, bool):
            return Report(Outcome.Rejected, str(file), failure="the request names no file").as_json()
        if self._busy or self._job is not None:
            return Report(Outcome.Busy, file, failure="another change is under way; try again").as_json()
        job = self._job = _Job(Path(file), dry_run=dry_run)
        self._wake.set()
        return (await job.done).as_json()

    def reload(self) -> None:
        """Apply the file the server was started with, after what is under way; the log tells the result."""
        self._again = True
        self._wake.set()

    async def run(self) -> Never:
        """Carry out what is ordered, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._busy = True
            try:
                job, self._job = self._job, None
                if job is not None:
                    report = await self._carry_out(job.file, dry_run=job.dry_run)
                    if not job.done.done():
                        job.done.set_result(report)
                if self._again:
                    self._again = False
                    await self._carry_out(self._file, dry_run=False)
            finally:
                self._busy = False

    async def _carry_out(self, file: Path, *, dry_run: bool) -> Report:
        begun = time.perf_counter()
        publisher = self._parts.publisher
        async with publisher.changing if publisher is not None else nullcontext():
            report = await self._carry_out_alone(file, dry_run=dry_run)
        report = replace(report, file=str(file), seconds=time.perf_counter() - begun)
        self._count(report, dry_run=dry_run)
        return report

    async def _carry_out_alone(self, file: Path, *, dry_run: bool) -> Report:
        with _uncollected():
            try:
                ready = await asyncio.to_thread(self._prepare, file, dry_run=dry_run)
            except _Rejected as rejected:
                report = rejected.report
            except Exception as error:
                log.exception("%s: a change could not be prepared: a fault of ours", file)
                report = Report(Outcome.Rejected, "", failure=f"internal error: {error!r}")
            else:
                rest = self._replaced(ready)
                report = await self._finish(ready, dry_run=dry_run)
                del ready
                await asyncio.to_thread(let_go, *rest)
        return report

    def _replaced(self, ready: _Ready) -> tuple[list[Any], ...]:
        """What is needed no longer afterwards, and is much where the plant is large."""
        rest: list[list[Any]] = [list(self._config.plant.equipment), list(ready.properties.changed)]
        if ready.writers is not None:
            rest += [list(ready.writers.ended), list(ready.writers.fresh)]
        return tuple(rest)

    async def _finish(self, ready: _Ready, *, dry_run: bool) -> Report:
        outcome, lasted = Outcome.Possible, 0.0
        if clash := ready.space.clash():  # with what was imported while it was prepared
            return Report(Outcome.Rejected, "", ready.config.digest, failure=clash)
        if ready.is_nothing:
            outcome = Outcome.Unchanged
        if not dry_run:
            if outcome is not Outcome.Unchanged:
                outcome = Outcome.Applied
                begun = time.perf_counter()
                await self._switch(ready)
                lasted = time.perf_counter() - begun
            self._config = ready.config
        return Report(
            outcome,
            "",
            ready.config.digest,
            warnings=ready.config.warnings,
            nodes=ready.nodes,
            sources=ready.sources,
            imports=ready.imports,
            datasets=ready.datasets,
            switch_seconds=lasted,
        )

    def _count(self, report: Report, *, dry_run: bool) -> None:
        status = self._status
        rejected = report.outcome is Outcome.Rejected
        if rejected:
            self._status = replace(status, rejected=status.rejected + (not dry_run))
        elif not dry_run:
            self._status = ConfigurationStatus(
                report.file, report.digest, now(), status.applied + 1, status.rejected
            )
        if not dry_run:
            _tell(report)

    # --- In a thread

    def _prepare(self, file: Path, *, dry_run: bool) -> _Ready:
        """Everything that takes time or can fail. Touches nothing that runs. Raises _Rejected."""
        try:
            config = load(file)
        except ConfigurationError as error:
            raise _Rejected(Report(Outcome.Rejected, "", problems=error.problems)) from None
        restart = needs_restart(self._config, config)
        if restart:
            raise _Rejected(
                Report(Outcome.Rejected, "", config.digest, restart=tuple(restart), warnings=config.warnings)
            )
        try:
            ready = self._make_ready(config, dry_run=dry_run)
        except (SpaceError, MqttStateError, SecretError, SourceError) as error:
            raise _Rejected(Report(Outcome.Rejected, "", config.digest, failure=str(error))) from error
        rest = list(config.plant.equipment)
        del config
        let_go(rest)
        return ready

    def _make_ready(self, config: Configuration, *, dry_run: bool) -> _Ready:
        parts, old = self._parts, self._config.plant
        reconciled = reconcile(old, config.plant)
        new = reconciled.plant
        entries = [replace(entry, tags=reconciled.tags(entry.tags)) for entry in config.sources]
        fleet = parts.fleet.prepare(entries)
        properties = difference(old, new)
        made = {point.property.key: point for point in parts.store.make(properties.added)}
        points: Mapping[str, Point] = ChainMap(made, parts.store.points)  # type: ignore[arg-type]  # only read
        space = parts.server.prepare(old, new, properties, points)
        datasets = writers = None
        if parts.publisher is not None:
            named = node_ids(new)
            outline = parts.publisher.outline(new, named)
            datasets = datasets_report(outline, sum(bool(one.properties) for one in new.equipment))
            if not dry_run:  # the last that can fail, for it is kept on the disk
                writers = parts.publisher.prepare(new, named, points)
        return _Ready(
            replace(config, plant=new, sources=fleet.entries),
            properties,
            list(made.values()),
            _read_from(new, fleet.replaced),
            fleet,
            space,
            writers,
            Asked(new, fleet.entries),
            nodes_report(space.outline, properties),
            sources_report(fleet),
            imports_report(import_change(old, new)),
            datasets,
        )

    # --- The switch

    async def _switch(self, ready: _Ready) -> None:
        """Put in place what is ready. Has to run to its end."""
        parts = self._parts
        parts.fleet.halt(ready.fleet)
        await parts.server.change_imports(ready.config.plant)
        parts.server.imported.renew((*ready.fleet.replaced, *ready.fleet.added))
        parts.server.imported.retire(ready.fleet.removed)
        for _ in ready.space.carry_out(lambda: self._change_values(ready)):
            await asyncio.sleep(0)
        parts.server.imported.rehang()
        if parts.publisher is not None and ready.writers is not None:
            parts.publisher.change(ready.writers)
        parts.fleet.each(lambda source: ready.asked.ask(source, parts.server), ready.fleet)
        for _ in parts.fleet.go(ready.fleet):
            await asyncio.sleep(0)
        if ready.nodes.added + ready.nodes.changed > _FROZEN_FROM:
            gc.freeze()

    def _change_values(self, ready: _Ready) -> Iterator[None]:
        store, kept, properties = self._parts.store, self._parts.kept, ready.properties
        for removed in in_parts(properties.removed, _AT_ONCE):
            store.change(removed=removed)
            yield
        for changed in in_parts(properties.changed, _AT_ONCE):
            begun = [change.new for change in changed if not change.keeps]
            store.change(changed=changed, held=kept.of(begun))
            yield
        for added in in_parts(ready.points, _AT_ONCE):
            store.change(added=added, held=kept.of([point.property for point in added]))
            yield
        for unknown in in_parts(ready.unknown, _AT_ONCE):
            store.change(unknown=unknown)
            yield


def _read_from(plant: Plant, sources: Mapping[str, object]) -> tuple[Property, ...]:
    """The properties that these sources read."""
    if not sources:
        return ()
    return tuple(
        [
            prop
            for prop in plant.properties()
            if prop.binding is not None and prop.binding.enabled and prop.binding.source in sources
        ]
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector from looking through a large plant over and over while another one is read.

    What is made for that goes without it, and the event loop would wait each time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _tell(report: Report) -> None:
    more = {"event": "configuration", "file": report.file, "outcome": report.outcome.value}
    if report.outcome is Outcome.Applied:  # who may write what may be another matter now
        audit.info("configuration applied: %s", _brief(report), extra={**more, "digest": report.digest})
        return
    if report.outcome is not Outcome.Rejected:
        log.info("configuration %s: %s", report.outcome.value, _brief(report), extra=more)
        return
    what = [*map(str, report.problems), *(f"needs a restart: {line}" for line in report.restart)]
    if report.failure:
        what.append(report.failure)
    log.error("%s: rejected, nothing was changed: %s", report.file, "; ".join(what[:_TOLD]), extra=more)
    if len(what) > _TOLD:
        log.error("%s: and %d problems more", report.file, len(what) - _TOLD, extra=more)


def _brief(report: Report) -> str:
    nodes, sources = report.nodes, report.sources
    if nodes is None or sources is None:
        return report.file
    return (
        f"{report.file}: {nodes.added} nodes added, {nodes.removed} removed, {nodes.changed} changed; "
        f"{len(sources.added)} sources added, {len(sources.removed)} removed, {len(sources.changed)} "
        f"changed, {sources.untouched} untouched"
    )
