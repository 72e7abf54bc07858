"""Work that takes milliseconds and must not hold the event loop: bounded, and shared out fairly."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from server.opcua.types import ServiceFault, StatusCodes

T = TypeVar("T")

MOST: Final = 256
MOST_EACH: Final = 32


class Busy(ServiceFault):
    """More work waits than this server is willing to keep waiting (BadTooManyOperations)."""

    def __init__(self, reason: str) -> None:
        super().__init__(StatusCodes.BadTooManyOperations, reason)


class _Job(NamedTuple):
    future: asyncio.Future[Any]
    work: Callable[[], Any]
    ready: Callable[[], None] | None


class Pool:
    """Runs work in threads, ``workers`` at a time, and keeps the rest in a line for each who asks.

    The lines take turns, one piece of work a turn, and no two pieces of one line run at once:
    whoever asks for much waits for himself. Where too many wait, the longest line loses its last.
    """

    def __init__(self, workers: int, most: int = MOST, each: int = MOST_EACH) -> None:
        self._workers = workers
        self._most = most
        self._each = each
        self._lines: dict[str, deque[_Job]] = {}
        """The waiting work of everybody who has some waiting or running."""
        self._turns: deque[str] = deque()
        """Who is served next, in this order; whose work runs is not there until it is done."""
        self._running = 0
        self._waiting = 0

    async def run(self, who: str, work: Callable[[], T], ready: Callable[[], None] | None = None) -> T:
        """What ``work()`` returns or raises; ``ready`` is called on the loop when its turn has come.

        What ``ready`` raises is raised instead of working. Raises Busy.
        """
        self._make_room(len(self._lines.get(who, ())))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if who not in self._lines:
            self._lines[who] = deque()
            self._turns.append(who)
        self._lines[who].append(_Job(future, work, ready))
        self._waiting += 1
        self._serve()
        return await future

    def _make_room(self, own: int) -> None:
        """Room for one more in a line of so many. Raises Busy."""
        if own >= self._each:
            raise Busy(f"{own} requests of the same client wait already")
        if self._waiting < self._most:
            return
        longest = max(self._lines.values(), key=len)
        if len(longest) <= own + 1:
            raise Busy(f"{self._waiting} requests wait already")
        self._waiting -= 1
        loser = longest.pop().future
        if not loser.done():
            loser.set_exception(Busy("others have waited for less"))

    def _serve(self) -> None:
        while self._turns and self._running < self._workers:
            who = self._turns.popleft()
            job = self._lines[who].popleft()
            self._waiting -= 1
            if not self._start(who, job):
                self._next_turn(who)

    def _start(self, who: str, job: _Job) -> bool:
        """Whether it runs now."""
        if job.future.done():  # nobody waits for it any more
            return False
        try:
            if job.ready is not None:
                job.ready()
            working = asyncio.get_running_loop().run_in_executor(None, job.work)
        except Exception as error:  # noqa: BLE001  # the caller's, and raised there
            job.future.set_exception(error)
            return False
        self._running += 1
        working.add_done_callback(partial(self._done, who, job))
        return True

    def _done(self, who: str, job: _Job, working: asyncio.Future[Any]) -> None:
        # Asked for in any case: an exception that nobody fetches is logged as lost.
        error = None if working.cancelled() else working.exception()
        if not job.future.done():
            if working.cancelled():
                job.future.cancel()
            elif error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(working.result())
        # Not before the caller has seen the result: what it learns may decide about the next.
        asyncio.get_running_loop().call_soon(self._release, who)

    def _release(self, who: str) -> None:
        self._running -= 1
        self._next_turn(who)
        self._serve()

    def _next_turn(self, who: str) -> None:
        if self._lines[who]:
            self._turns.append(who)
        else:
            del self._lines[who]
