"""All sessions: found by their token, kept within limits, ended when nobody uses them (OPC 10000-4 §5.7)."""

from __future__ import annotations

import enum
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from server.opcua.sessions.backoff import network
from server.opcua.sessions.session import ChannelKey, Session, tell
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key

if TYPE_CHECKING:
    from server.opcua.requests import Peer
    from server.opcua.space.permissions import Access
    from server.opcua.tokens import Identity

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

MIN_TIMEOUT: Final = 10.0
MAX_TIMEOUT: Final = 3600.0
MAX_ABSENCE: Final = 300.0
"""Seconds a session waits at most for a client whose connection is gone."""
MAX_UNUSED: Final = 30.0
"""Seconds within which a session has to be activated."""
_DEFAULT_TIMEOUT: Final = 60.0
_MIN_UNUSED_COUNT: Final = 50


class Ending(enum.Enum):
    """Why a session ended."""

    Closed = "its client closed it"
    Timeout = "nothing heard of it for too long"
    Unused = "not activated in time"
    Misused = "used before it was activated"
    Lost = "its connection went before it was activated"
    Room = "others wait"
    User = "its user may no longer log in"
    Certificate = "the certificate of its client is no longer trusted"
    Shutdown = "the server stops"


_KEEP_SUBSCRIPTIONS: Final = frozenset({Ending.Timeout, Ending.Room})
"""Then subscriptions live on until their own lifetime ends (OPC 10000-4 §5.14.1)."""
_ABORTS: Final = frozenset({Ending.Misused, Ending.Lost, Ending.Room, Ending.User, Ending.Certificate})


