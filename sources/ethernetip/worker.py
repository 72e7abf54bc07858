"""A thread of its own for one link, so that what blocks in pycomm3 blocks nothing else.

The thread is cut when it overstays: its socket is shut down from outside, so that whatever
waits there ends at once; where it burns CPU all the same, an exception is thrown into it,
which ends a loop that never touches the socket. Every wait of pycomm3 is on our socket and
every loop of it is Python, so a thread can be cut and a process is not needed; what remains
is one that hangs in the resolver of host names, which ends by itself and then finds its
connection closed.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from sources.ethernetip.failures import Broken, NotSent
from sources.quality import BAD_TIMEOUT
from sources.turns import Busy

log = logging.getLogger(__name__)

GRACE: Final = 1.0
"""Seconds that a thread may take beyond what its work was allowed, and to end once it is cut."""

_QUEUE: Final = 64
_BURNING: Final = 0.1
"""A thread that has the CPU for more than this share of the time is not waiting for anything."""

T = TypeVar("T")


class Resource(Protocol):
    """What the thread works with."""

    @property
    def until(self) -> float:
        """Until when (of `time.monotonic`) the request at hand may take."""
        ...

    def abort(self, reason: str) -> None:
        """Make the thread's work fail at once; may come from any thread."""
        ...

    def close(self) -> None:
        """Release it; called by the thread, last."""
        ...


class Cut(BaseException):
    """Thrown into a thread that does not end; no handler of pycomm3's catches it."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    limit: float
    done: asyncio.Future[Any]
    dropped: bool = False


@dataclass(slots=True)
class Counters:
    """Over all workers of one source.

    ``cut`` were at work when they were ended from outside, ``abandoned`` did not even end then.
    """

    cut: int = 0
    abandoned: int = 0
    left: list[threading.Thread] = field(default_factory=list)

    @property
    def hanging(self) -> int:
        """How many of the abandoned are there still."""
        self.left = [thread for thread in self.left if thread.is_alive()]
        return len(self.left)


class Worker:
    """The thread. It lives from here to `stop`, and does one piece of work after the other."""

    def __init__(
        self, name: str, resource: Resource, counters: Counters | None = None, *, grace: float | None = None
    ) -> None:
        self._name = name
        self._resource = resource
        self._counters = counters or Counters()
        self._grace = GRACE if grace is None else grace
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_QUEUE)
        self._limit: float | None = None
        """Until when the work at hand may take, unless a request of it may take longer; None while idle."""
        self._stopping = False
        self._life = threading.Lock()
        self._dead = False
        # A daemon: one that cannot be cut must not hold up the end of the process.
        self._thread = threading.Thread(target=self._live, name=f"logix {name}", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[], T], limit: float) -> T:
        """Have the thread do something; returns or raises what that does.

        It may take ``limit`` seconds, or as long as its requests, each by itself, may.

        Raises Broken where it overstays, after cutting the thread, NotSent where it was never
        begun, and Busy where too much waits for it. A caller that is cancelled leaves what
        has begun to end by itself.
        """
        if self._stopping:
            raise NotSent("the connection was closed by this side")
        job = _Job(work, limit, self._loop.create_future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Busy(f"{_QUEUE} pieces of work are waiting already") from None
        try:
            while not job.done.done():
                if self._ended.is_set():
                    raise Broken("the connection was closed by this side")
                left = self._left()
                await asyncio.wait((job.done,), timeout=limit if left is None else max(left, 0.01))
                left = self._left()
                if not job.done.done() and left is not None and left <= 0:
                    self.cut("it has overstayed")
                    raise Broken(f"no end of it {self._grace:g} s after its time", BAD_TIMEOUT)
            result: T = job.done.result()
            return result
        finally:
            job.dropped = True
            job.done.cancel()

    def _left(self) -> float | None:
        """Seconds until the work at hand has overstayed; None while there is none."""
        limit = self._limit
        return None if limit is None else max(limit, self._resource.until) + self._grace - time.monotonic()

    def cut(self, reason: str) -> None:
        """End the thread's work, whatever it is, without waiting; it takes no other."""
        self._stopping = True
        if self._limit is not None:
            self._counters.cut += 1
            log.debug("%s: the connection's thread is cut: %s", self._name, reason)
        self._resource.abort(reason)
        with suppress(queue.Full):  # it will not look there again
            self._jobs.put_nowait(None)

    async def stop(self) -> None:
        """End the thread: as soon as it is idle, or by force. Does not raise but for cancellation."""
        if not self._stopping:
            self.cut("the connection was closed by this side")
        used = self._cpu()
        try:
            if await self._ends():
                return
        except asyncio.CancelledError:
            # It ends by itself or is seen to later; nobody waits for that.
            self._loop.call_later(self._grace, self._throw, used)
            raise
        if not self._throw(used) or not await self._ends():
            self._abandon()

    async def _ends(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                await self._ended.wait()
        return self._ended.is_set()

    def _throw(self, used: float) -> bool:
        """End a thread that has burnt CPU since it had ``used`` so much, by throwing Cut into it.

        False for one that waits in C code: it would not notice before it is back, and until
        then every bytecode of the whole process would look whether it is meant.
        """
        if hasattr(time, "pthread_getcpuclockid") and self._cpu() - used < _BURNING * self._grace:
            return self._ended.is_set()
        with self._life:
            # A thread that has ended may have left its number to another.
            if not self._dead:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(Cut)
                )
        return True

    def _cpu(self) -> float:
        """Seconds of CPU the thread has used; 0 once it is over, and where the system does not tell."""
        with self._life:
            if self._dead or self._thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
                return 0.0
            return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def _abandon(self) -> None:
        self._counters.abandoned += 1
        self._counters.left.append(self._thread)
        log.error(
            "%s: a thread of a lost connection hangs and cannot be ended; it is left behind (%d so far)",
            self._name,
            self._counters.abandoned,
        )

    def _live(self) -> None:
        """The thread's life."""
        try:
            while not self._stopping and (job := self._jobs.get()) is not None:
                if not job.dropped:
                    self._limit = time.monotonic() + job.limit
                    self._do(job)
        except Cut:
            log.debug("%s: the connection's thread has been ended", self._name)
        finally:
            self._die()

    def _do(self, job: _Job) -> None:
        try:
            result = job.work()
        except Cut:
            self._tell(_fail, job.done, Broken("the connection was cut"))
            raise
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            self._limit = None
            self._tell(_fail, job.done, error)
        else:
            self._limit = None
            self._tell(_succeed, job.done, result)

    def _die(self) -> None:
        """Release what there is. Before that, no Cut may come any more, and none be under way."""
        while True:
            try:
                with self._life:
                    self._dead = True
                time.sleep(0)  # one that was thrown before arrives here at the latest
            except Cut:
                continue
            break
        self._resource.close()
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                self._tell(_fail, job.done, NotSent("the connection was closed by this side"))
        self._tell(self._ended.set)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, *args)


def _succeed(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
