"""One name's session with a downstream server, while there is one, and how its last attempts went."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sources import backoff
from sources.errors import Denied, SourceError, Unreachable
from sources.opcua.connection import Connection

_REFUSED_FIRST, _REFUSED_MOST = 10.0, 300.0
"""Seconds until a name that was refused is tried again: many servers lock accounts that fail too often."""
_SLACK: Final = 0.8
"""Of the time after which the server ends a silent session, when it is closed here."""


class Seat:
    """See the module."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.opening: asyncio.Task[None] | None = None
        self.lock = asyncio.Lock()
        """Held while the session is looked after."""
        self.users = 0
        """Who needs it now, or waits for it."""
        self.retired = False
        """Whether nobody has the name any more."""
        self._now = asyncio.get_running_loop().time
        self._used = self._now()
        self._failure: SourceError | None = None
        self._again = 0.0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._unreachable = backoff.delays()
        self._refused = backoff.delays(_REFUSED_FIRST, _REFUSED_MOST)

    @property
    def live(self) -> Connection | None:
        """Its session, where it can be used."""
        connection = self.connection
        return None if connection is None or connection.channel.lost.done() else connection

    @property
    def taken(self) -> bool:
        """Whether the server has a session of it, or is about to."""
        return self.connection is not None or self.opening is not None

    @property
    def busy(self) -> bool:
        """Whether that session cannot give way to another name's."""
        return bool(self.users) or self.opening is not None

    @property
    def used(self) -> float:
        """When it was last needed, by the loop's clock."""
        return self._used

    @contextmanager
    def using(self) -> Iterator[None]:
        """Keep the session from being closed for the time of the block."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self._used = self._now()

    def is_idle(self, after: float) -> bool:
        """Whether nobody has needed the session for so many seconds, or the server is about to end it."""
        patience = self.connection.patience if self.connection is not None else after
        return not self.users and self._now() - self._used >= min(after, _SLACK * patience)

    def opened(self, connection: Connection) -> bool:
        """Take a session; whether it is one after a failure."""
        again = self._failure is not None
        self.connection, self._failure, self._used = connection, None, self._now()
        self._begin_anew()
        return again

    def failed(self, failure: Denied | Unreachable) -> bool:
        """Note that there is none; whether that is news."""
        news = type(self._failure) is not type(failure)
        delays = self._refused if isinstance(failure, Denied) else self._unreachable
        self._failure, self._again = failure, self._now() + next(delays)
        return news

    def forgive(self) -> None:
        """Let it be tried at once."""
        self._again = 0.0

    def check(self) -> None:
        """Raises Denied or Unreachable, as it failed, where it is not to be tried yet."""
        left = self._again - self._now()
        if self._failure is not None and left > 0:
            raise _once_more(self._failure, f"; tried again in {left:.0f} s at the earliest")

    def why(self) -> SourceError:
        """Why there is none."""
        return _once_more(self._failure or Unreachable("the session was not opened"))

    async def close(self) -> None:
        """End its session."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.end()


def _once_more(failure: SourceError, more: str = "") -> SourceError:
    """The same: an error that is raised twice would carry the traceback of both."""
    text = f"{failure}{more}"
    return Denied(text, failure.quality) if isinstance(failure, Denied) else Unreachable(text)
