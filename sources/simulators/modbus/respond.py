"""What a device answers, as its faults have it; over whatever transport the request came.

pymodbus's own handler keeps the request at hand in one slot: a request that arrives during
a delayed reply would lend it its transaction number, and pipelined requests would be lost.
A simulator that is there to be late must not be wrong. So frames are cut and answered here,
one after the other; decoding, the data store and encoding are pymodbus's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.file_message import ReadFifoQueueResponse

from sources.simulators.modbus.framing import Asked, Framing
from sources.simulators.modbus.requests import QUEUE, Refusal, check, served, shortened, spans

if TYPE_CHECKING:
    from sources.simulators.modbus.server import ModbusSimulator


class Respondent:
    """Answers the requests of one connection, one after the other."""

    def __init__(self, simulator: ModbusSimulator, framing: Framing) -> None:
        self._simulator = simulator
        self._framing = framing

    async def answer_all(self, buffer: bytes, write: Callable[[bytes], None]) -> bytes:
        """Answer every whole request; what is left of the buffer. Raises NotModbusError."""
        while buffer:
            used, asked = self._framing.cut(buffer)
            if not used:
                break
            buffer = buffer[used:]
            if asked is not None and (frame := await self._answer(asked)) is not None:
                write(frame)
        return buffer

    async def _answer(self, asked: Asked) -> bytes | None:
        simulator, faults = self._simulator, self._simulator.faults
        if self._framing.shares_its_line and asked.unit != simulator.unit:
            return None
        simulator.requests += 1
        reply = await self._reply(asked.unit, asked.pdu)
        if seconds := faults.take_delay():
            await asyncio.sleep(seconds)
        return None if faults.mute else self._framing.build(asked, reply)

    async def _reply(self, unit: int, pdu: bytes) -> ModbusPDU:
        """The response. The order of the checks is that of the protocol: function, count, address."""
        simulator = self._simulator
        function = pdu[0]
        if unit not in simulator.units:
            return ExceptionResponse(function, ExcCodes.GATEWAY_NO_RESPONSE)
        try:
            request = served(simulator.decoder, pdu)
            check(request, pdu)
        except Refusal as refusal:
            return ExceptionResponse(function & 0x7F, refusal.code)
        for table, address, count in spans(request):
            code = simulator.faults.exception_in(table, address, count)
            if code is not None:
                return ExceptionResponse(function, code)
            if not simulator.image.covers(table, address, count):
                return ExceptionResponse(function, ExcCodes.ILLEGAL_ADDRESS)
        if function == QUEUE:
            queue = simulator.queues.get(request.address)
            if queue is None:
                return ExceptionResponse(function, ExcCodes.ILLEGAL_ADDRESS)
            return ReadFifoQueueResponse(list(queue), request.dev_id, request.transaction_id)
        # The annotation is of pymodbus's older data store; its own handler passes the same context.
        response = await request.datastore_update(simulator.context, simulator.unit)  # type: ignore[arg-type]
        if response.isError():
            return response
        if function in {5, 6}:
            # The reply echoes the request, even where the value does not stick (a frozen point).
            return request
        return shortened(response) if simulator.faults.short_reply else response
