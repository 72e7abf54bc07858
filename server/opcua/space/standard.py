"""Namespace 0 in the address space: all types, and of the server's own nodes those that work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from nodesets.standard import StandardNode, StandardNodeSet
from server.opcua.space import defaults, encode
from server.opcua.space.node import Node
from server.opcua.space.permissions import RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds, ObjectIds
from server.opcua.wire import writer
from server.opcua.wire.nodeid import Key, numeric
from sources.clock import now

_OBJECT, _VARIABLE, _METHOD, _VARIABLE_TYPE = 1, 2, 4, 16
_SUBSCRIBE_TO_EVENTS: Final = 0x01
_READABLE: Final = encode.byte(0x01)
_CAPABILITIES: Final = "Server_ServerCapabilities"
_OPERATION_LIMITS: Final = f"{_CAPABILITIES}_OperationLimits_MaxNodesPer"
_ROLES: Final = ("Anonymous", "AuthenticatedUser", "Observer", "Operator", "Engineer", "Supervisor")
_ADMINISTRATORS: Final = ("ConfigureAdmin", "SecurityAdmin")

NOT_SERVED: Final = (
    "Aliases",
    "Locations",
    "Quantities",
    "Dictionaries",
    "Resources",
    "ServerConfiguration",
    "PublishSubscribe",
    "UserManagement",
    "KeyCredentialConfiguration",
    "AuthorizationServices",
    "ManagedApplications",
    "ProvisionableDevice",
    "Logs",
    "ServerLog",
    "DefaultHAConfiguration",
    "DefaultHEConfiguration",
    "Server_EstimatedReturnTime",
    "Server_ServerRedundancy_RedundantServerArray",
    "Server_ServerDiagnostics_SamplingIntervalDiagnosticsArray",
    "HistoryServerCapabilities",
    f"{_CAPABILITIES}_ConformanceUnits",
    f"{_OPERATION_LIMITS}NodeManagement",
    f"{_OPERATION_LIMITS}HistoryReadData",
    f"{_OPERATION_LIMITS}HistoryReadEvents",
    f"{_OPERATION_LIMITS}HistoryUpdateData",
    f"{_OPERATION_LIMITS}HistoryUpdateEvents",
    "OPCUANamespaceMetadata_DefaultUserRolePermissions",
    "WellKnownRole_TrustedApplication",
    "WellKnownRole_SecurityKeyServerAdmin",
    "WellKnownRole_SecurityKeyServerPush",
    "WellKnownRole_SecurityKeyServerAccess",
)
"""Optional nodes without anything behind them, by symbolic name: they go with all that hangs on them.

DefaultUserRolePermissions would be a value of its own for each user; UserRolePermissions
of every node says the same.
"""

_IDENTITIES: Final = writer.qualified_name("Identities")
_INSTANCES: Final = frozenset({_OBJECT, _VARIABLE, _METHOD})
_LEADING: Final = (ObjectIds.HierarchicalReferences, ObjectIds.HasEncoding, ObjectIds.HasDescription)
_MODELLING_RULES: Final = (78, 80, 83, 11508, 11510)


def add_standard(space: Space, nodeset: StandardNodeSet, methods: Collection[Key]) -> None:
    """Add namespace 0. Of the methods of its objects only ``methods`` stay: those that are served.

    Nothing of it can be written. Values that the standard leaves open are null until the
    server's own are set.
    """
    _Standard(space, methods).add(nodeset)


class _Standard:
    def __init__(self, space: Space, methods: Collection[Key]) -> None:
        self._space = space
        self._methods = methods
        self._time = now()
        self._null = StoredValue(writer.NULL_VARIANT, 0, self._time)
        self._attributes: dict[int, Mapping[int, bytes]] = {}
        self._permissions: dict[int, RolePermissions] = {}

    def add(self, nodeset: StandardNodeSet) -> None:
        space = self._space
        with space.changing():
            by_number = {}
            for row in nodeset.nodes:
                node = by_number[row.number] = self._node(row)
                space.add(node)
            for source, kind, target in nodeset.references:
                space.link(by_number[source], by_number[kind], by_number[target])
            self._list_modelling_rules()
            for audited in space.subtypes(space.number(ObjectIds.AuditEventType)):
                audited.role_permissions = defaults.AUDIT_EVENT
            self._prune()

    def _node(self, row: StandardNode) -> Node:
        value = None
        if row.value is not None:
            value = StoredValue(row.value, 0, self._time)
        elif row.node_class in {_VARIABLE, _VARIABLE_TYPE}:
            value = self._null
        return Node(
            numeric(row.number),
            row.node_class,
            writer.qualified_name(row.browse_name),
            writer.localized_text(row.display_name),
            self._read_only(row.attributes),
            self._permissions_of(row),
            row.access_restrictions,
            value,
        )

    def _read_only(self, given: Mapping[int, bytes]) -> Mapping[int, bytes]:
        if given.get(AttributeIds.AccessLevel, _READABLE) == _READABLE:
            return given
        found = self._attributes.get(id(given))
        if found is None:
            found = self._attributes[id(given)] = {**given, AttributeIds.AccessLevel: _READABLE}
        return found

    def _permissions_of(self, row: StandardNode) -> RolePermissions:
        own = row.role_permissions
        if own is None:
            notifier = row.attributes.get(AttributeIds.EventNotifier)
            hears = notifier is not None and notifier[1] & _SUBSCRIBE_TO_EVENTS
            return defaults.NOTIFIER if hears else defaults.STANDARD
        found = self._permissions.get(id(own))
        if found is None:
            entries = {numeric(role): given for role, given in own.items()}
            found = self._permissions[id(own)] = RolePermissions(entries)
        return found

    def _list_modelling_rules(self) -> None:
        folder = self._space.number(ObjectIds.Server_ServerCapabilities_ModellingRules)
        for rule in _MODELLING_RULES:
            self._space.link(folder, self._space.number(ObjectIds.HasComponent), self._space.number(rule))

    def _prune(self) -> None:
        """Take out what is not served."""
        space = self._space
        for name in NOT_SERVED:
            self._drop(space.find(numeric(getattr(ObjectIds, name))))
        for role in (*_ROLES, *_ADMINISTRATORS):
            for member in list(space.children(space.number(getattr(ObjectIds, f"WellKnownRole_{role}")))):
                if member.browse_name != _IDENTITIES:
                    self._drop(member)
        for node in space.owned(space.number(ObjectIds.ObjectsFolder)):
            if node.node_class == _METHOD:
                if node.key in self._methods:
                    node.role_permissions = defaults.METHOD
                else:
                    self._drop(node)

        reached = self._reached()
        space.delete([node.key for node in space if node.node_class in _INSTANCES and node not in reached])

    def _reached(self) -> set[Node]:
        """What a client finds that browses from the root.

        The standard has objects and variables that nothing refers to: names without a place,
        and aggregate functions for servers that have them.
        """
        kinds = frozenset[Node]().union(*map(self._space.subtypes, map(self._space.number, _LEADING)))
        root = self._space.number(ObjectIds.RootFolder)
        found, waiting = {root}, [root]
        while waiting:
            for link in waiting.pop().references():
                if link.forward and link.type in kinds and link.target not in found:
                    found.add(link.target)
                    waiting.append(link.target)
        return found

    def _drop(self, node: Node | None) -> None:
        if node is not None and node.alive:
            self._space.delete([one.key for one in self._space.owned(node)])
