"""Who may do what where a node does not say otherwise (OPC 10000-3 §5.2.9, OPC 10000-18 §4).

Refused is what no line here allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from server.opcua.space.permissions import ROLE_IDS, Permission, RolePermissions
from server.opcua.wire.nodeid import Key
from server.plant.model import Role

_SEE: Final = Permission.Browse | Permission.Read
_ADMINS: Final = frozenset({Role.ConfigureAdmin, Role.SecurityAdmin})


def _entries(every: Permission, more: Mapping[Role, Permission]) -> dict[Key, int]:
    """Permissions of every well-known role, of some roles more; administrators also see permissions."""
    return {
        key: int(
            every
            | more.get(role, Permission(0))
            | (Permission.ReadRolePermissions if role in _ADMINS else Permission(0))
        )
        for role, key in ROLE_IDS.items()
    }


STANDARD: Final = RolePermissions(_entries(_SEE, {}))
"""Namespace 0 and types: everybody may see them."""

NOTIFIER: Final = RolePermissions(_entries(_SEE | Permission.ReceiveEvents | Permission.Call, {}))
"""An object of the server that notifies of events; who may call its methods, each of these says itself."""

AUDIT_EVENT: Final = RolePermissions(_entries(_SEE, {Role.SecurityAdmin: Permission.ReceiveEvents}))
"""The types of audit events: everybody may know of them, administrators of security get them."""

METHOD: Final = RolePermissions(_entries(_SEE | Permission.Call, {}))
"""A method that is served."""

_NAMED: Final[Mapping[Role, Permission]] = {
    role: Permission.ReceiveEvents for role in Role if role is not Role.Anonymous
}

PLANT: Final = RolePermissions(_entries(_SEE, _NAMED))
"""The plant: everybody sees it, known users hear of its events, nobody writes."""


_STAFF: Final = frozenset(Role) - {Role.Anonymous, Role.AuthenticatedUser}

DEVICES: Final = RolePermissions(_entries(Permission(0), dict.fromkeys(_STAFF, _SEE)))
"""The devices, their addresses and what is read of them: for those who have a role in the plant, any but
Anonymous and AuthenticatedUser. For anybody else they are not there."""


@cache
def plant_writers(roles: frozenset[Role]) -> RolePermissions:
    """A variable of the plant that those roles may write."""
    more = {role: _NAMED.get(role, Permission(0)) | Permission.Write for role in roles}
    return RolePermissions(_entries(_SEE, {**_NAMED, **more}))


@cache
def plant_callers(roles: frozenset[Role]) -> RolePermissions:
    """An object or a method of the plant that those roles may call."""
    more = {role: _NAMED.get(role, Permission(0)) | Permission.Call for role in roles}
    return RolePermissions(_entries(_SEE, {**_NAMED, **more}))
