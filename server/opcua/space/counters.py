"""What is counted of sessions and subscriptions as the structures of OPC 10000-5 §12.9 to §12.15."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from server.opcua.wire import structs, writer
from server.opcua.wire.nodeid import NULL
from sources.clock import TICKS_PER_SECOND, UNIX_EPOCH_TICKS

if TYPE_CHECKING:
    from server.opcua.sessions.session import Session
    from server.opcua.subscriptions.subscription import Subscription

SERVICES: Final = (
    "Read",
    "HistoryRead",
    "Write",
    "HistoryUpdate",
    "Call",
    "CreateMonitoredItems",
    "ModifyMonitoredItems",
    "SetMonitoringMode",
    "SetTriggering",
    "DeleteMonitoredItems",
    "CreateSubscription",
    "ModifySubscription",
    "SetPublishingMode",
    "Publish",
    "Republish",
    "TransferSubscriptions",
    "DeleteSubscriptions",
    "AddNodes",
    "AddReferences",
    "DeleteNodes",
    "DeleteReferences",
    "Browse",
    "BrowseNext",
    "TranslateBrowsePathsToNodeIds",
    "QueryFirst",
    "QueryNext",
    "RegisterNodes",
    "UnregisterNodes",
)
"""Those SessionDiagnosticsDataType counts, in its order."""

_FIXED_END: Final = struct.Struct("<dI")
_TIMES: Final = struct.Struct("<qqIII")
_PAIR: Final = struct.Struct("<II")
_UINT32: Final = struct.Struct("<I")
_COUNTERS: Final = struct.Struct(f"<{2 * len(SERVICES)}I")
_SUMMARY: Final = struct.Struct("<12I")
_SUBSCRIPTION: Final = struct.Struct("<IBdIII?23I")
_MOST: Final = 0xFFFFFFFF


class Summary(NamedTuple):
    """ServerDiagnosticsSummaryDataType (OPC 10000-5 §12.9), in its order."""

    server_views: int
    current_sessions: int
    cumulated_sessions: int
    security_rejected_sessions: int
    rejected_sessions: int
    session_timeouts: int
    session_aborts: int
    current_subscriptions: int
    cumulated_subscriptions: int
    publishing_intervals: int
    security_rejected_requests: int
    rejected_requests: int

    def body(self) -> bytes:
        """Encoded."""
        return _SUMMARY.pack(*map(_capped, self))


def _capped(value: int) -> int:
    return min(value, _MOST)


def clock_ticks(seconds: float) -> int:
    """A time of the wall clock in ticks."""
    return int(seconds * TICKS_PER_SECOND) + UNIX_EPOCH_TICKS


def _pair(session: Session, service: str) -> bytes:
    return _PAIR.pack(_capped(session.requests[service]), _capped(session.failures[service]))


class SessionRecord:
    """What is told of one session (OPC 10000-5 §12.11, §12.12), whole and in parts."""

    def __init__(self, session: Session) -> None:
        self.session = session
        about = session.about
        described = structs.encode(about.description) if about.description is not None else _NO_DESCRIPTION
        self._constant: Final[Mapping[str, bytes]] = {
            "SessionId": session.id,
            "SessionName": writer.string(session.name),
            "ClientDescription": described,
            "ServerUri": writer.string(about.server_uri),
            "EndpointUrl": writer.string(about.endpoint_url),
        }
        self._head: Final = b"".join(self._constant.values())

    def fields(self, held: Sequence[Subscription]) -> dict[str, bytes]:
        """Every field of its diagnostics, encoded; ``held`` are its subscriptions."""
        session = self.session
        numbers = self._numbers(held)
        services = {f"{name}Count": _pair(session, name) for name in SERVICES}
        return {
            **self._constant,
            "LocaleIds": writer.array([writer.string(locale) for locale in session.locales]),
            "ActualSessionTimeout": struct.pack("<d", session.timeout * 1000.0),
            "MaxResponseMessageSize": _UINT32.pack(_capped(session.about.max_response)),
            "ClientConnectionTime": writer.ticks(numbers[0]),
            "ClientLastContactTime": writer.ticks(numbers[1]),
            "CurrentSubscriptionsCount": _UINT32.pack(numbers[2]),
            "CurrentMonitoredItemsCount": _UINT32.pack(numbers[3]),
            "CurrentPublishRequestsInQueue": _UINT32.pack(numbers[4]),
            "TotalRequestCount": _PAIR.pack(*self._totals()),
            "UnauthorizedRequestCount": _UINT32.pack(_capped(session.unauthorized)),
            **services,
        }

    def body(self, held: Sequence[Subscription]) -> bytes:
        """Its diagnostics, encoded."""
        session = self.session
        counts: list[int] = []
        for name in SERVICES:
            counts += (_capped(session.requests[name]), _capped(session.failures[name]))
        return b"".join(
            (
                self._head,
                writer.array([writer.string(locale) for locale in session.locales]),
                _FIXED_END.pack(session.timeout * 1000.0, _capped(session.about.max_response)),
                _TIMES.pack(*self._numbers(held)),
                _PAIR.pack(*self._totals()),
                _UINT32.pack(_capped(session.unauthorized)),
                _COUNTERS.pack(*counts),
            )
        )

    def _totals(self) -> tuple[int, int]:
        return _capped(self.session.requests.total()), _capped(self.session.failures.total())

    def _numbers(self, held: Sequence[Subscription]) -> tuple[int, int, int, int, int]:
        """Connected, last heard of, subscriptions, monitored items, waiting Publish requests."""
        publishing = next((one.publishing for one in held if one.publishing is not None), None)
        return (
            clock_ticks(self.session.created),
            clock_ticks(round(self.session.contact, 2)),  # two readings of one moment are equal
            len(held),
            sum(len(one.items) for one in held),
            len(publishing) if publishing is not None else 0,
        )

    def security_fields(self) -> dict[str, bytes]:
        """Every field of its security diagnostics, encoded."""
        session = self.session
        identity = session.identity
        mechanism = identity.mechanism if identity is not None else None
        return {
            "SessionId": session.id,
            "ClientUserIdOfSession": writer.string(identity.user if identity is not None else None),
            "ClientUserIdHistory": writer.array([writer.string(user) for user in session.users]),
            "AuthenticationMechanism": writer.string(mechanism),
            "Encoding": writer.string("UA Binary"),
            "TransportProtocol": writer.string("opc.tcp"),
            "SecurityMode": writer.int32(session.channel.mode),
            "SecurityPolicyUri": writer.string(session.channel.policy_uri),
            "ClientCertificate": writer.byte_string(session.channel.certificate or None),
        }

    def security_body(self) -> bytes:
        """Its security diagnostics, encoded."""
        return b"".join(self.security_fields().values())


_NO_DESCRIPTION: Final = (
    writer.string(None) * 2
    + writer.localized_text(None)
    + writer.int32(1)  # ApplicationType Client
    + writer.string(None) * 2
    + writer.int32(-1)
)


def subscription_body(subscription: Subscription) -> bytes:
    """SubscriptionDiagnosticsDataType (OPC 10000-5 §12.15)."""
    counts, settings = subscription.counts, subscription.settings
    disabled = sum(item.mode == _DISABLED for item in subscription.items.values())
    numbers = (
        counts.modifications,
        counts.enables,
        counts.disables,
        counts.republish_requests,
        counts.republish_messages,
        counts.republished,
        counts.transfer_requests,
        counts.transferred_to_other,
        counts.transferred_to_same,
        counts.published,
        counts.data_changes,
        counts.events,
        counts.messages,
        counts.late,
        settings.keep_alive_count - subscription.keep_alive_left,
        settings.lifetime_count - subscription.lifetime_left,
        len(subscription.unacknowledged),
        counts.discarded,
        len(subscription.items),
        disabled,
        subscription.overflows,
        subscription.sequence,
        counts.event_overflows,
    )
    publishing = subscription.publishing
    return (publishing.session.id if publishing is not None else NULL) + _SUBSCRIPTION.pack(
        subscription.id,
        settings.priority,
        settings.interval,
        settings.keep_alive_count,
        settings.lifetime_count,
        settings.max_notifications,
        subscription.enabled,
        *map(_capped, numbers),
    )


_DISABLED: Final = 0
"""MonitoringMode (OPC 10000-4 §7.23)."""
