"""Sessions with a downstream server in other names than the source's own, for who asks.

Each is a connection of its own, opened when it is first needed, closed when nobody has needed it for a
while. They live while the source's own session does: that finds a dead link, and a server that is trusted
no longer. What is opened is opened by a task of the pool's: whoever waits for it may go, and others wait on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Never

from sources import backoff
from sources.asking import Asker
from sources.errors import ConnectionLost, Denied, Refused, SourceError, Unreachable
from sources.insight import Traffic
from sources.opcua.channel import FORWARDED, ServiceError
from sources.opcua.config import DownstreamSettings
from sources.opcua.connection import Connection, connect
from sources.opcua.identity import Credentials
from sources.opcua.security import Surroundings, where
from sources.quality import (
    BAD_IDENTITY_TOKEN_INVALID,
    BAD_IDENTITY_TOKEN_REJECTED,
    BAD_INTERNAL_ERROR,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_USER_ACCESS_DENIED,
    BAD_USER_SIGNATURE_INVALID,
)

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

_LOOK: Final = 1.0
"""Seconds between two looks at whether a session is still needed."""
_PATIENCE: Final = 2.0
"""So many times as long as one answer a session may take to open: others' writes wait meanwhile."""
_SILENT: Final = 60.0
"""Seconds a session may be silent at the least."""
_SLACK: Final = 0.8
"""Of the time after which the server ends a silent session, when it is closed here."""
_REFUSED_FIRST, _REFUSED_MOST = 10.0, 300.0
"""Seconds until a name that was refused is tried again: many servers lock accounts that fail too often."""


_OF_USERS: Final = frozenset(
    {
        BAD_IDENTITY_TOKEN_INVALID,
        BAD_IDENTITY_TOKEN_REJECTED,
        BAD_USER_ACCESS_DENIED,
        BAD_USER_SIGNATURE_INVALID,
    }
)
"""What a server says of a user, not of the application he comes with."""


@dataclass(slots=True)
class _Seat:
    """One name's session, while there is one, and how its last attempts went."""

    connection: Connection | None = None
    opening: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while its session is looked after."""
    users: int = 0
    used: float = 0.0
    """When it was last needed, by the loop's clock."""
    retired: bool = False
    """Whether nobody has the name any more."""
    failure: SourceError | None = None
    again: float = 0.0
    """When it may be tried again."""
    unreachable: Iterator[float] = field(default_factory=backoff.delays)
    refused: Iterator[float] = field(default_factory=lambda: backoff.delays(_REFUSED_FIRST, _REFUSED_MOST))

    @property
    def live(self) -> Connection | None:
        """Its session, where it can be used."""
        connection = self.connection
        return None if connection is None or connection.channel.lost.done() else connection


