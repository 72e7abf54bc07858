"""A client that subscribes to a server's variables and says what that costs the server.

Run as ``python -m bench.subscriber URL PID VARIABLES`` against a server that runs as process
PID. Each line on its standard input is a `Task` or an `ItemsTask` as JSON, answered by ``result``
and a `Result` or an `ItemsResult` as JSON. It is one process however many sessions it has.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncua.ua
from asyncua.ua import ua_binary
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bench.accounting import cpu_seconds, rss_mb
from bench.counting import Counter, NotANotification
from bench.plant import PLANT_URI, keys
from bench.session import Identity, Session

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua

BATCH: Final = 1000
"""Items of one request."""

_CREATE: Final = ua_binary.nodeid_to_binary(
    ua.FourByteNodeId(ua.ObjectIds.CreateMonitoredItemsRequest_Encoding_DefaultBinary)
)
# Timestamp, RequestHandle, ReturnDiagnostics, null AuditEntryId, TimeoutHint, no additional header.
_HEADER: Final = struct.pack("<QIIiI3x", 0, 0, 0, -1, 60_000)
_SUBSCRIPTION: Final = struct.Struct("<III")
# Behind the NodeId: attribute, no IndexRange, no DataEncoding, mode; handle, interval, no filter,
# queue size, DiscardOldest.
_ITEM: Final = struct.Struct("<IiHiIId3xIB")
_RESULT: Final = struct.Struct("<IIdI3s")
_FIRST_VALUES: Final = 60.0
_SETTLE: Final = 1.5
"""Seconds until a server has cleared away what a session left."""
_REST: Final = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """Subscribe to all variables, count, and unsubscribe, some times over; times in milliseconds.

    ``identity`` is a PEM file with the key and the certificate of a client whose channel is to be
    SignAndEncrypt; empty for none.
    """

    sessions: int = 1
    queue: int = 1
    publishing: float = 1000.0
    cycles: int = 2
    """Publishing intervals that are counted at a time; as many pass without items before and after."""
    times: int = 5
    warm: float = 0.0
    """Seconds before anything is measured, and before it is counted; at least a publishing interval then."""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a task came to; a ratio of CPU is of one core."""

    us_per_notification: float
    """The server's CPU beyond what it takes without items; the median of all times."""
    per_s: float
    cpu: float
    """The most of all times."""
    idle_cpu: float
    """Without items."""
    per_message: float
    """Notifications of a NotificationMessage."""
    create_us: float
    """CreateMonitoredItems, the server's CPU an item."""


@dataclass(frozen=True, slots=True)
class ItemsTask:
    """Create items, delete them, create them again and end their session."""

    items: int


@dataclass(frozen=True, slots=True)
class ItemsResult:
    """The server's CPU, and its memory."""

    create_us: float
    """An item; so are the next two."""
    delete_us: float
    drop_us: float
    delete_s: float
    """From the first request to the last answer."""
    bytes: float
    """Of an item, after its first value was delivered."""


class Items:
    """A subscription and its items on a session."""

    def __init__(self, session: Session, publishing: float) -> None:
        self._session = session
        request = ua.CreateSubscriptionRequest()
        asked = request.Parameters
        asked.RequestedPublishingInterval = publishing
        asked.RequestedLifetimeCount, asked.RequestedMaxKeepAliveCount = 10_000, 3_000
        asked.PublishingEnabled = True
        created = session.call(request, ua.CreateSubscriptionResponse).Parameters
        self.subscription = created.SubscriptionId
        self.interval = created.RevisedPublishingInterval
        self.ids: list[int] = []

    def create(self, nodes: list[bytes], queue: int) -> None:
        """CreateMonitoredItems, a thousand at a time; raises NotANotification when one is refused."""
        for at in range(0, len(nodes), BATCH):
            part = nodes[at : at + BATCH]
            self.ids += created(self._session.ask(self._request(part, at, queue)), len(part))

    def delete(self) -> None:
        """DeleteMonitoredItems, a thousand at a time; raises UaError when one is refused."""
        for at in range(0, len(self.ids), BATCH):
            request = ua.DeleteMonitoredItemsRequest()
            request.Parameters.SubscriptionId = self.subscription
            request.Parameters.MonitoredItemIds = self.ids[at : at + BATCH]
            for result in self._session.call(request, ua.DeleteMonitoredItemsResponse).Results:
                result.check()
        self.ids.clear()

    def _request(self, nodes: list[bytes], first: int, queue: int) -> bytes:
        head = _CREATE + ua_binary.nodeid_to_binary(self._session.token) + _HEADER
        parts = [head, _SUBSCRIPTION.pack(self.subscription, ua.TimestampsToReturn.Both, len(nodes))]
        for handle, node in enumerate(nodes, first + 1):
            parts += (node, _ITEM.pack(ua.AttributeIds.Value, -1, 0, -1, 2, handle, 0.0, queue, 1))
        return b"".join(parts)


def created(body: bytes, count: int) -> list[int]:
    """The ids of items from the body of a CreateMonitoredItemsResponse, all of which must be good."""
    (result,) = struct.unpack_from("<I", body, 16)
    size = _RESULT.size
    if result or len(body) < 32 + size * count or struct.unpack_from("<i", body, 28) != (count,):
        raise NotANotification(f"CreateMonitoredItems is answered by {len(body)} bytes, 0x{result:08X}")
    results = list(_RESULT.iter_unpack(body[32 : 32 + size * count]))
    if any(code or filtered != b"\0\0\0" for code, _, _, _, filtered in results):
        raise NotANotification("an item was not created as it should be")
    return [number for _, number, _, _, _ in results]


