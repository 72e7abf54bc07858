"""One client's connection, from its chunks to its services' answers."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from server.opcua.channels.channel import SecureChannel
from server.opcua.dispatcher import Dispatcher
from server.opcua.requests import LATER, Answer, Needs, Request
from server.opcua.sessions.registry import Sessions
from server.opcua.sessions.session import Session
from server.opcua.transport.connection import Connection
from server.opcua.transport.framing import TransportError
from server.opcua.types import ServiceFault, StatusCodes, status_name
from server.opcua.wire.nodeid import Key, numeric
from server.opcua.wire.reader import DecodingError
from sources.clock import now

log = logging.getLogger(__name__)

MAX_AT_WORK: Final = 200
"""Requests of one connection that may be at work at a time, beside Publish."""

_TOLD: Final = 5
"""Refused requests of a connection without a session that are worth a line in the log."""
_FAULT: Final = numeric(397)
_HEADER: Final = struct.Struct("<qII")
_NO_MORE: Final = b"\x00" + b"\xff\xff\xff\xff" + b"\x00\x00\x00"
"""Of a ResponseHeader: no DiagnosticInfo, no StringTable, no AdditionalHeader."""


@dataclass(frozen=True, slots=True)
class Host:
    """What all connections of a server share."""

    dispatcher: Dispatcher
    sessions: Sessions
    peers: dict[ClientPeer, None]
    """Every peer whose connection there is; each sees to its own place."""


class ClientPeer:
    """A `Handler` of the transport, a `Peer` to services. Owns the tasks of its requests."""

    def __init__(self, host: Host, connection: Connection, channel: SecureChannel) -> None:
        self._host = host
        self._connection = connection
        self._channel = channel
        self._open: dict[int, Request] = {}
        """Requests that are not answered yet, by their number."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = False
        self.sessions: dict[Key, Session] = {}
        self.refusals = 0
        self._told = 0
        """Refusals logged of what it asked for without a session."""
        host.peers[self] = None

    # --- Peer

    @property
    def channel(self) -> SecureChannel:
        """See `Peer`."""
        return self._channel

    @property
    def address(self) -> str:
        """See `Peer`."""
        return self._connection.address

    @property
    def name(self) -> str:
        """See `Peer`."""
        return self._connection.peer

    @property
    def backlogged(self) -> bool:
        """See `Peer`."""
        return self._connection.backlogged

    @property
    def closed(self) -> bool:
        """See `Peer`."""
        return self._gone

    def sessions_changed(self) -> None:
        """See `Peer`."""
        self._connection.authenticated = any(session.active for session in self.sessions.values())

    def respond(self, request: Request, body: bytes | list[bytes]) -> None:
        """See `Peer`."""
        if not self._close_request(request):
            return
        head = request.service.response + _HEADER.pack(now(), request.handle, 0) + _NO_MORE
        parts = [head, body] if isinstance(body, bytes) else [head, *body]
        try:
            self._connection.write(self._channel.encode(request.id, parts))
        except ServiceFault as fault:
            self._send_fault(request, fault.code)

    def refuse(self, request: Request, code: int) -> None:
        """See `Peer`."""
        if self._close_request(request):
            self._send_fault(request, code)

    def cancel(self, session: Session, handle: int) -> int:
        """See `Peer`."""
        waiting = [
            request
            for request in self._open.values()
            if request.handle == handle
            and request.token == session.token
            and request.service.name != "Cancel"
        ]
        for request in waiting:
            self.refuse(request, StatusCodes.BadRequestCancelledByClient)
        return len(waiting)

    def end(self, code: int, reason: str) -> None:
        """See `Peer`."""
        self._connection.close(code, reason)

    # --- Handler

    def receive(self, chunk: bytes) -> None:
        """Take a chunk. Raises TransportError."""
        if chunk[:3] == b"OPN":
            self._connection.hold()
            self._start(self._open_channel(chunk), "open")
            return
        message = self._channel.receive(chunk, early=not self._connection.authenticated)
        if message is None:
            return
        if message.closing:
            self._connection.close()
            return
        try:
            request = self._host.dispatcher.request(self, message.request_id, message.body)
        except DecodingError as error:
            raise TransportError(StatusCodes.BadDecodingError, f"no request header: {error}") from error
        if request.id in self._open:
            raise TransportError(StatusCodes.BadTcpMessageTypeInvalid, "a RequestId that is in use")
        self._open[request.id] = request
        self._serve(request)

    def lost(self) -> None:
        """The connection is gone: what still runs for it runs for nobody."""
        self._gone = True
        for request in self._open.values():
            request.answered = True
        self._open.clear()
        self._host.peers.pop(self, None)
        self._host.sessions.lost(self)

    async def wait(self) -> None:
        """Until the last of its requests has ended: a write that was begun is never cut."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Cancel what runs: the server ends."""
        for task in self._tasks:
            task.cancel()

    # --- Serving

    async def _open_channel(self, chunk: bytes) -> None:
        connection, channel = self._connection, self._channel
        try:
            connection.write(await channel.open(chunk))
            connection.trusted, connection.expires = channel.signed, channel.expires
        except TransportError as error:
            connection.fail(error)
        finally:
            connection.release()

    def _serve(self, request: Request) -> None:
        session = None
        try:
            caller = session = self._session(request)
            service = request.service
            if session is not None:
                session.requests[service.name] += 1
            if service.needs is Needs.Channel:
                self._check_room()  # before anything is counted that its work would count back
            answer = service.run(caller if service.needs is Needs.Session else self, request)
            if isinstance(answer, bytes | list):
                self.respond(request, answer)
            elif answer is not LATER:
                self._go_on(session, request, answer)
        except Exception as error:  # noqa: BLE001  # each is told to client or log, none ends the connection
            self._failed(session, request, error)

    def _session(self, request: Request) -> Session | None:
        """The session of a request, None where its service needs none. Raises ServiceFault."""
        needs = request.service.needs
        if needs is Needs.Nothing:
            return None
        if self._channel.discovery_only:
            raise ServiceFault(
                StatusCodes.BadSecurityPolicyRejected, "over None nothing but discovery is served"
            )
        if needs is Needs.Channel:
            return None
        return self._host.sessions.served(self, request.token)

    def _go_on(self, session: Session | None, request: Request, work: Coroutine[Any, Any, Answer]) -> None:
        try:
            self._check_room()
        except ServiceFault:
            work.close()
            raise
        self._start(self._finish(session, request, work), request.service.name)

    def _check_room(self) -> None:
        """Raises ServiceFault where too many requests are at work."""
        if len(self._tasks) >= MAX_AT_WORK:
            raise ServiceFault(StatusCodes.BadTooManyOperations, f"{MAX_AT_WORK} requests are at work")

    async def _finish(
        self, session: Session | None, request: Request, work: Coroutine[Any, Any, Answer]
    ) -> None:
        timer = None
        if request.deadline is not None:
            loop = asyncio.get_running_loop()
            # The work itself goes on: what a device was told cannot be taken back by not waiting for it.
            left = request.deadline - time.monotonic()
            timer = loop.call_later(left, self.refuse, request, StatusCodes.BadTimeout)
        try:
            answer = await work
            if answer is not None:
                self.respond(request, answer)
        except Exception as error:  # noqa: BLE001  # as in _serve
            self._failed(session, request, error)
        finally:
            if timer is not None:
                timer.cancel()

    def _failed(self, session: Session | None, request: Request, error: Exception) -> None:
        if isinstance(error, ServiceFault | DecodingError):
            code = error.code
            log.log(self._loudness(), "%s: %s refused: %s", self.name, request.service.name, error)
        else:
            code = StatusCodes.BadInternalError
            log.error("%s: %s failed: a fault of ours", self.name, request.service.name, exc_info=error)
        if session is not None:
            session.failures[request.service.name] += 1
        self._host.dispatcher.count(code)
        self.refuse(request, code)

    def _loudness(self) -> int:
        """The level a refusal is logged at: strangers may not fill the log."""
        if self._connection.authenticated:
            return logging.INFO
        self._told += 1
        return logging.INFO if self._told <= _TOLD else logging.DEBUG

    def _close_request(self, request: Request) -> bool:
        """Whether it still waits for an answer, which now comes."""
        if request.answered or self._gone:
            return False
        request.answered = True
        self._open.pop(request.id, None)
        return True

    def _send_fault(self, request: Request, code: int) -> None:
        head = _FAULT + _HEADER.pack(now(), request.handle, code) + _NO_MORE
        try:
            self._connection.write(self._channel.encode(request.id, [head]))
        except ServiceFault:
            log.info("%s: not even %s fits what its client takes", self.name, status_name(code))
            self._connection.close(StatusCodes.BadResponseTooLarge)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"opcua {self.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
