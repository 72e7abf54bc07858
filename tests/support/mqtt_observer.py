"""An independent subscriber that writes down everything a broker hands it, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from aiomqtt import ProtocolVersion
from support.net import until


@dataclass(frozen=True)
class Seen:
    """One message as it arrived; ``body`` is the decoded JSON, None for an empty payload."""

    topic: str
    body: Any
    retain: bool
    qos: int
    properties: Any

    @property
    def part(self) -> dict[str, Any]:
        """The one DataSetMessage of a data message."""
        (part,) = self.body["Messages"]
        assert isinstance(part, dict)
        return part


@dataclass
class Observer:
    """What was seen so far."""

    seen: list[Seen] = field(default_factory=list)

    def of(self, kind: str, topic: str = "") -> list[Seen]:
        """Those of one MessageType, like ``ua-status`` or ``ua-keyframe``, in topics that hold a text."""
        return [s for s in self.seen if s.body is not None and topic in s.topic and kind in _kinds(s.body)]

    async def first(
        self, kind: str, topic: str = "", *, where: Callable[[Seen], bool] = lambda _: True, after: int = 0
    ) -> Seen:
        """Wait for the first such message after the first ``after`` ones."""

        def find() -> Seen | None:
            return next(
                (
                    s
                    for s in self.seen[after:]
                    if s.body is not None and topic in s.topic and kind in _kinds(s.body) and where(s)
                ),
                None,
            )

        found = await until(find, what=f"{kind} in {topic or 'any topic'}; seen: {self.seen[-5:]}")
        assert found is not None
        return found


def _kinds(body: dict[str, Any]) -> set[str]:
    return {str(body.get("MessageType")), *(str(m["MessageType"]) for m in body.get("Messages", ()))}


@asynccontextmanager
async def observe(
    port: int,
    *filters: str,
    user: str | None = None,
    password: str | None = None,
    context: ssl.SSLContext | None = None,
    protocol: ProtocolVersion = ProtocolVersion.V5,
) -> AsyncIterator[Observer]:
    """Subscribe to everything, or to these filters, on 127.0.0.1 while the context lasts."""
    observer = Observer()
    async with aiomqtt.Client(
        "127.0.0.1", port, username=user, password=password, tls_context=context, protocol=protocol
    ) as client:
        await client.subscribe([(name, 1) for name in filters or ("#",)])
        reading = asyncio.create_task(_read(client, observer), name="observer")
        try:
            yield observer
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await reading


async def _read(client: aiomqtt.Client, observer: Observer) -> None:
    async for message in client.messages:
        payload = message.payload
        assert isinstance(payload, bytes | bytearray)
        observer.seen.append(
            Seen(
                str(message.topic),
                json.loads(payload) if payload else None,
                message.retain,
                message.qos,
                message.properties,
            )
        )
