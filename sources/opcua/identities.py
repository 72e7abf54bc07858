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
from typing import Any, Final, Never

from sources.asking import Asker
from sources.errors import ConnectionLost, Denied, Refused, SourceError, Unreachable
from sources.insight import Traffic
from sources.opcua.channel import FORWARDED, ServiceError
from sources.opcua.config import DownstreamSettings
from sources.opcua.connection import Connection, connect
from sources.opcua.identity import Credentials
from sources.opcua.seat import Seat
from sources.opcua.security import Surroundings, where
from sources.quality import (
    BAD_IDENTITY_TOKEN_INVALID,
    BAD_IDENTITY_TOKEN_REJECTED,
    BAD_INTERNAL_ERROR,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_USER_ACCESS_DENIED,
    BAD_USER_SIGNATURE_INVALID,
)
from sources.resolve import Resolver

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")

_LOOK: Final = 1.0
"""Seconds between two looks at whether a session is still needed."""
_PATIENCE: Final = 2.0
"""So many times as long as one answer a session may take to open: others' writes wait meanwhile."""
_SILENT: Final = 60.0
"""Seconds a session may be silent at the least."""
_OF_USERS: Final = frozenset(
    {
        BAD_IDENTITY_TOKEN_INVALID,
        BAD_IDENTITY_TOKEN_REJECTED,
        BAD_USER_ACCESS_DENIED,
        BAD_USER_SIGNATURE_INVALID,
    }
)
"""What a server says of a user, not of the application he comes with."""


