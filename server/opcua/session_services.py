"""The services of a session, each refusing what is not its caller's to have (OPC 10000-4 §5)."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, cast

from asyncua import ua

# ua.DataChangeFilter is a subclass of what the decoder makes.
from asyncua.ua.uaprotocol_auto import DataChangeFilter

from server.opcua import reading
from server.opcua.access import PlantAccess, data_value
from server.opcua.session import Session
from server.opcua.types import GOOD, AttributeIds, ServiceFault, StatusCodes, status, utc_now

log = logging.getLogger(__name__)

MAX_CONTINUATION_POINTS: Final = 10
"""Browses of one session that may be unfinished at a time."""

MIN_PUBLISHING_INTERVAL: Final = 50.0
"""Milliseconds."""

_MAX_PUBLISHING_INTERVAL: Final = 3_600_000.0
_DEFAULT_PUBLISHING_INTERVAL: Final = 1000.0
_MAX_SUBSCRIPTIONS: Final = 50
_MAX_ITEMS: Final = 50_000
_MAX_QUEUE: Final = 1_000
_MIN_KEEP_ALIVE: Final = 1
_MAX_KEEP_ALIVE: Final = 5_000


class Space(Protocol):
    """The nodes."""

    def __contains__(self, node: ua.NodeId) -> bool:
        """Whether there is such a node."""
        ...

    def read_attribute_value(self, nodeid: ua.NodeId, attr: AttributeIds) -> ua.DataValue:
        """An attribute, or a Bad status that says why there is none."""
        ...


class Services:
    """Answers requests of sessions. The views and subscriptions it works with are the stack's."""

    def __init__(self, space: Space, views: Any, subscriptions: Any, access: PlantAccess) -> None:
        self._space = space
        self._views = views
        self._subscriptions = subscriptions
        self._access = access

    # --- Attribute service set

    async def read(self, session: Session, request: ua.ReadParameters) -> list[ua.DataValue]:
        """OPC 10000-4 §5.11.2."""
        reading.check_parameters(request)
        now = utc_now()
        found = []
        for wanted in request.NodesToRead:
            value = self._attribute(session, wanted.NodeId, wanted.AttributeId)
            found.append(reading.refined(value, wanted, request.TimestampsToReturn, now))
        return found

    def _attribute(self, session: Session, node: ua.NodeId, attribute: AttributeIds) -> ua.DataValue:
        point = self._access.point(node)
        if point is not None:
            if attribute == AttributeIds.Value:
                return data_value(point)
            if attribute == AttributeIds.UserAccessLevel:
                return ua.DataValue(self._access.user_access_level(session.caller(), point))
        return self._space.read_attribute_value(node, attribute)

    async def write(self, session: Session, request: ua.WriteParameters) -> list[ua.StatusCode]:
        """OPC 10000-4 §5.11.4: one after the other, in the order given."""
        caller = session.caller()
        results = []
        for value in request.NodesToWrite:
            known = self._space.read_attribute_value(value.NodeId, value.AttributeId).StatusCode
            code = known.value if known is not None else 0
            if code not in {StatusCodes.BadNodeIdUnknown, StatusCodes.BadAttributeIdInvalid}:
                code = await self._access.write(caller, value)
            results.append(status(code))
        return results

    # --- View service set

    async def browse(self, session: Session, request: ua.BrowseParameters) -> list[ua.BrowseResult]:
        """OPC 10000-4 §5.9.2."""
        if not request.View.ViewId.is_null():
            raise ServiceFault(StatusCodes.BadViewIdUnknown)
        limit = request.RequestedMaxReferencesPerNode
        return [self._browse(session, description, limit) for description in request.NodesToBrowse]

    def _browse(self, session: Session, description: ua.BrowseDescription, limit: int) -> ua.BrowseResult:
        if description.NodeId not in self._space:
            return _browse_result(StatusCodes.BadNodeIdUnknown)
        if description.BrowseDirection == ua.BrowseDirection.Invalid:
            return _browse_result(StatusCodes.BadBrowseDirectionInvalid)
        kind = description.ReferenceTypeId
        if not kind.is_null() and not self._is_reference_type(kind):
            return _browse_result(StatusCodes.BadReferenceTypeIdInvalid)
        (result,) = self._views.browse(ua.BrowseParameters(NodesToBrowse=[description]))
        return self._page(session, result.References, limit)

    def _is_reference_type(self, node: ua.NodeId) -> bool:
        found = self._space.read_attribute_value(node, AttributeIds.NodeClass).Value
        return found is not None and found.Value == ua.NodeClass.ReferenceType

    def _page(
        self, session: Session, references: list[ua.ReferenceDescription], limit: int
    ) -> ua.BrowseResult:
        if not limit or len(references) <= limit:
            return _browse_result(0, references)
        if len(session.continuation) >= MAX_CONTINUATION_POINTS:
            return _browse_result(StatusCodes.BadNoContinuationPoints)
        point = secrets.token_bytes(8)
        session.continuation[point] = references[limit:]
        session.page_size[point] = limit
        return _browse_result(0, references[:limit], point)

    async def browse_next(self, session: Session, request: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        """OPC 10000-4 §5.9.3."""
        results = []
        for point in request.ContinuationPoints:
            rest = session.continuation.pop(point or b"", None)
            limit = session.page_size.pop(point or b"", 0)
            if rest is None:
                results.append(_browse_result(StatusCodes.BadContinuationPointInvalid))
            elif request.ReleaseContinuationPoints:
                results.append(_browse_result(0))
            else:
                results.append(self._page(session, rest, limit))
        return results

    async def translate(
        self, _session: Session, request: ua.TranslateBrowsePathsToNodeIdsParameters
    ) -> list[ua.BrowsePathResult]:
        """OPC 10000-4 §5.9.4."""
        return [self._translate(path) for path in request.BrowsePaths]

    def _translate(self, path: ua.BrowsePath) -> ua.BrowsePathResult:
        code = 0
        if path.StartingNode not in self._space:
            code = StatusCodes.BadNodeIdUnknown
        elif not path.RelativePath.Elements:
            code = StatusCodes.BadNothingToDo
        elif not path.RelativePath.Elements[-1].TargetName.Name:
            code = StatusCodes.BadBrowseNameInvalid
        if code:
            return ua.BrowsePathResult(StatusCode=status(code))
        (result,) = self._views.translate_browsepaths_to_nodeids([path])
        return cast("ua.BrowsePathResult", result)

    async def register_nodes(self, _session: Session, request: ua.RegisterNodesParameters) -> list[ua.NodeId]:
        """OPC 10000-4 §5.9.5: a node's own NodeId is as quick as any."""
        if any(node not in self._space for node in request.NodesToRegister):
            raise ServiceFault(StatusCodes.BadNodeIdUnknown)
        return list(request.NodesToRegister)

    async def unregister_nodes(self, _session: Session, _request: ua.UnregisterNodesParameters) -> None:
        """OPC 10000-4 §5.9.6."""

    # --- Method service set

    async def call(self, _session: Session, request: ua.CallParameters) -> list[ua.CallMethodResult]:
        """OPC 10000-4 §5.12.2: no method of this version is executable."""
        return [
            ua.CallMethodResult(
                StatusCode=status(
                    StatusCodes.BadNotExecutable
                    if call.ObjectId in self._space and call.MethodId in self._space
                    else StatusCodes.BadNodeIdUnknown
                )
            )
            for call in request.MethodsToCall
        ]

    # --- MonitoredItem service set

    async def create_monitored_items(
        self, session: Session, request: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """OPC 10000-4 §5.13.2."""
        items = self._items(self._own(session, request.SubscriptionId))
        room = _MAX_ITEMS - len(items)
        refused: dict[int, int] = {}
        accepted: list[ua.MonitoredItemCreateRequest] = []
        for index, item in enumerate(request.ItemsToCreate):
            code = _item_status(item.ItemToMonitor, item.RequestedParameters.Filter)
            if code or len(accepted) >= room:
                refused[index] = code or StatusCodes.BadTooManyMonitoredItems
                continue
            item.RequestedParameters.QueueSize = _queue(
                item.RequestedParameters.QueueSize, item.ItemToMonitor.AttributeId
            )
            accepted.append(item)
        total = len(request.ItemsToCreate)
        request.ItemsToCreate = accepted
        made = iter(await self._subscriptions.create_monitored_items(request))
        return [
            ua.MonitoredItemCreateResult(StatusCode=status(refused[i])) if i in refused else next(made)
            for i in range(total)
        ]

    async def modify_monitored_items(
        self, session: Session, request: ua.ModifyMonitoredItemsParameters
    ) -> list[ua.MonitoredItemModifyResult]:
        """OPC 10000-4 §5.13.3."""
        items = self._items(self._own(session, request.SubscriptionId))
        results = []
        for change in request.ItemsToModify:
            item = items.get(change.MonitoredItemId)
            if item is None:
                code = StatusCodes.BadMonitoredItemIdInvalid
            else:
                code = _item_status(item.read_value_id, change.RequestedParameters.Filter)
            if item is None or code:
                results.append(ua.MonitoredItemModifyResult(StatusCode=status(code)))
                continue
            change.RequestedParameters.QueueSize = _queue(
                change.RequestedParameters.QueueSize, item.read_value_id.AttributeId
            )
            item.client_handle = change.RequestedParameters.ClientHandle
            one = ua.ModifyMonitoredItemsParameters(
                SubscriptionId=request.SubscriptionId, ItemsToModify=[change]
            )
            results += self._subscriptions.modify_monitored_items(one)
        return results

    async def set_monitoring_mode(
        self, session: Session, request: ua.SetMonitoringModeParameters
    ) -> list[ua.StatusCode]:
        """OPC 10000-4 §5.13.4."""
        self._own(session, request.SubscriptionId)
        return cast("list[ua.StatusCode]", await self._subscriptions.set_monitoring_mode(request))

    async def delete_monitored_items(
        self, session: Session, request: ua.DeleteMonitoredItemsParameters
    ) -> list[ua.StatusCode]:
        """OPC 10000-4 §5.13.6."""
        self._own(session, request.SubscriptionId)
        return cast("list[ua.StatusCode]", self._subscriptions.delete_monitored_items(request))

    # --- Subscription service set

    async def create_subscription(
        self, session: Session, request: ua.CreateSubscriptionParameters
    ) -> ua.CreateSubscriptionResult:
        """OPC 10000-4 §5.14.2."""
        if len(self._living(session)) >= _MAX_SUBSCRIPTIONS or session.owner is None:
            raise ServiceFault(StatusCodes.BadTooManySubscriptions)
        request.RequestedPublishingInterval = _interval(request.RequestedPublishingInterval)
        keep_alive = min(max(request.RequestedMaxKeepAliveCount, _MIN_KEEP_ALIVE), _MAX_KEEP_ALIVE)
        request.RequestedMaxKeepAliveCount = keep_alive
        # At least three times the keep-alive count, by the same clause.
        request.RequestedLifetimeCount = min(max(request.RequestedLifetimeCount, 3 * keep_alive), 15_000)
        owner: Any = session.owner
        result = await self._subscriptions.create_subscription(
            request, owner.forward_publish_response, session.id, request_callback=owner.get_publish_request
        )
        session.subscriptions.add(result.SubscriptionId)
        return cast("ua.CreateSubscriptionResult", result)

    async def modify_subscription(
        self, session: Session, request: ua.ModifySubscriptionParameters
    ) -> ua.ModifySubscriptionResult:
        """OPC 10000-4 §5.14.3: answers with the values it has; they are not changed."""
        self._own(session, request.SubscriptionId)
        return cast("ua.ModifySubscriptionResult", self._subscriptions.modify_subscription(request))

    async def delete_subscriptions(
        self, session: Session, request: ua.DeleteSubscriptionsParameters
    ) -> list[ua.StatusCode]:
        """OPC 10000-4 §5.14.8."""
        results = []
        for number in request.SubscriptionIds:
            if number not in self._living(session):
                results.append(status(StatusCodes.BadSubscriptionIdInvalid))
                continue
            session.subscriptions.discard(number)
            results += await self._subscriptions.delete_subscriptions([number])
        return results

    async def set_publishing_mode(
        self, session: Session, request: ua.SetPublishingModeParameters
    ) -> list[ua.StatusCode]:
        """OPC 10000-4 §5.14.4."""
        results = []
        for number in request.SubscriptionIds:
            if number not in self._living(session):
                results.append(status(StatusCodes.BadSubscriptionIdInvalid))
                continue
            one = ua.SetPublishingModeParameters(
                PublishingEnabled=request.PublishingEnabled, SubscriptionIds=[number]
            )
            results += await self._subscriptions.set_publishing_mode(one)
        return results

    async def republish(self, session: Session, request: ua.RepublishParameters) -> ua.NotificationMessage:
        """OPC 10000-4 §5.14.6: again and again, until it is acknowledged."""
        subscription = self._own(session, request.SubscriptionId)
        kept = subscription._not_acknowledged_results.get(request.RetransmitSequenceNumber)  # noqa: SLF001
        if kept is None:
            raise ServiceFault(StatusCodes.BadMessageNotAvailable)
        return cast("ua.NotificationMessage", kept.NotificationMessage)

    def acknowledge(
        self, session: Session, acknowledgements: Iterable[ua.SubscriptionAcknowledgement]
    ) -> tuple[int, list[ua.StatusCode]]:
        """What a Publish acknowledges; how many subscriptions the session has, and a status for each.

        Raises ServiceFault (BadNoSubscription).
        """
        living = self._living(session)
        if not living:
            raise ServiceFault(StatusCodes.BadNoSubscription)
        results = []
        for one in acknowledgements:
            code = 0
            if one.SubscriptionId not in living:
                code = StatusCodes.BadSubscriptionIdInvalid
            else:
                subscription = self._subscriptions.subscriptions[one.SubscriptionId]
                if one.SequenceNumber not in subscription._not_acknowledged_results:  # noqa: SLF001
                    code = StatusCodes.BadSequenceNumberUnknown
                subscription.publish([one.SequenceNumber])
            results.append(status(code))
        return len(living), results

    async def end(self, session: Session) -> None:
        """Delete what a session leaves behind."""
        living = self._living(session)
        session.subscriptions.clear()
        await self._subscriptions.delete_subscriptions(living)

    def _living(self, session: Session) -> list[int]:
        session.subscriptions.intersection_update(self._subscriptions.subscriptions)
        return sorted(session.subscriptions)

    def _own(self, session: Session, number: int) -> Any:
        if number not in session.subscriptions or number not in self._subscriptions.subscriptions:
            raise ServiceFault(StatusCodes.BadSubscriptionIdInvalid)
        return self._subscriptions.subscriptions[number]

    @staticmethod
    def _items(subscription: Any) -> dict[int, Any]:
        return cast("dict[int, Any]", subscription.monitored_item_srv._monitored_items)  # noqa: SLF001


def _browse_result(
    code: int, references: Sequence[ua.ReferenceDescription] = (), point: bytes | None = None
) -> ua.BrowseResult:
    made = cast("Any", ua.BrowseResult)(
        StatusCode=status(code) if code else GOOD, ContinuationPoint=point, References=list(references)
    )
    return cast("ua.BrowseResult", made)


def _interval(requested: float) -> float:
    if not math.isfinite(requested):
        return _DEFAULT_PUBLISHING_INTERVAL
    return min(max(requested, MIN_PUBLISHING_INTERVAL), _MAX_PUBLISHING_INTERVAL)


def _queue(requested: int, attribute: AttributeIds) -> int:
    """A queue of 0 means one value, and for events as many as we keep (OPC 10000-4 §7.21)."""
    if attribute == AttributeIds.EventNotifier:
        return min(requested, _MAX_QUEUE) or _MAX_QUEUE
    return min(max(requested, 1), _MAX_QUEUE)


def _item_status(wanted: ua.ReadValueId, given: object) -> int:
    """Refuses what would be served wrongly: a filter or range that is not honoured."""
    is_null = given is None or (isinstance(given, ua.ExtensionObject) and given.TypeId.is_null())
    if wanted.AttributeId == AttributeIds.EventNotifier:
        return 0 if isinstance(given, ua.EventFilter) else StatusCodes.BadMonitoredItemFilterInvalid
    if wanted.IndexRange:
        return StatusCodes.BadIndexRangeInvalid
    if is_null:
        return 0
    if not isinstance(given, DataChangeFilter):
        return StatusCodes.BadMonitoredItemFilterInvalid
    if given.DeadbandType != ua.DeadbandType.None_:
        return StatusCodes.BadMonitoredItemFilterUnsupported
    return 0