class Limits(NamedTuple):
    """How many sessions there may be."""

    total: int
    """Activated ones."""
    per_user: int
    """Activated ones of one user that has a name."""

    @property
    def anonymous(self) -> int:
        """Activated ones without a user: a quarter of all stays for those who have a name."""
        return max(1, self.total - self.total // 4)

    @property
    def unused(self) -> int:
        """Those not activated yet, in all; half as many of one address. They count apart."""
        return max(_MIN_UNUSED_COUNT, self.total // 2)


@dataclass(slots=True)
class SessionCounts:
    """What ServerDiagnosticsSummaryDataType says of sessions (OPC 10000-5 §12.9), since the start."""

    cumulated: int = 0
    """Sessions that were activated."""
    rejected: int = 0
    """CreateSession and ActivateSession requests refused."""
    security_rejected: int = 0
    """Those of them refused for a certificate, a signature or a user."""
    timeouts: int = 0
    """Sessions ended because nothing was heard of them."""
    aborts: int = 0
    """Sessions ended by the server for another reason."""


Listener = Callable[[Session], None]


class Sessions:
    """All sessions by their token.

    A session is *unused* until it is activated. Unused ones are cheap to make, so they never
    keep anybody out: where there are too many, the oldest of the address with the most goes.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits: Final = limits
        self.counts: Final = SessionCounts()
        self.on_open: Final[list[Listener]] = []
        """Told of each session when it is activated first."""
        self.on_close: Final[list[Listener]] = []
        """Told of each of those when it has ended."""
        self._clock = clock
        self._by_token: dict[Key, Session] = {}
        self._unused: dict[Session, tuple[str, float]] = {}
        """Address and time of those not activated yet, the oldest first."""
        self._number = 0

    def __iter__(self) -> Iterator[Session]:
        """The activated ones."""
        return iter([session for session in self._by_token.values() if session.access is not None])

    def __len__(self) -> int:
        """How many are activated."""
        return len(self._by_token) - len(self._unused)

    @property
    def unused(self) -> int:
        """How many are not activated yet."""
        return len(self._unused)

    # --- Found

    def find(self, token: Key) -> Session:
        """The session with that token. Raises ServiceFault (BadSessionIdInvalid)."""
        session = self._by_token.get(token)
        if session is None:
            raise ServiceFault(StatusCodes.BadSessionIdInvalid)
        return session

    def served(self, peer: Peer, token: Key) -> Session:
        """The activated session of that token for a request that came by ``peer``.

        Raises ServiceFault: BadSessionIdInvalid, BadSecureChannelIdInvalid where it is served
        on another channel, BadSessionNotActivated, which also ends it (OPC 10000-4 §5.7.3.1).
        """
        session = peer.sessions.get(token)
        if session is None:
            self.find(token)
            raise ServiceFault(StatusCodes.BadSecureChannelIdInvalid, "the session is of another connection")
        if session.access is None:
            self.close(session, Ending.Misused)
            raise ServiceFault(StatusCodes.BadSessionNotActivated)
        session.touch()
        return session

    # --- Made and activated

    def create(self, peer: Peer, channel: ChannelKey, requested_timeout: float, name: str = "") -> Session:
        """A new session; the timeout is in milliseconds. Raises ServiceFault (BadTooManySessions)."""
        self._make_room()
        address = network(peer.address)
        self._make_room_for_unused(address)
        self._number += 1
        name = name or f"Session {self._number}"
        session = Session(self._number, peer, channel, revised_timeout(requested_timeout), name)
        self._by_token[session.token] = session
        self._unused[session] = (address, self._clock())
        peer.sessions[session.token] = session
        peer.sessions_changed()
        return session

    def activate(self, session: Session, peer: Peer, identity: Identity, access: Access) -> bytes:
        """Serve a session on that connection for that user, everything being proved; returns its new nonce.

        Raises ServiceFault (BadTooManySessions); then nothing has changed.
        """
        first = session.access is None
        if first:
            self._make_room()
        if session.identity is None or not session.identity.is_same(identity):
            self._make_room_for(identity)
        former = session.peer
        if former is not peer:
            self._take_from(former, session)
            peer.sessions[session.token] = session
            session.channel = peer.channel.key
            session.move(peer)
        session.admit(identity, access)
        session.touch()
        if first:
            del self._unused[session]
            self.counts.cumulated += 1
            tell(self.on_open, session)
        peer.sessions_changed()
        return session.renew_nonce()

    def _make_room(self) -> None:
        if len(self) < self.limits.total:
            return
        if not self._end_longest_gone(self):
            raise ServiceFault(StatusCodes.BadTooManySessions, f"there are {len(self)} sessions")

    def _make_room_for(self, identity: Identity) -> None:
        own = [s for s in self if s.identity is not None and s.identity.is_same(identity)]
        most = self.limits.anonymous if identity.anonymous else self.limits.per_user
        if len(own) >= most and not self._end_longest_gone(own):
            raise ServiceFault(
                StatusCodes.BadTooManySessions, f"{identity.user} has {len(own)} sessions already"
            )

    def _end_longest_gone(self, among: Iterable[Session]) -> bool:
        """End the session whose client has been gone the longest, if any is."""
        gone = [session for session in among if session.peer is None]
        if gone:
            self.close(max(gone, key=lambda session: session.silence), Ending.Room)
        return bool(gone)

    def _make_room_for_unused(self, address: str) -> None:
        counts = Counter(held for held, _ in self._unused.values())
        if counts[address] >= self.limits.unused // 2:
            crowded = address
        elif len(self._unused) >= self.limits.unused:
            crowded = max(counts, key=lambda held: counts[held])
        else:
            return
        oldest = next(session for session, (held, _) in self._unused.items() if held == crowded)
        self.close(oldest, Ending.Room)

    # --- Ended

    def close(self, session: Session, why: Ending, *, keep_subscriptions: bool | None = None) -> None:
        """End a session, and with it what hangs on it; ending it twice does nothing."""
        if session.closed:
            return
        peer, was_active = session.peer, session.access is not None
        self._by_token.pop(session.token, None)
        self._unused.pop(session, None)
        self._take_from(peer, session)
        session.keeps_subscriptions = (
            why in _KEEP_SUBSCRIPTIONS if keep_subscriptions is None else keep_subscriptions
        )
        session.end()
        self._count(why)
        if was_active:
            self._report(session, why)
            tell(self.on_close, session)

    def lost(self, peer: Peer) -> None:
        """A connection is gone: its sessions wait for their clients, those never activated end."""
        for session in list(peer.sessions.values()):
            if session.access is None:
                self.close(session, Ending.Lost)
            else:
                peer.sessions.pop(session.token, None)
                session.touch()
                session.move(None)

    def sweep(self) -> None:
        """End what has been idle for too long: to be called about every second."""
        for session in list(self._by_token.values()):
            if session.access is None:
                if self._clock() - self._unused[session][1] > MAX_UNUSED:
                    self.close(session, Ending.Unused)
            elif session.silence > _patience(session):
                self.close(session, Ending.Timeout)

    def refresh(self, refreshed: Callable[[Identity], Identity | None]) -> None:
        """Give every session its user's roles of today, and end those whose user may no longer log in.

        ``refreshed`` gives an identity as it is today, None for one that may no longer log in.
        """
        for session in self:
            identity, access = session.identity, session.access
            if identity is None or access is None:
                continue
            today = refreshed(identity)
            if today is None:
                self.close(session, Ending.User)
            elif today != identity:
                session.admit(today, today.access(signed=access.signed, encrypted=access.encrypted))

    def distrust(self, certificate: bytes) -> None:
        """End the sessions of a client certificate (DER), those too whose connection is gone."""
        for session in list(self._by_token.values()):
            if session.channel.certificate == certificate:
                self.close(session, Ending.Certificate)

    def close_all(self, why: Ending = Ending.Shutdown) -> None:
        """End every session."""
        for session in list(self._by_token.values()):
            self.close(session, why)

    @staticmethod
    def _take_from(peer: Peer | None, session: Session) -> None:
        if peer is not None and peer.sessions.pop(session.token, None) is not None:
            peer.sessions_changed()

    def _count(self, why: Ending) -> None:
        if why in {Ending.Timeout, Ending.Unused}:
            self.counts.timeouts += 1
        elif why in _ABORTS:
            self.counts.aborts += 1

    @staticmethod
    def _report(session: Session, why: Ending) -> None:
        user = session.identity.user if session.identity else ""
        log.info("session of %s at %s ended: %s", user, session.client, why.value)
        audit.info(
            "%s logged out from %s: %s",
            user,
            session.client,
            why.value,
            extra={"event": "logout", "user": user, "client": session.client, "reason": why.name},
        )


def revised_timeout(requested_ms: float) -> float:
    """Seconds a session may be idle, within bounds; one that asks for nothing sensible gets a minute."""
    if not math.isfinite(requested_ms) or requested_ms <= 0:
        return _DEFAULT_TIMEOUT
    return min(max(requested_ms / 1000.0, MIN_TIMEOUT), MAX_TIMEOUT)


def _patience(session: Session) -> float:
    """Seconds nothing may be heard of it."""
    return session.timeout if session.peer is not None else min(session.timeout, MAX_ABSENCE)