class Identities:
    """The names of one source, over all its connections, one after the other."""

    def __init__(self, name: str, settings: DownstreamSettings) -> None:
        self._name = name
        self._settings = settings
        self._seats: dict[Credentials, Seat] = {}
        """There are no more of them than rules."""
        self._own: Connection | None = None
        self._tending: asyncio.Task[Never] | None = None
        """Looks after the sessions, once there is one."""
        self._surroundings = Surroundings()
        self._traffic = Traffic()
        self._resolver: Resolver | None = None

    def adapt(self, settings: DownstreamSettings) -> None:
        """Go by other rules from now on; what was refused may be tried at once."""
        self._settings = settings
        rules = settings.identity.map if settings.identity is not None else ()
        named = {rule.credentials for rule in rules}
        for who, seat in list(self._seats.items()):
            seat.forgive()
            seat.retired = who not in named
            self._drop(who, seat)

    def _drop(self, who: Credentials, seat: Seat) -> None:
        """Forget a name that nobody has any more, once nothing of it is left."""
        if seat.retired and not seat.taken and not seat.users:
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
        self, own: Connection, surroundings: Surroundings, traffic: Traffic, resolver: Resolver
    ) -> AsyncIterator[None]:
        """For the time the source's own session stands; what they share."""
        self._own, self._surroundings, self._traffic = own, surroundings, traffic
        self._resolver = resolver
        try:
            yield
        finally:
            self._own = None
            await self._end_all(say_goodbye=not own.channel.lost.done())

    async def _end_all(self, *, say_goodbye: bool) -> None:
        """End the tasks, then the sessions: without a word where nobody would hear it."""
        tending, self._tending = self._tending, None
        seats = list(self._seats.values())
        ending: list[asyncio.Task[Any]] = [] if tending is None else [tending]
        ending += [seat.opening for seat in seats if seat.opening is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if not say_goodbye:
            open_ones = [seat.connection for seat in seats if seat.connection is not None]
            await asyncio.gather(*(connection.channel.gone() for connection in open_ones))
        await asyncio.gather(*(seat.close() for seat in seats))

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

    async def _look_after(self, who: Credentials, seat: Seat) -> None:
        async with seat.lock:
            connection = seat.connection
            if connection is None or seat.users:
                pass
            elif seat.live is None:
                log.info("%s: the session as %s is lost: %s", self._name, who, connection.channel.cause[0])
                await seat.close()
            elif seat.retired or seat.is_idle(self._idle):
                log.debug("%s: the session as %s is closed: nobody needs it", self._name, who)
                await seat.close()
            else:
                await self._renew(who, seat, connection)
        self._drop(who, seat)

    @property
    def _idle(self) -> float:
        identity = self._settings.identity
        return identity.idle if identity is not None else 0.0

    @property
    def _most(self) -> int:
        identity = self._settings.identity
        return identity.sessions if identity is not None else 0

    # --- For who asks

    async def ready(self, who: Credentials) -> None:
        """Have a session in that name, its namespaces those of now. Raises Unreachable, Denied."""
        seat = self._seats.get(who)
        if seat is None:
            seat = self._seats[who] = Seat()
        if seat.users >= FORWARDED:
            raise Denied(
                f"{self._name}: {seat.users} writes and calls as {who} are under way already",
                BAD_RESOURCE_UNAVAILABLE,
            )
        with seat.using():
            if seat.live is None:
                await self._opened(who, seat)
            async with seat.lock:
                await self._refresh(who, seat)

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
        with seat.using():
            yield connection

    async def forsake(self, who: Credentials, connection: Connection, why: object) -> None:
        """The server knows that session no longer."""
        seat = self._seats.get(who)
        if seat is not None and seat.connection is connection:
            log.info("%s: the session as %s is over: %s", self._name, who, why)
            await seat.close()

    async def _opened(self, who: Credentials, seat: Seat) -> None:
        """Wait until it is open, or has failed. Raises Unreachable, Denied."""
        own = self.own()
        if seat.opening is None:
            seat.check()
            self._check_room(seat)
            if self._tending is None:
                self._tending = asyncio.create_task(self._tend(), name=f"{self._name} identities")
            seat.opening = asyncio.create_task(self._open(who, seat, own), name=f"{self._name} as {who}")
        await asyncio.wait((seat.opening,))
        if seat.live is None:
            raise seat.why()

    def _check_room(self, seat: Seat) -> None:
        """Raises Denied where as many sessions as may be are open, and all in use."""
        taken = [one for one in self._seats.values() if one is not seat and one.taken]
        if len(taken) >= self._most and all(one.busy for one in taken):
            raise Denied(
                f"{self._name}: {len(taken)} sessions in others' names are in use already; see sessions: of "
                "its identity",
                BAD_RESOURCE_UNAVAILABLE,
            )

    async def _make_room(self, seat: Seat) -> None:
        taken = [one for one in self._seats.values() if one is not seat and one.taken]
        idle = sorted((one for one in taken if not one.busy), key=lambda one: one.used)
        for one in idle[: max(len(taken) + 1 - self._most, 0)]:
            await one.close()

    async def _open(self, who: Credentials, seat: Seat, own: Connection) -> None:
        """Dial; how that ended stands at the seat."""
        try:
            await seat.close()
            await self._make_room(seat)
            connection = await self._dial(who)
        except Refused as error:
            advice = (
                "; check the source's identity: and the users there" if error.quality in _OF_USERS else ""
            )
            self._failed(who, seat, Denied(self._text(who, f"{error}{advice}"), error.quality))
        except SourceError as error:
            self._failed(who, seat, Unreachable(self._text(who, error)))
        except Exception:
            log.exception("%s: a session as %s failed: a fault of ours", self._name, who)
            self._failed(who, seat, Denied(self._text(who, "a fault of ours"), BAD_INTERNAL_ERROR))
        else:
            if self._own is own:
                again = " again" if seat.opened(connection) else ""
                self._tell(who, f"opened{again}", "Good")
            else:  # the source's own session has ended meanwhile
                await connection.end()
        finally:
            seat.opening = None

    async def _dial(self, who: Credentials) -> Connection:
        """A session in that name. Raises Unreachable, Refused."""
        within, silent = _PATIENCE * self._settings.timeout, max(2 * self._idle, _SILENT)
        try:
            async with asyncio.timeout(within):
                return await connect(
                    self._settings,
                    self._surroundings,
                    self._traffic,
                    self._resolver,
                    who=who,
                    patience=silent,
                )
        except TimeoutError:
            raise Unreachable(f"it was not made within {within:g} s") from None

    def _text(self, who: Credentials, why: object) -> str:
        return f"no session with {self._name} ({where(self._settings.url)}) as {who}: {why}"

    def _failed(self, who: Credentials, seat: Seat, failure: Denied | Unreachable) -> None:
        news = seat.failed(failure)
        log.log(logging.WARNING if news else logging.DEBUG, "%s", failure)
        if news:
            self._tell(who, "not opened", str(failure))

    def _tell(self, who: Credentials, what: str, status: str) -> None:
        audit.info(
            "session with %s as %s %s",
            self._name,
            who,
            what,
            extra={"event": "identity", "source": self._name, "as": str(who), "status": status},
        )

    async def _refresh(self, who: Credentials, seat: Seat) -> None:
        """Renew its channel where it is time, and read its namespaces anew where they may be others."""
        connection, own = seat.live, self.own()
        if connection is None:
            raise Unreachable(f"{self._name}: the session as {who} is closed")
        await self._renew(who, seat, connection)
        try:
            if connection.namespaces != own.namespaces:
                await connection.look()
        except (ConnectionLost, ServiceError) as error:
            await seat.close()
            raise Unreachable(self._text(who, error)) from None

    async def _renew(self, who: Credentials, seat: Seat, connection: Connection) -> None:
        """Have a new security token where it is time. Raises Unreachable."""
        try:
            if asyncio.get_running_loop().time() >= connection.channel.renew_at:
                await connection.channel.renew()
        except ConnectionLost as error:
            await seat.close()
            raise Unreachable(self._text(who, error)) from None
