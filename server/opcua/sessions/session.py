"""A session: one client's work with the server, from CreateSession to its end (OPC 10000-4 §5.7)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from server.opcua.space.permissions import Access
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, key
from server.plant.commands import Caller

if TYPE_CHECKING:
    from asyncua import ua

    from server.opcua.requests import Peer
    from server.opcua.tokens import Identity

log = logging.getLogger(__name__)

NONCE: Final = 32
"""Bytes of a server nonce."""

_MOST_USERS: Final = 10

P = ParamSpec("P")
T = TypeVar("T")


class ChannelKey(NamedTuple):
    """What has to be the same for a session to move to another secure channel (OPC 10000-4 §5.7.3)."""

    certificate: bytes
    """The client's own certificate in DER, empty over None."""
    policy_uri: str
    mode: int


class About(NamedTuple):
    """What a client told of itself in CreateSession (OPC 10000-4 §5.7.2), for the diagnostics."""

    description: ua.ApplicationDescription | None = None
    server_uri: str = ""
    endpoint_url: str = ""
    max_response: int = 0
    """The largest response body it takes, in bytes; 0 for any."""
    nonce: bytes = b""


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
        """Where its client sits: host and port."""
        self.address = peer.address
        """The host alone."""
        self.channel = channel
        self.timeout = timeout
        """Seconds it may be idle."""
        self.nonce = secrets.token_bytes(NONCE)
        """What the next activation has to sign."""
        self.identity: Identity | None = None
        self.access: Access | None = None
        """What its user may do; there once it is activated."""
        self.about = About()
        self.locales: tuple[str, ...] = ()
        """The LocaleIds of its last activation that had any, the preferred first."""
        self.users: list[str] = []
        """Whom it was activated for, the last one last (ClientUserIdHistory)."""
        self.keeps_subscriptions = False
        """Whether its subscriptions outlive it (OPC 10000-4 §5.7.4): to be looked at when it ends."""
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
        """Held while it is activated."""
        self._heard = monotonic()
        self._parts: dict[type, Any] = {}
        self._endings: list[Callable[[], None]] = []
        self._moves: list[Callable[[], None]] = []

    @property
    def active(self) -> bool:
        """Whether it may be used."""
        return self.access is not None and not self.closed

    @property
    def silence(self) -> float:
        """Seconds since its client was last heard of."""
        return monotonic() - self._heard

    @property
    def contact(self) -> float:
        """When its client was last heard of, by the wall clock."""
        return time.time() - self.silence

    def touch(self) -> None:
        """Its client was heard of."""
        self._heard = monotonic()

    def renew_nonce(self) -> bytes:
        """A fresh server nonce."""
        self.nonce = secrets.token_bytes(NONCE)
        return self.nonce

    def part(self, kind: type[T]) -> T:
        """A service's own part of this session, made by ``kind()`` on first use."""
        found: T | None = self._parts.get(kind)
        if found is None:
            found = self._parts[kind] = kind()
        return found

    def at_end(self, ending: Callable[[], None]) -> None:
        """Have something done when the session is closed."""
        self._endings.append(ending)

    def at_move(self, moved: Callable[[], None]) -> None:
        """Have something done each time `peer` changed: to another one, or to None when it was lost."""
        self._moves.append(moved)

    def move(self, peer: Peer | None) -> None:
        """It is served on another connection now, or on none. For `Sessions` alone."""
        if peer is self.peer:
            return
        self.peer = peer
        if peer is not None:
            self.client, self.address = peer.name, peer.address
        tell(self._moves)

    def admit(self, identity: Identity, access: Access) -> None:
        """It is for that user from now on. For `Sessions` alone."""
        if self.access is not None and (self.identity != identity or self.access != access):
            self.renounce()
        if self.identity is None or self.identity.user != identity.user:
            self.users = [*self.users, identity.user][-_MOST_USERS:]
        self.identity, self.access = identity, access

    def end(self) -> None:
        """Close it: whatever hangs on it goes. For `Sessions.close` alone."""
        self.closed = True
        self.peer = None
        endings, self._endings = self._endings, []
        self._moves.clear()
        tell(endings)
        self.renounce()
        self._parts.clear()
        self.handles.clear()

    def renounce(self) -> None:
        """Its user or the user's roles changed: forget what was worked out for the former ones."""
        for kind, part in list(self._parts.items()):
            if isinstance(part, OfAccess):
                del self._parts[kind]
                part.clear()

    def resolve(self, node: Key) -> Key:
        """The node a client means by a NodeId, which may be a registered handle."""
        return self.handles.get(node, node)

    def is_of(self, user: str, access: Access | None) -> bool:
        """Whether it is open, and that user's with those rights, as it was when he asked for something."""
        identity = self.identity
        return not self.closed and identity is not None and identity.user == user and self.access == access

    def caller(self) -> Caller:
        """Whom its requests are made for. Raises ServiceFault where nobody is known yet."""
        if self.identity is None:
            raise ServiceFault(StatusCodes.BadSessionNotActivated)
        return Caller(self.identity.user, self.identity.roles, self.client)


class OfAccess:
    """Base of session parts that hold for one `Access` only: gone when user or roles change."""

    def clear(self) -> None:
        """It is dropped: give back what is accounted for elsewhere."""


def tell(listeners: Iterable[Callable[P, None]], *what: P.args, **more: P.kwargs) -> None:
    """Call each; one that fails is logged and keeps nothing from the others."""
    for listener in list(listeners):
        try:
            listener(*what, **more)
        except Exception:
            log.exception("what hangs on a session failed: a fault of ours")
