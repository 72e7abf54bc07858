"""Publishing over one connection, with a bounded number of messages on their way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from paho.mqtt.properties import Properties

from server.mqtt.connection import WINDOW, Client, properties

log = logging.getLogger(__name__)

_AROUND: Final = 256
"""Bytes of a packet beside topic and payload, at most."""


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
    """Publishes and counts. Raises aiomqtt.MqttError where the broker does not take a message in time.

    What is larger than the broker takes is not sent: it would end the connection, and every one after it.
    """

    def __init__(self, client: Client) -> None:
        self.sent = 0
        self.too_large = 0
        """Messages that were not sent for that."""
        self._client = client
        self._properties: dict[tuple[str, int | None], Properties | None] = {}

    def most(self, topic: str) -> int:
        """Bytes of a payload that the broker takes there."""
        return self._client.largest - len(topic.encode()) - _AROUND

    async def send(self, message: Outgoing) -> None:
        """Publish one message; returns when the broker has it, as far as its QoS tells.

        What is sent in turn arrives in turn: the message is on its way before the first
        suspension.
        """
        if len(message.payload) > self.most(message.topic):
            if not self.too_large:
                log.warning(
                    "MQTT: a message of %d kB is not sent to %s: the broker takes %d kB; divide the "
                    "equipment, or choose what of an import is published",
                    len(message.payload) // 1024,
                    message.topic,
                    self._client.largest // 1024,
                )
            self.too_large += 1
            return
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