def spent(pid: int, work: Callable[[], object]) -> tuple[float, float]:
    """The CPU of a process while that is done, in seconds; and how long it took."""
    before, begin = cpu_seconds(pid), time.monotonic()
    work()
    return cpu_seconds(pid) - before, time.monotonic() - begin


class Subscribing:
    """One task: items on every session, now there, now not."""

    def __init__(self, pid: int, sessions: list[Session], nodes: list[bytes], task: Task) -> None:
        self._pid, self._nodes, self._task = pid, nodes, task
        self._subscriptions = [Items(session, task.publishing) for session in sessions]
        self._counter = Counter(sessions)
        self._cycle = task.publishing / 1000
        self._creating: list[float] = []
        self._messages: list[float] = []

    def run(self) -> Result:
        """Look what the server takes without items and with them, in turns."""
        self._counter.until(time.monotonic() + self._task.warm)
        idle, busy = [self._idle()], []
        for _ in range(self._task.times):
            busy.append(self._busy(idle[-1]))
            idle.append(self._idle())
        pairs = zip(busy, itertools.pairwise(idle), strict=True)
        self._counter.close()
        return Result(
            statistics.median((cpu - sum(around) / 2) / per_s for (cpu, per_s), around in pairs) * 1e6,
            per_s=statistics.median(per_s for _, per_s in busy),
            cpu=max(cpu for cpu, _ in busy),
            idle_cpu=statistics.median(idle),
            per_message=statistics.median(self._messages),
            create_us=statistics.median(self._creating),
        )

    def _idle(self) -> float:
        """The server's CPU without items, of a core."""
        seconds = self._task.cycles * self._cycle
        self._counter.until_quiet(self._cycle)
        used, wall = spent(self._pid, lambda: self._counter.until(time.monotonic() + seconds))
        return used / wall

    def _busy(self, idle: float) -> tuple[float, float]:
        """The same with items, and notifications a second."""
        counter, task = self._counter, self._task
        items = len(self._nodes) * task.sessions
        first = counter.notifications + items
        used, wall = spent(self._pid, self._create)
        self._creating.append((used - idle * wall) / items * 1e6)
        counter.until_all(first, _FIRST_VALUES)
        counter.until(time.monotonic() + max(task.warm, self._cycle))
        counter.until_quiet(self._cycle)
        notifications, messages = counter.notifications, counter.messages
        end = time.monotonic() + task.cycles * self._cycle
        used, wall = spent(self._pid, lambda: counter.until(end))
        notifications, messages = counter.notifications - notifications, counter.messages - messages
        self._messages.append(notifications / max(messages, 1))
        for one in self._subscriptions:
            one.delete()
        return used / wall, max(notifications, 1) / wall

    def _create(self) -> None:
        for one in self._subscriptions:
            one.create(self._nodes, self._task.queue)


class Subscriber:
    """Does the tasks against one server."""

    def __init__(self, url: str, pid: int, variables: int) -> None:
        self._url, self._pid = url, pid
        session = Session(url).begin()
        namespace = session.namespace(PLANT_URI)
        session.close()
        names = keys(variables)[1:]
        self._nodes = [ua_binary.nodeid_to_binary(ua.StringNodeId(name, namespace)) for name in names]

    def notifications(self, task: Task) -> Result:
        """See `Task`."""
        identity = load(Path(task.identity)) if task.identity else None
        sessions = [Session(self._url, identity).begin() for _ in range(task.sessions)]
        subscribing = Subscribing(self._pid, sessions, self._nodes, task)
        try:
            return subscribing.run()
        finally:
            for session in sessions:
                session.close()
            time.sleep(_REST)

    def items(self, task: ItemsTask) -> ItemsResult:
        """See `ItemsTask`."""
        nodes = self._nodes[: task.items]

        def per_item(work: Callable[[], object]) -> tuple[float, float]:
            used, wall = spent(self._pid, work)
            return used / len(nodes) * 1e6, wall

        session = Session(self._url).begin()
        items = Items(session, 100.0)
        before = rss_mb(self._pid)
        create_us, _ = per_item(lambda: items.create(nodes, 1))
        counter = Counter([session])
        counter.until_all(len(nodes), _FIRST_VALUES)
        counter.until(time.monotonic() + _REST)
        size = (rss_mb(self._pid) - before) * 1e6 / len(nodes)
        delete_us, delete_s = per_item(items.delete)
        items.create(nodes, 1)
        counter.close()
        time.sleep(_REST)

        def drop() -> None:
            session.close()
            time.sleep(_SETTLE)

        return ItemsResult(create_us, delete_us, per_item(drop)[0], delete_s, size)


def save(identity: Identity, file: Path) -> None:
    """Write it for another process."""
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.touch(mode=0o600)
    file.write_bytes(key + identity.certificate.public_bytes(Encoding.PEM))


def load(file: Path) -> Identity:
    """Read what `save` wrote."""
    text = file.read_bytes()
    key: Any = load_pem_private_key(text, None)
    return Identity(key, x509.load_pem_x509_certificate(text))


def _main(url: str, pid: int, variables: int) -> None:
    subscriber = Subscriber(url, pid, variables)
    for line in sys.stdin:
        task = json.loads(line)
        result: Result | ItemsResult
        if "items" in task:
            result = subscriber.items(ItemsTask(**task))
        else:
            result = subscriber.notifications(Task(**task))
        print("result", json.dumps(dataclasses.asdict(result)), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
