"""Sessions: their secret tokens, which channel each belongs to, and when it ends (OPC 10000-4 §5.7)."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple

from asyncua import ua

from server.opcua.tokens import Identity
from server.opcua.types import ServiceFault, StatusCodes, node_id, opaque_id
from server.plant.commands import Caller

log = logging.getLogger(__name__)

MIN_TIMEOUT: Final = 10.0
MAX_TIMEOUT: Final = 3600.0
MAX_ABSENCE: Final = 300.0
"""Seconds a session waits at most for a client whose connection is gone."""
_DEFAULT_TIMEOUT: Final = 60.0
_NONCE: Final = 32


class ChannelKey(NamedTuple):
    """What has to be the same for a session to move to another secure channel."""

    certificate: bytes
    """The client's own certificate, empty over None."""
    policy_uri: str
    mode: int


class Session:
    """One client's session. Created, then activated, then closed; never back."""

    def __init__(self, number: int, owner: object, key: ChannelKey, timeout: float) -> None:
        self.id: ua.NodeId = node_id(number, 1)
        self.token: ua.NodeId = opaque_id(secrets.token_bytes(32))
        self.nonce = secrets.token_bytes(_NONCE)
        self.owner: object | None = owner
        """The connection it is served on, None while it has none."""
        self.client = ""
        """Where its client sits."""
        self.key = key
        self.timeout = timeout
        self.identity: Identity | None = None
        self.closed = False
        self.subscriptions: set[int] = set()
        self.continuation: dict[bytes, list[ua.ReferenceDescription]] = {}
        self.page_size: dict[bytes, int] = {}
        self.lock = asyncio.Lock()
        self._heard = time.monotonic()

    @property
    def active(self) -> bool:
        """Whether it may be used."""
        return self.identity is not None and not self.closed

    @property
    def idle(self) -> bool:
        """Whether nothing was heard of it for longer than its timeout, or than a client may be gone."""
        return self.silence > (self.timeout if self.owner is not None else min(self.timeout, MAX_ABSENCE))

    @property
    def silence(self) -> float:
        """Seconds since its client was last heard of."""
        return time.monotonic() - self._heard

    def touch(self) -> None:
        """Its client was heard of."""
        self._heard = time.monotonic()

    def renew_nonce(self) -> bytes:
        """A fresh server nonce: what the next activation has to sign."""
        self.nonce = secrets.token_bytes(_NONCE)
        return self.nonce

    def caller(self) -> Caller:
        """Whom its requests are made for. Raises ServiceFault where nobody is known yet."""
        if self.identity is None:
            raise ServiceFault(StatusCodes.BadSessionNotActivated)
        return Caller(self.identity.user, self.identity.roles, self.client)


class Sessions:
    """All sessions by their token, and what happens when one ends."""

    def __init__(self, limit: int, on_close: Callable[[Session], Awaitable[None]]) -> None:
        self._limit = limit
        self._on_close = on_close
        self._by_token: dict[ua.NodeId, Session] = {}
        self._number = 0

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_token.values()))

    def __len__(self) -> int:
        return len(self._by_token)

    def create(self, owner: object, key: ChannelKey, requested_timeout: float) -> Session:
        """A new session. Raises ServiceFault (BadTooManySessions)."""
        if len(self._by_token) >= self._limit:
            raise ServiceFault(StatusCodes.BadTooManySessions)
        self._number += 1
        session = Session(self._number, owner, key, revised_timeout(requested_timeout))
        self._by_token[session.token] = session
        return session

    async def make_room(self) -> None:
        """Where no session more is allowed, close the one whose client has been gone the longest, if any."""
        if len(self._by_token) < self._limit:
            return
        gone = [session for session in self if session.owner is None]
        if gone:
            oldest = max(gone, key=lambda session: session.silence)
            log.info("session of %s closed: its client is gone, and others wait", oldest.client)
            await self.close(oldest)

    def find(self, token: ua.NodeId) -> Session:
        """The session with that token. Raises ServiceFault (BadSessionIdInvalid)."""
        session = self._by_token.get(token)
        if session is None:
            raise ServiceFault(StatusCodes.BadSessionIdInvalid)
        return session

    async def close(self, session: Session) -> None:
        """End a session, and with it what it owns."""
        if not session.closed:
            session.closed = True
            session.owner = None
            session.continuation.clear()
            self._by_token.pop(session.token, None)
            await self._on_close(session)

    async def end_unused(self, refreshed: Callable[[Identity], Identity | None] | None) -> None:
        """Close what has been idle for too long.

        ``refreshed`` gives each identity as it is today, None for one that may no longer log
        in; leave it out where nothing changed.
        """
        for session in self:
            if session.idle:
                log.info("session of %s closed: nothing heard for %.0f s", session.client, session.timeout)
                await self.close(session)
            elif refreshed is not None and session.identity is not None:
                session.identity = refreshed(session.identity)
                if session.identity is None:
                    log.info("session of %s closed: its user may no longer log in", session.client)
                    await self.close(session)


def revised_timeout(requested_ms: float) -> float:
    """Seconds a session may be idle, within bounds; one that asks for nothing sensible gets a minute."""
    if not math.isfinite(requested_ms) or requested_ms <= 0:
        return _DEFAULT_TIMEOUT
    return min(max(requested_ms / 1000.0, MIN_TIMEOUT), MAX_TIMEOUT)
