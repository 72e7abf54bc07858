"""Answers to Publish requests: each message once, in its order, and what to do about those that are lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from sources.errors import ConnectionLost
from sources.opcua import wire
from sources.opcua.channel import ServiceError
from sources.opcua.kept import Subscription
from sources.opcua.live import Live
from sources.opcua.publishing import Publishing
from sources.opcua.reading import read_raw
from sources.opcua.sequence import NEVER, behind, following
from sources.opcua.stack import status_name, ua
from sources.opcua.values import Values
from sources.opcua.watch import Watch
from sources.quality import BAD_CONNECTION_CLOSED, is_bad

log = logging.getLogger(__name__)

_MAX_MISSED: Final = 1000
"""Messages asked for again after one gap."""
_GOOD_TRANSFERRED: Final = 0x002D0000
_NO_MESSAGE: Final = 0x807B0000


class Messages:
    """Takes in the messages of all subscriptions."""

    def __init__(self, live: Live, publishing: Publishing) -> None:
        self._live = live
        self._publishing = publishing
        self._values = Values(live)
        self._watch = Watch(live)

    async def take(self, data: bytes) -> None:
        """The answer to one Publish. Raises Malformed, ConnectionLost, ServiceError."""
        answer = wire.publish(data)
        if is_bad(answer.result):
            self._publishing.refused(answer.result)
            return
        subscription = self._live.subscriptions.get(answer.subscription)
        if subscription is None:
            return  # deleted a moment ago
        subscription.heard, subscription.mute = self._live.clock(), False
        expected = following(subscription.sequence)
        if answer.sequence != expected and subscription.sequence:
            if behind(answer.sequence, expected):
                return  # known already
            await self._fetch(subscription, answer.sequence)
        elif answer.sequence > expected:  # the first there was never came
            self._lost(subscription)
            subscription.sequence = answer.sequence - 1
        if answer.notifications:
            await self._message(subscription, answer)
        else:
            self._values.alive(subscription)
        if subscription.unheard and not answer.more:
            await self._ask(subscription)

    async def catch_up(self, subscription: Subscription, available: Sequence[int]) -> None:
        """Take the messages that were sent and never arrived, in their order; known ones are acknowledged."""
        missed = []
        for number in available:
            if subscription.sequence and behind(number, following(subscription.sequence)):
                self._live.acknowledge.append((subscription.id, number))
            else:
                missed.append(number)
        if missed:
            await self._fetch(subscription, following(missed[-1]))

    async def _fetch(self, subscription: Subscription, until: int) -> None:
        """Ask again for the messages between the last one and that; in their order, each taken once."""
        number = following(subscription.sequence)
        for _ in range(_MAX_MISSED):
            if number == until:
                return
            request = ua.RepublishRequest()
            request.Parameters.SubscriptionId = subscription.id
            request.Parameters.RetransmitSequenceNumber = number
            self._live.device.republished += 1
            try:
                message = wire.republished(await self._live.connection.channel.answer_to(request))
                if is_bad(message.result):
                    raise ServiceError("Republish", message.result)  # noqa: TRY301
                if message.sequence != number:
                    # Not every server says that it has the message no longer.
                    raise ServiceError("Republish", _NO_MESSAGE)  # noqa: TRY301
                await self._message(subscription, message)
            except ServiceError as error:
                self._live.device.lost_messages += 1
                log.warning(
                    "%s: message %d of a subscription is lost: %s; a change of a value may be missing",
                    self._live.device.name,
                    number,
                    error,
                )
                self._lost(subscription)
                subscription.sequence = number
            number = following(number)
        if number != until:
            more = (until - number) % NEVER
            self._live.device.lost_messages += more
            log.warning("%s: %d more messages of a subscription are lost", self._live.device.name, more)
            self._lost(subscription)
        subscription.sequence = until - 1 or 0xFFFFFFFF

    def _lost(self, subscription: Subscription) -> None:
        """A message will never come. What it may have told of is asked for, for it is not told again."""
        if subscription.scan is None:
            self._live.changed("a message of what has changed there is lost")
        subscription.unheard = subscription.reported()

    async def _message(self, subscription: Subscription, message: wire.Publish) -> None:
        """Take a NotificationMessage in."""
        subscription.sequence = message.sequence
        self._live.acknowledge.append((subscription.id, message.sequence))
        for notification in message.notifications:
            status = wire.status_change(notification)
            if status == _GOOD_TRANSFERRED and subscription.taken_over:
                subscription.taken_over = False
            elif status is not None:
                self._live.device.plan = None
                raise ConnectionLost(
                    f"the device ended a subscription: {status_name(status)}", BAD_CONNECTION_CLOSED
                )
            elif subscription.scan is None:
                await self._watch.tell(subscription, notification)
            elif subscription.watched:
                await self._values.imported(subscription, notification)
            elif wire.is_data_change(notification):
                await self._values.tell(subscription, notification.body)

    async def _ask(self, subscription: Subscription) -> None:
        """Read what was in a message that is lost, or not sent again after a transfer as was asked."""
        plan, importing = self._live.device.plan, self._live.device.importing
        if plan is None:
            return
        places = sorted(subscription.unheard)
        subscription.unheard = set()
        if subscription.watched:
            if importing is not None:
                await importing.read([subscription.watched[place] for place in places])
            return
        tags = [subscription.tags[place] for place in places]
        found = await read_raw(
            self._live.connection, [(plan.nodes[id(tag)], int(ua.AttributeIds.Value)) for tag in tags]
        )
        changes = wire.Changes(handles=places)
        for raw in found:
            kind, value = wire.NOTHING, None
            if raw.variant:
                kind, value, _ = wire.variant(raw.variant, 0)
            changes.kinds.append(kind)
            changes.values.append(value)
            changes.statuses.append(raw.status)
            changes.times.append(raw.time)
        self._values.take_in(subscription, changes)
        if self._live.settings.queue == 1 and self._live.device.settles:
            for place in set(places) - subscription.retired:
                subscription.read(place, self._live.clock(), self._live.settings.sampling)