class Identities:
    """The names of one source, over all its connections, one after the other."""

    def __init__(self, name: str, settings: DownstreamSettings) -> None:
        self._name = name
        self._settings = settings
        self._seats: dict[Credentials, _Seat] = {}
        """There are no more of them than rules."""
        self._own: Connection | None = None
        self._tending: asyncio.Task[Never] | None = None
        """Looks after the sessions, once there is one."""
        self._surroundings = Surroundings()
        self._traffic = Traffic()

    def adapt(self, settings: DownstreamSettings) -> None:
        """Go by other rules from now on; what was refused may be tried at once."""
        self._settings = settings
        rules = settings.identity.map if settings.identity is not None else ()
        named = {rule.credentials for rule in rules}
        for who, seat in list(self._seats.items()):
            seat.again, seat.retired = 0.0, who not in named
            self._drop(who, seat)

    def _drop(self, who: Credentials, seat: _Seat) -> None:
        """Forget a name that nobody has any more, once nothing of it is left."""
        if seat.retired and seat.connection is None and seat.opening is None and not seat.users:
            self._seats.pop(who, None)

    def own(self) -> Connection:
        """The source's own session. Raises Unreachable."""
        if self._own is None:
            raise Unreachable(f"{self._name} ({where(self._settings.url)}) is not connected")
        return self._own

    def of(self, asker: Asker) -> Credentials | None:
        """In whose name it goes for whoever asks; None for the source's own. Raises Denied."""
        identity = self._settings.identity
        if identity is None:
            return None
        rule = identity.rule(asker)
        if rule is not None:
            return rule.credentials
        if identity.others == "service":
            return None
        raise Denied(
            f"{self._name} has no identity for {asker.user}: no rule fits him or his roles, and others are "
            "refused",
            BAD_USER_ACCESS_DENIED,
        )

    # --- The life of the source's own session

    @asynccontextmanager
    async def over(
        self, own: Connection, surroundings: Surroundings, traffic: Traffic
    ) -> AsyncIterator[None]:
        """For the time the source's own session stands."""
        self._own, self._surroundings, self._traffic = own, surroundings, traffic
        try:
            yield
        finally:
            self._own = None
            tending, self._tending = self._tending, None
            ending: list[asyncio.Task[Any]] = [] if tending is None else [tending]
            ending += [seat.opening for seat in self._seats.values() if seat.opening is not None]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            if own.channel.lost.done():  # so are these, most likely: nobody would hear a goodbye
                open_ones = [seat.connection for seat in self._seats.values() if seat.connection is not None]
                await asyncio.gather(*(connection.channel.gone() for connection in open_ones))
            await asyncio.gather(*map(self._close, self._seats.values()))

    async def _tend(self) -> Never:
        """Close what nobody needs and keep up the rest, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            for who, seat in list(self._seats.items()):
                try:
                    await self._look_after(who, seat)
                except Unreachable as error:
                    log.info("%s", error)
                except Exception:
                    log.exception("%s: the session as %s: a fault of ours", self._name, who)

    async def _look_after(self, who: Credentials, seat: _Seat) -> None:
        async with seat.lock:
            connection, now = seat.connection, asyncio.get_running_loop().time()
            if connection is None or seat.users:
                pass
            elif seat.live is None:
                log.info("%s: the session as %s is lost: %s", self._name, who, connection.channel.cause[0])
                await self._close(seat)
            elif seat.retired or now - seat.used >= min(self._idle, _SLACK * connection.patience):
                log.debug("%s: the session as %s is closed: nobody needs it", self._name, who)
                await self._close(seat)
            elif now >= connection.channel.renew_at:
                await self._renewed(who, seat, connection)
        self._drop(who, seat)

    @property
    def _idle(self) -> float:
        identity = self._settings.identity
        return identity.idle if identity is not None else 0.0

    @staticmethod
    async def _close(seat: _Seat) -> None:
        connection, seat.connection = seat.connection, None
        if connection is not None:
            await connection.end()

    # --- For who asks

    async def ready(self, who: Credentials) -> None:
        """Have a session in that name, its namespaces those of now. Raises Unreachable, Denied."""
        seat = self._seats.setdefault(who, _Seat())
        if seat.users >= FORWARDED:
            raise Denied(
                f"{self._name}: {seat.users} writes and calls as {who} are under way already",
                BAD_RESOURCE_UNAVAILABLE,
            )
        with self._using(seat):
            if seat.live is None:
                await self._opened(who, seat)
            async with seat.lock:
                await self._fresh(who, seat)

    async def try_all(self) -> list[str]:
        """Have a session in each name, one after the other: what kept out those that were."""
        identity = self._settings.identity
        found = []
        for who in dict.fromkeys(rule.credentials for rule in identity.map) if identity is not None else ():
            try:
                await self.ready(who)
            except (Unreachable, Denied) as error:
                found.append(str(error))
        return found

    @contextmanager
    def session(self, who: Credentials) -> Iterator[Connection]:
        """The session that `ready` made, kept open for the block. Raises Unreachable where it is no more."""
        seat = self._seats.get(who)
        connection = seat.live if seat is not None else None
        if seat is None or connection is None:
            raise Unreachable(f"{self._name}: the session as {who} is closed")
        with self._using(seat):
            yield connection

    async def forsake(self, who: Credentials, connection: Connection, why: object) -> None:
        """The server knows that session no longer."""
        seat = self._seats.get(who)
        if seat is not None and seat.connection is connection:
            log.info("%s: the session as %s is over: %s", self._name, who, why)
            await self._close(seat)

    @contextmanager
    def _using(self, seat: _Seat) -> Iterator[None]:
        seat.users += 1
        try:
            yield
        finally:
            seat.users -= 1
            seat.used = asyncio.get_running_loop().time()

    async def _opened(self, who: Credentials, seat: _Seat) -> None:
        """Wait until it is open, or has failed. Raises Unreachable, Denied."""
        own = self.own()
        if seat.opening is None:
            left = seat.again - asyncio.get_running_loop().time()
            if seat.failure is not None and left > 0:
                raise _again(seat.failure, f"; tried again in {left:.0f} s at the earliest")
            self._check_room(seat)
            if self._tending is None:
                self._tending = asyncio.create_task(self._tend(), name=f"{self._name} identities")
            seat.opening = asyncio.create_task(self._open(who, seat, own), name=f"{self._name} as {who}")
        await asyncio.wait((seat.opening,))
        if seat.live is None:
            raise _again(seat.failure or Unreachable(f"{self._name}: the session as {who} was not opened"))

    def _check_room(self, seat: _Seat) -> None:
        """Raises Denied where as many sessions as may be are open, and all in use."""
        identity = self._settings.identity
        most = identity.sessions if identity is not None else 0
        others = [one for one in self._seats.values() if one is not seat]
        taken = [one for one in others if one.connection is not None or one.opening is not None]
        if len(taken) >= most and all(one.users or one.opening is not None for one in taken):
            raise Denied(
                f"{self._name}: {len(taken)} sessions in others' names are in use already; see sessions: of "
                "its identity",
                BAD_RESOURCE_UNAVAILABLE,
            )

    async def _make_room(self, seat: _Seat) -> None:
        identity = self._settings.identity
        most = identity.sessions if identity is not None else 0
        others = [one for one in self._seats.values() if one is not seat]
        taken = sum(one.connection is not None or one.opening is not None for one in others)
        idle = sorted((one for one in others if one.connection is not None and not one.users), key=_last_used)
        for one in idle[: max(taken + 1 - most, 0)]:
            await self._close(one)

    async def _open(self, who: Credentials, seat: _Seat, own: Connection) -> None:
        """Dial; how that ended stands at the seat."""
        settings, now = self._settings, asyncio.get_running_loop().time
        within = _PATIENCE * settings.timeout
        try:
            await self._close(seat)
            await self._make_room(seat)
            try:
                async with asyncio.timeout(within):
                    connection = await connect(
                        settings,
                        self._surroundings,
                        self._traffic,
                        who=who,
                        patience=max(2 * self._idle, _SILENT),
                    )
            except TimeoutError:
                raise Unreachable(f"it was not made within {within:g} s") from None
        except Refused as error:
            advice = (
                "; check the source's identity: and the users there" if error.quality in _OF_USERS else ""
            )
            denied = Denied(self._text(who, f"{error}{advice}"), error.quality)
            self._failed(who, seat, denied, now() + next(seat.refused))
        except SourceError as error:
            self._failed(who, seat, Unreachable(self._text(who, error)), now() + next(seat.unreachable))
        except Exception:
            log.exception("%s: a session as %s failed: a fault of ours", self._name, who)
            fault = Denied(self._text(who, "a fault of ours"), BAD_INTERNAL_ERROR)
            self._failed(who, seat, fault, now() + next(seat.unreachable))
        else:
            if self._own is not own:  # the source's own session has ended meanwhile
                await connection.end()
                return
            again = " again" if seat.failure is not None else ""
            fresh = _Seat()
            seat.connection, seat.used, seat.failure = connection, now(), None
            seat.unreachable, seat.refused = fresh.unreachable, fresh.refused
            self._tell(who, f"opened{again}", "Good")
        finally:
            seat.opening = None

    def _text(self, who: Credentials, why: object) -> str:
        return f"no session with {self._name} ({where(self._settings.url)}) as {who}: {why}"

    def _failed(self, who: Credentials, seat: _Seat, failure: SourceError, again: float) -> None:
        first = type(seat.failure) is not type(failure)
        seat.failure, seat.again = failure, again
        log.log(logging.WARNING if first else logging.DEBUG, "%s", failure)
        if first:
            self._tell(who, "not opened", str(failure))

    def _tell(self, who: Credentials, what: str, status: str) -> None:
        audit.info(
            "session with %s as %s %s",
            self._name,
            who,
            what,
            extra={"event": "identity", "source": self._name, "as": str(who), "status": status},
        )

    async def _fresh(self, who: Credentials, seat: _Seat) -> None:
        """Renew its channel where it is time, and read its namespaces anew where they may be others."""
        connection, own = seat.live, self.own()
        if connection is None:
            raise Unreachable(f"{self._name}: the session as {who} is closed")
        if asyncio.get_running_loop().time() >= connection.channel.renew_at:
            await self._renewed(who, seat, connection)
        try:
            if connection.namespaces != own.namespaces:
                await connection.look()
        except (ConnectionLost, ServiceError) as error:
            await self._close(seat)
            raise Unreachable(self._text(who, error)) from None

    async def _renewed(self, who: Credentials, seat: _Seat, connection: Connection) -> None:
        """Have a new security token. Raises Unreachable."""
        try:
            await connection.channel.renew()
        except ConnectionLost as error:
            await self._close(seat)
            raise Unreachable(self._text(who, error)) from None


def _last_used(seat: _Seat) -> float:
    return seat.used


def _again(failure: SourceError, more: str = "") -> SourceError:
    """The same once more: an error that is raised twice would carry the traceback of both."""
    text = f"{failure}{more}"
    return Denied(text, failure.quality) if isinstance(failure, Denied) else Unreachable(text)
