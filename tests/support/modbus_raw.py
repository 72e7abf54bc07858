"""Modbus TCP byte by byte, for what no client library would send."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator


class RawModbus:
    """One connection that sends PDUs as they are given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._transaction = 0

    def send(self, pdu: bytes, unit: int = 1) -> int:
        """Send a request; its transaction number."""
        self._transaction += 1
        self.writer.write(struct.pack(">HHHB", self._transaction, 0, len(pdu) + 1, unit) + pdu)
        return self._transaction

    async def receive(self, within: float = 10.0) -> tuple[int, int, bytes]:
        """The next reply: transaction, unit, PDU. Raises IncompleteReadError when the peer closes."""
        async with asyncio.timeout(within):
            transaction, _, length, unit = struct.unpack(">HHHB", await self.reader.readexactly(7))
            return transaction, unit, await self.reader.readexactly(length - 1)

    async def ask(self, pdu: bytes, unit: int = 1) -> bytes:
        """One request and its reply."""
        sent = self.send(pdu, unit)
        transaction, from_unit, reply = await self.receive()
        assert (transaction, from_unit) == (sent, unit)
        return reply

    async def closed(self, within: float = 10.0) -> bool:
        """Wait until the peer has closed; False where it sent something instead."""
        async with asyncio.timeout(within):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


@contextlib.asynccontextmanager
async def raw_modbus(port: int) -> AsyncIterator[RawModbus]:
    """A raw connection to a port of loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawModbus(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
