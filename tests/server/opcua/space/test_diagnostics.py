"""What is counted, of the whole server and of each session, as clients read it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from asyncua import ua
from support.nodes import access
from support.sessions import NONE, FakeChannel, FakePeer
from support.spaces import World, decoded, kind, read, variant_of

from server.opcua.sessions.registry import Ending, Limits, Sessions
from server.opcua.sessions.session import About, Session
from server.opcua.space import encode
from server.opcua.space.node import Node
from server.opcua.space.server import ServerObject
from server.opcua.space.setting import declarations
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.settings import revise
from server.opcua.subscriptions.subscription import Subscription
from server.opcua.tokens import Identity
from server.opcua.types import AttributeIds as A
from server.opcua.types import ObjectIds
from server.opcua.wire import nodeid
from server.opcua.wire.reader import Reader
from server.plant.model import Role

DIAGNOSTICS = "Server_ServerDiagnostics"
SUMMARY = f"{DIAGNOSTICS}_ServerDiagnosticsSummary"
SESSIONS = f"{DIAGNOSTICS}_SessionsDiagnosticsSummary"


class Server:
    """A space with its Server object, sessions and subscriptions; nothing is on a network."""

    def __init__(self) -> None:
        self.world = World()
        self.sessions = Sessions(Limits(100, 10))
        self.engine = Engine(self.world.space)
        self.refused = (2, 5)
        ServerObject(
            self.world.space,
            self.world.names,
            sessions=self.sessions,
            engine=self.engine,
            max_sessions=100,
            rejected=lambda: self.refused,
        )

    def open(self, name: str = "SCADA", user: str = "anna") -> Session:
        channel = FakeChannel(b"certificate", "urn:policy", 3)
        peer: Any = FakePeer(channel)
        session = self.sessions.create(peer, channel.key, 60_000.0, name)
        client = ua.LocalizedText("Client")
        session.about = About(
            ua.ApplicationDescription(ApplicationUri="urn:client", ApplicationName=client),
            "urn:test:isthmus",
            "opc.tcp://here:4840",
            1000,
        )
        identity = Identity(user, frozenset({Role.Anonymous, Role.Operator}), cast("Any", object()))
        self.sessions.activate(session, peer, identity, access(Role.Operator))
        return session

    def subscribe(self, session: Session) -> Subscription:
        return self.engine.create(session, revise(500.0, 100, 10, 7, 3))

    def value(self, name: str) -> Any:
        return self.world.value(getattr(ObjectIds, name))

    def variant(self, name: str) -> bytes:
        return variant_of(self.world.node(getattr(ObjectIds, name)))

    def shown(self, session: Session) -> dict[str, Node]:
        return declarations(self.world.space, self.world.space.nodes[session.id])


@pytest.fixture
def server() -> Server:
    return Server()


def test_the_summary_and_its_parts_are_counted(server: Server) -> None:
    session = server.open()
    gone = server.open()
    server.sessions.close(gone, Ending.Timeout)
    server.subscribe(session)
    server.engine.delete(server.subscribe(session))
    server.sessions.counts.rejected, server.sessions.counts.security_rejected = 4, 3
    summary = dataclasses.asdict(server.value(SUMMARY))
    assert summary == {
        "ServerViewCount": 0,
        "CurrentSessionCount": 1,
        "CumulatedSessionCount": 2,
        "SecurityRejectedSessionCount": 3,
        "RejectedSessionCount": 4,
        "SessionTimeoutCount": 1,
        "SessionAbortCount": 0,
        "CurrentSubscriptionCount": 1,
        "CumulatedSubscriptionCount": 2,
        "PublishingIntervalCount": 1,
        "SecurityRejectedRequestsCount": 2,
        "RejectedRequestsCount": 5,
    }
    assert summary == {name: server.value(f"{SUMMARY}_{name}") for name in summary}
    assert server.value(f"{DIAGNOSTICS}_EnabledFlag") is True


def test_a_session_has_an_object_of_its_id_while_it_lasts(server: Server) -> None:
    space = server.world.space
    nodes = len(space)
    session = server.open()
    node = space.nodes[session.id]
    assert read(node, A.BrowseName) == ua.QualifiedName("SCADA", 1)
    assert read(node, A.DisplayName) == ua.LocalizedText("SCADA")
    assert node.type_definition is server.world.node(ObjectIds.SessionDiagnosticsObjectType)
    assert node in list(space.children(server.world.node(getattr(ObjectIds, SESSIONS))))
    assert set(server.shown(session)) == {
        "SessionDiagnostics",
        "SessionSecurityDiagnostics",
        "SubscriptionDiagnosticsArray",
    }
    server.sessions.close(session, Ending.Closed)
    assert len(space) == nodes
    assert server.value(f"{SESSIONS}_SessionDiagnosticsArray") == []


def test_a_session_nobody_has_activated_is_not_shown(server: Server) -> None:
    channel = FakeChannel()
    peer: Any = FakePeer(channel)
    session = server.sessions.create(peer, channel.key, 60_000.0)
    assert server.world.space.find(session.id) is None


def test_sessions_come_and_go_without_an_event(server: Server) -> None:
    quiet: list[bool] = []
    server.world.space.on_change(lambda _: quiet.append(server.world.space.quiet))
    server.sessions.close(server.open(), Ending.Closed)
    assert quiet == [True, True]


def test_many_sessions_leave_nothing_behind(server: Server) -> None:
    folder = server.world.node(getattr(ObjectIds, SESSIONS))
    nodes, links = len(server.world.space), len(folder.links)
    for _ in range(50):
        server.sessions.close(server.open(), Ending.Closed)
    assert len(server.world.space) == nodes
    assert len(folder.links) <= links + 9


def test_what_a_session_did_is_counted(server: Server) -> None:
    session = server.open()
    session.locales = ("de", "en")
    session.requests.update({"Read": 9, "Browse": 4, "UnregisterNodes": 1, "CreateSession": 1})
    session.failures.update({"Read": 2})
    session.unauthorized = 3
    subscription = server.subscribe(session)
    subscription.items.update({1: cast("Any", None), 2: cast("Any", None)})
    (told,) = server.value(f"{SESSIONS}_SessionDiagnosticsArray")
    assert nodeid.key_of(told.SessionId) == session.id
    assert told.SessionName == "SCADA"
    assert told.ClientDescription.ApplicationUri == "urn:client"
    assert (told.ServerUri, told.EndpointUrl) == ("urn:test:isthmus", "opc.tcp://here:4840")
    assert told.LocaleIds == ["de", "en"]
    assert (told.ActualSessionTimeout, told.MaxResponseMessageSize) == (60_000.0, 1000)
    for moment in (told.ClientConnectionTime, told.ClientLastContactTime):
        assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)
    assert told.CurrentSubscriptionsCount == 1
    assert told.CurrentMonitoredItemsCount == 2
    assert told.CurrentPublishRequestsInQueue == 0
    assert (told.TotalRequestCount.TotalCount, told.TotalRequestCount.ErrorCount) == (15, 2)
    assert told.UnauthorizedRequestCount == 3
    assert (told.ReadCount.TotalCount, told.ReadCount.ErrorCount) == (9, 2)
    assert (told.BrowseCount.TotalCount, told.WriteCount.TotalCount) == (4, 0)
    assert told.UnregisterNodesCount.TotalCount == 1
    assert server.world.value(server.shown(session)["SessionDiagnostics"]) == told


def test_each_field_of_a_session_has_a_variable(server: Server) -> None:
    session = server.open()
    session.requests.update({"Read": 9})
    server.subscribe(session)
    whole = server.shown(session)["SessionDiagnostics"]
    parts = declarations(server.world.space, whole)
    told = server.world.value(whole)
    fields = {field.name for field in dataclasses.fields(told)}
    assert set(parts) == fields
    for name, node in parts.items():
        found = server.world.value(node)
        if name != "ClientLastContactTime":
            assert (list(found) if isinstance(found, list) else found) == getattr(told, name), name
        data_type = nodeid.split(node.attributes[A.DataType][1:])[1]
        if isinstance(data_type, int) and data_type < 22:
            assert kind(variant_of(node)).value == data_type, name


def security(data: bytes) -> list[Any]:
    """The fields of a SessionSecurityDiagnosticsDataType, which asyncua decodes wrongly."""
    reader = Reader(data)
    found: list[Any] = [reader.key(), reader.string()]
    found.append([reader.string() for _ in range(reader.count(4))])
    found += [reader.string() for _ in range(3)]
    found += [reader.int32(), reader.string(), reader.byte_string()]
    assert reader.left == 0
    return found


def test_how_a_session_is_secured_is_told(server: Server) -> None:
    session = server.open()
    session.users = ["bert", "anna"]
    expected = [
        session.id,
        "anna",
        ["bert", "anna"],
        "UserName",
        "UA Binary",
        "opc.tcp",
        3,
        "urn:policy",
        b"certificate",
    ]
    reader = Reader(server.variant(f"{SESSIONS}_SessionSecurityDiagnosticsArray"), 1)
    assert reader.count(4) == 1
    number, body = reader.extension_object()
    assert number == nodeid.numeric(ObjectIds.SessionSecurityDiagnosticsDataType_Encoding_DefaultBinary)
    assert security(body or b"") == expected
    node = server.shown(session)["SessionSecurityDiagnostics"]
    assert Reader(variant_of(node), 1).extension_object() == (number, body)
    parts = declarations(server.world.space, node)
    values = [server.world.value(part) for part in parts.values()]
    assert len(values) == len(expected)
    by_name = {name: server.world.value(part) for name, part in parts.items()}
    assert by_name["ClientUserIdHistory"] == ["bert", "anna"]
    assert by_name["SecurityMode"] == 3
    assert by_name["ClientCertificate"] == b"certificate"
    assert by_name["Encoding"] == "UA Binary"


def test_how_a_session_is_secured_is_for_administrators_over_an_encrypted_channel(server: Server) -> None:
    session = server.open()
    secured = server.shown(session)["SessionSecurityDiagnostics"]
    array = server.world.node(getattr(ObjectIds, f"{SESSIONS}_SessionSecurityDiagnosticsArray"))
    admin = access(Role.SecurityAdmin)
    for node in (array, secured, *declarations(server.world.space, secured).values()):
        assert read(node, A.UserAccessLevel, admin) == 1
        assert read(node, A.UserAccessLevel, access(Role.SecurityAdmin, encrypted=False)) == 0
        assert read(node, A.UserAccessLevel, access(Role.Anonymous, Role.ConfigureAdmin)) == 0
    open_to_all = server.shown(session)["SessionDiagnostics"]
    assert read(open_to_all, A.UserAccessLevel, access(Role.Anonymous)) == 1


def test_subscriptions_are_told_of_in_all_and_by_session(server: Server) -> None:
    one, other = server.open(), server.open("MES")
    subscription = server.subscribe(one)
    server.subscribe(other)
    counts = subscription.counts
    for value, name in enumerate(counts.__slots__, 100):
        setattr(counts, name, value)
    subscription.overflows = 99
    every = server.value(f"{DIAGNOSTICS}_SubscriptionDiagnosticsArray")
    assert {nodeid.key_of(told.SessionId) for told in every} == {one.id, other.id}
    (told,) = server.world.value(server.shown(one)["SubscriptionDiagnosticsArray"])
    assert told in every
    assert told.SubscriptionId == subscription.id
    assert (told.Priority, told.PublishingInterval, told.PublishingEnabled) == (3, 500.0, True)
    assert (told.MaxKeepAliveCount, told.MaxLifetimeCount, told.MaxNotificationsPerPublish) == (10, 100, 7)
    assert told.ModifyCount == counts.modifications
    assert (told.EnableCount, told.DisableCount) == (counts.enables, counts.disables)
    assert told.RepublishRequestCount == counts.republish_requests
    assert told.RepublishMessageRequestCount == counts.republish_messages
    assert told.RepublishMessageCount == counts.republished
    assert told.TransferRequestCount == counts.transfer_requests
    assert told.TransferredToAltClientCount == counts.transferred_to_other
    assert told.TransferredToSameClientCount == counts.transferred_to_same
    assert told.PublishRequestCount == counts.published
    assert told.DataChangeNotificationsCount == counts.data_changes
    assert told.EventNotificationsCount == counts.events
    assert told.NotificationsCount == counts.messages
    assert told.LatePublishRequestCount == counts.late
    assert told.DiscardedMessageCount == counts.discarded
    assert told.EventQueueOverflowCount == counts.event_overflows
    assert told.MonitoringQueueOverflowCount == 99
    assert told.NextSequenceNumber == subscription.sequence == 1
    assert (told.MonitoredItemCount, told.DisabledMonitoredItemCount) == (0, 0)
    assert told.UnacknowledgedMessageCount == 0


def test_a_count_never_runs_over(server: Server) -> None:
    session = server.open()
    session.requests["Read"] = 1 << 40
    (told,) = server.value(f"{SESSIONS}_SessionDiagnosticsArray")
    assert told.ReadCount.TotalCount == told.TotalRequestCount.TotalCount == 0xFFFFFFFF


def test_an_anonymous_client_that_told_nothing_of_itself_is_shown(server: Server) -> None:
    channel = FakeChannel()
    peer: Any = FakePeer(channel)
    session = server.sessions.create(peer, channel.key, 60_000.0)
    identity = Identity("anonymous", frozenset({Role.Anonymous}))
    server.sessions.activate(session, peer, identity, access(Role.Anonymous))
    (told,) = server.value(f"{SESSIONS}_SessionDiagnosticsArray")
    assert told.ClientDescription.ApplicationUri is None
    assert told.ClientDescription.ApplicationType == ua.ApplicationType.Client
    node = server.shown(session)["SessionSecurityDiagnostics"]
    found = security(Reader(variant_of(node), 1).extension_object()[1] or b"")
    assert found[3] == "Anonymous"
    assert found[6:] == [1, NONE, None]


def test_plain_values_are_encoded_as_the_stack_would() -> None:
    t = ua.VariantType
    for made, value, of in (
        (encode.boolean(True), True, t.Boolean),
        (encode.byte(7), 7, t.Byte),
        (encode.uint16(7), 7, t.UInt16),
        (encode.int32(-7), -7, t.Int32),
        (encode.uint32(7), 7, t.UInt32),
        (encode.double(0.5), 0.5, t.Double),
        (encode.string("ä"), "ä", t.String),
        (encode.byte_string(b"x"), b"x", t.ByteString),
        (encode.strings(["a", None]), ["a", None], t.String),
        (encode.int32s([1, -2]), [1, -2], t.Int32),
        (encode.uint32s([1]), [1], t.UInt32),
        (encode.uint32s(None), None, t.UInt32),
    ):
        assert (decoded(made), kind(made)) == (value, of)
