"""TCP connections of clients: chunks in, bytes out, and an end to every one of them.

A connection reads no further while its requests wait, handles none while its client does
not take the answers, and is closed when it does not get anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from server.opcua.framing import Frames, TransportError, error_message
from server.opcua.types import StatusCodes

log = logging.getLogger(__name__)

GRACE: Final = 30.0
"""Seconds a connection may stay without an activated session."""

_MAX_PENDING: Final = 64
_LINGER: Final = 2.0


class Handler(Protocol):
    """What answers the chunks of one connection."""

    @property
    def active(self) -> bool:
        """Whether a session is activated on this connection."""
        ...

    async def process(self, frame: bytes) -> bool:
        """Answer one chunk; False ends the connection. Raises TransportError."""
        ...

    async def closed(self) -> None:
        """The connection is gone. Called once, last."""
        ...


HandlerFactory = Callable[[asyncio.Transport], Handler]


class Connection(asyncio.Protocol):
    """One client's connection; `run` is its life, awaited by the listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._frames = Frames()
        self._pending: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self._reading = True
        self._failure: TransportError | None = None
        self._transport: asyncio.Transport | None = None
        self.handler: Handler | None = None
        self.idle_since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what a TCP server always gives
        self._transport = transport
        self._listener.open.add(self)
        if not self._listener.admit(self):
            log.warning("connection from %s refused: %d are open", self.peer, self._listener.limit)
            self.end(StatusCodes.BadTcpServerTooBusy)
            return
        self.handler = self._listener.make_handler(transport)
        self._listener.start(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._failure is not None or self.handler is None:
            return
        try:
            self._pending.extend(self._frames.feed(data))
        except TransportError as error:
            self._failure = error
        if len(self._pending) >= _MAX_PENDING and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
        self._wake.set()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        self._listener.open.discard(self)
        self._lost = True
        self._wake.set()
        self._writable.set()

    @property
    def peer(self) -> str:
        """Where the client sits: ``127.0.0.1:50000``."""
        address = self._transport.get_extra_info("peername") if self._transport else None
        return f"{address[0]}:{address[1]}" if address else "?"

    async def run(self) -> None:
        """Answer chunk after chunk until the connection ends."""
        handler = self.handler
        assert handler is not None  # noqa: S101  # the listener runs none without
        try:
            while (frame := await self._next()) is not None:
                if not await handler.process(frame):
                    break
        except TransportError as error:
            log.warning("connection from %s closed: %s", self.peer, error)
            self.end(error.code)
        except Exception:
            log.exception("connection from %s closed: a fault of ours", self.peer)
            self.end(StatusCodes.BadTcpInternalError)
        finally:
            self.end()
            await handler.closed()

    async def _next(self) -> bytes | None:
        while True:
            await self._writable.wait()
            if self._lost:
                return None
            if self._pending:
                frame = self._pending.popleft()
                if not self._reading and len(self._pending) <= _MAX_PENDING // 2 and self._transport:
                    self._reading = True
                    self._transport.resume_reading()
                return frame
            if self._failure is not None:
                raise self._failure
            self._wake.clear()
            await self._wake.wait()

    def end(self, code: int | None = None) -> None:
        """Close, telling the client why; what it does not take in time is dropped."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if code is not None:
            transport.write(error_message(code))
        transport.close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    @property
    def ending(self) -> bool:
        """Whether it is being closed."""
        return self._lost or self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Listener:
    """The listening socket and the connections it made."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.open: set[Connection] = set()
        self._make_handler: HandlerFactory | None = None
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._tasks: dict[Connection, asyncio.Task[None]] = {}

    def bind(self, host: str, port: int) -> int:
        """Take the port, and return it; nobody is answered yet. Raises OSError."""
        self._socket = socket.create_server((host, port), backlog=self.limit)
        return int(self._socket.getsockname()[1])

    async def serve(self, make_handler: HandlerFactory) -> None:
        """Answer whoever connects."""
        bound, self._socket = self._socket, None
        assert bound is not None  # noqa: S101  # `bind` comes first
        self._make_handler = make_handler
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=bound)

    def make_handler(self, transport: asyncio.Transport) -> Handler:
        """What answers a new connection."""
        assert self._make_handler is not None  # noqa: S101  # there are no connections before `serve`
        return self._make_handler(transport)

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more; the oldest without a session makes it where there is none."""
        if connection in self._tasks:
            return False
        if len(self._tasks) < self.limit:
            return True
        waiting = [c for c in self._tasks if not c.ending and (c.handler is None or not c.handler.active)]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda c: c.idle_since)
        log.debug("connection from %s closed: it has no session, and others wait", oldest.peer)
        oldest.abort()
        return True

    def start(self, connection: Connection) -> None:
        """Give a connection its task."""
        task = asyncio.get_running_loop().create_task(connection.run(), name=f"opcua {connection.peer}")
        self._tasks[connection] = task
        task.add_done_callback(lambda _: self._tasks.pop(connection, None))

    def sweep(self) -> None:
        """Close the connections that have been without an activated session for too long."""
        now = time.monotonic()
        for connection in list(self._tasks):
            if connection.handler is not None and connection.handler.active:
                connection.idle_since = now
            elif now - connection.idle_since > GRACE:
                log.info("connection from %s closed: no session in %.0f s", connection.peer, GRACE)
                connection.end(StatusCodes.BadTimeout)

    async def close(self, *, within: float) -> None:
        """Stop listening, tell every client, and wait for their requests' end, or not much longer."""
        if self._socket is not None:
            self._socket.close()
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks.values())
        for connection in list(self._tasks):
            connection.end(StatusCodes.BadServerHalted)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self.open):
            connection.abort()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
