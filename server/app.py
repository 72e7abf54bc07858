"""The composition root: what a running server is made of, and the order it starts and stops in.

Started: state read, audit log, OPC UA port opened, broker, then sources and publisher together.
Stopped in reverse: sources and publisher first (it says goodbye to the broker), the
broker, the OPC UA port, and last the audit log.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from certs.own import ApplicationIdentity, load_or_make
from certs.store import TrustList
from nodesets import isa95
from server import __version__
from server.audit.collect import Collector
from server.audit.log import AuditLog
from server.change.changer import Changer, Parts
from server.change.fleet import Fleet
from server.change.imports import Asked
from server.config import Configuration
from server.constants import KeptConstants
from server.datadir import DataDirectory
from server.mqtt.embedded import EmbeddedBroker
from server.mqtt.publisher import MqttPublisher
from server.mqtt.settings import EMBEDDED
from server.namespaces import KeptNamespaces
from server.observe.control import ControlServer
from server.observe.http import MetricsServer
from server.observe.observer import Observer, Running
from server.opcua.server import OpcUaServer
from server.opcua.users import UserStore
from server.plant.build import namespaces, node_ids
from server.plant.commands import Commands
from server.plant.fresh import FreshReads
from server.plant.values import ValueStore
from server.progress import Progress, silent
from sources.opcua.security import NeedsSurroundings, Surroundings
from sources.replay.recorder import NOBODY, Recorder
from sources.source import Source

log = logging.getLogger(__name__)


async def run(
    config: Configuration,
    data: DataDirectory,
    ready: Callable[[Running], None],
    progress: Progress = silent,
    recorders: Mapping[str, Recorder] = NOBODY,
) -> None:
    """Run a server until cancelled. ``ready`` is called once, when everything is up.

    ``progress`` is told from another thread how far the start is. ``recorders`` are those of
    sources that are recorded (`sources.replay.recorder.tapped`).

    The data directory is prepared and locked by the caller. Raises what its parts raise
    when they cannot start: each of those errors has a text for people.
    """
    plant = config.plant
    store = ValueStore(plant)
    kept = KeptConstants(data)
    kept.restore(plant.properties(), store)
    fleet = Fleet(config.sources, store.ingest, recorders)
    audit = AuditLog(data.audit, segment_bytes=config.audit.file_mib << 20, sync=config.audit.sync)
    collector = Collector(audit)
    commands = Commands(
        store,
        fleet.supervisors,
        enabled=config.opcua.writable,
        keep=kept.keep,
        recorder=audit,
        refuse_unrecorded=config.audit.refuse_unrecorded,
    )
    identity = await asyncio.to_thread(_identity, config, data)
    trust = TrustList(data.pki, require_crl=not config.opcua.crl_optional)
    await asyncio.to_thread(trust.prepare)
    surroundings = Surroundings(identity, trust, config.path.parent)
    fleet.equip(lambda source: settle(source, surroundings))
    nodesets = await asyncio.to_thread(lambda: isa95.load().nodes)
    kept_namespaces = KeptNamespaces(data)
    spaces = (isa95.ISA95, *namespaces(plant))

    async with AsyncExitStack() as stack:
        stack.push_async_callback(audit.close)
        await asyncio.to_thread(audit.open, version=__version__, plant=str(config.path))
        stack.callback(collector.stop)
        collector.start()
        await _record(recorders, stack)
        server = OpcUaServer(
            config.opcua,
            plant=plant,
            nodesets=nodesets,
            namespaces=(*spaces, *kept_namespaces.uris),
            store=store,
            commands=commands,
            identity=identity,
            trust=trust,
            users=UserStore(data.users),
            refresh=FreshReads(store, fleet.supervisors).read,
            sources=tuple(fleet.supervisors.values()),
            namespace_added=kept_namespaces.add,
            progress=progress,
        )
        stack.push_async_callback(server.stop)
        await server.start()
        fleet.equip(partial(Asked(plant, config.sources).ask, server=server))
        # The address space stays: the collector need never look through it again, not even at the end.
        gc.collect()
        gc.freeze()
        tell_stance(config)
        publisher = None
        if config.mqtt is not None:
            url = config.mqtt.broker
            if url == EMBEDDED:
                broker = EmbeddedBroker(config.mqtt.embedded_port)
                stack.push_async_callback(broker.stop)
                await broker.start()
                url = broker.url
            publisher = MqttPublisher(
                config.mqtt,
                plant,
                store,
                state=data.state,
                base=config.path.parent,
                node_of=node_ids(plant),
                namespaces=spaces,
                broker=url,
            )
            publisher.mirror(server.imported.published)
        _show_sources(fleet, server)
        changer = Changer(config, Parts(server, store, kept, fleet, publisher))
        running = Running(
            server,
            identity,
            store,
            fleet.supervisors.values(),
            publisher,
            audit,
            commands,
            lambda: changer.status,
            changer.reload,
        )
        observer = Observer(running)
        control = ControlServer(data.root, {"status": observer.status}, slow={"apply": changer.apply})
        stack.push_async_callback(control.stop)
        await control.start()
        if config.metrics is not None:
            metrics = MetricsServer(config.metrics, observer.exposition, config.path.parent)
            stack.push_async_callback(metrics.stop)
            await metrics.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(observer.meter.run(), name="meter")
            if publisher is not None:
                group.create_task(publisher.run(), name="mqtt")
            fleet.start(group)
            group.create_task(changer.run(), name="changes")
            ready(running)


def _show_sources(fleet: Fleet, server: OpcUaServer) -> None:
    """Have those that run in the address space, with the scan classes that they have."""
    shown = server.source_objects
    if shown is not None:
        fleet.changed = lambda: shown.follow(fleet.supervisors.values())
        fleet.changed()


async def _record(recorders: Mapping[str, Recorder], stack: AsyncExitStack) -> None:
    """Start every recorder; they are stopped last, when nothing comes any more."""
    for recorder in set(recorders.values()):
        stack.push_async_callback(recorder.stop)
        await recorder.start()


def settle(source: Source, surroundings: Surroundings) -> None:
    """Lend a source what it needs of the application, if it needs anything."""
    if isinstance(source, NeedsSurroundings):
        source.settle(surroundings)


def surroundings_of(config: Configuration, data: DataDirectory) -> Surroundings:
    """What `run` lends its sources, but nothing is made where there is no certificate. Touches the disk."""
    base = config.path.parent
    if not (data.pki / "own").is_dir():
        return Surroundings(base=base)
    trust = TrustList(data.pki, require_crl=not config.opcua.crl_optional)
    return Surroundings(_identity(config, data), trust, base)


def _identity(config: Configuration, data: DataDirectory) -> ApplicationIdentity:
    return load_or_make(
        data.pki,
        application_uri=config.opcua.application_uri,
        common_name=config.opcua.application_name,
        hosts=config.opcua.hostnames,
    )


_WEAK: Final = {
    "none": "nobody proves who he is, and values and commands can be read and changed on the wire",
    "sign": "values can be read on the wire",
}


def weak_lines(config: Configuration) -> list[str]:
    """What the configuration allows beyond the safe defaults, a sentence each."""
    opcua = config.opcua
    sentences = {
        "sign_only": "Sign is offered: values can be read on the wire",
        "allow_none": "SecurityPolicy None is offered: no certificate is asked, nothing is encrypted",
        "crl_optional": "certificates are accepted whose CA has no revocation list here that is up to date",
        "anonymous": "anonymous clients may browse and read",
        "writable": "users with the right role may write to devices",
    }
    found = [f"opcua.{key}: {sentence}" for key, sentence in sentences.items() if getattr(opcua, key)]
    for entry in config.sources:
        security = getattr(entry.settings, "security", None)
        if security in _WEAK:
            found.append(f"sources.{entry.name}.security: {security}: {_WEAK[security]}")
    if opcua.writable and not config.audit.refuse_unrecorded:
        found.append("audit.refuse_unrecorded: writes are carried out that cannot be recorded")
    return found


def tell_stance(config: Configuration) -> None:
    """Log every line that weakens the defaults, once at start."""
    for line in weak_lines(config):
        log.warning("allowed by %s: %s", config.path.name, line)
