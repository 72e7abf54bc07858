"""The services that need a session: how each is decoded, who answers, how the answer is packed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from asyncua import ua

from server.opcua.types import ObjectIds

MAX_OPERATIONS: Final = 10_000
"""Operations of one call for what is light, and a tenth of it for what is not."""
MAX_HEAVY_OPERATIONS: Final = 1_000


class Service(NamedTuple):
    """One service. ``method`` of Services takes session and parameters; its result becomes ``field``."""

    parameters: type[Any]
    response: type[Any]
    field: str
    method: str
    operations: str = ""
    limit: int = MAX_OPERATIONS


SERVICES: Final[Mapping[int, Service]] = {
    ObjectIds.ReadRequest_Encoding_DefaultBinary: Service(
        ua.ReadParameters, ua.ReadResponse, "Results", "read", "NodesToRead"
    ),
    ObjectIds.WriteRequest_Encoding_DefaultBinary: Service(
        ua.WriteParameters, ua.WriteResponse, "Results", "write", "NodesToWrite", MAX_HEAVY_OPERATIONS
    ),
    ObjectIds.BrowseRequest_Encoding_DefaultBinary: Service(
        ua.BrowseParameters, ua.BrowseResponse, "Results", "browse", "NodesToBrowse", MAX_HEAVY_OPERATIONS
    ),
    ObjectIds.BrowseNextRequest_Encoding_DefaultBinary: Service(
        ua.BrowseNextParameters,
        ua.BrowseNextResponse,
        "Parameters.Results",
        "browse_next",
        "ContinuationPoints",
        MAX_HEAVY_OPERATIONS,
    ),
    ObjectIds.TranslateBrowsePathsToNodeIdsRequest_Encoding_DefaultBinary: Service(
        ua.TranslateBrowsePathsToNodeIdsParameters,
        ua.TranslateBrowsePathsToNodeIdsResponse,
        "Results",
        "translate",
        "BrowsePaths",
        MAX_HEAVY_OPERATIONS,
    ),
    ObjectIds.RegisterNodesRequest_Encoding_DefaultBinary: Service(
        ua.RegisterNodesParameters,
        ua.RegisterNodesResponse,
        "Parameters.RegisteredNodeIds",
        "register_nodes",
        "NodesToRegister",
    ),
    ObjectIds.UnregisterNodesRequest_Encoding_DefaultBinary: Service(
        ua.UnregisterNodesParameters,
        ua.UnregisterNodesResponse,
        "",
        "unregister_nodes",
        "NodesToUnregister",
    ),
    ObjectIds.CallRequest_Encoding_DefaultBinary: Service(
        ua.CallParameters, ua.CallResponse, "Results", "call", "MethodsToCall", MAX_HEAVY_OPERATIONS
    ),
    ObjectIds.CreateSubscriptionRequest_Encoding_DefaultBinary: Service(
        ua.CreateSubscriptionParameters, ua.CreateSubscriptionResponse, "Parameters", "create_subscription"
    ),
    ObjectIds.ModifySubscriptionRequest_Encoding_DefaultBinary: Service(
        ua.ModifySubscriptionParameters, ua.ModifySubscriptionResponse, "Parameters", "modify_subscription"
    ),
    ObjectIds.DeleteSubscriptionsRequest_Encoding_DefaultBinary: Service(
        ua.DeleteSubscriptionsParameters,
        ua.DeleteSubscriptionsResponse,
        "Results",
        "delete_subscriptions",
        "SubscriptionIds",
    ),
    ObjectIds.SetPublishingModeRequest_Encoding_DefaultBinary: Service(
        ua.SetPublishingModeParameters,
        ua.SetPublishingModeResponse,
        "Parameters.Results",
        "set_publishing_mode",
        "SubscriptionIds",
    ),
    ObjectIds.RepublishRequest_Encoding_DefaultBinary: Service(
        ua.RepublishParameters, ua.RepublishResponse, "NotificationMessage", "republish"
    ),
    ObjectIds.CreateMonitoredItemsRequest_Encoding_DefaultBinary: Service(
        ua.CreateMonitoredItemsParameters,
        ua.CreateMonitoredItemsResponse,
        "Results",
        "create_monitored_items",
        "ItemsToCreate",
    ),
    ObjectIds.ModifyMonitoredItemsRequest_Encoding_DefaultBinary: Service(
        ua.ModifyMonitoredItemsParameters,
        ua.ModifyMonitoredItemsResponse,
        "Results",
        "modify_monitored_items",
        "ItemsToModify",
    ),
    ObjectIds.SetMonitoringModeRequest_Encoding_DefaultBinary: Service(
        ua.SetMonitoringModeParameters,
        ua.SetMonitoringModeResponse,
        "Parameters.Results",
        "set_monitoring_mode",
        "MonitoredItemIds",
    ),
    ObjectIds.DeleteMonitoredItemsRequest_Encoding_DefaultBinary: Service(
        ua.DeleteMonitoredItemsParameters,
        ua.DeleteMonitoredItemsResponse,
        "Results",
        "delete_monitored_items",
        "MonitoredItemIds",
    ),
}


def pack(service: Service, result: object) -> Any:
    """The response with the result in its place."""
    response = service.response()
    if service.field:
        target, names = response, service.field.split(".")
        for name in names[:-1]:
            target = getattr(target, name)
        setattr(target, names[-1], result)
    return response
