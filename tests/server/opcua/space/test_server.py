"""The Server object: its values are there, consistent and those that hold."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from support.clock import Clock
from support.spaces import NOBODY, World, read, variant_of

from nodesets.isa95 import ISA95
from server import __version__
from server.opcua import limits
from server.opcua.sessions.registry import Limits, Sessions
from server.opcua.space.node import Node
from server.opcua.space.server import ServerObject
from server.opcua.space.setting import declarations
from server.opcua.space.value import LiveValue, StoredValue
from server.opcua.subscriptions.engine import Engine
from server.opcua.transport.limits import LIMITS
from server.opcua.types import AttributeIds as A
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import split
from server.plant.model import Role
from server.plant.values import Point

STATUS = "Server_ServerStatus"
CAPABILITIES = "Server_ServerCapabilities"


@dataclasses.dataclass
class Shown:
    world: World
    server: ServerObject
    clock: Clock

    def value(self, name: str) -> Any:
        return self.world.value(getattr(ObjectIds, name))

    def stored(self, name: str) -> StoredValue:
        value = self.world.node(getattr(ObjectIds, name)).value
        assert isinstance(value, StoredValue)
        return value


def make() -> Shown:
    world, clock = World(), Clock()
    sessions, engine = Sessions(Limits(100, 10)), Engine(world.space)
    server = ServerObject(
        world.space, world.names, sessions=sessions, engine=engine, max_sessions=100, clock=clock
    )
    return Shown(world, server, clock)


@pytest.fixture(scope="module")
def shown() -> Shown:
    return make()


class Item:
    """A monitored item that counts."""

    def __init__(self) -> None:
        self.told = 0

    def changed(self) -> None:
        self.told += 1


def watch(value: StoredValue) -> Item:
    item: Any = Item()
    value.items = [item]
    return item  # type: ignore[no-any-return]


def test_the_status_and_its_parts_say_the_same(shown: Shown) -> None:
    status = shown.value(STATUS)
    assert status.State == ua.ServerState.Running == shown.value(f"{STATUS}_State")
    assert status.StartTime == shown.value(f"{STATUS}_StartTime")
    assert status.BuildInfo == shown.value(f"{STATUS}_BuildInfo")
    assert status.SecondsTillShutdown == shown.value(f"{STATUS}_SecondsTillShutdown") == 0
    reason = shown.value(STATUS).ShutdownReason
    assert reason == shown.value(f"{STATUS}_ShutdownReason") == ua.LocalizedText()
    assert abs(status.CurrentTime - datetime.now(UTC)) < timedelta(seconds=1)
    assert status.CurrentTime < shown.value(f"{STATUS}_CurrentTime")
    build = dataclasses.asdict(status.BuildInfo)
    assert build == {name: shown.value(f"{STATUS}_BuildInfo_{name}") for name in build}
    assert (build["ProductName"], build["SoftwareVersion"]) == ("Isthmus", __version__)


def test_a_shutdown_is_announced_and_counted_down() -> None:
    shown = make()
    state, left = shown.stored(f"{STATUS}_State"), shown.stored(f"{STATUS}_SecondsTillShutdown")
    watched = watch(state), watch(left)
    shown.server.tick()
    assert [item.told for item in watched] == [0, 0]
    shown.server.shut_down(2.5, "enough")
    assert [item.told for item in watched] == [1, 1]
    seen = []
    for _ in range(4):
        status = shown.value(STATUS)
        assert status.State == ua.ServerState.Shutdown == shown.value(f"{STATUS}_State")
        assert status.SecondsTillShutdown == shown.value(f"{STATUS}_SecondsTillShutdown")
        seen.append(status.SecondsTillShutdown)
        shown.clock.now += 1
        shown.server.tick()
    assert seen == [3, 2, 1, 0]
    reason = shown.value(STATUS).ShutdownReason
    assert reason == shown.value(f"{STATUS}_ShutdownReason") == ua.LocalizedText("enough")
    assert shown.value("Server_ServiceLevel") == 0


def test_the_server_names_itself_and_its_namespaces(shown: Shown) -> None:
    assert shown.value("Server_ServerArray") == ["urn:test:isthmus"]
    assert shown.value("Server_NamespaceArray") == list(shown.world.names.uris)
    assert shown.value("Server_ServiceLevel") == 255
    assert shown.value("Server_Auditing") is True
    assert shown.value("Server_ServerRedundancy_RedundancySupport") == 0
    version = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=shown.value("Server_UrisVersion"))
    assert abs(version - datetime.now(UTC)) < timedelta(seconds=60)
    assert shown.value("Server_LocalTime").Offset == time.localtime().tm_gmtoff // 60


LIMITS_SHOWN = {
    "MaxSessions": 100,
    "MaxSubscriptions": limits.MAX_SUBSCRIPTIONS,
    "MaxMonitoredItems": limits.MAX_MONITORED_ITEMS,
    "MaxSubscriptionsPerSession": limits.MAX_SUBSCRIPTIONS_PER_SESSION,
    "MaxMonitoredItemsPerSubscription": limits.MAX_MONITORED_ITEMS_PER_SUBSCRIPTION,
    "MaxSelectClauseParameters": limits.MAX_SELECT_CLAUSES,
    "MaxWhereClauseParameters": limits.MAX_WHERE_ELEMENTS,
    "MaxMonitoredItemsQueueSize": limits.MAX_MONITORED_ITEMS_QUEUE_SIZE,
    "MaxBrowseContinuationPoints": limits.MAX_BROWSE_CONTINUATION_POINTS,
    "MinSupportedSampleRate": limits.MIN_SAMPLING_INTERVAL,
    "MaxArrayLength": LIMITS.message,
    "MaxStringLength": LIMITS.message,
    "MaxByteStringLength": LIMITS.message,
    "OperationLimits_MaxNodesPerRead": limits.MAX_NODES_PER_READ,
    "OperationLimits_MaxNodesPerWrite": limits.MAX_NODES_PER_WRITE,
    "OperationLimits_MaxNodesPerMethodCall": limits.MAX_NODES_PER_METHOD_CALL,
    "OperationLimits_MaxNodesPerBrowse": limits.MAX_NODES_PER_BROWSE,
    "OperationLimits_MaxNodesPerRegisterNodes": limits.MAX_NODES_PER_REGISTER_NODES,
    "OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds": limits.MAX_NODES_PER_TRANSLATE,
    "OperationLimits_MaxMonitoredItemsPerCall": limits.MAX_MONITORED_ITEMS_PER_CALL,
    "LocaleIdArray": ["en"],
    "ServerProfileArray": [],
    "SoftwareCertificates": [],
}


@pytest.mark.parametrize("name", LIMITS_SHOWN)
def test_the_limits_shown_are_those_enforced(shown: Shown, name: str) -> None:
    assert shown.value(f"{CAPABILITIES}_{name}") == LIMITS_SHOWN[name]


def below(shown: Shown, top: Node) -> list[Node]:
    found, waiting = {top: True}, [top]
    while waiting:
        for child in shown.world.space.children(waiting.pop()):
            if child not in found and split(child.key)[0] in {0, 1}:
                found[child] = True
                waiting.append(child)
    return list(found)


def test_every_value_below_server_is_of_its_data_type_and_not_null(shown: Shown) -> None:
    empty = {"NamespaceVersion"}
    built_in = {"Duration": 11, "UtcTime": 13, "LocaleId": 12, "IdType": 6, "NumericRange": 12}
    checked = 0
    for node in below(shown, shown.world.node(ObjectIds.Server)):
        if node.node_class != 2 or isinstance(node.value, Point):
            continue
        checked += 1
        variant = variant_of(node)
        name = read(node, A.BrowseName).Name
        data_type = shown.world.space.nodes[node.attributes[A.DataType][1:]]
        number = split(data_type.key)[1]
        if isinstance(number, int) and number < 22:
            assert variant[0] & 0x3F == number, node
        expected = built_in.get(read(data_type, A.BrowseName).Name)
        assert expected is None or variant[0] & 0x3F == expected
        assert variant[0] & 0x3F, name
        assert bool(variant[0] & 0x80) is (read(node, A.ValueRank) == 1), name
        assert name in empty or shown.world.value(node) is not None, name
    assert checked > 60


def test_what_is_worked_out_when_read_says_how_often_that_makes_sense(shown: Shown) -> None:
    lives = [node for node in shown.world.space if isinstance(node.value, LiveValue)]
    assert len(lives) > 15
    for node in lives:
        assert read(node, A.MinimumSamplingInterval) == limits.MIN_SAMPLING_INTERVAL


def metadata(shown: Shown) -> dict[str, dict[str, Node]]:
    folder = shown.world.node(ObjectIds.Server_Namespaces)
    found = [declarations(shown.world.space, node) for node in shown.world.space.children(folder)]
    return {shown.world.value(held["NamespaceUri"]): held for held in found}


def test_every_namespace_has_its_metadata(shown: Shown) -> None:
    folder = shown.world.node(ObjectIds.Server_Namespaces)
    found = metadata(shown)
    assert set(found) == set(shown.world.names.uris)
    assert len(list(shown.world.space.children(folder))) == len(found)
    declared = declarations(shown.world.space, shown.world.node(ObjectIds.NamespaceMetadataType))
    needed = {"NamespaceUri", "NamespaceVersion", "NamespacePublicationDate", "IsNamespaceSubset"}
    needed |= {"StaticNodeIdTypes", "StaticNumericNodeIdRange", "StaticStringNodeIdPattern"}
    for uri, held in found.items():
        assert needed | {"DefaultRolePermissions", "DefaultAccessRestrictions"} <= set(held)
        for name, node in held.items():
            assert read(node, A.DataType) == read(declared[name], A.DataType), (uri, name)
        assert shown.world.value(held["DefaultAccessRestrictions"]) == 0
    for node in shown.world.space.children(folder):
        name = read(node, A.BrowseName)
        assert name.NamespaceIndex in {0, shown.world.names.index(name.Name)}
        assert node.type_definition is shown.world.node(ObjectIds.NamespaceMetadataType)


def test_metadata_of_a_nodeset_is_kept_and_completed(shown: Shown) -> None:
    held = metadata(shown)[ISA95]
    assert shown.world.value(held["NamespaceVersion"]) == "1.00"
    permissions = shown.world.value(held["DefaultRolePermissions"])
    assert {str(e.RoleId.Identifier): int(e.Permissions) for e in permissions}["15644"] == 33


def test_part_of_namespace_zero_is_served(shown: Shown) -> None:
    held = metadata(shown)["http://opcfoundation.org/UA/"]
    assert shown.world.value(held["IsNamespaceSubset"]) is True
    assert shown.world.value(held["NamespaceVersion"]) == "1.05.07"


def test_roles_tell_who_has_them() -> None:
    shown = make()
    shown.server.show_identities({"anna": frozenset({Role.Operator, Role.AuthenticatedUser})})

    def rules(role: str) -> list[tuple[str, str]]:
        found = shown.value(f"WellKnownRole_{role}_Identities")
        return [(rule.CriteriaType.name, rule.Criteria) for rule in found]

    assert rules("Operator") == [("UserName", "anna")]
    assert rules("Observer") == []
    assert rules("AuthenticatedUser") == [("AuthenticatedUser", "")]
    assert rules("Anonymous") == [("Anonymous", ""), ("AuthenticatedUser", "")]
    item = watch(shown.stored("WellKnownRole_Operator_Identities"))
    shown.server.show_identities({"anna": frozenset({Role.Operator})})
    assert item.told == 0
    shown.server.show_identities({})
    assert (item.told, rules("Operator")) == (1, [])


def test_who_has_a_role_is_for_administrators(shown: Shown) -> None:
    node = shown.world.node(ObjectIds.WellKnownRole_Operator_Identities)
    assert read(node, A.UserAccessLevel, NOBODY) == 0
    assert read(node, A.AccessRestrictions) == 3


def test_the_service_level_is_told() -> None:
    shown = make()
    item = watch(shown.stored("Server_ServiceLevel"))
    shown.server.set_service_level(199)
    assert (item.told, shown.value("Server_ServiceLevel")) == (1, 199)


def test_the_servers_values_need_no_more_than_one_change_of_the_model() -> None:
    world = World()
    before = world.space.generation
    engine = Engine(world.space)
    sessions = Sessions(Limits(100, 10))
    ServerObject(world.space, world.names, sessions=sessions, engine=engine, max_sessions=100)
    assert world.space.generation == before + 1
