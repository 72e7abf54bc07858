"""A session: one client's work with the server, from CreateSession to its end (OPC 10000-4 §5.7)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from server.opcua.space.permissions import Access
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, key
from server.plant.commands import Caller

if TYPE_CHECKING:
    from server.opcua.requests import Peer
    from server.opcua.tokens import Identity

NONCE: Final = 32
"""Bytes of a server nonce."""

T = TypeVar("T")


class ChannelKey(NamedTuple):
    """What has to be the same for a session to move to another secure channel (OPC 10000-4 §5.7.3)."""

    certificate: bytes
    """The client's own certificate in DER, empty over None."""
    policy_uri: str
    mode: int


class Session:
    """One client's session. Created, then activated, then closed; never back.

    Parts of it belong to services: `part` gives each its own, made on first use.
    """

    def __init__(self, number: int, peer: Peer, channel: ChannelKey, timeout: float, name: str = "") -> None:
        self.id: Final = key(secrets.token_bytes(16), 1)
        """Its NodeId in namespace 1, known to whoever reads the diagnostics; no secret."""
        self.token: Final = key(secrets.token_bytes(32))
        """The AuthenticationToken: the secret that says a request is of this session."""
        self.number = number
        self.name = name
        self.peer: Peer | None = peer
        """The connection it is served on, None while it has none."""
        self.client = peer.name
        """Where its client sits."""
        self.channel = channel
        self.timeout = timeout
        """Seconds it may be idle."""
        self.nonce = secrets.token_bytes(NONCE)
        """What the next activation has to sign."""
        self.identity: Identity | None = None
        self.access: Access | None = None
        """What its user may do; there once it is activated."""
        self.closed = False
        self.handles: dict[Key, Key] = {}
        """Registered nodes: what the client calls a node, and the node's own key (OPC 10000-4 §5.9.5)."""
        self.requests: Counter[str] = Counter()
        """Requests by the service's name, for the diagnostics."""
        self.failures: Counter[str] = Counter()
        """Those of them that ended with a ServiceFault."""
        self.unauthorized = 0
        self.created = time.time()
        self.lock = asyncio.Lock()
        self._heard = time.monotonic()
        self._parts: dict[type, object] = {}
        self._endings: list[Callable[[], None]] = []

    @property
    def active(self) -> bool:
        """Whether it may be used."""
        return self.access is not None and not self.closed

    @property
    def silence(self) -> float:
        """Seconds since its client was last heard of."""
        return time.monotonic() - self._heard

    def touch(self) -> None:
        """Its client was heard of."""
        self._heard = time.monotonic()

    def renew_nonce(self) -> bytes:
        """A fresh server nonce."""
        self.nonce = secrets.token_bytes(NONCE)
        return self.nonce

    def part(self, kind: type[T]) -> T:
        """A service's own part of this session, made by ``kind()`` on first use."""
        found = self._parts.get(kind)
        if found is None:
            found = self._parts[kind] = kind()
        return cast("T", found)

    def at_end(self, ending: Callable[[], None]) -> None:
        """Have something done when the session is closed."""
        self._endings.append(ending)

    def end(self) -> None:
        """Close it: whatever hangs on it goes. For `Sessions.close` alone."""
        self.closed = True
        self.peer = None
        endings, self._endings = self._endings, []
        for ending in endings:
            ending()
        self._parts.clear()
        self.handles.clear()

    def renounce(self) -> None:
        """Its user or the user's roles changed: forget what was worked out for the former ones."""
        self._parts = {kind: part for kind, part in self._parts.items() if not isinstance(part, OfAccess)}

    def resolve(self, node: Key) -> Key:
        """The node a client means by a NodeId, which may be a registered handle."""
        return self.handles.get(node, node)

    def caller(self) -> Caller:
        """Whom its requests are made for. Raises ServiceFault where nobody is known yet."""
        if self.identity is None:
            raise ServiceFault(StatusCodes.BadSessionNotActivated)
        return Caller(self.identity.user, self.identity.roles, self.client)


class OfAccess:
    """Base of session parts that hold for one `Access` only: gone when user or roles change."""
