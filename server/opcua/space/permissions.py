"""What roles may do with a node (OPC 10000-3 §8.55, §8.56; OPC 10000-18 §4.2)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from server.opcua.wire.nodeid import Key, numeric
from server.plant.model import Role


class Permission(enum.IntFlag):
    """PermissionType (OPC 10000-3 §8.55)."""

    Browse = 0x1
    ReadRolePermissions = 0x2
    WriteAttribute = 0x4
    WriteRolePermissions = 0x8
    WriteHistorizing = 0x10
    Read = 0x20
    Write = 0x40
    ReadHistory = 0x80
    InsertHistory = 0x100
    ModifyHistory = 0x200
    DeleteHistory = 0x400
    ReceiveEvents = 0x800
    Call = 0x1000
    AddReference = 0x2000
    RemoveReference = 0x4000
    DeleteNode = 0x8000
    AddNode = 0x10000


class Restriction(enum.IntFlag):
    """AccessRestrictionType (OPC 10000-3 §8.56)."""

    SigningRequired = 0x1
    EncryptionRequired = 0x2
    SessionRequired = 0x4
    ApplyRestrictionsToBrowse = 0x8


ROLE_IDS: Final[Mapping[Role, Key]] = {
    Role.Anonymous: numeric(15644),
    Role.AuthenticatedUser: numeric(15656),
    Role.Observer: numeric(15668),
    Role.Operator: numeric(15680),
    Role.Engineer: numeric(16036),
    Role.Supervisor: numeric(15692),
    Role.ConfigureAdmin: numeric(15716),
    Role.SecurityAdmin: numeric(15704),
}
"""The NodeIds of the well-known roles (OPC 10000-18 §4.2)."""

Roles = frozenset[Key]
"""The roles of a session, by NodeId: a custom role needs no more than one."""


class RolePermissions:
    """A RolePermissions attribute; one object stands for the same permissions in many nodes."""

    __slots__ = ("_known", "entries")

    def __init__(self, entries: Mapping[Key, int]) -> None:
        """Permissions by the role's NodeId."""
        self.entries: Final = dict(entries)
        self._known: dict[Roles, int] = {}

    def of(self, roles: Roles) -> int:
        """What somebody with those roles may do: each role adds to it (OPC 10000-3 §4.9.2)."""
        found = self._known.get(roles)
        if found is None:
            found = 0
            for role, permissions in self.entries.items():
                if role in roles:
                    found |= permissions
            if len(self._known) > _MOST_ROLE_SETS:
                self._known.clear()
            self._known[roles] = found
        return found


_MOST_ROLE_SETS = 256


class Access:
    """What one user may do over one channel; equal for equals, so it may be part of a cache's key."""

    __slots__ = ("_hash", "encrypted", "roles", "signed")

    def __init__(self, roles: Roles, *, signed: bool, encrypted: bool) -> None:
        self.roles = roles
        self.signed = signed
        self.encrypted = encrypted
        self._hash = hash((roles, signed, encrypted))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Access)
            and self.roles == other.roles
            and self.signed == other.signed
            and self.encrypted == other.encrypted
        )

    def satisfies(self, restrictions: int) -> bool:
        """Whether the channel is as safe as the AccessRestrictions ask; a session there always is."""
        if restrictions & Restriction.EncryptionRequired:
            return self.encrypted
        return self.signed or not restrictions & Restriction.SigningRequired
