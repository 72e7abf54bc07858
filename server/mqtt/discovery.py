"""What the publisher says of itself, retained: metadata, connection, status (OPC 10000-14 §7.3.4.7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from server.mqtt.connection import Client
from server.mqtt.encode import (
    DATA_SET_MESSAGE_MASK,
    FIELD_MASK,
    HEADER_LAYOUT,
    NETWORK_MESSAGE_MASK,
    STATE_DISABLED,
    STATE_ERROR,
    STATE_OPERATIONAL,
    STATE_PRE_OPERATIONAL,
    TRANSPORT_PROFILE,
    Json,
    connection_message,
    metadata_message,
    status_message,
)
from server.mqtt.sender import Outgoing, Sender
from server.mqtt.settings import MqttSettings
from server.mqtt.topics import Topics
from server.mqtt.writer import DataSetWriter
from sources.clock import now

log = logging.getLogger(__name__)

EXPIRY: Final = 24 * 3600
"""Seconds after which a broker of MQTT 5.0 may forget what a publisher that is gone has retained."""
LARGE: Final = 256 * 1024
"""Bytes of a message that some brokers and cloud services do not take."""

_NAMED: Final = LARGE // 300
"""Writers a connection message can name at most: each takes more than 300 bytes."""
_GROUP_ID: Final = 0x8000
_GUARANTEES: Final = {0: 3, 1: 2, 2: 4}
"""BrokerTransportQualityOfService of a QoS (§7.3.4.5)."""
_SECURITY_MODE_NONE: Final = 1
_FENCE: Final = 3.0


class Discovery:
    """Makes the retained messages of a publisher, and clears those of writers that are no more."""

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        writers: Sequence[DataSetWriter],
        namespaces: Sequence[str],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._writers = writers
        self._namespaces = namespaces
        self._qos = max(settings.qos, 1)
        self._own = {topics.metadata(writer.name) for writer in writers}
        self._strays: set[str] = set()
        self._waiting: set[str] = set()
        """Strays that may be none: their writers may yet come."""
        self.may_come: Callable[[str], bool] = lambda _: False
        """Whether the writer may yet come whose metadata belongs in a topic."""
        self._fence: bytes | None = None
        self._fenced = asyncio.Event()

    def replace(self, writers: Sequence[DataSetWriter]) -> set[str]:
        """Speak of other writers from now on; the topics that hold metadata of none of them any more."""
        before, self._writers = self._own, writers
        self._own = {self._topics.metadata(writer.name) for writer in writers}
        return before - self._own

    def decided(self) -> set[str]:
        """Topics with metadata whose writers turned out to be no more."""
        gone = {topic for topic in self._waiting if not self.may_come(topic)}
        self._waiting -= gone
        return gone - self._own

    def cleared(self, topics: Iterable[str]) -> Iterator[Outgoing]:
        """What empties these retained topics."""
        for topic in topics:
            yield self._retained(topic, b"", "ua-metadata")

    def metadata(self, writers: Iterable[DataSetWriter] | None = None) -> Iterator[Outgoing]:
        """The metadata of these writers, by default of all; each is made when it is asked for."""
        for writer in self._writers if writers is None else writers:
            message = metadata_message(
                self._settings.publisher_id,
                writer_id=writer.identity.id,
                writer=writer.name,
                group=self._settings.writer_group,
                time=now(),
                metadata=writer.dataset.metadata(self._namespaces, writer.version),
            )
            yield self._retained(self._topics.metadata(writer.name), message, "ua-metadata")

    def connection(self) -> Outgoing:
        """The configuration of this publisher; what clears it where many brokers would not take it."""
        if len(self._writers) <= _NAMED:
            connection = self._connection()
            message = connection_message(self._settings.publisher_id, time=now(), connection=connection)
            if len(message) <= LARGE:
                return self._retained(self._topics.connection, message, "ua-connection")
        log.info(
            "MQTT: no connection message: %d writers make it larger than the %d kB many brokers take",
            len(self._writers),
            LARGE // 1024,
        )
        # That of before would name writers that are no more, and not those that came.
        return self._retained(self._topics.connection, b"", "ua-connection")

    def operational(self) -> Outgoing:
        """The status while we publish."""
        return self._status(STATE_OPERATIONAL, EXPIRY)

    def disabled(self) -> Outgoing:
        """The status after a clean end. It never expires: nobody is left to renew it."""
        return self._status(STATE_DISABLED, None)

    def will(self) -> bytes:
        """The status the broker publishes when we vanish."""
        return status_message(self._settings.publisher_id, STATE_ERROR)

    def clearing(self) -> Iterator[Outgoing]:
        """What empties every retained topic but the status: due on a clean end in MQTT 3.1.1 (§7.3.4.8)."""
        yield from self.cleared(sorted(self._own | self._waiting))
        yield self._retained(self._topics.connection, b"", "ua-connection")

    def heard(self, message: aiomqtt.Message) -> None:
        """Take in what the broker hands us while we sweep.

        Only topics of our own count: amqtt hands out what others have subscribed to as well.
        """
        if self._fence is None:
            return
        topic = str(message.topic)
        if topic == self._topics.status:
            if message.payload == self._fence:
                self._fenced.set()
        elif message.retain and message.payload and self._topics.is_metadata(topic):
            self._strays.add(topic)

    async def sweep(self, client: Client, sender: Sender) -> None:
        """Clear the retained metadata of writers that are no more.

        A broker hands out what it has retained before what is published later: when our
        status comes back, every stray has come too. Needs someone to pass `heard` what the
        client receives.
        """
        filters = [self._topics.all_metadata, self._topics.status]
        fence = self._status(STATE_PRE_OPERATIONAL, EXPIRY)
        self._strays.clear()
        self._fenced.clear()
        self._fence = fence.payload
        codes = await client.subscribe([(name, 1) for name in filters])
        if any(isinstance(code, ReasonCode) and code.is_failure for code in codes):
            log.warning(
                "MQTT: the broker does not let us subscribe to %s; metadata of removed equipment stays there",
                self._topics.all_metadata,
            )
            return
        await sender.send(fence)
        try:
            async with asyncio.timeout(_FENCE):
                await self._fenced.wait()
        except TimeoutError:
            log.warning(
                "MQTT: the broker took our status but does not hand it back: it may not let this user "
                "publish or subscribe below %s/json",
                self._topics.prefix,
            )
        self._fence = None
        await client.unsubscribe(filters)
        self._waiting = {topic for topic in self._strays - self._own if self.may_come(topic)}
        strays = sorted(self._strays - self._own - self._waiting)
        if strays:
            log.info("MQTT: clearing the retained metadata of %d removed writers", len(strays))
            await sender.send_all(self.cleared(strays))

    def _retained(self, topic: str, payload: bytes, message_type: str) -> Outgoing:
        # An empty payload clears the topic; there is nothing left that could expire.
        return Outgoing(
            topic, payload, message_type, self._qos, retain=True, expiry=EXPIRY if payload else None
        )

    def _status(self, state: int, expiry: int | None) -> Outgoing:
        message = status_message(self._settings.publisher_id, state)
        return Outgoing(self._topics.status, message, "ua-status", self._qos, retain=True, expiry=expiry)

    def _connection(self) -> Json:
        """A PubSubConnectionDataType, Compact, without address and properties (§7.2.5.5.6)."""
        settings = self._settings
        group = {
            "Name": settings.writer_group,
            "Enabled": True,
            "SecurityMode": _SECURITY_MODE_NONE,
            "WriterGroupId": _GROUP_ID,
            "PublishingInterval": settings.publishing_interval * 1000.0,
            "KeepAliveTime": settings.keep_alive * 1000.0,
            "HeaderLayoutUri": HEADER_LAYOUT,
            "TransportSettings": {
                "UaTypeId": "i=15667",
                "RequestedDeliveryGuarantee": _GUARANTEES[settings.qos],
            },
            "MessageSettings": {"UaTypeId": "i=15657", "NetworkMessageContentMask": NETWORK_MESSAGE_MASK},
            "DataSetWriters": [self._writer(writer) for writer in self._writers],
        }
        return {
            "Name": settings.publisher_id,
            "Enabled": True,
            "PublisherId": {"UaType": 12, "Value": settings.publisher_id},
            "TransportProfileUri": TRANSPORT_PROFILE,
            "WriterGroups": [group],
        }

    def _writer(self, writer: DataSetWriter) -> Json:
        return {
            "Name": writer.name,
            "Enabled": True,
            "DataSetWriterId": writer.identity.id,
            "DataSetFieldContentMask": FIELD_MASK,
            "KeyFrameCount": self._settings.key_frame_every,
            "DataSetName": writer.dataset.name,
            "TransportSettings": {
                "UaTypeId": "i=15669",
                "QueueName": self._topics.data(writer.name),
                "RequestedDeliveryGuarantee": _GUARANTEES[self._settings.qos],
                "MetaDataQueueName": self._topics.metadata(writer.name),
            },
            "MessageSettings": {"UaTypeId": "i=15664", "DataSetMessageContentMask": DATA_SET_MESSAGE_MASK},
        }
