"""Which kind of item it takes for what is asked of a node, and how one takes another's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.opcua.services.readvalue import BOTH, ReadValueId
from server.opcua.space.permissions import Access, Permission, RolePermissions
from server.opcua.space.value import LiveValue
from server.opcua.subscriptions.event_filter import EventFilter
from server.opcua.subscriptions.event_item import EventItem
from server.opcua.subscriptions.item import (
    REPORTING,
    MonitoredItem,
    MonitoringMode,
    PlainItem,
    TimedPlainItem,
)
from server.opcua.subscriptions.kinds import AttributeItem, LiveItem, PointItem, RefusedItem, StoredItem
from server.opcua.subscriptions.terms import VALUE, Terms
from server.opcua.types import AttributeIds, ServiceFault, StatusCodes
from server.plant.values import Point

if TYPE_CHECKING:
    from server.opcua.space.node import Node
    from server.opcua.subscriptions.subscription import Subscription

_ACCESS_LEVEL: Final = int(AttributeIds.AccessLevel)
_CURRENT_READ: Final = 0x01
_SEEN: Final = int(Permission.Browse)  # plain numbers: flags take ten times as long
_READ: Final = int(Permission.Browse | Permission.Read)


def make(
    subscription: Subscription, number: int, handle: bytes, node: Node, terms: Terms, mode: MonitoringMode
) -> MonitoredItem:
    """The item for a node that is there and may be read."""
    if isinstance(terms.filter, EventFilter):
        return EventItem(subscription, number, handle, node, terms, mode)
    value = node.value
    if terms.attribute != VALUE or value is None:
        return AttributeItem(subscription, number, handle, node, terms, mode)
    if isinstance(value, Point):
        if (
            terms.plain
            and terms.queue_size == 1
            and mode is REPORTING
            and (terms.sampling <= terms.floor or terms.sampling <= subscription.settings.interval)
            and number not in subscription.links
        ):
            kind = PlainItem if terms.timestamps == BOTH else TimedPlainItem
            return kind(subscription, number, handle, node, terms, value)
        return PointItem(subscription, number, handle, node, terms, mode, value)
    if isinstance(value, LiveValue):
        return LiveItem(subscription, number, handle, node, terms, mode, value)
    return StoredItem(subscription, number, handle, node, terms, mode, value)


def conceive(
    subscription: Subscription, number: int, handle: bytes, node: Node, terms: Terms, mode: MonitoringMode
) -> MonitoredItem:
    """The item as things stand now: for a node that is gone or not to be read, one that says so."""
    if isinstance(terms.filter, EventFilter):
        return EventItem(subscription, number, handle, node, terms, mode)
    access = subscription.access
    wanted = ReadValueId(node.key, terms.attribute, terms.index_range, terms.encoding)
    if access is None:
        return RefusedItem(subscription, number, handle, node, terms, mode, StatusCodes.BadUserAccessDenied)
    try:
        now = subscription.engine.values.check(access, wanted)
    except ServiceFault as fault:
        code = fault.code
        if code == StatusCodes.BadNodeIdUnknown and subscription.engine.space.find(node.key) is node:
            code = StatusCodes.BadUserAccessDenied  # it is there, and was no secret before
        return RefusedItem(subscription, number, handle, node, terms, mode, code)
    return make(subscription, number, handle, now, terms, mode)


def replace(
    old: MonitoredItem,
    *,
    handle: bytes | None = None,
    terms: Terms | None = None,
    mode: MonitoringMode | None = None,
) -> MonitoredItem:
    """Put another item in an item's place, for another request or because the model is another."""
    new = conceive(
        old.subscription,
        old.id,
        old.handle if handle is None else handle,
        old.node,
        old.terms if terms is None else terms,
        old.mode if mode is None else mode,
    )
    _succeed(old, new)
    return new


def reconsider(old: RefusedItem) -> None:
    """Put what was asked for in the place of a refusal whose reason is gone."""
    new = conceive(old.subscription, old.id, old.handle, old.node, old.terms, old.mode)
    if not (isinstance(new, RefusedItem) and new.source == old.source):
        _succeed(old, new)


def _succeed(old: MonitoredItem, new: MonitoredItem) -> None:
    subscription = old.subscription
    old.stop()
    subscription.withdraw(old)
    subscription.items[old.id] = new
    new.start(old)


class Visible:
    """What somebody may see, asked for many items at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._read: dict[RolePermissions, bool] = {}
        self._seen: dict[RolePermissions, bool] = {}

    def see(self, item: MonitoredItem) -> bool:
        """Whether the item may go on."""
        if item.terms.attribute == VALUE:
            return self.may_read(item.node)
        permissions = item.node.role_permissions
        found = self._seen.get(permissions)
        if found is None:
            found = self._seen[permissions] = permissions.of(self._access.roles) & _SEEN == _SEEN
        return found

    def may_read(self, node: Node) -> bool:
        """Whether the node's value may be read."""
        permissions = node.role_permissions
        found = self._read.get(permissions)
        if found is None:
            found = self._read[permissions] = permissions.of(self._access.roles) & _READ == _READ
        if not found:
            return False
        restrictions = node.access_restrictions
        if restrictions and not self._access.satisfies(restrictions):
            return False
        level = node.attributes.get(_ACCESS_LEVEL)
        return level is None or level[1] & _CURRENT_READ != 0
