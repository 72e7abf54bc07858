"""Messages of a downstream server, byte by byte, and a connection on which nothing but these come."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from support.downstream import settings

from sources.batch import Batch
from sources.opcua import wire
from sources.opcua.channel import ServiceError
from sources.opcua.config import OpcUaTag
from sources.opcua.connection import Connection
from sources.opcua.kept import Device, Plan, Subscription
from sources.opcua.scan import Scan
from sources.statistics import ScanStatistics

NOT_AVAILABLE = 0x807B0000
"""BadMessageNotAvailable."""
THE_ONE = 7
"""The id of the subscription of `Lone`."""


def header(kind: int, result: int = 0) -> bytes:
    """The id of a response's encoding and its ResponseHeader."""
    return (
        b"\1\0"
        + struct.pack("<H", kind)
        + bytes(8)
        + struct.pack("<II", 1, result)
        + b"\0"
        + b"\xff" * 4
        + bytes(3)
    )


def changed(*values: tuple[int, float]) -> bytes:
    """A DataChangeNotification of Doubles by their handles."""
    items = b"".join(
        struct.pack("<I", handle) + b"\x01\x0b" + struct.pack("<d", value) for handle, value in values
    )
    body = struct.pack("<i", len(values)) + items + b"\xff" * 4
    return b"\1\0" + struct.pack("<H", 811) + b"\1" + struct.pack("<i", len(body)) + body


def published(sequence: int, *values: tuple[int, float], subscription: int = THE_ONE) -> bytes:
    """A PublishResponse; a keep-alive without values."""
    held = struct.pack("<i", 1) + changed(*values) if values else struct.pack("<i", 0)
    body = struct.pack("<Ii?I", subscription, -1, False, sequence) + bytes(8)
    return header(829) + body + held + b"\xff" * 8


def republished(sequence: int, *values: tuple[int, float]) -> bytes:
    """A RepublishResponse."""
    return header(835) + struct.pack("<I", sequence) + bytes(8) + struct.pack("<i", 1) + changed(*values)


class Line:
    """In place of a Channel: what was sent, answered by the test."""

    def __init__(self) -> None:
        self.renew_at = float("inf")
        self.largest = 1 << 20
        self.sent: list[tuple[Any, asyncio.Future[bytes]]] = []
        self.asked: list[Any] = []
        self.answers: dict[str, Callable[[Any], Any]] = {}
        """By the request's class; else a service is refused."""

    def send(self, request: Any, _timeout: float, **_how: Any) -> asyncio.Future[bytes]:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.sent.append((request, future))
        return future

    async def answer_to(self, request: Any, **_how: Any) -> bytes:
        return cast("bytes", self._answer(request))

    async def request(self, request: Any, _answer: Any, **_how: Any) -> Any:
        return self._answer(request)

    def _answer(self, request: Any) -> Any:
        self.asked.append(request)
        name = type(request).__name__
        if name not in self.answers:
            raise ServiceError(name, NOT_AVAILABLE)
        return self.answers[name](request)

    def count(self, name: str) -> int:
        """How many requests of that class were asked."""
        return sum(type(request).__name__ == name for request in self.asked)


class Lone:
    """A scan with one subscription, over a `Line`; reads are answered with ``there``, by place."""

    def __init__(self, tags: Sequence[OpcUaTag], *, keepalive: float = 60.0, **more: Any) -> None:
        self.batches: list[Batch] = []
        self.tags = tuple(tags)
        self.line = Line()
        self.there = [0.0] * len(tags)
        self.line.answers["ReadRequest"] = self._read
        self.connection = Connection(cast("Any", self.line), settings(4840, **more))
        self.connection.namespaces, self.connection.start_time = ("urn:there",), 1
        self.device = Device("There", self.connection.settings, self.tags, 60.0)
        scan = tags[0].scan
        self.device.statistics[scan.name] = ScanStatistics(scan.period)
        self.subscription = Subscription(
            THE_ONE,
            scan,
            scan.period,
            keepalive,
            self.tags,
            tuple(tag.type.value for tag in tags),
            [wire.NOTHING] * len(tags),
            items=list(range(1, len(tags) + 1)),
            room=len(tags),
        )
        self.device.plan = Plan(
            ("urn:there",),
            1,
            {id(tag): place for place, tag in enumerate(tags)},
            {},
            self.tags,
            [self.subscription],
        )
        self.scan = Scan(self.device, self.connection, self.batches.append)
        self.subscription.heard = asyncio.get_running_loop().time()
        self.live = self.scan._live
        self.live.subscriptions[THE_ONE] = self.subscription

    async def take(self, answer: bytes) -> None:
        """Have the scan take in the answer to a Publish."""
        await self.scan._messages.take(answer)

    def _read(self, request: Any) -> bytes:
        wanted = [self.there[one.NodeId] for one in request.Parameters.NodesToRead]
        values = b"".join(b"\x01\x0b" + struct.pack("<d", value) for value in wanted)
        return header(634) + struct.pack("<i", len(wanted)) + values + b"\xff" * 4

    def transferred(self) -> None:
        """Have the server hand over the subscription, with no messages to catch up on."""
        result = SimpleNamespace(StatusCode=SimpleNamespace(value=0), AvailableSequenceNumbers=[])
        self.live.subscriptions.clear()
        self.line.answers["TransferSubscriptionsRequest"] = lambda _: SimpleNamespace(
            Parameters=SimpleNamespace(Results=[result])
        )

    @property
    def values(self) -> list[tuple[int, object]]:
        """What was reported, in its order: place and value."""
        return [
            pair
            for batch in self.batches
            if batch.values and batch.places
            for pair in zip(batch.places, batch.values, strict=True)
        ]
