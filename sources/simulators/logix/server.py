"""The controller on its sockets: frames in, replies out, as the faults have it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

from sources.simulators.listen import end, listen
from sources.simulators.logix.encapsulation import HEADER, MAX_DATA, Frame, Status, parse_header
from sources.simulators.logix.peer import Peer, Served

MAX_CLIENTS: Final = 64
"""Sockets served at once; one more is closed."""


class LogixServer:
    """Serves one device to many clients, each by a task of its own, one frame after the other."""

    def __init__(self, device: Served) -> None:
        self._device = device
        self._clients: set[asyncio.StreamWriter] = set()
        self._ending = False

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
        """Serve while inside; yields the address listened on. Raises ListenError."""
        self._ending = False
        listener = listen(host, port)
        address = listener.getsockname()
        async with asyncio.TaskGroup() as tasks:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if self._ending or self._device.faults.refuse or len(self._clients) >= MAX_CLIENTS:
                    writer.transport.abort()
                    return
                self._clients.add(writer)
                tasks.create_task(self._serve(reader, writer), name="logix client")

            server = await asyncio.start_server(accept, sock=listener)
            try:
                yield str(address[0]), int(address[1])
            finally:
                # A connection that was accepted before may still be handed over after.
                self._ending = True
                self.drop()
                await end(server, listener)

    def drop(self) -> None:
        """Close every connection now, whatever is under way; clients may come back."""
        for writer in tuple(self._clients):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("sockname")[:2]
        peer = Peer(self._device, (host, port))
        try:
            # A client whose machine loses its power says nothing more.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self._converse(peer, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            # It went away. What it had opened goes with it.
            return
        finally:
            peer.connections.close_all()
            self._clients.discard(writer)
            writer.close()

    async def _converse(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faults = self._device.faults
        while not peer.finished:
            header = parse_header(await reader.readexactly(HEADER.size))
            frame = Frame(header.command, header.session, header.context, header.options, b"")
            if header.length > MAX_DATA:
                writer.write(frame.reply(status=Status.INVALID_LENGTH))
                await writer.drain()
                return
            data = await reader.readexactly(header.length)
            reply = peer.receive(Frame(header.command, header.session, header.context, header.options, data))
            if reply is None:
                continue
            if seconds := faults.take_delay():
                await asyncio.sleep(seconds)
            if faults.mute:
                continue
            if writer.transport.is_closing():
                return  # dropped, or gone, while it was delayed
            cut = faults.take_cut()
            writer.write(reply[:cut])
            await writer.drain()
            if cut is not None:
                return
