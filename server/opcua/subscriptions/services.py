"""The Subscription Service Set (OPC 10000-4 §5.14)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from server.opcua.limits import MAX_ACKNOWLEDGEMENTS, MAX_SUBSCRIPTIONS_PER_SESSION
from server.opcua.requests import LATER, Answer, Request, Service, service
from server.opcua.sessions.session import Session
from server.opcua.subscriptions import messages
from server.opcua.subscriptions.conceive import replace
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.item import PlainItem
from server.opcua.subscriptions.messages import NO_DIAGNOSTICS
from server.opcua.subscriptions.settings import revise
from server.opcua.subscriptions.subscription import Subscription
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import uint32

_CREATED: Final = struct.Struct("<IdII")
_MODIFIED: Final = struct.Struct("<dII")
_NOTHING: Final = Reader(b"")
_SIGN: Final = 2
"""MessageSecurityMode Sign; SignAndEncrypt is above it."""


class SubscriptionServices:
    """Answers the requests that are about subscriptions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (
            service("CreateSubscription", self.create),
            service("ModifySubscription", self.modify),
            service("SetPublishingMode", self.set_publishing_mode),
            service("Publish", self.publish),
            service("Republish", self.republish),
            service("TransferSubscriptions", self.transfer),
            service("DeleteSubscriptions", self.delete),
        )

    def create(self, session: Session, request: Request) -> Answer:
        """CreateSubscription (§5.14.2)."""
        reader = request.reader
        interval, lifetime, keep_alive, most = (
            reader.double(),
            reader.uint32(),
            reader.uint32(),
            reader.uint32(),
        )
        enabled, priority = reader.boolean(), reader.byte()
        least = self._engine.least_interval
        settings = revise(interval, lifetime, keep_alive, most, priority, enabled=enabled, least=least)
        subscription = self._engine.create(session, settings)
        return _CREATED.pack(
            subscription.id, settings.interval, settings.lifetime_count, settings.keep_alive_count
        )

    def modify(self, session: Session, request: Request) -> Answer:
        """ModifySubscription (§5.14.3)."""
        reader = request.reader
        subscription = self._engine.find(session, reader.uint32())
        interval, lifetime, keep_alive, most = (
            reader.double(),
            reader.uint32(),
            reader.uint32(),
            reader.uint32(),
        )
        # An interval it has already it may keep.
        least = min(self._engine.least_interval, subscription.settings.interval)
        settings = revise(interval, lifetime, keep_alive, most, reader.byte(), least=least)
        another = settings.interval != subscription.settings.interval
        subscription.modify(settings)
        subscription.counts.modifications += 1
        if another:
            # Whether an item may sample by publishing depends on how often that is.
            for item in list(subscription.items.values()):
                terms = item.terms
                if terms.plain and terms.queue_size == 1 and terms.sampling > terms.floor:
                    plain = terms.sampling <= settings.interval
                    if plain is not isinstance(item, PlainItem):
                        replace(item)
        return _MODIFIED.pack(settings.interval, settings.lifetime_count, settings.keep_alive_count)

    def set_publishing_mode(self, session: Session, request: Request) -> Answer:
        """SetPublishingMode (§5.14.4)."""
        enabled = request.reader.boolean()

        def apply(subscription: Subscription) -> None:
            subscription.set_publishing(enabled=enabled)
            if enabled:
                subscription.counts.enables += 1
            else:
                subscription.counts.disables += 1

        return self._each(session, request, apply)

    def delete(self, session: Session, request: Request) -> Answer:
        """DeleteSubscriptions (§5.14.8)."""
        return self._each(session, request, self._engine.delete)

    def _each(self, session: Session, request: Request, apply: Callable[[Subscription], None]) -> Answer:
        codes = []
        for number in _ids(request.reader):
            try:
                apply(self._engine.find(session, number))
            except ServiceFault as fault:
                codes.append(fault.code)
            else:
                codes.append(0)
        return encode_codes(codes) + NO_DIAGNOSTICS

    def publish(self, session: Session, request: Request) -> Answer:
        """Publish (§5.14.5). Answered when there is something to say."""
        publishing = self._engine.publishing(session)
        if not publishing.subscriptions and not publishing.has_farewell:
            raise ServiceFault(StatusCodes.BadNoSubscription)
        reader = request.reader
        codes = []
        for _ in range(reader.count(8, MAX_ACKNOWLEDGEMENTS)):
            subscription = publishing.subscriptions.get(reader.uint32())
            sequence = reader.uint32()
            if subscription is None:
                codes.append(StatusCodes.BadSubscriptionIdInvalid)
            elif subscription.acknowledge(sequence):
                codes.append(0)
            else:
                codes.append(StatusCodes.BadSequenceNumberUnknown)
        # It may wait for long: its message need not.
        request.reader = _NOTHING
        for subscription in publishing.subscriptions.values():
            subscription.touch()
            subscription.counts.published += 1
        publishing.take(request, encode_codes(codes))
        if not publishing.serve():
            self._engine.touch(publishing)
        return LATER

    def republish(self, session: Session, request: Request) -> Answer:
        """Republish (§5.14.6): as often as it is asked for, until the message is acknowledged."""
        subscription = self._engine.find(session, request.reader.uint32())
        subscription.touch()
        self._engine.recheck(subscription)
        subscription.counts.republish_requests += 1
        message = subscription.unacknowledged.get(request.reader.uint32())
        if message is None:
            raise ServiceFault(StatusCodes.BadMessageNotAvailable)
        subscription.counts.republish_messages += 1
        return message

    def transfer(self, session: Session, request: Request) -> Answer:
        """TransferSubscriptions (§5.14.7)."""
        numbers = _ids(request.reader)
        send_initial = request.reader.boolean()
        found = []
        for number in numbers:
            try:
                subscription = self._transfer(session, number, send_initial=send_initial)
            except ServiceFault as fault:
                found.append(uint32(fault.code) + NO_DIAGNOSTICS)
            else:
                found.append(uint32(0) + messages.sequence_numbers(subscription.unacknowledged))
        return [struct.pack("<i", len(found)), *found, NO_DIAGNOSTICS]

    def _transfer(self, session: Session, number: int, *, send_initial: bool) -> Subscription:
        engine = self._engine
        subscription = engine.subscriptions.get(number)
        if subscription is None:
            raise ServiceFault(StatusCodes.BadSubscriptionIdInvalid)
        if not is_same_client(subscription.owner, session):
            raise ServiceFault(StatusCodes.BadUserAccessDenied)
        subscription.counts.transfer_requests += 1
        publishing = engine.publishing(session)
        if subscription.publishing is publishing:
            raise ServiceFault(StatusCodes.BadNothingToDo)
        if len(publishing.subscriptions) >= MAX_SUBSCRIPTIONS_PER_SESSION:
            raise ServiceFault(StatusCodes.BadTooManySubscriptions)
        if subscription.owner.channel.certificate == session.channel.certificate:
            subscription.counts.transferred_to_same += 1
        else:
            subscription.counts.transferred_to_other += 1
        engine.transfer(subscription, session)
        engine.recheck(subscription)
        if send_initial:
            subscription.resend()
        return subscription


def is_same_client(former: Session, session: Session) -> bool:
    """Whether a session may have what was the other's (§5.14.7.1).

    Its user is the same. Where that is nobody in particular the application is, and its
    name is worth something, which takes a channel that signs.
    """
    if former.identity is None or session.identity is None or not former.identity.is_same(session.identity):
        return False
    if not session.identity.anonymous:
        return True
    return session.channel.mode >= _SIGN and _application(former) == _application(session)


def _application(session: Session) -> object:
    """The ApplicationUri, which the certificate of the channel vouches for."""
    description = session.about.description
    return session.channel.certificate if description is None else description.ApplicationUri


def _ids(reader: Reader) -> list[int]:
    """The SubscriptionIds of a request. Raises ServiceFault and DecodingError."""
    count = reader.count(4)
    if not count:
        raise ServiceFault(StatusCodes.BadNothingToDo)
    if count > MAX_SUBSCRIPTIONS_PER_SESSION:
        raise ServiceFault(StatusCodes.BadTooManyOperations)
    return [reader.uint32() for _ in range(count)]


def encode_codes(codes: Iterable[int]) -> bytes:
    """An array of StatusCodes."""
    found = list(codes)
    return struct.pack(f"<i{len(found)}I", len(found), *found)
