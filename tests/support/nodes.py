"""A space made by hand, a session and requests to it, for tests of single services."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, cast

from support.line import MACHINE, line

from server.opcua.requests import Needs, Request, Service
from server.opcua.sessions.session import ChannelKey, Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import ROLE_IDS, Access, Permission, RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import LiveValue, StoredValue
from server.opcua.types import AttributeIds
from server.opcua.wire.nodeid import NULL, Key, key, numeric
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, localized_text, qualified_name, string, uint32, variant
from server.plant.model import Role
from server.plant.values import Point, ValueStore

ANYBODY, USER, OPERATOR = (ROLE_IDS[role] for role in (Role.Anonymous, Role.AuthenticatedUser, Role.Operator))
READ = RolePermissions({ANYBODY: Permission.Browse | Permission.Read})
SECRET = RolePermissions({OPERATOR: Permission.Browse | Permission.Read})
SHOWN = RolePermissions({ANYBODY: Permission.Browse, OPERATOR: Permission.Browse | Permission.Read})
NAMESPACE = 4


class QuietPeer:
    """A peer that keeps what it is told to send."""

    def __init__(self) -> None:
        self.name, self.address = "127.0.0.1:50000", "127.0.0.1"
        self.sessions: dict[Key, Session] = {}
        self.refusals = 0
        self.backlogged = self.closed = False
        self.sent: list[tuple[Request, bytes | int]] = []

    def respond(self, request: Request, body: bytes | list[bytes]) -> None:
        self.sent.append((request, body if isinstance(body, bytes) else b"".join(body)))

    def refuse(self, request: Request, code: int) -> None:
        self.sent.append((request, code))


def access(*roles: Role, signed: bool = True, encrypted: bool = True) -> Access:
    """What a user of those roles may do."""
    return Access(frozenset(ROLE_IDS[role] for role in roles), signed=signed, encrypted=encrypted)


def session(*roles: Role) -> Session:
    """An active session of a user of those roles, Anonymous where none are named."""
    peer: Any = QuietPeer()
    made = Session(1, peer, ChannelKey(b"", "", 1), 60.0)
    made.access = access(*(roles or (Role.Anonymous,)))
    return made


def request(body: bytes, service: Service | None = None) -> Request:
    """A request with these parameters."""
    made = service or Service("Test", NULL, NULL, cast("Any", None), Needs.Session)
    return Request(cast("Any", QuietPeer()), 1, made, NULL, 1, None, Reader(body))


def point_key(name: str) -> Key:
    """The key of a property of the machine."""
    return key(f"{MACHINE}.{name}", NAMESPACE)


def variable(
    node: Key,
    name: str,
    value: Point | StoredValue | LiveValue,
    *,
    permissions: RolePermissions = READ,
    restrictions: int = 0,
    attributes: Mapping[int, bytes] | None = None,
) -> Node:
    """A Variable that everybody may read unless said otherwise."""
    found = {
        int(AttributeIds.AccessLevel): variant(3, b"\x01"),
        int(AttributeIds.ValueRank): variant(6, int32(-1)),
    }
    return Node(
        node,
        2,
        qualified_name(name, NAMESPACE),
        localized_text(name),
        found | dict(attributes or {}),
        permissions,
        restrictions,
        value,
    )


def small_space() -> tuple[Space, ValueStore]:
    """The points of the little line, a few nodes more: secret, shown but unreadable, encrypted, live."""
    space, store = Space(), ValueStore(line())
    for name, point in store.points.items():
        short = name.rpartition(".")[2]
        space.add(variable(point_key(short), short, point))
    text = variant(12, string("Orange"))
    space.add(variable(numeric(9001, 4), "Text", StoredValue(text, source_time=1)))
    space.add(variable(numeric(9002, 4), "Secret", StoredValue(text, source_time=1), permissions=SECRET))
    space.add(variable(numeric(9003, 4), "Shown", StoredValue(text, source_time=1), permissions=SHOWN))
    space.add(variable(numeric(9004, 4), "Encrypted", StoredValue(text, source_time=1), restrictions=2))
    return space, store


def read_request(
    nodes: list[tuple[Key, int, str | None, str | None]], timestamps: int = 2, max_age: float = 2.0**31
) -> bytes:
    """The parameters of a Read: node, attribute, index range, name of the data encoding."""
    items = b"".join(
        node + uint32(attribute) + string(index_range) + qualified_name(encoding)
        for node, attribute, index_range, encoding in nodes
    )
    return struct.pack("<dIi", max_age, timestamps, len(nodes)) + items
