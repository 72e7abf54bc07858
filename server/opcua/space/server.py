"""The Server object: what this server is, can, does and counts (OPC 10000-5 §6.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from server.opcua.ids import Namespaces
from server.opcua.space import encode
from server.opcua.space.capabilities import show_capabilities
from server.opcua.space.diagnostics import Diagnostics, SessionsSeen, SubscriptionsSeen
from server.opcua.space.namespaces import show_namespaces
from server.opcua.space.setting import live, store
from server.opcua.space.space import Space
from server.opcua.space.status import Status
from server.opcua.types import ObjectIds
from server.opcua.wire.writer import int32, string
from server.plant.model import Role

_FULL_SERVICE: Final = 255
_NO_REDUNDANCY: Final = 0
_VERSION_TIME_BEGINS: Final = 946_684_800
"""VersionTime counts the seconds since 2000-01-01 (OPC 10000-4 §7.44)."""
_BY_USER, _BY_ANONYMOUS, _BY_AUTHENTICATED = 1, 5, 6
"""IdentityCriteriaType (OPC 10000-18 §4.4.3)."""


class ServerObject:
    """Keeps the values of the Server object true. `tick` is called about every second."""

    def __init__(
        self,
        space: Space,
        namespaces: Namespaces,
        *,
        sessions: SessionsSeen,
        engine: SubscriptionsSeen,
        max_sessions: int,
        profiles: Sequence[str] = (),
        rejected: Callable[[], tuple[int, int]] = lambda: (0, 0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``profiles`` are claimed; ``rejected`` gives the requests refused for security, and all refused."""
        self._space = space
        with space.changing():
            self._status = Status(space, clock)
            show_capabilities(space, max_sessions=max_sessions, profiles=profiles)
            show_namespaces(space, namespaces)
            self._show_self(namespaces)
            self._identities = {
                role: store(space, getattr(ObjectIds, f"WellKnownRole_{role.value}_Identities"), b"")
                for role in Role
            }
            self.diagnostics = Diagnostics(space, sessions, engine, rejected)
            self.show_identities({})

    def _show_self(self, namespaces: Namespaces) -> None:
        space = self._space
        # The first entry is the server itself (OPC 10000-5 §6.3.1): its own namespace is its ApplicationUri.
        store(space, ObjectIds.Server_ServerArray, encode.strings(namespaces.uris[1:2]))
        store(space, ObjectIds.Server_NamespaceArray, encode.strings(namespaces.uris))
        store(space, ObjectIds.Server_UrisVersion, encode.uint32(int(time.time()) - _VERSION_TIME_BEGINS))
        self._service_level = store(space, ObjectIds.Server_ServiceLevel, encode.byte(_FULL_SERVICE))
        store(space, ObjectIds.Server_Auditing, encode.TRUE)  # of writes: WriteAudit
        live(space, ObjectIds.Server_LocalTime, _local_time)
        store(space, ObjectIds.Server_ServerRedundancy_RedundancySupport, encode.int32(_NO_REDUNDANCY))

    def tick(self) -> None:
        """Count down to a shutdown that was announced."""
        self._status.tick()

    def shut_down(self, within: float, reason: str = "The server is being stopped") -> None:
        """Announce that the server ends in so many seconds."""
        self._status.shut_down(within, reason)
        self.set_service_level(0)

    def set_service_level(self, level: int) -> None:
        """How well the server serves, 0 to 255 (OPC 10000-4 §6.6.2.4.2)."""
        self._service_level.set(encode.byte(level))

    def show_identities(self, users: Mapping[str, frozenset[Role]]) -> None:
        """Show who has which role: the Identities of the well-known roles (OPC 10000-18 §4.4)."""
        rules: dict[Role, list[bytes]] = {role: [] for role in Role}
        everybody = [_rule(_BY_ANONYMOUS), _rule(_BY_AUTHENTICATED)]
        rules[Role.Anonymous] += everybody
        rules[Role.AuthenticatedUser] += everybody[1:]
        for user, roles in sorted(users.items()):
            for role in roles - {Role.Anonymous, Role.AuthenticatedUser}:
                rules[role].append(_rule(_BY_USER, user))
        encoding = ObjectIds.IdentityMappingRuleType_Encoding_DefaultBinary
        for role, bodies in rules.items():
            variant = encode.structures(encoding, bodies)
            if variant != self._identities[role].variant:
                self._identities[role].set(variant)


def _rule(criteria: int, name: str = "") -> bytes:
    """An IdentityMappingRuleType."""
    return int32(criteria) + string(name)


def _local_time() -> bytes:
    """TimeZoneDataType (OPC 10000-3 §8.28): minutes from UTC, and whether daylight saving is in it."""
    here = time.localtime()
    minutes = here.tm_gmtoff // 60
    body = minutes.to_bytes(2, "little", signed=True) + (b"\x01" if here.tm_isdst > 0 else b"\x00")
    return encode.structure(ObjectIds.TimeZoneDataType_Encoding_DefaultBinary, body)
