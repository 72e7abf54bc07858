"""A Modbus device in the test's own process, to spoil replies in ways no honest device offers."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

Spoil: TypeAlias = Callable[[bytes, bytes], bytes | None]
"""Takes a request and its right reply, both whole frames, and yields what to send; None for silence."""


def honest(_request: bytes, reply: bytes) -> bytes:
    """Send the right reply."""
    return reply


def mute(_request: bytes, _reply: bytes) -> None:
    """Send nothing."""


def frame(like: bytes, pdu: bytes) -> bytes:
    """A frame with the transaction and unit of another."""
    return like[:4] + struct.pack(">H", len(pdu) + 1) + like[6:7] + pdu


def excepting(code: int) -> Spoil:
    """Answer everything with an exception."""
    return lambda request, _: frame(request, bytes((request[7] | 0x80, code)))


class Peer:
    """Holding registers and coils of a device; input and discrete mirror them.

    ``illegal`` are addresses that a read may not touch, ``walls`` those before which one
    read must end, ``lacks`` function codes answered with exception 1, ``most`` how many
    registers one read may take (exception 3 beyond), ``most_connections`` how many connections
    there may be: those beyond are closed at once.
    """

    def __init__(self) -> None:
        self.registers = [0] * 65536
        self.coils = [False] * 65536
        self.illegal: set[int] = set()
        self.walls: set[int] = set()
        self.lacks: set[int] = set()
        self.queues: dict[int, list[int]] = {}
        """What FC 24 brings, by the address of the pointer."""
        self.most = 125
        self.most_connections = 100
        self.spoil: Spoil = honest
        self.delay = 0.0
        self.requests: list[bytes] = []
        """Every request's PDU, in order."""
        self.connections: set[_Connection] = set()
        self.accepted = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more and hang up."""
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()
            self._server = None

    @property
    def is_honest(self) -> bool:
        """Whether replies go out unspoiled."""
        return self.spoil is honest

    def hang_up(self) -> None:
        """Close every connection; go on listening."""
        for connection in list(self.connections):
            connection.transport.abort()

    def functions(self) -> list[int]:
        """The function codes asked for so far."""
        return [request[0] for request in self.requests]

    def answer(self, pdu: bytes) -> bytes:  # noqa: C901 - a branch for each function
        """The right reply to a request."""
        function = pdu[0]
        if function == 24 and function not in self.lacks:
            return self._queue(int.from_bytes(pdu[1:3], "big"))
        if function in self.lacks or len(pdu) < 5:
            return bytes((function | 0x80, 1))
        address, second = struct.unpack(">HH", pdu[1:5])
        if function in {1, 2, 3, 4}:
            return self._read(function, address, second)
        if function == 5:
            self.coils[address] = second == 0xFF00
        elif function == 6:
            self.registers[address] = second
        elif function == 15:
            for index in range(second):
                self.coils[address + index] = bool(pdu[6 + index // 8] >> index % 8 & 1)
        elif function == 16:
            self.registers[address : address + second] = struct.unpack(f">{second}H", pdu[6:])
        elif function == 23:
            return self._exchange(address, second, pdu)
        elif function == 22:
            (or_mask,) = struct.unpack(">H", pdu[5:7])
            self.registers[address] = (self.registers[address] & second) | (or_mask & ~second)
            return pdu[:7]
        return pdu[:5]

    def _queue(self, address: int) -> bytes:
        queue = self.queues.get(address)
        if queue is None:
            return b"\x98\x02"
        return struct.pack(f">BHH{len(queue)}H", 24, 2 + 2 * len(queue), len(queue), *queue)

    def _exchange(self, address: int, count: int, pdu: bytes) -> bytes:
        start, number = struct.unpack(">HH", pdu[5:9])
        self.registers[start : start + number] = struct.unpack(f">{number}H", pdu[10:])
        return bytes((23,)) + self._read(3, address, count)[1:]

    def _read(self, function: int, start: int, count: int) -> bytes:
        places = range(start, start + count)
        if count > self.most:
            return bytes((function | 0x80, 3))
        if not self.illegal.isdisjoint(places) or any(start < wall < start + count for wall in self.walls):
            return bytes((function | 0x80, 2))
        if function in {1, 2}:
            data = bytearray((count + 7) // 8)
            for index, place in enumerate(places):
                data[index // 8] |= self.coils[place] << index % 8
        else:
            data = bytearray(struct.pack(f">{count}H", *(self.registers[place] for place in places)))
        return bytes((function, len(data))) + data


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if len(self._peer.connections) >= self._peer.most_connections:
            transport.abort()
            return
        self._peer.connections.add(self)
        self._peer.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # closed or reset, it is gone
        self._peer.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 7 and len(self._buffer) >= (
            size := 6 + self._buffer[5] + 256 * self._buffer[4]
        ):
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._peer.requests.append(request[7:])
            asyncio.get_running_loop().call_later(self._peer.delay, self._reply, request)

    def _reply(self, request: bytes) -> None:
        reply = self._peer.spoil(request, frame(request, self._peer.answer(request[7:])))
        if reply is not None and not self.transport.is_closing():
            self.transport.write(reply)


@asynccontextmanager
async def modbus_peer() -> AsyncIterator[Peer]:
    """A device for the time of the block."""
    peer = Peer()
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()
