"""A TCP proxy on loopback that knows where frames begin and end, and can spoil what comes from the device."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Framing:
    """How a protocol's frames are cut: so many bytes of header, from which `size` tells the whole frame's."""

    header: int
    size: Callable[[bytes], int]


class End(enum.Enum):
    """What may follow the bytes of a spoiled frame."""

    HANG_UP = "hang up"


Part: TypeAlias = bytes | float | asyncio.Event | End
"""Bytes to send, seconds to wait, an event to wait for (nothing passes either way meanwhile), or the end."""

Spoil: TypeAlias = Callable[[bytes], Iterable[Part]]
"""Takes a whole frame of the device's, and yields what goes to the driver in its place."""


def honest(frame: bytes) -> Iterable[Part]:
    """Nothing is spoiled."""
    return (frame,)


class FrameProxy:
    """Frames pass in both directions, each by itself.

    ``spoil`` is applied to every frame that comes from the device. ``refuse`` closes new
    connections at once, ``mute`` swallows what the device says. ``accepted`` counts the
    connections, ``requests`` the frames that came from the driver.
    """

    def __init__(self, target: Callable[[], int], framing: Framing) -> None:
        self._target = target
        self._framing = framing
        self.spoil: Spoil = honest
        self.refuse = False
        self.mute = False
        self.accepted = 0
        self.requests = 0
        self.port = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and end every connection."""
        assert self._server is not None
        self._server.close()
        self.hang_up()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """End every connection as if the cable had been cut and a switch said so."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        """Be honest from now on."""
        self.spoil, self.refuse, self.mute = honest, False, False

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuse:
            writer.transport.abort()
            return
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer), name="proxy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        device: asyncio.StreamWriter | None = None
        try:
            there, device = await asyncio.open_connection("127.0.0.1", self._target())
            self._writers.add(device)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, device))
                group.create_task(self._down(there, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in (writer, device):
                if each is not None:
                    self._writers.discard(each)
                    each.close()

    async def _frame(self, reader: asyncio.StreamReader) -> bytes:
        header = await reader.readexactly(self._framing.header)
        return header + await reader.readexactly(self._framing.size(header) - len(header))

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await self._frame(reader)
            self.requests += 1
            await self._passing.wait()
            writer.write(frame)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await self._frame(reader)
            if self.mute:
                continue
            for part in self.spoil(frame):
                await self._send(writer, part)

    async def _send(self, writer: asyncio.StreamWriter, part: Part) -> None:
        match part:
            case bytes():
                writer.write(part)
                await writer.drain()
            case asyncio.Event():
                self._passing.clear()
                try:
                    await part.wait()
                finally:
                    self._passing.set()
            case End():
                # Closed in order, so that what was sent before arrives.
                writer.close()
                raise ConnectionError("hung up")
            case seconds:
                await asyncio.sleep(seconds)


@asynccontextmanager
async def frame_proxy(target: Callable[[], int], framing: Framing) -> AsyncIterator[FrameProxy]:
    """A proxy to a port of loopback, asked for at each connection."""
    proxy = FrameProxy(target, framing)
    await proxy.start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError):
            await proxy.stop()
