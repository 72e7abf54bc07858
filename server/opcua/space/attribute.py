"""Any attribute of a node but its Value, as whoever asks gets it (OPC 10000-3 §5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from server.opcua.space import encode
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission, RolePermissions, Roles
from server.opcua.types import AttributeIds, ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire.writer import uint32
from server.plant.values import Point

_A: Final = AttributeIds
_VARIABLE, _METHOD, _VARIABLE_TYPE, _REFERENCE_TYPE = 2, 4, 16, 32

_READ: Final = int(Permission.Read)  # plain numbers: flags take ten times as long
_WRITE: Final = int(Permission.Write)
_READ_HISTORY: Final = int(Permission.ReadHistory)
_CHANGE_HISTORY: Final = int(Permission.InsertHistory | Permission.ModifyHistory | Permission.DeleteHistory)
_CALL: Final = int(Permission.Call)

_CURRENT_READ, _CURRENT_WRITE, _HISTORY_READ, _HISTORY_WRITE = 0x01, 0x02, 0x04, 0x08
_STATUS_OR_TIMESTAMP_WRITE: Final = 0x60
_NON_ATOMIC: Final = 0x300
"""NonatomicRead and NonatomicWrite."""
_MASK_OF_HISTORIZING, _MASK_OF_ROLE_PERMISSIONS = 1 << 9, 1 << 23
"""Bits of AttributeWriteMask (OPC 10000-3 §8.60) that have a permission of their own."""

_NULL_TEXT: Final = encode.localized_text(b"\x00")
_NO_DIMENSIONS: Final = encode.uint32s(None)
_INDETERMINATE: Final = encode.double(-1.0)
_ROLE_PERMISSION: Final = int(ObjectIds.RolePermissionType_Encoding_DefaultBinary)


def attribute(node: Node, number: int, access: Access) -> bytes | None:
    """An attribute as an encoded Variant; None where the node has none of that number, or it is the Value.

    A client reads BadAttributeIdInvalid then. Optional attributes with nothing to say are
    there and empty: a null Description, InverseName or ArrayDimensions, an indeterminate
    MinimumSamplingInterval. That the user may see the node, permission Browse, is known already.
    Raises ServiceFault (BadUserAccessDenied) for RolePermissions the user may not read.
    """
    held = node.attributes.get(number)
    if held is not None:
        return held
    found = _MADE.get(number)
    return None if found is None else found(node, access)


def _user_write_mask(node: Node, access: Access) -> bytes:
    held = node.attributes.get(_A.WriteMask)
    mask = int.from_bytes(held[1:5], "little") if held is not None else 0
    if mask:
        may = node.role_permissions.of(access.roles)
        own = _MASK_OF_HISTORIZING | _MASK_OF_ROLE_PERMISSIONS
        mask = (
            (mask & ~own if may & Permission.WriteAttribute else 0)
            | (mask & _MASK_OF_HISTORIZING if may & Permission.WriteHistorizing else 0)
            | (mask & _MASK_OF_ROLE_PERMISSIONS if may & Permission.WriteRolePermissions else 0)
        )
    return encode.uint32(mask)


def user_access_level(node: Node, access: Access) -> int:
    """What of the AccessLevel the user's roles and channel leave (OPC 10000-3 §5.6.2, §8.57)."""
    held = node.attributes.get(_A.AccessLevel)
    level = held[1] if held is not None else 0
    if not access.satisfies(node.access_restrictions):
        return 0
    may = node.role_permissions.of(access.roles)
    if not may & _READ:
        level &= ~_CURRENT_READ
    if not may & _WRITE:
        level &= ~(_CURRENT_WRITE | _STATUS_OR_TIMESTAMP_WRITE)
    if not may & _READ_HISTORY:
        level &= ~_HISTORY_READ
    if not may & _CHANGE_HISTORY:
        level &= ~_HISTORY_WRITE
    return level


def user_executable(node: Node, access: Access) -> bool:
    """Whether the user may call a method (OPC 10000-3 §5.7)."""
    return (
        node.attributes.get(_A.Executable) == encode.TRUE
        and bool(node.role_permissions.of(access.roles) & _CALL)
        and access.satisfies(node.access_restrictions)
    )


def _user_access_level(node: Node, access: Access) -> bytes | None:
    return encode.byte(user_access_level(node, access)) if node.node_class == _VARIABLE else None


def _access_level_ex(node: Node, _: Access) -> bytes | None:
    """AccessLevel, and whether reads and writes are atomic; parts of arrays are taken (OPC 10000-3 §8.58).

    An array of a device may take several requests, or be written by the controller while it is read.
    """
    held = node.attributes.get(_A.AccessLevel)
    if node.node_class != _VARIABLE or held is None:
        return None
    prop = node.value.property if isinstance(node.value, Point) else None
    apart = prop is not None and prop.type.length is not None and prop.binding is not None
    return encode.uint32(held[1] | (_NON_ATOMIC if apart else 0))


def _user_executable(node: Node, access: Access) -> bytes | None:
    return encode.boolean(user_executable(node, access)) if node.node_class == _METHOD else None


def _role_permissions(node: Node, access: Access) -> bytes:
    if not node.role_permissions.of(access.roles) & Permission.ReadRolePermissions:
        raise ServiceFault(StatusCodes.BadUserAccessDenied)
    return encoded_permissions(node.role_permissions)


@lru_cache(maxsize=256)
def encoded_permissions(permissions: RolePermissions, roles: Roles | None = None) -> bytes:
    """An array of RolePermissionType (OPC 10000-3 §8.55): all of it, or what some roles get."""
    return encode.structures(
        _ROLE_PERMISSION,
        [
            role + uint32(given)
            for role, given in permissions.entries.items()
            if roles is None or role in roles
        ],
    )


def _of_classes(variant: bytes, *classes: int) -> Callable[[Node, Access], bytes | None]:
    return lambda node, _: variant if node.node_class in classes else None


_MADE: Final[Mapping[int, Callable[[Node, Access], bytes | None]]] = {
    _A.NodeId: lambda node, _: encode.node_id(node.key),
    _A.NodeClass: lambda node, _: encode.int32(node.node_class),
    _A.BrowseName: lambda node, _: encode.qualified_name(node.browse_name),
    _A.DisplayName: lambda node, _: encode.localized_text(node.display_name),
    _A.Description: lambda _node, _: _NULL_TEXT,
    _A.UserWriteMask: _user_write_mask,
    _A.InverseName: _of_classes(_NULL_TEXT, _REFERENCE_TYPE),
    _A.ArrayDimensions: _of_classes(_NO_DIMENSIONS, _VARIABLE, _VARIABLE_TYPE),
    _A.UserAccessLevel: _user_access_level,
    _A.MinimumSamplingInterval: _of_classes(_INDETERMINATE, _VARIABLE),
    _A.UserExecutable: _user_executable,
    _A.RolePermissions: _role_permissions,
    _A.UserRolePermissions: lambda node, access: encoded_permissions(node.role_permissions, access.roles),
    _A.AccessRestrictions: lambda node, _: encode.uint16(node.access_restrictions),
    _A.AccessLevelEx: _access_level_ex,
}
