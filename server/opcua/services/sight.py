"""Which nodes a session knows of, and what it is told of those it does not (OPC 10000-3 §8.55, §8.56)."""

from __future__ import annotations

from typing import Final

from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission, Restriction, RolePermissions
from server.opcua.space.space import Space
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import NULL, Key
from server.opcua.wire.writer import int32

NO_DIAGNOSTICS: Final = int32(-1)
"""A null array of DiagnosticInfo: none are kept, whatever ReturnDiagnostics asks."""

MAX_IDENTIFIER: Final = 4096
"""Bytes of the longest identifier a NodeId may have (OPC 10000-3 §8.2.4)."""

_KEY_HEAD: Final = 7
_BROWSE: Final = int(Permission.Browse)  # plain numbers: flags take ten times as long
_TO_BROWSE: Final = int(Restriction.ApplyRestrictionsToBrowse)
_NO_TEXT: Final = b"\x00\x00\x00\x00\x00\x00"


class Sight:
    """What one `Access` sees: nodes without the Browse permission are as if they were not there."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._roles = access.roles
        self._known: dict[RolePermissions, bool] = {}

    def sees(self, node: Node) -> bool:
        """Whether the node is there for it."""
        permissions = node.role_permissions
        seen = self._known.get(permissions)
        if seen is None:
            seen = self._known[permissions] = bool(permissions.of(self._roles) & _BROWSE)
        restrictions = node.access_restrictions
        if restrictions & _TO_BROWSE:
            return seen and self._access.satisfies(restrictions)
        return seen

    def find(self, space: Space, key: Key) -> Node | None:
        """The node of a key, None where there is none to be seen."""
        node = space.find(key)
        return node if node is not None and self.sees(node) else None


def access_of(session: Session) -> Access:
    """What the session's user may do. Raises ServiceFault where it is not activated."""
    if session.access is None:
        raise ServiceFault(StatusCodes.BadSessionNotActivated)
    return session.access


def is_null(key: Key) -> bool:
    """Whether a NodeId is one of the null ones (OPC 10000-3 §8.2.4)."""
    return key == NULL or key[1:] == _NO_TEXT or (key[0] == 4 and not any(key[1:]))


def is_malformed(key: Key) -> bool:
    """Whether no node can have that NodeId: it is null, or too long."""
    return is_null(key) or len(key) > MAX_IDENTIFIER + _KEY_HEAD


def not_found(key: Key) -> int:
    """The StatusCode for a NodeId that is not found."""
    return StatusCodes.BadNodeIdInvalid if is_malformed(key) else StatusCodes.BadNodeIdUnknown


def check_operations(count: int, limit: int) -> None:
    """Refuse a request of no operations, and one of too many (OPC 10000-4 §7.38). Raises ServiceFault."""
    if not count:
        raise ServiceFault(StatusCodes.BadNothingToDo)
    if count > limit:
        raise ServiceFault(StatusCodes.BadTooManyOperations, f"{count} operations; {limit} at most")
