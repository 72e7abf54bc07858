"""Between a driver and a simulated controller: frames pass through, unless a test spoils them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias

Spoil: TypeAlias = Callable[[bytes, bytes], Iterable[bytes]]
"""Takes a request and its right reply, both whole frames, and yields what to send instead."""


def honest(_request: bytes, reply: bytes) -> list[bytes]:
    """Send the right reply."""
    return [reply]


def service(frame: bytes) -> int:
    """The service of a connected request or reply; -1 for any other frame."""
    return frame[46] if frame[:2] == b"\x70\0" and len(frame) > 46 else -1


def with_message(reply: bytes, message: bytes) -> bytes:
    """A connected reply with another message behind its sequence count."""
    length = len(message) + 2
    body = reply[24:42] + length.to_bytes(2, "little") + reply[44:46] + message
    return reply[:2] + len(body).to_bytes(2, "little") + reply[4:24] + body


class Proxy:
    """``close_after`` makes it hang up when the spoiled reply is out; ``requests`` keeps what was asked."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.spoil: Spoil = honest
        self.close_after = False
        self.requests: list[bytes] = []
        self.accepted = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_writer = None
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            while True:
                request = await _frame(reader)
                self.requests.append(request)
                up_writer.write(request)
                if request[:2] == b"\x66\0":
                    continue
                reply = await _frame(up_reader)
                for part in self.spoil(request, reply):
                    writer.write(part)
                    await writer.drain()
                if self.close_after:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()
            if up_writer is not None:
                up_writer.close()

    async def stop(self) -> None:
        """End every client."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(24)
    return header + await reader.readexactly(int.from_bytes(header[2:4], "little"))


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy to a port of loopback."""
    made = Proxy(target)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()
