"""One class 3 connection of a client: connected explicit messages, one at a time (CIP Vol. 1 §2-4)."""

from __future__ import annotations

import asyncio
import struct
from typing import Final, Protocol

from sources.ethernetip import codec
from sources.ethernetip.failures import Broken
from sources.ethernetip.framing import SEND_UNIT_DATA
from sources.insight import Traffic
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_TIMEOUT, Quality

CONNECTED: Final = struct.Struct("<HHII8sIIHHHHIHHH")
"""A frame of SendUnitData before its service: header, items, sequence count."""

_NO_CONTEXT: Final = bytes(8)


class Carrier(Protocol):
    """The TCP connection and session that a lane runs over."""

    timeout: float
    session: int
    traffic: Traffic

    def ready(self) -> asyncio.Transport:
        """The transport to write to. Raises NotSent."""
        ...

    def fail(self, message: str, quality: Quality = BAD_COMMUNICATION_ERROR) -> Broken:
        """Count it as broken, and drop it; returns what to raise."""
        ...


class Lane:
    """One class 3 connection: one request at a time.

    ``size`` is the most bytes of one packet, in either direction. Whoever asks while a
    reply is outstanding waits for that first: it belongs to a request whose asker left.
    """

    def __init__(self, client: Carrier, size: int, to_target: int, to_originator: int, serial: int) -> None:
        self.size = size
        self.sent = 0
        """How many requests were sent."""
        self.serial = serial
        self.to_originator = to_originator
        self._client = client
        self._to_target = to_target
        self._sequence = 0
        self._waiting: asyncio.Future[bytes] | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """One for many requests: to make and cancel one for each would cost more than the reply."""

    async def ask(self, request: bytes) -> bytes:
        """Send one service; returns its reply, whole. Raises Broken, and NotSent where it did not go out."""
        while self._waiting is not None:
            await asyncio.wait((self._waiting,))
        client = self._client
        transport = client.ready()
        loop = asyncio.get_running_loop()
        self._sequence = sequence = self._sequence % 0xFFFF + 1
        self._waiting = waiting = loop.create_future()
        length = len(request)
        client.traffic.asked(length + CONNECTED.size)
        transport.write(
            CONNECTED.pack(
                SEND_UNIT_DATA,
                length + 22,
                client.session,
                0,
                _NO_CONTEXT,
                0,
                0,
                0,
                2,
                0xA1,
                4,
                self._to_target,
                0xB1,
                length + 2,
                sequence,
            )
            + request
        )
        self.sent += 1
        self._due = loop.time() + client.timeout
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._look)
        try:
            message: bytes = await waiting
        except asyncio.CancelledError:
            if self._waiting is waiting:
                # Its reply is still to come, and is nobody's: the next request waits for it.
                self._waiting = loop.create_future()
            raise
        if message[0] != request[0] | codec.REPLY or len(message) < codec.REPLY_HEAD:
            raise client.fail(f"the reply to service {request[0]:#04x} says {message[0]:#04x}")
        return message

    async def exchange(self, request: bytes) -> codec.Reply:
        """One service and its reply, taken apart. Raises Broken."""
        message = await self.ask(request)
        try:
            return codec.parse_reply(message, request[0])
        except codec.FramingError as error:
            raise self._client.fail(str(error)) from None

    def broken(self, reason: str) -> Broken:
        """Count the connection as broken, for what a reply has in it; returns what to raise."""
        return self._client.fail(reason)

    def take(self, sequence: int, message: bytes) -> None:
        """The reply has come."""
        waiting = self._waiting
        if waiting is None:
            self._client.fail(f"reply {sequence} came, and nothing was asked")
        elif sequence != self._sequence:
            self._client.fail(f"reply {sequence} came to request {self._sequence}: late, or never asked for")
        else:
            self._waiting = None
            if not waiting.done():
                waiting.set_result(message)

    def end(self, failure: Broken) -> None:
        """No reply will come."""
        waiting, self._waiting = self._waiting, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waiting is not None and not waiting.done():
            waiting.set_exception(Broken(str(failure), failure.quality))
            waiting.exception()  # perhaps nobody is there to hear it

    def _look(self) -> None:
        """See whether the reply is overdue."""
        self._timer = None
        if self._waiting is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._due:
            self._client.fail(f"no reply within {self._client.timeout:g} s", BAD_TIMEOUT)
        else:
            self._timer = loop.call_at(self._due, self._look)
