"""The MonitoredItem Service Set (OPC 10000-4 §5.13)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from server.opcua.limits import (
    MAX_MONITORED_ITEMS,
    MAX_MONITORED_ITEMS_PER_CALL,
    MAX_MONITORED_ITEMS_PER_SUBSCRIPTION,
    MAX_TRIGGER_LINKS,
    MAX_TRIGGER_LINKS_IN_ALL,
    MAX_TRIGGER_LINKS_PER_SUBSCRIPTION,
)
from server.opcua.requests import Answer, Request, Service, service
from server.opcua.services.sight import access_of
from server.opcua.services.turns import Eventually, Work, in_turns
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access
from server.opcua.subscriptions.conceive import make, replace
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.event_filter import FilterRefused
from server.opcua.subscriptions.item import MonitoredItem, MonitoringMode
from server.opcua.subscriptions.messages import NO_DIAGNOSTICS
from server.opcua.subscriptions.parameters import (
    SMALLEST_CREATE,
    SMALLEST_MODIFY,
    Decoder,
    Negotiation,
    Parameters,
    PlainWanted,
    Wanted,
    check_node,
    check_timestamps,
    monitoring_mode,
    read_parameters,
)
from server.opcua.subscriptions.services import encode_codes
from server.opcua.subscriptions.subscription import Subscription
from server.opcua.subscriptions.terms import NO_FILTER, Terms
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, uint32

_Apply: TypeAlias = Callable[[MonitoredItem], None]

_HEAD: Final = struct.Struct("<II")
_NOT_CREATED: Final = struct.Struct("<IIdI")
_NOT_MODIFIED: Final = struct.Struct("<IdI")
_GOOD: Final = uint32(0)
_DECODED_AT_ONCE: Final = 500
_AT_ONCE: Final = 100
"""Items between two places where others may have their turn."""


class ItemServices:
    """Answers the requests that are about monitored items."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (
            service("CreateMonitoredItems", self.create),
            service("ModifyMonitoredItems", self.modify),
            service("SetMonitoringMode", self.set_mode),
            service("SetTriggering", self.set_triggering),
            service("DeleteMonitoredItems", self.delete),
        )

    def _subscription(self, session: Session, reader: Reader) -> Subscription:
        subscription = self._engine.find(session, reader.uint32())
        subscription.touch()
        self._engine.recheck(subscription)
        return subscription

    # --- CreateMonitoredItems (§5.13.2)

    def create(self, session: Session, request: Request) -> Eventually:
        """CreateMonitoredItems."""
        reader = request.reader
        subscription = self._subscription(session, reader)
        timestamps = check_timestamps(reader.int32())
        count = _count(reader, SMALLEST_CREATE)
        access = access_of(session)
        negotiation = Negotiation(subscription, access, timestamps)
        return in_turns(self._create(subscription, access, negotiation, count, reader), request)

    def _create(
        self,
        subscription: Subscription,
        access: Access,
        negotiation: Negotiation,
        count: int,
        reader: Reader,
    ) -> Work:
        # All of the request is decoded before any of it is done: what cannot be decoded changes nothing.
        requests: list[PlainWanted | Wanted] = []
        decode = Decoder(reader, self._engine.space.find)
        while len(requests) < count:
            decode.add(requests, min(_DECODED_AT_ONCE, count - len(requests)))
            yield
        _still(subscription, access)
        results = [int32(count)]
        made: list[MonitoredItem] = []
        for index, wanted in enumerate(requests):
            try:
                item = self._make(subscription, access, negotiation, wanted)
            except ServiceFault as fault:
                results.append(_NOT_CREATED.pack(fault.code, 0, 0.0, 0) + NO_FILTER)
            except FilterRefused as refused:
                code = StatusCodes.BadEventFilterInvalid
                results.append(_NOT_CREATED.pack(code, 0, 0.0, 0) + refused.result)
            else:
                made.append(item)
                results.append(_HEAD.pack(0, item.id) + item.terms.result)
            if index % _AT_ONCE == _AT_ONCE - 1:
                yield
                self._check_still(subscription, access, made)
        results.append(NO_DIAGNOSTICS)
        return results

    def _check_still(self, subscription: Subscription, access: Access, made: list[MonitoredItem]) -> None:
        """As `_still`; what was made for rights that are no more goes with them."""
        try:
            _still(subscription, access)
        except ServiceFault:
            for item in made:
                if subscription.items.get(item.id) is not None:
                    self._delete(subscription, subscription.items[item.id])
            raise

    def _delete(self, subscription: Subscription, item: MonitoredItem) -> None:
        del subscription.items[item.id]
        item.stop()
        subscription.withdraw(item)
        for number in subscription.unlink(item.id):
            if (trigger := subscription.items.get(number)) is not None:
                replace(trigger)  # which is one no more
        self._engine.monitored_items -= 1
        self._engine.queued -= item.terms.cost

    def _make(
        self,
        subscription: Subscription,
        access: Access,
        negotiation: Negotiation,
        wanted: PlainWanted | Wanted,
    ) -> MonitoredItem:
        if isinstance(wanted, PlainWanted):
            node, handle, alike = wanted
            mode = alike.mode
            terms = negotiation.plain_terms(wanted)
            if terms is None:
                parts = alike.wanted._replace(node=node.key)
                node = check_node(subscription, access, parts)
                terms = negotiation.terms(node, parts)
                alike.by_floor[terms.floor] = terms
        else:
            mode, handle = monitoring_mode(wanted.mode), wanted.parameters.handle
            node = check_node(subscription, access, wanted)
            terms = negotiation.terms(node, wanted)
        return self._put(subscription, handle, node, terms, mode)

    def _put(
        self, subscription: Subscription, handle: bytes, node: Node, terms: Terms, mode: MonitoringMode
    ) -> MonitoredItem:
        engine = self._engine
        if len(subscription.items) >= MAX_MONITORED_ITEMS_PER_SUBSCRIPTION:
            raise ServiceFault(StatusCodes.BadTooManyMonitoredItems)
        while engine.monitored_items >= MAX_MONITORED_ITEMS:
            if not engine.make_room():
                raise ServiceFault(StatusCodes.BadTooManyMonitoredItems)
        item = make(subscription, subscription.next_item(), handle, node, terms, mode)
        subscription.items[item.id] = item
        engine.monitored_items += 1
        engine.queued += terms.cost
        item.start(None)
        return item

    # --- ModifyMonitoredItems (§5.13.3)

    def modify(self, session: Session, request: Request) -> Eventually:
        """ModifyMonitoredItems."""
        reader = request.reader
        subscription = self._subscription(session, reader)
        timestamps = check_timestamps(reader.int32())
        count = _count(reader, SMALLEST_MODIFY)
        wanted = [(reader.uint32(), read_parameters(reader)) for _ in range(count)]
        access = access_of(session)
        negotiation = Negotiation(subscription, access, timestamps)
        return in_turns(self._modify(subscription, access, negotiation, wanted), request)

    def _modify(
        self,
        subscription: Subscription,
        access: Access,
        negotiation: Negotiation,
        requests: list[tuple[int, Parameters]],
    ) -> Work:
        results = [int32(len(requests))]
        for index, (number, parameters) in enumerate(requests):
            try:
                item = self._change(subscription, negotiation, number, parameters)
            except ServiceFault as fault:
                results.append(_NOT_MODIFIED.pack(fault.code, 0.0, 0) + NO_FILTER)
            except FilterRefused as refused:
                results.append(_NOT_MODIFIED.pack(StatusCodes.BadEventFilterInvalid, 0.0, 0) + refused.result)
            else:
                results.append(_GOOD + item.terms.result)
            if index % _AT_ONCE == _AT_ONCE - 1:
                yield
                _still(subscription, access)
        results.append(NO_DIAGNOSTICS)
        return results

    def _change(
        self, subscription: Subscription, negotiation: Negotiation, number: int, parameters: Parameters
    ) -> MonitoredItem:
        item = _item(subscription, number)
        old = item.terms
        wanted = Wanted(item.node.key, old.attribute, old.index_range, old.encoding, item.mode, parameters)
        terms = negotiation.terms(item.node, wanted)
        self._engine.queued += terms.cost - old.cost
        return replace(item, handle=parameters.handle, terms=terms)

    # --- SetMonitoringMode, DeleteMonitoredItems (§5.13.4, §5.13.6)

    def set_mode(self, session: Session, request: Request) -> Eventually:
        """SetMonitoringMode."""
        reader = request.reader
        subscription = self._subscription(session, reader)
        mode = monitoring_mode(reader.int32())

        def apply(item: MonitoredItem) -> None:
            if item.mode is not mode:
                replace(item, mode=mode)

        return in_turns(_each(subscription, _numbers(reader), apply), request)

    def delete(self, session: Session, request: Request) -> Eventually:
        """DeleteMonitoredItems."""
        reader = request.reader
        subscription = self._subscription(session, reader)
        apply = partial(self._delete, subscription)
        return in_turns(_each(subscription, _numbers(reader), apply), request)

    # --- SetTriggering (§5.13.5)

    def set_triggering(self, session: Session, request: Request) -> Answer:
        """SetTriggering: links are removed first, then added."""
        reader = request.reader
        subscription = self._subscription(session, reader)
        number = reader.uint32()
        added = [reader.uint32() for _ in range(reader.count(4))]
        removed = [reader.uint32() for _ in range(reader.count(4))]
        if not added and not removed:
            raise ServiceFault(StatusCodes.BadNothingToDo)
        if len(added) + len(removed) > MAX_TRIGGER_LINKS:
            raise ServiceFault(StatusCodes.BadTooManyOperations)
        trigger = _item(subscription, number)
        subscription.settle(number)
        links = subscription.links
        had = number in links
        unknown = StatusCodes.BadMonitoredItemIdInvalid
        removals = [0 if links.remove(number, other) else unknown for other in removed]
        room = self._room_for_links(subscription)
        additions = []
        for other in added:
            if other not in subscription.items:
                additions.append(unknown)
            elif links.count >= room:
                additions.append(StatusCodes.BadResourceUnavailable)
            else:
                links.add(number, other)
                additions.append(0)
        if (number in links) is not had:
            # A trigger queues what it samples, even where others would not.
            replace(trigger)
        return encode_codes(additions) + NO_DIAGNOSTICS + encode_codes(removals) + NO_DIAGNOSTICS

    def _room_for_links(self, subscription: Subscription) -> int:
        """How many links a subscription may have now."""
        others = sum(other.links.count for other in self._engine.subscriptions.values())
        others -= subscription.links.count
        return min(MAX_TRIGGER_LINKS_PER_SUBSCRIPTION, MAX_TRIGGER_LINKS_IN_ALL - others)


