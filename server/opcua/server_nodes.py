"""The values of the Server object (OPC 10000-5 §6.3): what this server is and can."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from asyncua import ua

from server import __version__
from server.opcua.channel import MAX_MESSAGE
from server.opcua.dispatch import MAX_HEAVY_OPERATIONS, MAX_OPERATIONS
from server.opcua.endpoints import PRODUCT_URI
from server.opcua.session_services import MAX_CONTINUATION_POINTS, MIN_PUBLISHING_INTERVAL
from server.opcua.types import ObjectIds

_T: Final = ua.VariantType
_NO_DATE: Final = datetime(1601, 1, 1, tzinfo=UTC)
_CAPABILITIES: Final = "Server_ServerCapabilities_"
_LIMITS: Final = "Server_ServerCapabilities_OperationLimits_"

_OPERATIONS: Final = {
    "MaxNodesPerRead": MAX_OPERATIONS,
    "MaxNodesPerWrite": MAX_HEAVY_OPERATIONS,
    "MaxNodesPerMethodCall": MAX_HEAVY_OPERATIONS,
    "MaxNodesPerBrowse": MAX_HEAVY_OPERATIONS,
    "MaxNodesPerRegisterNodes": MAX_OPERATIONS,
    "MaxNodesPerTranslateBrowsePathsToNodeIds": MAX_HEAVY_OPERATIONS,
    "MaxMonitoredItemsPerCall": MAX_OPERATIONS,
    # Services that are not served; 0 would mean that there is no limit.
    "MaxNodesPerNodeManagement": 1,
    "MaxNodesPerHistoryReadData": 1,
    "MaxNodesPerHistoryReadEvents": 1,
    "MaxNodesPerHistoryUpdateData": 1,
    "MaxNodesPerHistoryUpdateEvents": 1,
}


def build_info() -> ua.BuildInfo:
    """BuildInfo (OPC 10000-5 §12.4)."""
    made = cast("Any", ua.BuildInfo)(
        ProductUri=PRODUCT_URI,
        ManufacturerName="Isthmus",
        ProductName="Isthmus",
        SoftwareVersion=__version__,
        BuildNumber=__version__,
        BuildDate=_NO_DATE,
    )
    return cast("ua.BuildInfo", made)


def server_status(
    state: ua.ServerState, started: datetime, now: datetime, *, seconds_till_shutdown: int = 0
) -> dict[int, ua.Variant]:
    """ServerStatus and its parts, by node (OPC 10000-5 §12.10)."""
    info = build_info()
    reason = ua.LocalizedText("The server is being stopped") if seconds_till_shutdown else ua.LocalizedText()
    whole = cast("Any", ua.ServerStatusDataType)(
        StartTime=started,
        CurrentTime=now,
        State=state,
        BuildInfo=info,
        SecondsTillShutdown=seconds_till_shutdown,
        ShutdownReason=reason,
    )
    return {
        ObjectIds.Server_ServerStatus: ua.Variant(whole, _T.ExtensionObject),
        ObjectIds.Server_ServerStatus_StartTime: ua.Variant(started, _T.DateTime),
        ObjectIds.Server_ServerStatus_CurrentTime: ua.Variant(now, _T.DateTime),
        ObjectIds.Server_ServerStatus_State: ua.Variant(int(state), _T.Int32),
        ObjectIds.Server_ServerStatus_BuildInfo: ua.Variant(info, _T.ExtensionObject),
        ObjectIds.Server_ServerStatus_BuildInfo_ProductUri: ua.Variant(info.ProductUri, _T.String),
        ObjectIds.Server_ServerStatus_BuildInfo_ManufacturerName: ua.Variant(
            info.ManufacturerName, _T.String
        ),
        ObjectIds.Server_ServerStatus_BuildInfo_ProductName: ua.Variant(info.ProductName, _T.String),
        ObjectIds.Server_ServerStatus_BuildInfo_SoftwareVersion: ua.Variant(info.SoftwareVersion, _T.String),
        ObjectIds.Server_ServerStatus_BuildInfo_BuildNumber: ua.Variant(info.BuildNumber, _T.String),
        ObjectIds.Server_ServerStatus_BuildInfo_BuildDate: ua.Variant(info.BuildDate, _T.DateTime),
        ObjectIds.Server_ServerStatus_SecondsTillShutdown: ua.Variant(seconds_till_shutdown, _T.UInt32),
        ObjectIds.Server_ServerStatus_ShutdownReason: ua.Variant(reason, _T.LocalizedText),
    }


def constants(application_uri: str, namespaces: Sequence[str], max_sessions: int) -> dict[int, ua.Variant]:
    """What does not change while the server runs, by node."""
    named: dict[str, ua.Variant] = {
        "Server_ServerArray": _array([application_uri], _T.String),
        "Server_NamespaceArray": _array(list(namespaces), _T.String),
        "Server_ServiceLevel": ua.Variant(255, _T.Byte),
        "Server_Auditing": ua.Variant(False, _T.Boolean),
        "Server_ServerDiagnostics_EnabledFlag": ua.Variant(False, _T.Boolean),
        "Server_ServerRedundancy_RedundancySupport": ua.Variant(0, _T.Int32),
        # No profile is claimed before the conformance tests have been run.
        f"{_CAPABILITIES}ServerProfileArray": _array([], _T.String),
        f"{_CAPABILITIES}LocaleIdArray": _array(["en"], _T.String),
        f"{_CAPABILITIES}SoftwareCertificates": _array([], _T.ExtensionObject),
        f"{_CAPABILITIES}MinSupportedSampleRate": ua.Variant(MIN_PUBLISHING_INTERVAL, _T.Double),
        f"{_CAPABILITIES}MaxBrowseContinuationPoints": ua.Variant(MAX_CONTINUATION_POINTS, _T.UInt16),
        f"{_CAPABILITIES}MaxQueryContinuationPoints": ua.Variant(1, _T.UInt16),
        f"{_CAPABILITIES}MaxHistoryContinuationPoints": ua.Variant(1, _T.UInt16),
        f"{_CAPABILITIES}MaxArrayLength": ua.Variant(MAX_MESSAGE, _T.UInt32),
        f"{_CAPABILITIES}MaxStringLength": ua.Variant(MAX_MESSAGE, _T.UInt32),
        f"{_CAPABILITIES}MaxByteStringLength": ua.Variant(MAX_MESSAGE, _T.UInt32),
        f"{_CAPABILITIES}MaxSessions": ua.Variant(max_sessions, _T.UInt32),
    }
    named |= {f"{_LIMITS}{name}": ua.Variant(limit, _T.UInt32) for name, limit in _OPERATIONS.items()}
    return {getattr(ObjectIds, name): value for name, value in named.items() if hasattr(ObjectIds, name)}


def _array(values: list[Any], kind: ua.VariantType) -> ua.Variant:
    return ua.Variant(values, kind, is_array=True)
