"""The listening sockets, and the connections they made: how many, for how long, from where."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from server.opcua.transport.connection import Connection, Handler
from server.opcua.transport.framing import error_message
from server.opcua.transport.limits import CAPS, LIMITS, Caps, Limits
from server.opcua.transport.ranks import Ranks, group_of
from server.opcua.transport.turns import Turns
from server.opcua.types import StatusCodes

log = logging.getLogger(__name__)

_QUEUE: Final = 1024
"""Connections the kernel keeps waiting: a burst of clients is not told to try again in seconds."""
_OUT_OF_FILES: Final = 0.5
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ABORTED: Final = 1.0
"""Seconds within which the loop has closed what was aborted: it needs one round."""
_QUIET: Final = 10.0
"""Seconds between two lines of log about the same address."""
_RECEIVE_BUFFER: Final = 128 * 1024
_SEND_BUFFER: Final = 256 * 1024
"""Bytes the kernel keeps for a client that does not read."""

MakeHandler = Callable[[Connection], Handler]


class Listener:
    """Accepts connections and sees to their end.

    Too many connections without a session never keep a client out: the oldest of them make
    room, those of whoever has most of them first.
    """

    def __init__(self, limits: Limits = LIMITS, caps: Caps = CAPS) -> None:
        self.limits = limits
        self.caps = caps
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        """Connections turned away at once, by what was exhausted: ``total``, ``address``, ``system``."""
        self.evicted = 0
        """Connections without a session that made room for others."""
        self.expired = 0
        """Connections ended because they got nowhere in time."""
        self.dropped = 0
        """Connections ended because their client did not read."""
        self.faults = 0
        """Connections ended because of what their client sent."""
        self.failures = 0
        """Connections ended by a fault of ours."""
        self._make_handler: MakeHandler | None = None
        self._sockets: list[socket.socket] = []
        self._acceptors: list[asyncio.Task[None]] = []
        self._connections: set[Connection] = set()
        self.turns: Final = Turns()
        """In which connections with much to say are answered."""
        self._groups: Counter[str] = Counter()
        self._waiting: Ranks[Connection] = Ranks()
        """Neither a session nor a trusted application."""
        self._opening: Ranks[Connection] = Ranks()
        """A trusted application without a session."""
        self._lingering: dict[Connection, None] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._buffer = memoryview(bytearray(_RECEIVE_BUFFER))
        self._told: dict[str, float] = {}

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._open

    @property
    def unauthenticated(self) -> int:
        """How many of them are without a session."""
        return len(self._waiting) + len(self._opening)

    # --- Life

    def bind(self, host: str, port: int) -> int:
        """Take a port, and return it; nobody is answered yet.

        May be called for several hosts; an empty one means every interface. Raises OSError.
        """
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        taken: list[socket.socket] = []
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                bound = _listening(family, str(address[0]), port)
                if bound is None:
                    continue
                port = int(bound.getsockname()[1])
                taken.append(bound)
        except OSError:
            for bound in taken:
                bound.close()
            raise
        if not taken:
            raise OSError(f"{host or 'this machine'} has no address to listen on")
        self._sockets += taken
        return port

    async def serve(self, make_handler: MakeHandler) -> None:
        """Answer whoever connects."""
        self._make_handler = make_handler
        loop = asyncio.get_running_loop()
        for bound in self._sockets:
            self._acceptors.append(
                loop.create_task(self._accept(bound), name=f"opcua accept {bound.getsockname()[:2]}")
            )

    def sweep(self) -> None:
        """End what has got nowhere for too long; to be called every second."""
        now = time.monotonic()
        for connection in list(self._connections):
            connection.sweep(now)
        unsent = {c: c.unsent for c in self._connections if not c.closing}
        total = sum(unsent.values())
        while total > self.caps.unsent:
            worst = max(unsent, key=unsent.__getitem__)
            total -= unsent.pop(worst)
            worst.drop("too many answers wait, and most of them for it")
        self._told = {a: t for a, t in self._told.items() if now - t < _QUIET}

    async def close(self, *, within: float) -> None:
        """Stop listening, tell every client, and wait for their requests' end, or not much longer."""
        acceptors, self._acceptors = self._acceptors, []
        for task in acceptors:
            task.cancel()
        await asyncio.gather(*acceptors, return_exceptions=True)
        for bound in self._sockets:
            bound.close()
        self._sockets = []
        for connection in list(self._connections):
            connection.close(StatusCodes.BadServerHalted)
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
                await asyncio.gather(*self._endings, return_exceptions=True)
        except TimeoutError:
            log.info("%d connections did not end in %.1f s", len(self._connections), within)
        for connection in list(self._connections):
            connection.abort()
        try:
            async with asyncio.timeout(_ABORTED):
                await self._empty.wait()
        except TimeoutError:
            log.exception("%d connections could not be closed: a fault of ours", len(self._connections))
        late = list(self._endings)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    # --- Accepting

    async def _accept(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(bound)
            except OSError as error:
                self.refused["system"] += 1
                self.tell("", "no connection can be accepted: %s", error.strerror)
                await asyncio.sleep(_OUT_OF_FILES if error.errno in _EXHAUSTED else 0)
                continue
            try:
                await self._take(client, str(address[0]), int(address[1]))
            except OSError as error:
                log.debug("connection from %s lost at once: %s", address[0], error)
                client.close()
            except Exception:
                # Whatever it is, the next client has to be let in.
                log.exception("connection from %s refused: a fault of ours", address[0])
                self.failures += 1
                client.close()

    async def _take(self, client: socket.socket, address: str, port: int) -> None:
        group = group_of(address)
        full = self._make_room(group)
        if full is not None:
            self.refused[full] += 1
            self.tell(address, "connection from %s refused: the cap is reached (%s)", address, full)
            _turn_away(client)
            await asyncio.sleep(0)  # accepting one after the other would keep everybody else waiting
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        connection = Connection(self, address, port)
        self._enter(connection, group)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, client)
        except BaseException:
            connection.abort()
            self.gone(connection)
            raise

    def _make_room(self, group: str) -> str | None:
        """Have the first to go make room for one more from there; which cap is in the way where none can."""
        caps = self.caps
        if self._waiting.count(group) >= caps.unauthenticated_per_address:
            self._evict(self._waiting.oldest(group))
        elif len(self._waiting) >= caps.unauthenticated:
            self._evict(self._waiting.first_to_go())
        if self._groups[group] >= caps.per_address and not self._evict(
            self._waiting.oldest(group) or self._opening.oldest(group)
        ):
            return "address"
        if self.connections >= caps.connections and not self._evict(
            self._waiting.first_to_go() or self._opening.first_to_go()
        ):
            return "total"
        return None

    def _evict(self, connection: Connection | None) -> bool:
        if connection is None:
            return False
        self.evicted += 1
        log.debug("connection from %s closed: it has no session, and others wait", connection.peer)
        connection.abort()
        return True

    # --- What connections tell

    def buffer(self) -> memoryview:
        """Where a connection may have its bytes put until it has looked at them, which it does at once."""
        # Elsewhere a read is begun long before there is something to read, so each needs its own.
        return self._buffer if os.name == "posix" else memoryview(bytearray(_RECEIVE_BUFFER))

    def make_handler(self, connection: Connection) -> Handler:
        """What answers a connection that said Hello."""
        assert self._make_handler is not None  # noqa: S101  # there are no connections before `serve`
        return self._make_handler(connection)

    def ranked(self, connection: Connection) -> None:
        """A connection's standing changed."""
        if connection.closing:
            return
        group = group_of(connection.address)
        self._unrank(connection, group)
        self._rank(connection, group)

    def ended(self, connection: Connection, *, lingers: bool) -> None:
        """A connection is being closed: it no longer counts, and its handler is done with it."""
        group = group_of(connection.address)
        self._unrank(connection, group)
        self._groups[group] -= 1
        if not self._groups[group]:
            del self._groups[group]
        self._open -= 1
        if lingers:
            self._lingering[connection] = None
            if len(self._lingering) > self.caps.lingering:
                oldest = next(iter(self._lingering))
                del self._lingering[oldest]
                oldest.abort()
        if connection.handler is not None:
            # Soon, not now: it may be the handler that closes, in the middle of something.
            task = asyncio.get_running_loop().create_task(
                _part(connection.handler), name=f"opcua end {connection.peer}"
            )
            self._endings.add(task)
            task.add_done_callback(self._parted)

    def gone(self, connection: Connection) -> None:
        """A connection's socket is closed."""
        self._lingering.pop(connection, None)
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def tell(self, address: str, text: str, *details: object) -> None:
        """Log what a client did wrong: one warning in a while from each address, the rest in detail only."""
        now = time.monotonic()
        level = logging.DEBUG
        if now - self._told.get(address, -_QUIET) >= _QUIET and len(self._told) < _QUEUE:
            self._told[address] = now
            level = logging.WARNING
        log.log(level, text, *details)

    def _enter(self, connection: Connection, group: str) -> None:
        self.accepted += 1
        self._open += 1
        self._connections.add(connection)
        self._empty.clear()
        self._groups[group] += 1
        self._rank(connection, group)

    def _rank(self, connection: Connection, group: str) -> None:
        if connection.authenticated:
            return
        (self._opening if connection.trusted else self._waiting).add(group, connection)

    def _unrank(self, connection: Connection, group: str) -> None:
        self._waiting.discard(group, connection)
        self._opening.discard(group, connection)

    def _parted(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a connection's end failed: a fault of ours", exc_info=task.exception())


async def _part(handler: Handler) -> None:
    """Tell a handler that its connection is no more, and see its tasks end."""
    try:
        handler.lost()
    finally:
        await handler.wait()


def _listening(family: int, host: str, port: int) -> socket.socket | None:
    """A listening socket; None where the machine does not know that family after all."""
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        if os.name == "posix":  # elsewhere it lets two servers have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
        bound.listen(_QUEUE)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _turn_away(client: socket.socket) -> None:
    """Tell a client that there is no room, if it can be told at once."""
    try:
        client.setblocking(False)
        client.send(error_message(StatusCodes.BadTcpServerTooBusy))
    except OSError as error:
        log.debug("a client could not be told that there is no room: %s", error)
    finally:
        client.close()
