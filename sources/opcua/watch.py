"""The subscription that watches the server itself: its namespaces and its model."""

from __future__ import annotations

import logging
from typing import Any, Final

from sources.opcua import wire
from sources.opcua.connection import MOST_LOOKED_INTO
from sources.opcua.items import item
from sources.opcua.kept import Subscription
from sources.opcua.live import Live
from sources.opcua.stack import status_name, ua
from sources.opcua.subscribe import create
from sources.opcua.values import decoded
from sources.quality import is_bad

log = logging.getLogger(__name__)

_WATCH: Final = 1.0
"""Seconds between two looks at the server itself."""
_NAMESPACES, _MODEL = 0, 1
"""Client handles in the subscription."""


class Watch:
    """Looks out for whatever makes the nodes others than they were."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def subscribe(self) -> Subscription:
        """Watch the server itself. A server that has no such events is not watched for them."""
        subscription = await create(self._live, None, _WATCH)
        self._live.add(subscription)
        model = ua.EventFilter(
            SelectClauses=[
                ua.SimpleAttributeOperand(
                    TypeDefinitionId=ua.NodeId(ua.ObjectIds.BaseEventType),
                    BrowsePath=[ua.QualifiedName("EventType", 0)],
                    AttributeId=ua.AttributeIds.Value,
                )
            ],
            WhereClause=ua.ContentFilter(
                Elements=[
                    ua.ContentFilterElement(
                        FilterOperator=ua.FilterOperator.Or,
                        FilterOperands=[ua.ElementOperand(Index=1), ua.ElementOperand(Index=2)],
                    ),
                    _of_type(ua.ObjectIds.GeneralModelChangeEventType),
                    # Some servers take no subtype for its supertype.
                    _of_type(ua.ObjectIds.BaseModelChangeEventType),
                ]
            ),
        )
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ItemsToCreate = [
            item(ua.NodeId(ua.ObjectIds.Server_NamespaceArray), _NAMESPACES, _WATCH * 1000, 1, None),
            item(
                ua.NodeId(ua.ObjectIds.Server), _MODEL, 0, 100, model, attribute=ua.AttributeIds.EventNotifier
            ),
        ]
        response = await self._live.connection.ask(request, ua.CreateMonitoredItemsResponse)
        for result in response.Results or []:
            if is_bad(int(result.StatusCode.value)):
                log.debug(
                    "%s: the device is not watched for changes of its model: %s",
                    self._live.device.name,
                    status_name(int(result.StatusCode.value)),
                )
        return subscription

    async def tell(self, subscription: Subscription, notification: wire.Notification) -> None:
        """The server itself: other namespaces, or a GeneralModelChangeEvent."""
        if wire.is_event(notification):
            self._live.changed("its model has changed")
        elif wire.is_data_change(notification):
            found = await decoded(subscription, notification.body, wire.changes)
            for handle, value in zip(found.handles, found.values, strict=True):
                if handle == _NAMESPACES and isinstance(value, bytes):
                    if len(value) > MOST_LOOKED_INTO:
                        self._live.device.plan = None
                        raise wire.Malformed(f"a NamespaceArray of {len(value)} bytes")
                    try:
                        names = tuple(ua_strings(value))
                    except wire.Malformed:
                        continue
                    if names != self._live.connection.namespaces:
                        self._live.renamed(names)


def _of_type(number: int) -> Any:
    operand = ua.LiteralOperand(Value=ua.Variant(ua.NodeId(number), ua.VariantType.NodeId))
    return ua.ContentFilterElement(FilterOperator=ua.FilterOperator.OfType, FilterOperands=[operand])


def ua_strings(encoded: bytes) -> list[str]:
    """The texts of a Variant of an array of String. Raises Malformed."""
    if encoded[0] != wire.ARRAY | 12:
        raise wire.Malformed("no array of String")
    count = int.from_bytes(encoded[1:5], "little", signed=True)
    at, found = 5, []
    for _ in range(count):
        size = int.from_bytes(encoded[at : at + 4], "little", signed=True)
        found.append(encoded[at + 4 : at + 4 + max(size, 0)].decode("utf-8", "replace"))
        at += 4 + max(size, 0)
    return found
