"""A CIP client on the event loop: one TCP connection, one session, a few class 3 connections in it.

Every reply is held against its request: command, session, status, sender context or
connection and sequence count, and the service. One that does not fit, or does not come in
time, is the end of the whole TCP connection: what comes after it could be anybody's
(CIP Vol. 2 §2-4 for the session, Vol. 1 §3-5.5 for Forward Open and Close).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from sources.errors import Unreachable
from sources.ethernetip import codec, status
from sources.ethernetip.failures import Broken, NotSent, Rejected
from sources.ethernetip.frames import Frames
from sources.ethernetip.framing import (
    HEADER,
    LIST_IDENTITY,
    REGISTER_SESSION,
    SEND_RR_DATA,
    UNREGISTER_SESSION,
    refusal_of,
)
from sources.ethernetip.identity import Identity, parse_identity, parse_list_identity
from sources.ethernetip.lane import CONNECTED, Lane
from sources.ethernetip.route import encode_route
from sources.insight import Traffic
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, BAD_TIMEOUT, Quality
from sources.resolve import Endpoint, Resolver

LARGE: Final = 4000
SMALL: Final = 500
FAREWELL: Final = 1.0
"""Seconds that taking leave of a controller may take; one that says nothing is left without."""

_HEADER: Final = struct.Struct("<HHII8sI")
_MESSAGE: Final = CONNECTED.size
"""Where the service stands in a frame of SendUnitData."""
_UNCONNECTED: Final = struct.Struct("<IHHHHHH")
_NO_CONTEXT: Final = bytes(8)

_GET_ATTRIBUTES_ALL: Final = 0x01
_UNCONNECTED_SEND: Final = 0x52
_FORWARD_OPEN: Final = 0x54
_LARGE_FORWARD_OPEN: Final = 0x5B
_FORWARD_CLOSE: Final = 0x4E
_IDENTITY: Final = b"\x02\x20\x01\x24\x01"
_CONNECTION_MANAGER: Final = b"\x02\x20\x06\x24\x01"
_TO_ROUTER: Final = b"\x20\x02\x24\x01"
_PATIENCE: Final = b"\x0a\x05"
"""How long a request may be under way between modules: five ticks of 1024 ms."""
_VENDOR: Final = 0x1337
_INTERVAL: Final = 2_000_000
_MULTIPLIER: Final = 5
"""The controller closes a connection after 128 intervals of 2 s without a word."""
_CLASS_3: Final = 0xA3
_SERIALS: Final = itertools.count(int.from_bytes(os.urandom(2), "little"))


class Client:
    """One TCP connection and its session.

    A request, with its reply, may take ``timeout`` seconds. Everything that waits raises
    Broken once the connection is. What goes over it is added to ``traffic``.
    """

    def __init__(self, timeout: float, traffic: Traffic | None = None) -> None:
        self.timeout = timeout
        self.session = 0
        self.host = ""
        """The address that answered."""
        self.traffic = Traffic() if traffic is None else traffic
        self.failure: Broken | None = None
        self.listeners: list[Callable[[], None]] = []
        """Told when the connection is of no use any more."""
        self.lanes: list[Lane] = []
        self._frames: Frames | None = None
        self._by_connection: dict[int, Lane] = {}
        self._asked: tuple[int, bytes, asyncio.Future[bytes]] | None = None
        self._contexts = 0
        self._originator = secrets.randbits(32)
        self._route = b""

    # -- the TCP connection

    async def connect(self, endpoints: Sequence[Endpoint]) -> None:
        """Dial one address after the other, and register a session. Raises Broken."""
        last: OSError | None = None
        for family, address in endpoints:
            try:
                # Each gets its share of the time: a silent one must not hide one that answers.
                async with asyncio.timeout(self.timeout / len(endpoints)):
                    await self._dial(family, address)
            except OSError as error:  # TimeoutError is one
                last = error
            else:
                self.host = str(address[0])
                break
        else:
            if isinstance(last, TimeoutError):
                raise self.fail(f"no answer to the call within {self.timeout:g} s", BAD_TIMEOUT)
            raise self.fail(_words(last), BAD_CONNECTION_CLOSED)
        reply = await self._request(REGISTER_SESSION, b"\x01\0\0\0")
        if self.session == 0 or reply[:2] != b"\x01\0":
            raise self.fail("the device gave no session")

    async def _dial(self, family: int, address: Any) -> None:
        loop = asyncio.get_running_loop()
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await loop.sock_connect(made, address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, self._frames = await loop.create_connection(lambda: Frames(self._take, self._gone), sock=made)
        except BaseException:
            made.close()
            raise

    def ready(self) -> asyncio.Transport:
        """The transport to write to. Raises NotSent."""
        if self.failure is not None:
            raise NotSent(str(self.failure), self.failure.quality)
        if self._frames is None or self._frames.transport is None:
            raise NotSent("the connection was never opened", BAD_CONNECTION_CLOSED)
        return self._frames.transport

    def fail(self, message: str, quality: Quality = BAD_COMMUNICATION_ERROR) -> Broken:
        """Count the connection as broken and drop it; returns what to raise, the first failure there was."""
        return self._gone(Broken(message, quality))

    def _gone(self, failure: Broken) -> Broken:
        if self.failure is None:
            self.failure = failure
            if self._asked is not None:
                waiting = self._asked[2]
                if not waiting.done():
                    waiting.set_exception(Broken(str(failure), failure.quality))
                    waiting.exception()
            for lane in self.lanes:
                lane.end(failure)
            for tell in self.listeners:
                tell()
        if self._frames is not None and self._frames.transport is not None:
            self._frames.transport.abort()
        return Broken(str(self.failure), self.failure.quality)

    def drop(self) -> None:
        """Give the connection up, at once and without a word."""
        self.fail("the connection was closed by this side", BAD_CONNECTION_CLOSED)

    async def close(self, within: float = FAREWELL) -> None:
        """Take leave where somebody is there, and release the socket."""
        try:
            if self.failure is None:
                with suppress(Broken, Rejected, TimeoutError):
                    async with asyncio.timeout(within):
                        await self._farewell()
        finally:
            self.drop()
            if self._frames is not None:
                await asyncio.shield(self._frames.closed)

    async def _farewell(self) -> None:
        for lane in self.lanes:
            await self._close_lane(lane)
        transport = self.ready()
        transport.write(self._frame(UNREGISTER_SESSION, b""))
        # Closing sends what is still to be sent; the time for it is the caller's.
        transport.close()
        if self._frames is not None:
            await asyncio.shield(self._frames.closed)

    # -- what goes out, and what comes back

    def _frame(self, command: int, data: bytes, context: bytes = _NO_CONTEXT) -> bytes:
        return _HEADER.pack(command, len(data), self.session, 0, context, 0) + data

    def _take(self, frame: bytes) -> None:
        """A whole frame has come."""
        self.traffic.bytes_in += len(frame)
        if self.failure is not None:
            return
        if frame[:2] == b"\x70\0":
            self._take_connected(frame)
        elif frame[:2] != b"\0\0":  # a NOP has no answer and no meaning
            self._take_reply(frame)

    def _take_connected(self, frame: bytes) -> None:
        if len(frame) < _MESSAGE + codec.REPLY_HEAD:
            refused = int.from_bytes(frame[8:12], "little")
            if refused:
                self.fail(*refusal_of(refused))
            else:
                self.fail(f"a reply of {len(frame)} bytes has no room for a service")
            return
        _, _, session, refused, _, _, _, _, count, address, size, connection, kind, length, sequence = (
            CONNECTED.unpack_from(frame)
        )
        if refused:
            self.fail(*refusal_of(refused))
            return
        if session != self.session:
            self.fail(f"a reply came for session {session:#x}, ours is {self.session:#x}")
            return
        left = len(frame) - _MESSAGE
        length -= 2
        if (
            address != 0xA1
            or size != 4
            or kind != 0xB1
            or (length != left if count == 2 else count < 2 or not codec.REPLY_HEAD <= length < left)
        ):
            self.fail("a reply whose items are not those of a message")
            return
        lane = self._by_connection.get(connection)
        if lane is None:
            self.fail("a reply came over another connection")
            return
        lane.take(sequence, frame[_MESSAGE : _MESSAGE + length])

    def _take_reply(self, frame: bytes) -> None:
        command, _, session, refused, context, _ = _HEADER.unpack_from(frame)
        asked = self._asked
        if asked is None:
            self.fail(f"a reply to command {command:#04x} came, and nothing was asked")
        elif command != asked[0]:
            self.fail(f"the reply to command {asked[0]:#04x} is of command {command:#04x}")
        elif refused:
            self.fail(*refusal_of(refused))
        elif context != asked[1]:
            self.fail("a reply came to another request (its sender context is not ours)")
        elif command == SEND_RR_DATA and session != self.session:
            self.fail(f"a reply came for session {session:#x}, ours is {self.session:#x}")
        else:
            if command == REGISTER_SESSION:
                self.session = session
            if not asked[2].done():
                asked[2].set_result(frame[HEADER:])

    async def _request(self, command: int, data: bytes) -> bytes:
        """A request of the session's own, one at a time; returns its data. Raises Broken."""
        transport = self.ready()
        self._contexts += 1
        context = self._contexts.to_bytes(8, "little")
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked = command, context, waiting
        self.traffic.asked(len(data) + HEADER)
        transport.write(self._frame(command, data, context))
        try:
            async with asyncio.timeout(self.timeout):
                return await waiting
        except TimeoutError:
            raise self.fail(f"no reply within {self.timeout:g} s", BAD_TIMEOUT) from None
        except asyncio.CancelledError:
            self.drop()
            raise
        finally:
            self._asked = None

    async def _unconnected(self, message: bytes, service: int) -> codec.Reply:
        """A service outside any connection, and the reply to ``service``. Raises Broken."""
        head = _UNCONNECTED.pack(0, 0, 2, 0, 0, 0xB2, len(message))
        reply = await self._request(SEND_RR_DATA, head + message)
        if len(reply) < _UNCONNECTED.size + codec.REPLY_HEAD:
            raise self.fail(f"a reply of {len(reply)} bytes has no room for a service")
        _, _, count, address, size, kind, length = _UNCONNECTED.unpack_from(reply)
        left = len(reply) - _UNCONNECTED.size
        if (address, size, kind) != (0, 0, 0xB2) or count < 2 or not codec.REPLY_HEAD <= length <= left:
            raise self.fail("a reply whose items are not those of a message")
        body = reply[_UNCONNECTED.size : _UNCONNECTED.size + length]
        # What is wrapped in an unconnected send answers for itself, the wrapper only for a failure.
        if body[2] != status.SUCCESS and body[0] == _UNCONNECTED_SEND | codec.REPLY:
            service = _UNCONNECTED_SEND
        try:
            return codec.parse_reply(body, service)
        except codec.FramingError as error:
            raise self.fail(str(error)) from None

    # -- who is there

    async def list_identity(self) -> Identity:
        """The device at this end of the wire, perhaps a module before the controller. Raises Broken."""
        data = await self._request(LIST_IDENTITY, b"")
        try:
            return parse_list_identity(data)
        except ValueError as error:
            raise self.fail(str(error)) from None

    async def identify(self, route: str) -> Identity:
        """The device at the end of a route. Raises Broken, and Rejected where none answers over it."""
        segments = encode_route(route)
        message = bytes((_GET_ATTRIBUTES_ALL,)) + _IDENTITY
        if segments:
            wrapped = _PATIENCE + len(message).to_bytes(2, "little") + message
            wrapped += bytes((len(segments) // 2, 0)) + segments
            message = bytes((_UNCONNECTED_SEND,)) + _CONNECTION_MANAGER + wrapped
        reply = await self._unconnected(message, _GET_ATTRIBUTES_ALL)
        if reply.status != status.SUCCESS:
            why = status.describe(reply.status, reply.extended)
            raise Rejected(f"no controller answers over this route: {why}")
        try:
            return parse_identity(reply.data)
        except ValueError as error:
            raise self.fail(str(error)) from None

    # -- connections

    async def open(self, route: str, sizes: Sequence[int], count: int = 1) -> None:
        """Open so many connections over a route, of the first size granted. Raises Broken and Rejected."""
        self._route = encode_route(route)
        wanted = list(sizes)
        while len(self.lanes) < count:
            reply = await self._forward_open(wanted[0])
            if reply.status == status.SUCCESS:
                continue
            if len(wanted) == 1 or self.lanes:
                why = status.describe(reply.status, reply.extended)
                which = f" {len(self.lanes) + 1} of {count}" if count > 1 else ""
                raise Rejected(f"the controller refused the connection{which}: {why}")
            del wanted[0]

    async def _forward_open(self, size: int) -> codec.Reply:
        large = size > 511
        service = _LARGE_FORWARD_OPEN if large else _FORWARD_OPEN
        parameters = struct.pack("<I", 0x42000000 | size) if large else struct.pack("<H", 0x4200 | size)
        serial = next(_SERIALS) & 0xFFFF
        path = self._route + _TO_ROUTER
        triad = struct.pack("<HHI", serial, _VENDOR, self._originator)
        wanted = secrets.randbits(31) + 1
        message = b"".join(
            (
                bytes((service,)),
                _CONNECTION_MANAGER,
                _PATIENCE,
                struct.pack("<II", 0, wanted),
                triad,
                struct.pack("<B3x", _MULTIPLIER),
                struct.pack("<I", _INTERVAL),
                parameters,
                struct.pack("<I", _INTERVAL),
                parameters,
                bytes((_CLASS_3, len(path) // 2)),
                path,
            )
        )
        reply = await self._unconnected(message, service)
        if reply.status != status.SUCCESS:
            return reply
        if len(reply.data) < 16 or reply.data[8:16] != triad:
            raise self.fail("the reply to a Forward Open is to another one")
        to_target, to_originator = struct.unpack_from("<II", reply.data)
        if to_originator in self._by_connection:
            raise self.fail("the controller gave two connections the same number")
        lane = Lane(self, size, to_target, to_originator, serial)
        self.lanes.append(lane)
        self._by_connection[to_originator] = lane
        return reply

    async def _close_lane(self, lane: Lane) -> None:
        path = self._route + _TO_ROUTER
        message = b"".join(
            (
                bytes((_FORWARD_CLOSE,)),
                _CONNECTION_MANAGER,
                _PATIENCE,
                struct.pack("<HHI", lane.serial, _VENDOR, self._originator),
                bytes((len(path) // 2, 0)),
                path,
            )
        )
        await self._unconnected(message, _FORWARD_CLOSE)


async def dial(
    resolver: Resolver,
    timeout: float,  # noqa: ASYNC109 - each request's own
    traffic: Traffic | None = None,
) -> Client:
    """A client with a session. Raises Broken; a cancelled call leaves nothing behind."""
    try:
        async with asyncio.timeout(timeout):
            endpoints = await resolver.resolve()
    except TimeoutError:
        raise Broken(f"the host name is not resolved within {timeout:g} s", BAD_TIMEOUT) from None
    except Unreachable as error:
        raise Broken(str(error), BAD_CONNECTION_CLOSED) from None
    client = Client(timeout, traffic)
    try:
        await client.connect(endpoints)
    except BaseException:
        await client.close()
        raise
    return client


def _words(error: OSError | None) -> str:
    if error is None:
        return "the host name has no address"
    return os.strerror(error.errno).lower() if error.errno else str(error)
