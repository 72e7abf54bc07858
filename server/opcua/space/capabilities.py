"""What the server can do and how much (OPC 10000-5 §6.3.2, §6.3.11): each limit from where it is enforced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from server.opcua import limits
from server.opcua.space import encode
from server.opcua.space.setting import store
from server.opcua.space.space import Space
from server.opcua.transport.limits import LIMITS
from server.opcua.types import ObjectIds

LOCALES: Final = ("en",)

_PREFIX: Final = "Server_ServerCapabilities_"

_OPERATIONS: Final = {
    "MaxNodesPerRead": limits.MAX_NODES_PER_READ,
    "MaxNodesPerWrite": limits.MAX_NODES_PER_WRITE,
    "MaxNodesPerMethodCall": limits.MAX_NODES_PER_METHOD_CALL,
    "MaxNodesPerBrowse": limits.MAX_NODES_PER_BROWSE,
    "MaxNodesPerRegisterNodes": limits.MAX_NODES_PER_REGISTER_NODES,
    "MaxNodesPerTranslateBrowsePathsToNodeIds": limits.MAX_NODES_PER_TRANSLATE,
    "MaxMonitoredItemsPerCall": limits.MAX_MONITORED_ITEMS_PER_CALL,
}


def show_capabilities(space: Space, *, max_sessions: int, profiles: Sequence[str] = ()) -> None:
    """Give ServerCapabilities its values; ``profiles`` are the URIs of the profiles that are claimed."""
    values = {
        "ServerProfileArray": encode.strings(profiles),
        "LocaleIdArray": encode.strings(LOCALES),
        "SoftwareCertificates": encode.structures(0, ()),
        "MinSupportedSampleRate": encode.double(limits.MIN_SAMPLING_INTERVAL),
        "MaxBrowseContinuationPoints": encode.uint16(limits.MAX_BROWSE_CONTINUATION_POINTS),
        # Neither Query nor history is served, so nobody ever holds one.
        "MaxQueryContinuationPoints": encode.uint16(1),
        "MaxHistoryContinuationPoints": encode.uint16(1),
        # No message is larger, so nothing in it is.
        "MaxArrayLength": encode.uint32(LIMITS.message),
        "MaxStringLength": encode.uint32(LIMITS.message),
        "MaxByteStringLength": encode.uint32(LIMITS.message),
        "MaxSessions": encode.uint32(max_sessions),
        "MaxSubscriptions": encode.uint32(limits.MAX_SUBSCRIPTIONS),
        "MaxMonitoredItems": encode.uint32(limits.MAX_MONITORED_ITEMS),
        "MaxSubscriptionsPerSession": encode.uint32(limits.MAX_SUBSCRIPTIONS_PER_SESSION),
        "MaxMonitoredItemsPerSubscription": encode.uint32(limits.MAX_MONITORED_ITEMS_PER_SUBSCRIPTION),
        "MaxSelectClauseParameters": encode.uint32(limits.MAX_SELECT_CLAUSES),
        "MaxWhereClauseParameters": encode.uint32(limits.MAX_WHERE_ELEMENTS),
        "MaxMonitoredItemsQueueSize": encode.uint32(limits.MAX_MONITORED_ITEMS_QUEUE_SIZE),
    }
    values |= {f"OperationLimits_{name}": encode.uint32(limit) for name, limit in _OPERATIONS.items()}
    for name, variant in values.items():
        store(space, getattr(ObjectIds, _PREFIX + name), variant)