def _each(subscription: Subscription, numbers: list[int], apply: _Apply) -> Work:
    codes = []
    for index, number in enumerate(numbers):
        item = subscription.items.get(number)
        if item is None:
            codes.append(StatusCodes.BadMonitoredItemIdInvalid)
        else:
            apply(item)
            codes.append(0)
        if index % _AT_ONCE == _AT_ONCE - 1:
            yield
            _still(subscription)
    return encode_codes(codes) + NO_DIAGNOSTICS


def _still(subscription: Subscription, access: Access | None = None) -> None:
    """Others had their turn: the subscription may be gone, or its session's rights be others.

    Raises ServiceFault.
    """
    if subscription.closed:
        raise ServiceFault(StatusCodes.BadSubscriptionIdInvalid)
    publishing = subscription.publishing
    if access is not None and (publishing is None or publishing.session.access is not access):
        raise ServiceFault(StatusCodes.BadUserAccessDenied, "the rights changed meanwhile")


def _item(subscription: Subscription, number: int) -> MonitoredItem:
    item = subscription.items.get(number)
    if item is None:
        raise ServiceFault(StatusCodes.BadMonitoredItemIdInvalid)
    return item


def _count(reader: Reader, smallest: int) -> int:
    count = reader.count(smallest)
    if not count:
        raise ServiceFault(StatusCodes.BadNothingToDo)
    if count > MAX_MONITORED_ITEMS_PER_CALL:
        raise ServiceFault(StatusCodes.BadTooManyOperations)
    return count


def _numbers(reader: Reader) -> list[int]:
    count = _count(reader, 4)
    return list(struct.unpack_from(f"<{count}I", reader.data, reader.skip(4 * count)))
