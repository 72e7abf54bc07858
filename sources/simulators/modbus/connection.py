"""One master's connection.

pymodbus's own handler keeps the request at hand in one slot: a request that arrives during
a delayed reply would lend it its transaction number, and pipelined requests would be lost.
A simulator that is there to be late must not be wrong. So frames are cut and answered here,
one after the other; decoding, the data store and encoding are pymodbus's.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.server.requesthandler import ServerRequestHandler

from sources.simulators.modbus.requests import Refusal, check, served, shortened, spans

if TYPE_CHECKING:
    from sources.simulators.modbus.server import ModbusSimulator

_HEADER: Final = struct.Struct(">HHHB")
_LONGEST: Final = 254
"""Unit and PDU in one frame: 1 + 253 bytes."""


class Connection(ServerRequestHandler):
    """Cuts the stream into frames and answers each in turn, as the faults have it.

    `serve` runs in a task of the server's. A master that does not read its replies stops
    being read itself: nothing here grows without bound.
    """

    def __init__(self, simulator: ModbusSimulator) -> None:
        super().__init__(simulator, None, None, None)  # type: ignore[no-untyped-call]  # pymodbus leaves it bare
        self._simulator = simulator
        self._reader = asyncio.StreamReader()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._socket: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: start to serve, or close at once what is not accepted."""
        super().connection_made(transport)
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("Modbus TCP needs a stream")
        self._socket = transport
        if not self._simulator.accepts:
            transport.abort()
            return
        self._reader.set_transport(transport)
        self._task = self._simulator.own(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._reader.feed_data(data)

    def eof_received(self) -> None:
        """Called by asyncio: the master is done, and so are we."""
        self._reader.feed_eof()

    def pause_writing(self) -> None:
        """Called by asyncio when the master does not read its replies."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Called by asyncio when it does again."""
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: what is being answered has nobody to go to any more."""
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        """Close now, whatever is under way."""
        if self._socket is not None:
            self._socket.abort()

    async def serve(self) -> None:
        """Answer requests until the connection ends."""
        try:
            while True:
                header = await self._reader.readexactly(_HEADER.size)
                transaction, protocol, length, unit = _HEADER.unpack(header)
                if protocol != 0 or not 2 <= length <= _LONGEST:
                    # Not Modbus: there is no telling where the next frame would begin.
                    return
                await self._answer(transaction, unit, await self._reader.readexactly(length - 1))
        except asyncio.IncompleteReadError:
            return
        finally:
            # pymodbus keeps its books in connection_lost, which this brings about.
            if self._socket is not None:
                self._socket.close()

    async def _answer(self, transaction: int, unit: int, pdu: bytes) -> None:
        faults = self._simulator.faults
        self._simulator.requests += 1
        reply = await self._reply(unit, pdu)
        if seconds := faults.take_delay():
            await asyncio.sleep(seconds)
        if faults.mute or self._socket is None:
            return
        reply.transaction_id = transaction
        reply.dev_id = unit
        self._socket.write(self.framer.buildFrame(reply))
        await self._may_write.wait()

    async def _reply(self, unit: int, pdu: bytes) -> ModbusPDU:
        """The response. The order of the checks is that of the protocol: function, count, address."""
        simulator = self._simulator
        function = pdu[0]
        if unit not in simulator.units:
            return ExceptionResponse(function, ExcCodes.GATEWAY_NO_RESPONSE)
        try:
            request = served(self.framer.decoder, pdu)
            check(request, pdu)
        except Refusal as refusal:
            return ExceptionResponse(function & 0x7F, refusal.code)
        for table, address, count in spans(request):
            code = simulator.faults.exception_in(table, address, count)
            if code is not None:
                return ExceptionResponse(function, code)
            if not simulator.image.covers(table, address, count):
                return ExceptionResponse(function, ExcCodes.ILLEGAL_ADDRESS)
        # The annotation is of pymodbus's older data store; its own handler passes the same context.
        response = await request.datastore_update(simulator.context, simulator.unit)  # type: ignore[arg-type]
        if response.isError():
            return response
        if function in {5, 6}:
            # The reply echoes the request, even where the value does not stick (a frozen point).
            return request
        return shortened(response) if simulator.faults.short_reply else response
