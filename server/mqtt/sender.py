"""Publishing over one connection, with a bounded number of messages on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paho.mqtt.properties import Properties

from server.mqtt.connection import WINDOW, Client, properties


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message; ``expiry`` is the MQTT 5.0 Message Expiry Interval in seconds, None for none."""

    topic: str
    payload: bytes
    message_type: str
    """``ua-data``, ``ua-metadata`` and so on: the user property UAMessageType."""
    qos: int
    retain: bool = False
    expiry: int | None = None


class Sender:
    """Publishes and counts. Raises aiomqtt.MqttError where the broker does not take a message in time."""

    def __init__(self, client: Client) -> None:
        self.sent = 0
        self._client = client
        self._properties: dict[tuple[str, int | None], Properties | None] = {}

    async def send(self, message: Outgoing) -> None:
        """Publish one message; returns when the broker has it, as far as its QoS tells.

        What is sent in turn arrives in turn: the message is on its way before the first
        suspension.
        """
        key = (message.message_type, message.expiry)
        if key not in self._properties:
            self._properties[key] = properties(self._client.version, key[0], expiry=key[1])
        await self._client.publish(
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=self._properties[key],
        )
        self.sent += 1

    async def send_all(self, messages: Iterable[Outgoing]) -> None:
        """Publish all, in order, each made when its turn comes. Raises an ExceptionGroup of MqttError."""
        iterator = iter(messages)
        async with asyncio.TaskGroup() as group:
            for _ in range(WINDOW):
                group.create_task(self._drain(iterator), name="mqtt discovery")

    async def _drain(self, messages: Iterator[Outgoing]) -> None:
        for message in messages:
            await self.send(message)
            # A message of QoS 0 is sent without a pause; others have their turn in between.
            await asyncio.sleep(0)
