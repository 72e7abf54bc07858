"""An MQTT broker's place, taken by a sink that acknowledges and counts.

Run as ``python -m bench.sink``; prints ``ready PORT``, then at the end of its standard
input ``total MESSAGES BYTES``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Final

CONNECT: Final = 1
PUBLISH: Final = 3
SUBSCRIBE: Final = 8
UNSUBSCRIBE: Final = 10
PINGREQ: Final = 12


class Sink(asyncio.Protocol):
    """One connection. MQTT 5 is refused, so that a client falls back to 3.1.1."""

    messages = 0
    octets = 0

    def __init__(self) -> None:
        self._data = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every whole packet."""
        self._data += data
        while (packet := self._packet()) is not None:
            self._answer(packet[0], packet[1])

    def _packet(self) -> tuple[int, bytes] | None:
        length, shift, position = 0, 0, 1
        while True:
            if position >= len(self._data):
                return None
            byte = self._data[position]
            length |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                break
        if len(self._data) < position + length:
            return None
        first, body = self._data[0], bytes(self._data[position : position + length])
        del self._data[: position + length]
        return first, body

    def _answer(self, first: int, body: bytes) -> None:
        if self._transport is None:
            return
        kind = first >> 4
        if kind == CONNECT:
            level = body[6]
            self._transport.write(b"\x20\x02\x00\x01" if level == 5 else b"\x20\x02\x00\x00")
        elif kind == PUBLISH:
            Sink.messages += 1
            Sink.octets += len(body)
            topic = int.from_bytes(body[:2], "big")
            if first & 0x06:
                self._transport.write(b"\x40\x02" + body[2 + topic : 4 + topic])
        elif kind == SUBSCRIBE:
            self._transport.write(b"\x90\x03" + body[:2] + b"\x00")
        elif kind == UNSUBSCRIBE:
            self._transport.write(b"\xb0\x02" + body[:2])
        elif kind == PINGREQ:
            self._transport.write(b"\xd0\x00")


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    async with server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print("total", Sink.messages, Sink.octets, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
