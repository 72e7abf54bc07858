"""The plant on MQTT: connects, announces itself, publishes every change, and comes back when cut off.

At start and after every reconnect the order is: metadata, connection, status, then a key
frame of every writer. While the broker is away nothing is queued: the key frames on return
tell the present, and the turns missed are counted.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Never

import aiomqtt
from aiomqtt import ProtocolVersion

from nodesets.records import NodeId
from server.mqtt import change
from server.mqtt.change import Outline, WriterChange
from server.mqtt.connection import WINDOW, Client, Dialler, Will
from server.mqtt.dataset import DataSet, datasets
from server.mqtt.discovery import EXPIRY, LARGE, Discovery
from server.mqtt.errors import BrokerError, BrokerRefused, MqttStateError
from server.mqtt.mirrored import MirroredDataSet
from server.mqtt.sender import Outgoing, Sender
from server.mqtt.settings import EMBEDDED, MqttSettings
from server.mqtt.state import WriterBook
from server.mqtt.topics import Topics, level
from server.mqtt.writer import AT_ONCE, DataSetWriter, Draft
from server.plant.mirrored import MARK, Cell, Mirrored, Mirroring
from server.plant.model import Plant
from server.plant.values import Point, ValueStore
from sources import backoff
from sources.clock import now

log = logging.getLogger(__name__)

_FAREWELL: Final = 1.0
"""Seconds the broker has for taking our last messages."""
_RENEWAL: Final = EXPIRY / 3
_SLICE: Final = 1000
"""Writers looked at before others have their turn on the loop: less than a millisecond."""
_MOST_TOLD: Final = 100
"""Values that cannot be published of which the log tells."""
_AGAIN: Final = 60.0
"""Seconds after which imported values are looked at again that could not be published."""
_BEHIND: Final = 5
"""Turns in a row with a message still waiting before we speak of a slow broker."""


@dataclass(frozen=True, slots=True)
class MqttStatus:
    """How the publisher is. ``since`` is when ``connected`` last changed, in ticks."""

    connected: bool
    broker: str
    since: int
    last_error: str
    """Why there is no connection; empty while there is one."""
    published: int
    """Messages the broker has taken, of every type."""
    dropped: int
    """Messages that were due and did not go out: the broker was away or too slow, or never confirmed."""
    queued: int
    """Writers whose message waits for the broker now."""
    data_sets: int = 0
    mirrored: int = 0
    """Imported variables that are published."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Imported variables that are not, though they were to be, by the reason."""
    unencodable: int = 0
    """Values that had to be published as none: JSON does not hold them, or no message the broker takes."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When to dial again: ``delays`` after a failure, ``refused`` seconds after a refusal."""

    delays: Callable[[], Iterator[float]] = backoff.delays
    refused: float = 60.0
    settled: float = 10.0
    """Seconds a connection must have held for the next failure to count as the first."""


