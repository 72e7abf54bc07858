"""One client's TCP connection: chunks in, bytes out, and an end to every one of them.

A connection reads no further while its handler is busy or its client does not take the
answers, and is ended when it does not get anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final, Protocol, cast

from server.opcua.transport.framing import Frames, TransportError, error_message
from server.opcua.transport.hello import greet
from server.opcua.transport.limits import Limits, Negotiated
from server.opcua.types import StatusCodes

if TYPE_CHECKING:
    from server.opcua.transport.listener import Listener

log = logging.getLogger(__name__)

_TURN: Final = 0.00025
"""Seconds of chunks a connection has answered before it waits for its turn, see `turns`."""
_HEAVY: Final = 0.002
"""Seconds that one turn may take until its connection has to wait for the next one."""
_SMALL: Final = 16 * 1024
"""Bytes of an answer that may wait for the next ones of the same turn."""
_DRAIN: Final = 1024 * 1024
"""Bytes that are read and thrown away while a client is told why it is hung up on."""
_PROGRESS: Final = 4096
"""Bytes a client that has answers waiting has to take in the time it is given."""
_MORE: Final = ord("C")


class Handler(Protocol):
    """What answers the chunks of one connection, from its Hello on."""

    def receive(self, chunk: bytes) -> None:
        """Take one chunk. Raises TransportError to end the connection."""
        ...

    def lost(self) -> None:
        """The connection is no more. Called once, last; nothing that is written after arrives."""
        ...

    async def wait(self) -> None:
        """Wait for whatever still runs on its behalf; awaited after `lost`."""
        ...


class Connection(asyncio.BufferedProtocol):
    """One client's connection. Its listener makes it; its handler speaks through it."""

    def __init__(self, listener: Listener, address: str, port: int) -> None:
        self._listener = listener
        self._limits: Limits = listener.limits
        self.address = address
        """The client's host."""
        self.peer = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        """Host and port, for people."""
        self.url = ""
        """The EndpointUrl of the Hello."""
        self.negotiated: Negotiated | None = None
        """What Hello and Acknowledge agreed on; there when the handler is made."""
        self.handler: Handler | None = None
        self.expires = math.inf
        """When its secure channel is over, by the monotonic clock; the handler sets it."""
        self.since = time.monotonic()
        """Since when it has been without an activated session."""
        self.closing = False
        """Whether it is being ended: what is written then goes nowhere."""
        self._authenticated = self._trusted = False
        self._transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._buffer = listener.buffer()
        self._corked: list[bytes] | None = None
        """While chunks are delivered: answers to be sent together, for each send is a call of the system."""
        self._reading = True
        self._held = 0
        self._blocked = False
        self._waits = False
        """Whether its chunks wait for its turn."""
        self._heavy = False
        """Whether what it asked for last took long."""
        self._linger: asyncio.TimerHandle | None = None
        self._drained = 0
        self._message_since: float | None = None
        self._written = self._taken = 0
        self._taken_since = self.since

    # --- What the handler is for

    @property
    def authenticated(self) -> bool:
        """Whether a session is activated on it; the handler says so."""
        return self._authenticated

    @authenticated.setter
    def authenticated(self, value: bool) -> None:
        if value is not self._authenticated:
            self._authenticated = value
            self.since = time.monotonic()
            self._listener.ranked(self)

    @property
    def trusted(self) -> bool:
        """Whether a trusted application opened a secure channel on it; the handler says so.

        Such a connection does not count among the unauthenticated ones, and is the last of
        those without a session to make room.
        """
        return self._trusted

    @trusted.setter
    def trusted(self, value: bool) -> None:
        if value is not self._trusted:
            self._trusted = value
            self._listener.ranked(self)

    @property
    def unsent(self) -> int:
        """Bytes the client has not taken yet, as far as this process knows."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def backlogged(self) -> bool:
        """Whether the client does not keep up with what it is sent."""
        return self.unsent > self._limits.backlog

    def write(self, parts: list[bytes]) -> None:
        """Send. A client that has more than enough waiting is dropped instead."""
        transport = self._transport
        if self.closing or transport is None or not parts:
            return
        if transport.get_write_buffer_size() > self._limits.unsent:
            self.drop("it does not read its answers")
            return
        size = sum(map(len, parts))
        self._written += size
        if self._corked is not None and size < _SMALL:
            self._corked += parts
            return
        self._flush()
        transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def _flush(self) -> None:
        """Send what was held back to be sent together."""
        corked = self._corked
        if corked and self._transport is not None:
            self._corked = []
            self._transport.write(corked[0] if len(corked) == 1 else b"".join(corked))

    def hold(self) -> None:
        """Keep later chunks back until `release`; may be nested."""
        self._held += 1
        self._adjust()

    def release(self) -> None:
        """Go on with the chunks that waited."""
        self._held -= 1
        self._resume()

    def fail(self, error: TransportError) -> None:
        """End the connection because of what the client sent."""
        if self.closing:
            return
        self._listener.faults += 1
        if error.answer:
            self.write(list(error.answer))
        self.close(error.code, str(error))

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Hang up, after an ERR message where there is a code; the reason is for our log alone.

        The client may finish reading: an end it does not see through to is made for it
        (OPC 10000-6 §7.1.5).
        """
        if self.closing:
            return
        if code is not None and reason:
            self._listener.tell(self.address, "connection from %s closed: %s", self.peer, reason)
        transport = self._transport
        self._flush()
        self._end(lingers=True)
        if transport is None or transport.is_closing():
            return
        if code is not None:
            transport.write(error_message(code))
        if not transport.can_write_eof():
            transport.close()
            return
        # To close while bytes are unread resets the connection, and the client might never
        # see the error: it is told that nothing follows, and read from until it hangs up.
        try:
            transport.write_eof()
        except OSError:  # the client is gone already
            transport.abort()
            return
        self._adjust()
        self._linger = asyncio.get_running_loop().call_later(self._limits.linger, transport.abort)

    def abort(self) -> None:
        """End it at once, without a word."""
        if not self.closing:
            self._end(lingers=False)
        if self._transport is not None:
            self._transport.abort()

    def drop(self, reason: str) -> None:
        """End it at once because of what its client does not do."""
        if self.closing:
            return
        self._listener.dropped += 1
        self._listener.tell(self.address, "connection from %s dropped: %s", self.peer, reason)
        self.abort()

    def _end(self, *, lingers: bool) -> None:
        self.closing = True
        self._frames.clear()
        if self._waits:
            self._waits = False
            self._listener.turns.discard(self)
        self._listener.ended(self, lingers=lingers)

    # --- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BufferedProtocol."""
        # What a TCP socket gives; uvloop's is one without being a subclass.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._limits.pause, low=self._limits.backlog)
        if self.closing:
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self.closing:
            self._drained += nbytes
            if self._drained > _DRAIN:
                self.abort()
            return
        self._frames.feed(bytes(self._buffer[:nbytes]))
        if not self._reading:
            return
        if self._authenticated and not self._heavy:
            self._deliver()
        else:  # a crowd of strangers has one turn together, and so have those who ask for much
            self._wait()
            self._adjust()

    def pause_writing(self) -> None:
        """See asyncio.BufferedProtocol."""
        self._blocked = True
        self._adjust()

    def resume_writing(self) -> None:
        """See asyncio.BufferedProtocol."""
        self._blocked = False
        self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BufferedProtocol."""
        del exc
        if self._linger is not None:
            self._linger.cancel()
        if not self.closing:
            self._end(lingers=False)
        self._listener.gone(self)

    # --- Chunks

    def _deliver(self) -> None:
        """Hand over chunk after chunk while the handler takes them and others need not wait long."""
        self._corked = []
        began = time.monotonic()
        try:
            self._hand_over(began + _TURN)
        except TransportError as error:
            self.fail(error)
        except Exception:
            log.exception("connection from %s closed: a fault of ours", self.peer)
            self._listener.failures += 1
            self.close(StatusCodes.BadTcpInternalError)
        if not self.closing:
            self._flush()
        self._corked = None
        self._heavy = time.monotonic() - began > _HEAVY
        self._adjust()

    def _hand_over(self, until: float) -> None:
        frames = self._frames
        while not (self._held or self._blocked or self.closing):
            chunk = frames.next()
            if chunk is None:
                return
            if chunk[3] != _MORE:
                self._message_since = None
            elif self._message_since is None:
                self._message_since = time.monotonic()
            if self.handler is None:
                self._greet(chunk)
            else:
                self.handler.receive(chunk)
            if not frames.waiting:
                return
            if time.monotonic() > until:
                self._wait()
                return

    def _greet(self, hello: bytes) -> None:
        self.negotiated, self.url, answer = greet(hello, self._limits)
        self._frames.open(self.negotiated.receive_chunk)
        self.handler = self._listener.make_handler(self)
        self.write([answer])

    def _resume(self) -> None:
        """Deliver what waits, soon: whoever calls this is in the middle of something."""
        if not (self._held or self._blocked or self.closing or self._waits):
            self._wait()

    def _wait(self) -> None:
        """Deliver what is there when it is this connection's turn."""
        self._waits = True
        self._listener.turns.add(self)

    def go_on(self) -> None:
        """See `Talkative`."""
        self._waits = False
        self._deliver()

    def _adjust(self) -> None:
        """Read from the client, or leave it to the kernel to make it wait."""
        wanted = self.closing or not (self._held or self._blocked or self._waits)
        transport = self._transport
        if wanted is self._reading or transport is None:
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    # --- Time

    def sweep(self, now: float) -> None:
        """End it where it has got nowhere for too long."""
        if self.closing:
            return
        limits = self._limits
        idle = now - self.since
        if self.negotiated is None and idle > limits.hello:
            self._expire(f"no Hello in {limits.hello:.0f} s")
        elif not self._authenticated and idle > limits.grace:
            self._expire(f"no session in {limits.grace:.0f} s")
        elif now > self.expires:
            self._expire("its security token was not renewed", code=StatusCodes.BadSecureChannelTokenUnknown)
        elif self._dawdles(now):
            self._expire(f"a request is not whole after {limits.begun:.0f} s")
        elif self._stalls(now):
            self.drop(f"its answers have been waiting for {limits.stall:.0f} s")

    def _expire(self, reason: str, code: int = StatusCodes.BadTimeout) -> None:
        self._listener.expired += 1
        self.close(code, reason)

    def _dawdles(self, now: float) -> bool:
        """Whether a request was begun long ago and still lacks its end."""
        if not self._reading:
            self._message_since = None if self._message_since is None else now
        elif self._message_since is None:
            self._message_since = now if self._frames.begun else None
        return self._message_since is not None and now - self._message_since > self._limits.begun

    def _stalls(self, now: float) -> bool:
        """Whether bytes wait that the client has not taken for long."""
        unsent = self.unsent
        taken = self._written - unsent
        if not unsent or taken - self._taken >= _PROGRESS:
            self._taken, self._taken_since = taken, now
        return now - self._taken_since > self._limits.stall
