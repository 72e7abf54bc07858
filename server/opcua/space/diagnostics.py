"""ServerDiagnostics: a summary, and an object for each session while it lasts (OPC 10000-5 §6.3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from server.opcua.space import encode
from server.opcua.space.counters import SERVICES, SessionRecord, Summary, subscription_body
from server.opcua.space.node import Node
from server.opcua.space.permissions import RolePermissions
from server.opcua.space.setting import OWN_NAMESPACE, Maker, declarations, live, name_of, own_key, store
from server.opcua.space.space import Space
from server.opcua.space.value import LiveValue
from server.opcua.types import ObjectIds
from server.opcua.wire import writer

if TYPE_CHECKING:
    from server.opcua.sessions.registry import SessionCounts
    from server.opcua.sessions.session import Session
    from server.opcua.subscriptions.subscription import Subscription

_SUMMARY: Final = "Server_ServerDiagnostics_ServerDiagnosticsSummary"
_SUMMARY_PARTS: Final = (
    "ServerViewCount",
    "CurrentSessionCount",
    "CumulatedSessionCount",
    "SecurityRejectedSessionCount",
    "RejectedSessionCount",
    "SessionTimeoutCount",
    "SessionAbortCount",
    "CurrentSubscriptionCount",
    "CumulatedSubscriptionCount",
    "PublishingIntervalCount",
    "SecurityRejectedRequestsCount",
    "RejectedRequestsCount",
)
"""In the order of `Summary`."""
_SESSION: Final = int(ObjectIds.SessionDiagnosticsDataType_Encoding_DefaultBinary)
_SECURITY: Final = int(ObjectIds.SessionSecurityDiagnosticsDataType_Encoding_DefaultBinary)
_SUBSCRIPTION: Final = int(ObjectIds.SubscriptionDiagnosticsDataType_Encoding_DefaultBinary)

_BUILT_IN: Final = {"LocaleIds": 0x8C, "ClientUserIdHistory": 0x8C, "ActualSessionTimeout": 11}
_BUILT_IN_BY_END: Final = (("Count", 7), ("Queue", 7), ("Size", 7), ("Time", 13), ("Id", 17), ("Mode", 6))
_STRUCTURES: Final = {
    "ClientDescription": int(ObjectIds.ApplicationDescription_Encoding_DefaultBinary),
    **dict.fromkeys(
        (f"{name}Count" for name in ("TotalRequest", *SERVICES)),
        int(ObjectIds.ServiceCounterDataType_Encoding_DefaultBinary),
    ),
}
_STRING, _BYTE_STRING = 12, 15


class SessionsSeen(Protocol):
    """What of all sessions is shown here; `sessions.registry.Sessions` is one."""

    @property
    def counts(self) -> SessionCounts:
        """Since the start."""
        ...

    @property
    def on_open(self) -> list[Callable[[Session], None]]:
        """Told of each session when it is activated first."""
        ...

    @property
    def on_close(self) -> list[Callable[[Session], None]]:
        """Told of each of those when it has ended."""
        ...

    def __iter__(self) -> Iterator[Session]: ...

    def __len__(self) -> int: ...


class SubscriptionsSeen(Protocol):
    """What of all subscriptions is shown here; `subscriptions.engine.Engine` is one."""

    @property
    def subscriptions(self) -> Mapping[int, Subscription]:
        """Those there are."""
        ...

    @property
    def created(self) -> int:
        """How many there were since the start."""
        ...


class Diagnostics:
    """Shows what is counted. Everything is worked out when it is read; nothing costs until then."""

    def __init__(
        self,
        space: Space,
        sessions: SessionsSeen,
        engine: SubscriptionsSeen,
        rejected: Callable[[], tuple[int, int]],
    ) -> None:
        """``rejected`` gives the requests refused for security, and all that were refused."""
        self._space = space
        self._sessions = sessions
        self._engine = engine
        self._rejected = rejected
        self._records: dict[Session, SessionRecord] = {}
        array = space.number(
            ObjectIds.Server_ServerDiagnostics_SessionsDiagnosticsSummary_SessionSecurityDiagnosticsArray
        )
        self._private: tuple[RolePermissions, int] = array.role_permissions, array.access_restrictions
        self._show()
        sessions.on_open.append(self.session_opened)
        sessions.on_close.append(self.session_closed)
        for session in sessions:
            self.session_opened(session)

    def _show(self) -> None:
        space = self._space
        summary = "Server_ServerDiagnostics_SessionsDiagnosticsSummary_Session"
        store(space, ObjectIds.Server_ServerDiagnostics_EnabledFlag, encode.TRUE)
        live(
            space,
            getattr(ObjectIds, _SUMMARY),
            lambda: encode.structure(
                ObjectIds.ServerDiagnosticsSummaryDataType_Encoding_DefaultBinary, self.summary().body()
            ),
        )
        for index, name in enumerate(_SUMMARY_PARTS):
            live(space, getattr(ObjectIds, f"{_SUMMARY}_{name}"), partial(self._of_summary, index))
        live(space, ObjectIds.Server_ServerDiagnostics_SubscriptionDiagnosticsArray, self._all_subscriptions)
        live(
            space,
            getattr(ObjectIds, f"{summary}DiagnosticsArray"),
            lambda: encode.structures(
                _SESSION, [record.body(self._held(session)) for session, record in self._records.items()]
            ),
        )
        live(
            space,
            getattr(ObjectIds, f"{summary}SecurityDiagnosticsArray"),
            lambda: encode.structures(
                _SECURITY, [record.security_body() for record in self._records.values()]
            ),
        )

    def summary(self) -> Summary:
        """What is counted of the whole server."""
        counts = self._sessions.counts
        current = self._engine.subscriptions
        security_rejected, rejected = self._rejected()
        return Summary(
            0,
            len(self._sessions),
            counts.cumulated,
            counts.security_rejected,
            counts.rejected,
            counts.timeouts,
            counts.aborts,
            len(current),
            self._engine.created,
            len({one.settings.interval for one in current.values()}),
            security_rejected,
            rejected,
        )

    def _of_summary(self, index: int) -> bytes:
        return encode.uint32(self.summary()[index])

    def _all_subscriptions(self) -> bytes:
        return encode.structures(_SUBSCRIPTION, map(subscription_body, self._engine.subscriptions.values()))

    def _held(self, session: Session) -> list[Subscription]:
        return [one for one in self._engine.subscriptions.values() if _is_of(one, session)]

    def session_opened(self, session: Session) -> None:
        """Show a session: its object is the node of its SessionId (OPC 10000-4 §5.7.2)."""
        if session in self._records:
            return
        record = self._records[session] = SessionRecord(session)
        space = self._space
        with space.changing(quiet=True):
            maker = Maker(space)
            parent = space.number(ObjectIds.Server_ServerDiagnostics_SessionsDiagnosticsSummary)
            name = writer.qualified_name(session.name, OWN_NAMESPACE)
            shown = maker.object(parent, session.id, name, ObjectIds.SessionDiagnosticsObjectType)
            declared = declarations(space, space.number(ObjectIds.SessionDiagnosticsObjectType))
            prefix = f"@sessions/{session.number}"
            self._add(
                maker,
                shown,
                declared["SessionDiagnostics"],
                prefix,
                lambda: encode.structure(_SESSION, record.body(self._held(session))),
                lambda: record.fields(self._held(session)),
            )
            self._add(
                maker,
                shown,
                declared["SessionSecurityDiagnostics"],
                prefix,
                lambda: encode.structure(_SECURITY, record.security_body()),
                record.security_fields,
                self._private,
            )
            maker.variable(
                shown,
                own_key(f"{prefix}.SubscriptionDiagnosticsArray"),
                declared["SubscriptionDiagnosticsArray"],
                LiveValue(
                    lambda: encode.structures(_SUBSCRIPTION, map(subscription_body, self._held(session)))
                ),
            )

    def _add(
        self,
        maker: Maker,
        parent: Node,
        declaration: Node,
        prefix: str,
        whole: Callable[[], bytes],
        fields: Callable[[], Mapping[str, bytes]],
        private: tuple[RolePermissions, int] | None = None,
    ) -> None:
        """A variable of a structure, and one for each of its fields."""
        permissions, restrictions = private or (declaration.role_permissions, 0)
        name = name_of(declaration)
        variable = maker.variable(
            parent, own_key(f"{prefix}.{name}"), declaration, LiveValue(whole), permissions, restrictions
        )
        parts = declarations(self._space, declaration)
        for part, node in (parts or declarations(self._space, _type_of(declaration))).items():
            maker.variable(
                variable,
                own_key(f"{prefix}.{name}.{part}"),
                node,
                LiveValue(partial(_part, fields, part)),
                permissions,
                restrictions,
            )

    def session_closed(self, session: Session) -> None:
        """Take its object out."""
        if self._records.pop(session, None) is None:
            return
        node = self._space.find(session.id)
        if node is not None:
            with self._space.changing(quiet=True):
                self._space.delete([one.key for one in self._space.owned(node)])


def _type_of(node: Node) -> Node:
    if node.type_definition is None:
        raise ValueError(f"{node} has no type")
    return node.type_definition


def _is_of(subscription: Subscription, session: Session) -> bool:
    publishing = subscription.publishing
    return publishing is not None and publishing.session is session


def _part(fields: Callable[[], Mapping[str, bytes]], name: str) -> bytes:
    return _variant(name, fields()[name])


def _variant(name: str, data: bytes) -> bytes:
    """A field as a Variant of its type; names end alike where types are alike."""
    encoding = _STRUCTURES.get(name)
    if encoding is not None:
        return encode.structure(encoding, data)
    if name == "ClientCertificate":
        return writer.variant(_BYTE_STRING, data)
    kind = _BUILT_IN.get(name)
    if kind is None:
        kind = next((kind for end, kind in _BUILT_IN_BY_END if name.endswith(end)), _STRING)
    return writer.variant(kind, data)