class MqttPublisher:
    """Mirrors a plant's values to a broker as PubSub JSON (OPC 10000-14)."""

    def __init__(
        self,
        settings: MqttSettings,
        plant: Plant,
        store: ValueStore,
        *,
        state: Path,
        base: Path,
        node_of: Mapping[str, NodeId],
        namespaces: Sequence[str],
        broker: str | None = None,
    ) -> None:
        """Number the writers and read what subscribers know of them; nothing is dialled yet.

        ``state`` is the directory that keeps writer ids and configuration versions;
        ``base`` the folder relative paths of the settings start from; ``node_of`` gives the
        variable of a property by its key; ``broker`` is the URL to dial, by default the settings'.
        Reads and writes a file. Raises MqttStateError.
        """
        url = broker or settings.broker
        if url == EMBEDDED:
            raise ValueError("broker: embedded needs the URL of the embedded broker")
        self.retry = Retry()
        self._settings = settings
        self._store = store
        self._topics = Topics(settings.prefix, settings.publisher_id, settings.writer_group)
        self._state = state
        self._namespaces = tuple(namespaces)
        self._mirrored: Mirrored | None = None
        self._mirroring = Mirroring(pending={"": ""})
        """What was made data sets of beside the plant's; at first nothing is known."""
        self._mirrored_sets: list[MirroredDataSet] = []
        self._sets = sets = datasets(plant, node_of)
        """Of the plant."""
        self.changing = asyncio.Lock()
        """Held while other writers are prepared and put in place."""
        self._other_sets = asyncio.Event()
        """Set when `Mirrored` has others than are published."""
        self._refused: set[tuple[str, str]] = set()
        self._refusing = threading.Lock()
        self._unencodable = self._without = 0
        identities = WriterBook(state).enrol(sets, namespaces, now(), pending=self._is_pending)
        self._writers = [
            change.writer_of(dataset, identities[dataset.key], store.points, settings) for dataset in sets
        ]
        self._where = change.places(self._writers)
        self._discovery = Discovery(settings, self._topics, self._writers, namespaces)
        self._discovery.may_come = self._may_come
        self._dialler = Dialler(settings, url=url, base=base, will=self._will)
        self._due: asyncio.Queue[DataSetWriter] = asyncio.Queue(settings.queue_limit)
        self._turn = 0
        self._behind = 0
        # What the embedded broker retains does not outlive us: there are no strays.
        self._swept = settings.broker == EMBEDDED
        self._stale: set[str] = set()
        """Topics that retain the metadata of writers that are no more."""
        self._news = asyncio.Event()
        """Set when there are writers whose metadata is still to be told, or whose is to be cleared."""
        self._connected = False
        self._counting = False
        self._since = now()
        self._last_error = "not connected yet"
        self._published = 0
        self._dropped = 0
        self._dropped_before = 0
        self._sender: Sender | None = None
        self._large: set[str] = set()
        self._cut: set[str] = set()
        self._large_ones: asyncio.Queue[tuple[DataSetWriter, Draft]] = asyncio.Queue()
        """What is encoded beside the loop: one of each writer at most."""

    @property
    def status(self) -> MqttStatus:
        """How it is now."""
        return MqttStatus(
            connected=self._connected,
            broker=self._dialler.url,
            since=self._since,
            last_error=self._last_error,
            published=self._published + (self._sender.sent if self._sender else 0),
            dropped=self._dropped + (self._sender.too_large if self._sender else 0),
            queued=self._due.qsize() + self._large_ones.qsize(),
            data_sets=len(self._writers),
            mirrored=sum(one.size for one in self._mirrored_sets),
            left_out=dict(self._mirroring.left_out),
            unencodable=self._unencodable + self._without,
        )

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to: status, metadata and data."""
        return self._topics.status, self._topics.all_metadata, self._topics.all_data

    def mirror(self, mirrored: Mirrored) -> None:
        """Publish also what somebody has beside the plant. To be called before `run`."""
        self._mirrored = mirrored
        mirrored.follow(self._changed, self._other_sets.set)
        self._other_sets.set()

    def outline(self, plant: Plant, node_of: Mapping[str, NodeId]) -> Outline:
        """What another state of the plant would mean for subscribers. May run in a thread."""
        return change.outline(self._writers, datasets(plant, node_of), self._namespaces)

    def prepare(
        self, plant: Plant, node_of: Mapping[str, NodeId], points: Mapping[str, Point]
    ) -> WriterChange:
        """Everything `change` needs, for a thread. ``points`` has those of that state by key.

        Writes the file of the writers' ids and versions. `changing` is to be held until `change` is done.
        Raises MqttStateError.
        """
        return self._ready(datasets(plant, node_of), self._mirrored_sets, points)

    def _ready(
        self, sets: Sequence[DataSet], mirrored: Sequence[MirroredDataSet], points: Mapping[str, Point]
    ) -> WriterChange:
        taken = {one.name for one in sets}
        return change.prepare(
            self._writers,
            [*sets, *(one.beside(taken) for one in mirrored)],
            points,
            self._settings,
            state=self._state,
            namespaces=self._namespaces,
            pending=self._is_pending,
        )

    def _is_pending(self, key: str) -> bool:
        """Whether a data set may yet come that is not there."""
        return MARK in key and any(key.startswith(one) for one in self._mirroring.pending)

    def _may_come(self, topic: str) -> bool:
        """Whether the metadata of such a data set may belong there."""
        paths = self._mirroring.pending.values() if self._mirrored is not None else ()
        return any(not path or topic.startswith(f"{self._topics.metadata(level(path))}__") for path in paths)

    def change(self, ready: WriterChange) -> None:
        """Publish another state of the plant: its new metadata first, then its values.

        Writers that stay the same go on as if nothing had been. Does not wait for the broker.
        """
        self._writers, self._where = ready.writers, ready.where
        self._sets = [one.dataset for one in ready.writers if isinstance(one.dataset, DataSet)]
        self._mirrored_sets = [
            one.dataset for one in ready.writers if isinstance(one.dataset, MirroredDataSet)
        ]
        for writer in ready.ended:
            writer.ended = True
        for writer, former in ready.fresh:
            writer.held = True
            if former is not None:
                writer.succeed(former)
        gone = self._discovery.replace(ready.writers) | self._discovery.decided()
        self._stale = self._stale - {self._topics.metadata(writer.name) for writer in ready.writers} | gone
        if ready.fresh or gone:
            self._news.set()

    async def run(self) -> Never:
        """Publish until cancelled; then say Disabled, wait for that at most a second, and disconnect."""
        if self._settings.user and not self._dialler.url.startswith("mqtts://"):
            log.warning(
                "MQTT: user and password go to %s unencrypted; write the broker as mqtts://",
                self._dialler.url,
            )
        unlisten = self._store.listen(self._changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pace(), name="mqtt pace")
                if self._mirrored is not None:
                    group.create_task(self._follow(self._mirrored), name="mqtt imports")
                await self._stay_connected()
        finally:
            unlisten()

    # What is published beside the plant

    async def _follow(self, mirrored: Mirrored) -> Never:
        """Publish what there is beside the plant, and what it becomes."""
        again: float | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await self._other_sets.wait()
            self._other_sets.clear()
            again = None
            try:
                await self._publish_others(mirrored)
            except MqttStateError as error:
                again = _AGAIN
                log.error("MQTT: imported values are published as before: %s", error)  # noqa: TRY400
            except Exception:
                # Whatever is wrong with what is imported, the plant is published.
                again = _AGAIN
                log.exception("MQTT: imported values are published as before: a fault of ours")
            await asyncio.sleep(self._settings.publishing_interval)  # they come in crowds

    async def _publish_others(self, mirrored: Mirrored) -> None:
        async with self.changing:
            mirroring = await mirrored.mirroring()
            sets = [MirroredDataSet(one, mirrored.name_of, self._refuse) for one in mirroring.sets]
            before, self._mirroring = self._mirroring, mirroring
            try:
                ready = await asyncio.to_thread(self._ready, self._sets, sets, self._store.points)
            except BaseException:
                self._mirroring = before
                raise
            self.change(ready)
            self._tell_left_out(before)

    def _tell_left_out(self, before: Mirroring) -> None:
        for hint in self._mirroring.hints:
            if hint not in before.hints:
                log.warning("MQTT: %s", hint)
        for why, count in self._mirroring.left_out.items():
            if before.left_out.get(why) != count:
                log.warning("MQTT: %d imported variables are not published: %s", count, why)

    def _refuse(self, node_id: str, why: str) -> None:
        """A value is published as none. May be called in a thread."""
        with self._refusing:
            self._unencodable += 1
            new = (node_id, why) not in self._refused and len(self._refused) < _MOST_TOLD
            if new:
                self._refused.add((node_id, why))
        if new:
            log.warning("MQTT: %s is published without its value: %s", node_id, why)

    # The connection

    async def _stay_connected(self) -> Never:
        delays = self.retry.delays()
        said = ""
        while True:
            dialled = time.monotonic()
            try:
                async with self._dialler.connect() as client:
                    said = ""
                    try:
                        await self._serve(client)
                    except asyncio.CancelledError:
                        await self._farewell(client)
                        self._disconnected("stopped")
                        raise
            except BrokerError as error:
                lost, reason, refused = self._connected, str(error), isinstance(error, BrokerRefused)
                self._counting = True
            self._disconnected(reason)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The line broke in the very moment we were cancelled, and hid it.
                raise asyncio.CancelledError
            if time.monotonic() - dialled > self.retry.settled:
                delays = self.retry.delays()
            wait = self.retry.refused if refused else next(delays)
            level = logging.WARNING if lost or reason != said else logging.DEBUG
            what = "connection lost" if lost else "refused" if refused else "not connected"
            log.log(level, "MQTT: %s: %s: %s; trying again in %.1f s", self._dialler.url, what, reason, wait)
            said = reason
            await asyncio.sleep(wait)

    async def _serve(self, client: Client) -> Never:
        """One connection's life. Raises BrokerError when it ends."""
        sender = self._sender = Sender(client)
        failures: list[aiomqtt.MqttError] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(client), name="mqtt listen")
                await self._announce(client, sender)
                await self._open(client)
                group.create_task(self._tell_news(sender), name="mqtt metadata")
                for _ in range(WINDOW):
                    group.create_task(self._work(sender), name="mqtt publish")
                group.create_task(self._work_beside(sender), name="mqtt publish large")
                await self._renew(client, sender)
        except* aiomqtt.MqttError as group_error:
            failures = list(_leaves(group_error))
        raise client.lost(failures[0])

    async def _listen(self, client: Client) -> None:
        """Take in what arrives, and be the first to know when the connection is gone."""
        async for message in client.messages:
            self._discovery.heard(message)

    async def _announce(self, client: Client, sender: Sender) -> None:
        if not self._swept:
            # Once: a broker that hangs up on a subscription it forbids would do so for ever.
            self._swept = True
            await self._discovery.sweep(client, sender)
        await self._describe(sender, list(self._writers))
        await sender.send(self._discovery.operational())

    async def _tell_news(self, sender: Sender) -> Never:
        """Describe the writers that came while we are connected, and clear what is left of others."""
        while True:
            await self._news.wait()
            await self._describe(sender, [writer for writer in self._writers if writer.held])

    async def _describe(self, sender: Sender, writers: Sequence[DataSetWriter]) -> None:
        """Have the broker retain what these writers are; their values may follow then."""
        self._news.clear()
        stale = sorted(self._stale)
        try:
            await sender.send_all(self._discovery.cleared(stale))
            await sender.send_all(self._discovery.metadata(writers))
            await sender.send(self._discovery.connection())
        except BaseException:
            self._news.set()  # for the next connection
            raise
        self._stale.difference_update(stale)
        for writer in writers:
            writer.held = False

    async def _renew(self, client: Client, sender: Sender) -> Never:
        """Say again what the broker would forget (§7.3.4.8)."""
        while True:
            await asyncio.sleep(_RENEWAL)
            if client.version is ProtocolVersion.V5:
                await self._announce(client, sender)

    async def _farewell(self, client: Client) -> None:
        sender = Sender(client)
        try:
            async with asyncio.timeout(_FAREWELL):
                await sender.send(self._discovery.disabled())
                if client.version is not ProtocolVersion.V5:
                    await sender.send_all(self._discovery.clearing())
        except* (aiomqtt.MqttError, TimeoutError):
            log.warning("MQTT: %s did not take our last status in time", self._dialler.url)
        else:
            log.info("MQTT: disconnected from %s", self._dialler.url)

    async def _open(self, client: Client) -> None:
        missed = self._dropped - self._dropped_before
        log.info(
            "MQTT: connected to %s (MQTT %s): %d data sets below %s/json/data/%s/%s%s",
            self._dialler.url,
            "5.0" if client.version is ProtocolVersion.V5 else "3.1.1",
            len(self._writers),
            self._settings.prefix,
            self._settings.publisher_id,
            self._settings.writer_group,
            f"; {missed} messages did not go out meanwhile" if missed else "",
        )
        self._dropped_before = self._dropped
        self._connected, self._since, self._last_error = True, now(), ""
        for writer in self._writers:
            writer.forget()
            writer.restart(self._turn)
        await self._tick()

    def _disconnected(self, reason: str) -> None:
        self._last_error = reason
        if self._sender is not None:
            self._published += self._sender.sent
            self._dropped += self._sender.too_large
            self._sender = None
        if self._connected:
            self._connected, self._since = False, now()
        while not self._due.empty():
            self._due.get_nowait().queued = False
            self._dropped += 1
        while not self._large_ones.empty():
            self._large_ones.get_nowait()[0].queued = False
            self._dropped += 1

    # The data

    def _changed(self, points: Sequence[Point] | Sequence[Cell]) -> None:
        where = self._where
        for point in points:
            found = where.get(id(point))
            if found is not None:
                found[0].changed(found[1])

    async def _pace(self) -> Never:
        """Count the publishing intervals; one that is overrun is skipped, not made up for."""
        interval = self._settings.publishing_interval
        start = time.monotonic()
        while True:
            elapsed = time.monotonic() - start
            turn = max(int(elapsed / interval), self._turn) + 1
            await asyncio.sleep(turn * interval - elapsed)
            self._turn = turn
            await self._tick()

    async def _tick(self) -> None:
        """Line up every writer that owes a message."""
        waiting = 0
        quiet_since = self._quiet_since()
        for index, writer in enumerate(self._writers):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if not self._connected:
                # Until the first attempt has failed nobody misses anything.
                self._dropped += writer.forget() and self._counting
            elif not (writer.held or writer.ended) and writer.due(self._turn, quiet_since):
                if writer.queued or self._due.full():
                    # What has changed goes out with its next message.
                    waiting += 1
                else:
                    writer.queued = True
                    self._due.put_nowait(writer)
        self._dropped += waiting
        self._tell_pace(waiting)

    def _tell_pace(self, waiting: int) -> None:
        if not waiting:
            if self._behind >= _BEHIND:
                log.info("MQTT: %s keeps up again", self._dialler.url)
            self._behind = 0
            return
        self._behind += 1
        if self._behind == _BEHIND:
            log.warning(
                "MQTT: %s is slower than the plant: %d messages still wait at their next turn; their changes "
                "are put together",
                self._dialler.url,
                waiting,
            )

    def _quiet_since(self) -> float:
        """A writer silent since then would be silent for longer than the keep-alive at the next turn."""
        return time.monotonic() + self._settings.publishing_interval - self._settings.keep_alive

    async def _work(self, sender: Sender) -> Never:
        """Make and publish what is due. Each message is made when it can go: nothing encoded waits."""
        while True:
            writer = await self._due.get()
            writer.queued = False
            if writer.ended:
                continue
            draft = writer.draft(self._turn, self._quiet_since(), monotonic=time.monotonic(), time=now())
            if draft is not None and draft.size > AT_ONCE:
                writer.queued = True  # its next message comes after this one
                self._large_ones.put_nowait((writer, draft))
            elif draft is not None:
                await self._send(sender, writer, *draft.encoded(self._most(sender, writer)))
            # A message of QoS 0 is sent without a pause; others have their turn in between.
            await asyncio.sleep(0)

    async def _work_beside(self, sender: Sender) -> Never:
        """Publish the large messages, one after the other; to make them takes half of the time at most."""
        while True:
            writer, draft = await self._large_ones.get()
            began = time.monotonic()
            try:
                made = await asyncio.to_thread(draft.encoded, self._most(sender, writer))
            except BaseException:
                self._dropped += 1
                raise
            finally:
                writer.queued = False
            lasted = time.monotonic() - began
            if not writer.ended:
                await self._send(sender, writer, *made)
            del draft, made
            await asyncio.sleep(lasted)

    def _most(self, sender: Sender, writer: DataSetWriter) -> int:
        return sender.most(self._topics.data(writer.name))

    async def _send(self, sender: Sender, writer: DataSetWriter, payload: bytes, without: int) -> None:
        self._without += without
        if without and writer.name not in self._cut:
            self._cut.add(writer.name)
            log.warning(
                "MQTT: %d values of %s are published as none: with them it is too large",
                without,
                writer.dataset.name,
            )
        if len(payload) > LARGE:
            self._tell_size(writer, len(payload))
        try:
            await sender.send(
                Outgoing(self._topics.data(writer.name), payload, "ua-data", self._settings.qos)
            )
        except BaseException:
            self._dropped += 1
            raise

    def _tell_size(self, writer: DataSetWriter, size: int) -> None:
        if writer.name not in self._large:
            self._large.add(writer.name)
            log.warning(
                "MQTT: a message of %s has %d kB, more than some brokers take; divide the equipment",
                writer.dataset.name,
                size // 1024,
            )

    def _will(self) -> Will:
        return Will(self._topics.status, self._discovery.will())


def _leaves(group: BaseExceptionGroup[aiomqtt.MqttError]) -> Iterator[aiomqtt.MqttError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
